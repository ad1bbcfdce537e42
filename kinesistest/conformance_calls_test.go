package kinesistest_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// conformanceCalls is the table: each call, and what AWS shows.
var conformanceCalls = []conformanceCall{
	// Streams.
	{"describe", 2, false, seeDescription,
		"STREAM arn:aws:kinesis:us-east-1:000000000000:stream/STREAM ACTIVE 2 open 24 hours"},
	{"describe by ARN", 1, false, seeByARN, "STREAM"},
	{"describe another", 1, false, seeMissing,
		"ResourceNotFoundException: Stream nowhere under account 000000000000 not found."},
	{"create twice", 1, false, seeCreateTwice,
		"ResourceInUseException: Stream STREAM under account 000000000000 already exists."},
	{"create without shards", 1, false, seeCreateNothing,
		"ValidationException: 1 validation error detected: Value '0' at 'shardCount' " +
			"failed to satisfy constraint: Member must have value greater than or equal to 1"},
	{"recreate", 1, false, seeRecreation, `not earlier: true, read ""`},
	{"retention", 1, false, seeRetention, "48 hours, then 24"},
	{"retention too short", 1, false, seeShortRetention,
		"InvalidArgumentException: Minimum allowed retention period is 24 hours. " +
			"Requested retention period (23 hours) is too short."},

	// Records.
	{"put and read", 1, false, seeRecords, `read "a b c", keys k, in order, answers agree, 56 digits`},
	{"routing", 4, false, seeRouting, "a:0 abc:2 message:1 1:3"},
	{"hash key", 4, false, seeHashKeys, "0 0 1 3"},
	{"hash key too large", 1, false, seeLargeHashKey,
		"InvalidArgumentException: Invalid ExplicitHashKey. ExplicitHashKey must be in the " +
			"range: [0, 2^128-1]. Specified value was 340282366920938463463374607431768211456"},
	{"put to another stream", 1, false, seePutMissing,
		"ResourceNotFoundException: Stream nowhere under account 000000000000 not found."},
	{"put a batch", 2, false, seeBatch, "failed 0: 0 1 0"},
	{"put too many", 1, false, seeLargeBatch,
		"ValidationException: 1 validation error detected: Value at 'records' failed to satisfy " +
			"constraint: Member must have length less than or equal to 500"},
	{"put too large", 1, false, seeLargeRecord,
		"ValidationException: 1 validation error detected: Value at 'data' failed to satisfy " +
			"constraint: Member must have length less than or equal to 1048576"},

	// Iterators.
	{"trim horizon", 1, false, seeFrom("TRIM_HORIZON"), `read "a b c"`},
	{"latest", 1, false, seeFrom("LATEST"), `read ""`},
	{"latest, then put", 1, false, seeLatest, `read "new"`},
	{"at sequence number", 1, false, seeFrom("AT_SEQUENCE_NUMBER"), `read "b c"`},
	{"after sequence number", 1, false, seeFrom("AFTER_SEQUENCE_NUMBER"), `read "c"`},
	{"at the shard's start", 1, false, seeFromStart, `read "a"`},
	{"at a time", 1, false, seeFromTime, "reads on with the record of that time"},
	{"at an early time", 1, false, seeFromEarly, `read "a"`},
	{"at a future time", 1, false, seeFromFuture,
		"InvalidArgumentException: The timestampInMillis parameter cannot be greater than the " +
			"currentTimestampInMillis."},
	{"without a sequence number", 1, false, seeNoSequence,
		"InvalidArgumentException: Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and " +
			"StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified " +
			"AFTER_SEQUENCE_NUMBER and no StartingSequenceNumber."},
	{"corrupt sequence number", 1, false, seeCorruptSequence,
		"ValidationException: 1 validation error detected: Value 'x1' at " +
			`'startingSequenceNumber' failed to satisfy constraint: Member must satisfy regular expression pattern: ` +
			`0|([1-9]\d{0,128})`},
	{"another shard's sequence number", 2, false, seeOtherShard,
		"InvalidArgumentException: Invalid StartingSequenceNumber. It encodes " +
			"shardId-000000000001, while it was used in a call to a shard with shardId-000000000000"},
	{"a deleted stream's sequence number", 1, false, seeOldSequence,
		"InvalidArgumentException: StartingSequenceNumber SEQUENCE used in GetShardIterator on shard " +
			"shardId-000000000000 in stream STREAM under account 000000000000 is invalid because it did not come " +
			"from " +
			"this stream."},
	{"no such shard", 1, false, seeNoShard,
		"ResourceNotFoundException: Shard shardId-000000000009 in stream STREAM under account " +
			"000000000000 does not exist"},
	{"corrupt iterator", 1, false, seeCorruptIterator, "InvalidArgumentException: Invalid ShardIterator."},

	// Pages.
	{"limit", 1, false, seeLimit, "2 records, behind: true; 1 record, behind: false"},
	{"limit too large", 1, false, seeLargeLimit,
		"ValidationException: 1 validation error detected: Value '10001' at 'limit' failed to " +
			"satisfy constraint: Member must have value less than or equal to 10000"},
	{"page of 10 MiB", 1, false, seeLargePage, "10 records, then 2"},
	{"sixth read in a second", 1, true, seeSixthRead,
		"ProvisionedThroughputExceededException: Rate exceeded for shard " +
			"shardId-000000000000 in stream STREAM under account 000000000000."},
	{"end of a shard", 1, false, seeEnd, `pages: 1, read "a b", children: 1 of [0], 2 of [0]`},

	// Shards.
	{"split", 1, false, seeSplit,
		"0 closed from 0; 1 of 0 from 0; 2 of 0 from 170141183460469231731687303715884105728"},
	{"split again", 1, false, seeSplitAgain,
		"InvalidArgumentException: Shard shardId-000000000000 in stream STREAM under account " +
			"000000000000 has already been merged or split, and thus is not eligible for merging or splitting."},
	{"split nothing", 1, false, func(c *caller) string { return shown(c.split(9, "5"), "") },
		"ResourceNotFoundException: Could not find shard shardId-000000000009 in stream STREAM under account " +
			"000000000000."},
	{"split outside", 2, false, func(c *caller) string { return shown(c.split(1, "5"), "") },
		"InvalidArgumentException: NewStartingHashKey 5 used in SplitShard() on shard shardId-000000000001 in stream " +
			"STREAM under account 000000000000 is not both greater than one plus the shard's StartingHashKey " +
			"170141183460469231731687303715884105728 and less than the shard's EndingHashKey " +
			"340282366920938463463374607431768211455."},
	{"merge", 2, false, seeMerge,
		"0 closed from 0; 1 closed from 170141183460469231731687303715884105728; 2 of 0+1 from 0"},
	{"merge the distant", 3, false, func(c *caller) string { return shown(c.merge(0, 2), "") },
		"InvalidArgumentException: Shards shardId-000000000000 and shardId-000000000002 in stream STREAM under " +
			"account 000000000000 are not an adjacent pair of shards eligible for merging"},
	{"update shard count", 2, false, seeResize,
		"2 to 4: 0 closed from 0; 1 closed from 170141183460469231731687303715884105728; 2 of 0 from 0; 3 of 0 from " +
			"85070591730234615865843651857942052864; 4 of 1 from 170141183460469231731687303715884105728; 5 of 1 " +
			"from " +
			"255211775190703847597530955573826158592"},
	{"update shard count too far", 1, true, seeResizeTooFar,
		"InvalidArgumentException: UpdateShardCount cannot scale up over double your " +
			"current open shard count. Current open shard count: 1 Target shard count: 3"},
	{"list in pages", 3, false, seePages, "0 1, then 2"},
	{"list with token and name", 3, false, seeTokenAndName,
		"InvalidArgumentException: NextToken and StreamName cannot be provided together."},
	{"list after a shard", 3, false, seeAfter, "1 2"},
	{"list open shards", 1, false, seeFiltered("AT_LATEST"), "1 2"},
	{"list shards at the trim horizon", 1, false, seeFiltered("AT_TRIM_HORIZON"), "0"},
	{"list all shards", 1, false, seeFiltered("FROM_TRIM_HORIZON"), "0 1 2"},
}

