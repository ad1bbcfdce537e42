package kinesistest_test

// Reasons for differences that occur more than once.
const (
	noThrottling = "it throttles no reads"
	ownText      = "the same refusal in its own words"
	ownCode      = "the same refusal in its own words, under another code"
	offByOne     = "its ranges of hash keys, except the first, start one key early"
	noPattern    = "it does not check the pattern of the number, and refuses it later"
	sameShardIDs = "its sequence numbers do not identify their stream"
	repeatsValue = "it repeats the value, as AWS did in earlier years"
)

// kinesaliteDifferences are those of kinesalite 3.3.3.
var kinesaliteDifferences = map[string]difference{
	"describe by ARN": {why: "it is older than streams named by ARN",
		got: "ValidationException: 1 validation error detected: " +
			"Value null at 'streamName' failed to satisfy constraint: Member must not be null"},
	"put too many": {why: repeatsValue,
		got: "ValidationException: 1 validation error detected: Value '...' at 'records' failed to satisfy " +
			"constraint: Member must have length less than or equal to 500"},
	"put too large": {why: repeatsValue,
		got: "ValidationException: 1 validation error detected: Value '...' at 'data' failed to satisfy " +
			"constraint: Member must have length less than or equal to 1048576"},
	"corrupt sequence number": {
		why: noPattern, got: "InvalidArgumentException: StartingSequenceNumber x1 used in GetShardIterator on " +
			"shard shardId-000000000000 in stream STREAM under account 000000000000 is invalid."},
	"limit": {
		why: "its MillisBehindLatest is always 0", got: "2 records, behind: false; 1 record, behind: false"},
	"page of 10 MiB":         {why: "it bounds pages by number only", got: "12 records, then 0"},
	"sixth read in a second": {why: noThrottling, got: `read ""`},
	"end of a shard": {why: "its last page comes after the records, and it is older than ChildShards",
		got: `pages: 2, read "a b", children: `},
	"split again": {why: "it splits closed shards", got: "split"},
	"update shard count": {
		why: "it does not know the operation", got: "UnknownOperationException: UnknownError"},
	"update shard count too far": {
		why: "it does not know the operation", got: "UnknownOperationException: UnknownError"},
	"list in pages":                   {why: "it knows no pages", got: "0 1 2 and no token"},
	"list open shards":                {why: "it is older than ShardFilter and lists all", got: "0 1 2"},
	"list shards at the trim horizon": {why: "it is older than ShardFilter and lists all", got: "0 1 2"},
}

// kinesisLocalDifferences are those of kinesis-local 0.6.2.
var kinesisLocalDifferences = map[string]difference{
	"describe another": {why: ownText,
		got: "ResourceNotFoundException: Stream arn arn:aws:kinesis:us-east-1:000000000000:stream/nowhere not found"},
	"create twice":          {why: ownText, got: "ResourceInUseException: Stream STREAM already exists"},
	"create without shards": {why: ownCode, got: "LimitExceededException: The shard count must be between 1 and 1000"},
	"retention too short": {
		why: ownText, got: "InvalidArgumentException: Retention period hours 23 must be between 24 and 8760"},
	"hash key":           {why: offByOne, got: "0 1 1 3"},
	"hash key too large": {why: ownText, got: "InvalidArgumentException: ExplicitHashKey is not valid"},
	"put to another stream": {why: ownText,
		got: "ResourceNotFoundException: Stream arn arn:aws:kinesis:us-east-1:000000000000:stream/nowhere not found"},
	"put too many": {why: "it takes more than 500 records", got: "put"},
	"put too large": {why: ownCode,
		got: "InvalidArgumentException: Record data size 1048577 exceeds the stream's max record size of 1048576 " +
			"bytes"},
	"at a future time": {why: "it takes times in the future", got: "taken"},
	"without a sequence number": {why: ownText,
		got: "InvalidArgumentException: StartingSequenceNumber must be provided for ShardIteratorType " +
			"AFTER_SEQUENCE_NUMBER"},
	"corrupt sequence number": {
		why: ownCode, got: "InvalidArgumentException: SequenceNumber x1 contains invalid characters"},
	"another shard's sequence number":    {why: "it does not look which shard a number came from", got: "taken"},
	"a deleted stream's sequence number": {why: sameShardIDs, got: "taken"},
	"no such shard": {why: ownText,
		got: "ResourceNotFoundException: Could not find shardId shardId-000000000009 in stream STREAM"},
	"corrupt iterator": {why: "it fails with status 500", got: "UnknownError: UnknownError"},
	"limit too large":  {why: ownCode, got: "InvalidArgumentException: Limit must be between 1 and 10000"},
	"page of 10 MiB": {why: "it takes about a minute to take 12 MiB, too long to ask each time; it then gave 9 " +
		"records and 3",
		notAsked: true},
	"sixth read in a second": {why: noThrottling, got: `read ""`},
	"split again": {
		why: ownCode, got: "ResourceInUseException: Shard ShardId(shardId-000000000000,0) is not active"},
	"split nothing": {why: ownText,
		got: "ResourceNotFoundException: Could not find shardId shardId-000000000009 in stream STREAM"},
	"split outside": {why: ownText,
		got: "InvalidArgumentException: NewStartingHashKey is not within the hash range shard " +
			"ShardId(shardId-000000000001,1)"},
	"merge": {
		why: offByOne, got: "0 closed from 0; 1 closed from 170141183460469231731687303715884105727; 2 of 0+1 from 0"},
	"merge the distant": {why: ownText, got: "InvalidArgumentException: Provided shards are not adjacent"},
	"update shard count": {
		why: offByOne, got: "2 to 4: 0 closed from 0; 1 closed from 170141183460469231731687303715884105727; " +
			"2 of 0 from 0; 3 of 0 from 85070591730234615865843651857942052863; 4 of 1 from " +
			"170141183460469231731687303715884105727; 5 of 1 from 255211775190703847597530955573826158591"},
	"update shard count too far": {why: ownText,
		got: "InvalidArgumentException: Cannot update shard count beyond 2x current shard count"},
	"list with token and name": {why: ownText, got: "InvalidArgumentException: Cannot define ExclusiveStartShardId, " +
		"StreamCreationTimestamp or StreamName if NextToken is defined"},
	"list shards at the trim horizon": {why: "it lists every shard it keeps", got: "0 1 2"},
}