func (c *caller) summary() *types.StreamDescriptionSummary {
	c.Helper()
	out, err := c.DescribeStreamSummary(c.ctx(), &kinesis.DescribeStreamSummaryInput{StreamName: c.name()})
	c.check(err)
	return out.StreamDescriptionSummary
}

func seeDescription(c *caller) string {
	d := c.summary()
	return fmt.Sprintf("%s %s %s %d open %d hours", *d.StreamName, *d.StreamARN, d.StreamStatus, *d.OpenShardCount,
		*d.RetentionPeriodHours)
}

func seeByARN(c *caller) string {
	out, err := c.DescribeStreamSummary(c.ctx(), &kinesis.DescribeStreamSummaryInput{StreamARN: c.summary().StreamARN})
	if err != nil {
		return shown(err, "")
	}
	return *out.StreamDescriptionSummary.StreamName
}

func seeMissing(c *caller) string {
	_, err := c.DescribeStreamSummary(c.ctx(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("nowhere")})
	return shown(err, "found")
}

func seeCreateTwice(c *caller) string {
	_, err := c.CreateStream(c.ctx(), &kinesis.CreateStreamInput{StreamName: c.name(), ShardCount: aws.Int32(1)})
	return shown(err, "created")
}

func seeCreateNothing(c *caller) string {
	_, err := c.CreateStream(
		c.ctx(), &kinesis.CreateStreamInput{StreamName: aws.String("none"), ShardCount: aws.Int32(0)})
	return shown(err, "created")
}

func seeRecreation(c *caller) string {
	c.put("a")
	before := c.summary().StreamCreationTimestamp
	c.recreate(1)
	return fmt.Sprintf("not earlier: %t, %s", !c.summary().StreamCreationTimestamp.Before(*before),
		c.read(c.start(), nil))
}

func seeRetention(c *caller) string {
	_, err := c.IncreaseStreamRetentionPeriod(c.ctx(),
		&kinesis.IncreaseStreamRetentionPeriodInput{StreamName: c.name(), RetentionPeriodHours: aws.Int32(48)})
	c.check(err)
	c.settle()
	first := *c.summary().RetentionPeriodHours
	_, err = c.DecreaseStreamRetentionPeriod(c.ctx(),
		&kinesis.DecreaseStreamRetentionPeriodInput{StreamName: c.name(), RetentionPeriodHours: aws.Int32(24)})
	c.check(err)
	c.settle()
	return fmt.Sprintf("%d hours, then %d", first, *c.summary().RetentionPeriodHours)
}

func seeShortRetention(c *caller) string {
	_, err := c.DecreaseStreamRetentionPeriod(c.ctx(),
		&kinesis.DecreaseStreamRetentionPeriodInput{StreamName: c.name(), RetentionPeriodHours: aws.Int32(23)})
	return shown(err, "decreased")
}

func seeRecords(c *caller) string {
	answers := []*kinesis.PutRecordOutput{c.put("a"), c.put("b"), c.put("c")}
	out, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: c.start()})
	c.check(err)
	keys, order, agree, digits := "k", "in order", "answers agree", 0
	for i, r := range out.Records {
		if *r.PartitionKey != "k" {
			keys = *r.PartitionKey
		}
		if i > 0 && number(*r.SequenceNumber).Cmp(number(*out.Records[i-1].SequenceNumber)) <= 0 {
			order = "out of order"
		}
		if *answers[i].SequenceNumber != *r.SequenceNumber {
			agree = "answers differ"
		}
		digits = len(*r.SequenceNumber)
	}
	return fmt.Sprintf("read %s, keys %s, %s, %s, %d digits", dataOf(out.Records), keys, order, agree, digits)
}

func seeRouting(c *caller) string {
	var all []string
	for _, key := range []string{"a", "abc", "message", "1"} {
		out, err := c.PutRecord(
			c.ctx(), &kinesis.PutRecordInput{StreamName: c.name(), PartitionKey: &key, Data: []byte("x")})
		c.check(err)
		all = append(all, fmt.Sprintf("%s:%d", key, shardIndex(*out.ShardId)))
	}
	return strings.Join(all, " ")
}

func (c *caller) putAt(hash string) (*kinesis.PutRecordOutput, error) {
	return c.PutRecord(c.ctx(), &kinesis.PutRecordInput{
		StreamName: c.name(), PartitionKey: aws.String("k"), ExplicitHashKey: &hash, Data: []byte("x"),
	})
}

func seeHashKeys(c *caller) string {
	var all []string
	for _, hash := range []string{
		"0", "85070591730234615865843651857942052863", "85070591730234615865843651857942052864",
		"340282366920938463463374607431768211455",
	} {
		out, err := c.putAt(hash)
		c.check(err)
		all = append(all, fmt.Sprint(shardIndex(*out.ShardId)))
	}
	return strings.Join(all, " ")
}

func seeLargeHashKey(c *caller) string {
	_, err := c.putAt("340282366920938463463374607431768211456")
	return shown(err, "put")
}

func seePutMissing(c *caller) string {
	_, err := c.PutRecord(c.ctx(), &kinesis.PutRecordInput{
		StreamName: aws.String("nowhere"), PartitionKey: aws.String("k"), Data: []byte("x"),
	})
	return shown(err, "put")
}

// batch puts n records, every second one with the last hash key.
func (c *caller) batch(n int) (*kinesis.PutRecordsOutput, error) {
	in := &kinesis.PutRecordsInput{StreamName: c.name()}
	for i := range n {
		hash := []string{"0", "340282366920938463463374607431768211455"}[i%2]
		in.Records = append(in.Records,
			types.PutRecordsRequestEntry{PartitionKey: aws.String("k"), ExplicitHashKey: &hash, Data: []byte("x")})
	}
	return c.PutRecords(c.ctx(), in)
}

func seeBatch(c *caller) string {
	out, err := c.batch(3)
	c.check(err)
	line := fmt.Sprintf("failed %d:", *out.FailedRecordCount)
	for _, r := range out.Records {
		line += fmt.Sprintf(" %d", shardIndex(*r.ShardId))
	}
	return line
}

// shortValue leaves out the value that some services repeat in a fault.
func shortValue(s, member string) string {
	before, rest, found := strings.Cut(s, "Value '")
	_, after, closed := strings.Cut(rest, "' at '"+member)
	if !found || !closed {
		return s
	}
	return before + "Value '...' at '" + member + after
}

func seeLargeBatch(c *caller) string {
	_, err := c.batch(501)
	return shortValue(shown(err, "put"), "records")
}

func seeLargeRecord(c *caller) string {
	_, err := c.PutRecord(c.ctx(), &kinesis.PutRecordInput{
		StreamName: c.name(), PartitionKey: aws.String("k"), Data: make([]byte, 1<<20+1),
	})
	return shortValue(shown(err, "put"), "data")
}

func seeFrom(kind types.ShardIteratorType) func(*caller) string {
	return func(c *caller) string {
		c.put("a")
		second := c.put("b").SequenceNumber
		c.put("c")
		if kind != "AT_SEQUENCE_NUMBER" && kind != "AFTER_SEQUENCE_NUMBER" {
			second = nil
		}
		return c.read(c.iterator(kind, second, nil))
	}
}

func seeLatest(c *caller) string {
	c.put("old")
	it, err := c.iterator("LATEST", nil, nil)
	c.check(err)
	c.put("new")
	return c.read(it, nil)
}

func (c *caller) shard(index int) types.Shard {
	c.Helper()
	out, err := c.ListShards(c.ctx(), &kinesis.ListShardsInput{StreamName: c.name()})
	c.check(err)
	return out.Shards[index]
}

func seeFromStart(c *caller) string {
	c.put("a")
	return c.read(c.iterator("AT_SEQUENCE_NUMBER", c.shard(0).SequenceNumberRange.StartingSequenceNumber, nil))
}

// seeFromTime puts until the clock has moved, and reads from the newest
// record's time.
func seeFromTime(c *caller) string {
	c.put("0")
	for i := 1; ; i++ {
		c.put(fmt.Sprint(i))
		out, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: c.start()})
		c.check(err)
		last, first := out.Records[len(out.Records)-1], out.Records[0]
		if !last.ApproximateArrivalTimestamp.After(*first.ApproximateArrivalTimestamp) {
			continue
		}
		it, err := c.iterator("AT_TIMESTAMP", nil, last.ApproximateArrivalTimestamp)
		c.check(err)
		from, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: it})
		c.check(err)
		if len(from.Records) == 0 ||
			!from.Records[0].ApproximateArrivalTimestamp.Equal(*last.ApproximateArrivalTimestamp) {
			return "reads on elsewhere: " + dataOf(from.Records)
		}
		return "reads on with the record of that time"
	}
}

func seeFromEarly(c *caller) string {
	c.put("a")
	return c.read(c.iterator("AT_TIMESTAMP", nil, aws.Time(time.Now().Add(-time.Hour))))
}

func seeFromFuture(c *caller) string {
	_, err := c.iterator("AT_TIMESTAMP", nil, aws.Time(time.Now().Add(time.Hour)))
	text, _, _ := strings.Cut(shown(err, "taken"), " timestampInMillis: ")
	return text
}

func seeNoSequence(c *caller) string {
	_, err := c.iterator("AFTER_SEQUENCE_NUMBER", nil, nil)
	return shown(err, "taken")
}

func seeCorruptSequence(c *caller) string {
	_, err := c.iterator("AFTER_SEQUENCE_NUMBER", aws.String("x1"), nil)
	return shown(err, "taken")
}

func seeOtherShard(c *caller) string {
	out, err := c.putAt("340282366920938463463374607431768211455")
	c.check(err)
	_, err = c.iterator("AFTER_SEQUENCE_NUMBER", out.SequenceNumber, nil)
	return shown(err, "taken")
}

// seeOldSequence makes the stream again until a whole second lies between the
// two: some know creation times to the second only.
func seeOldSequence(c *caller) string {
	old, before := c.put("a").SequenceNumber, c.summary().StreamCreationTimestamp.Truncate(time.Second)
	for !c.summary().StreamCreationTimestamp.After(before.Add(time.Second)) {
		c.recreate(1)
	}
	_, err := c.iterator("AFTER_SEQUENCE_NUMBER", old, nil)
	return strings.ReplaceAll(shown(err, "taken"), *old, "SEQUENCE")
}

func seeNoShard(c *caller) string {
	_, err := c.GetShardIterator(c.ctx(), &kinesis.GetShardIteratorInput{
		StreamName: c.name(), ShardId: aws.String(id(9)), ShardIteratorType: "LATEST",
	})
	return shown(err, "taken")
}

func seeCorruptIterator(c *caller) string {
	return c.read(aws.String("AAAAAAAAAAEcorrupt"), nil)
}

func seeLimit(c *caller) string {
	for _, data := range []string{"a", "b", "c"} {
		c.put(data)
	}
	first, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: c.start(), Limit: aws.Int32(2)})
	c.check(err)
	second, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: first.NextShardIterator})
	c.check(err)
	return fmt.Sprintf("%d records, behind: %t; %d record, behind: %t",
		len(first.Records), *first.MillisBehindLatest > 0, len(second.Records), *second.MillisBehindLatest > 0)
}

func seeLargeLimit(c *caller) string {
	_, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: c.start(), Limit: aws.Int32(10001)})
	return shown(err, "read")
}

func seeLargePage(c *caller) string {
	for range 12 {
		c.put(strings.Repeat("x", 1<<20-1))
	}
	first, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: c.start()})
	c.check(err)
	second, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: first.NextShardIterator})
	c.check(err)
	return fmt.Sprintf("%d records, then %d", len(first.Records), len(second.Records))
}

func seeSixthRead(c *caller) string {
	it := c.start()
	for range 5 {
		_, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: it})
		c.check(err)
	}
	return c.read(it, nil)
}

// seeEnd reads a closed shard until there is no next iterator.
func seeEnd(c *caller) string {
	c.put("a")
	c.put("b")
	it := c.start()
	c.check(c.split(0, "170141183460469231731687303715884105728"))
	var records []types.Record
	pages, children := 0, []string{}
	for it != nil {
		out, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: it})
		c.check(err)
		if pages++; pages > 20 {
			return "no end after 20 pages"
		}
		records, it = append(records, out.Records...), out.NextShardIterator
		for _, child := range out.ChildShards {
			parents := []int{}
			for _, p := range child.ParentShards {
				parents = append(parents, shardIndex(p))
			}
			children = append(children, fmt.Sprintf("%d of %v", shardIndex(*child.ShardId), parents))
		}
	}
	return fmt.Sprintf("pages: %d, read %s, children: %s", pages, dataOf(records), strings.Join(children, ", "))
}

func seeSplit(c *caller) string {
	c.check(c.split(0, "170141183460469231731687303715884105728"))
	return c.listed()
}

func seeSplitAgain(c *caller) string {
	c.check(c.split(0, "170141183460469231731687303715884105728"))
	return shown(c.split(0, "5"), "split")
}

func seeMerge(c *caller) string {
	c.check(c.merge(0, 1))
	return c.listed()
}

func (c *caller) resize(target int32) (*kinesis.UpdateShardCountOutput, error) {
	return c.UpdateShardCount(c.ctx(), &kinesis.UpdateShardCountInput{
		StreamName: c.name(), TargetShardCount: &target, ScalingType: types.ScalingTypeUniformScaling,
	})
}

func seeResize(c *caller) string {
	out, err := c.resize(4)
	if err != nil {
		return shown(err, "")
	}
	c.settle()
	return fmt.Sprintf("%d to %d: %s", *out.CurrentShardCount, *out.TargetShardCount, c.listed())
}

func seeResizeTooFar(c *caller) string {
	_, err := c.resize(3)
	return shown(err, "taken")
}

func indexes(shards []types.Shard) string {
	var all []string
	for _, sh := range shards {
		all = append(all, fmt.Sprint(shardIndex(*sh.ShardId)))
	}
	return strings.Join(all, " ")
}

func seePages(c *caller) string {
	first, err := c.ListShards(c.ctx(), &kinesis.ListShardsInput{StreamName: c.name(), MaxResults: aws.Int32(2)})
	c.check(err)
	if first.NextToken == nil {
		return indexes(first.Shards) + " and no token"
	}
	second, err := c.ListShards(c.ctx(), &kinesis.ListShardsInput{NextToken: first.NextToken})
	if err != nil {
		return shown(err, "")
	}
	return indexes(first.Shards) + ", then " + indexes(second.Shards)
}

func seeTokenAndName(c *caller) string {
	first, err := c.ListShards(c.ctx(), &kinesis.ListShardsInput{StreamName: c.name(), MaxResults: aws.Int32(2)})
	c.check(err)
	if first.NextToken == nil {
		first.NextToken = aws.String("a token of our own")
	}
	_, err = c.ListShards(c.ctx(), &kinesis.ListShardsInput{StreamName: c.name(), NextToken: first.NextToken})
	return shown(err, "listed")
}

func seeAfter(c *caller) string {
	out, err := c.ListShards(
		c.ctx(), &kinesis.ListShardsInput{StreamName: c.name(), ExclusiveStartShardId: aws.String(id(0))})
	c.check(err)
	return indexes(out.Shards)
}

func seeFiltered(kind types.ShardFilterType) func(*caller) string {
	return func(c *caller) string {
		c.check(c.split(0, "170141183460469231731687303715884105728"))
		out, err := c.ListShards(c.ctx(),
			&kinesis.ListShardsInput{StreamName: c.name(), ShardFilter: &types.ShardFilter{Type: kind}})
		if err != nil {
			return shown(err, "")
		}
		return indexes(out.Shards)
	}
}
