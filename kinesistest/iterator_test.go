package kinesistest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream/kinesistest"
)

func TestIteratorExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 1)
		it := fromStart(t, c, id(0))
		time.Sleep(5 * time.Minute)
		must[*kinesis.GetRecordsOutput](t)(read(t, c, it))
		time.Sleep(time.Millisecond)
		_, err := read(t, c, it)
		wantFault(t, err, "ExpiredIteratorException",
			"Iterator expired. The iterator was created at time Sat Jan 01 00:00:00 UTC 2000 while right now it is "+
				"Sat Jan 01 00:05:00 UTC 2000 which is further in the future than the tolerated delay of 300000 "+
				"milliseconds.")
	})
}

func TestForgedIterator(t *testing.T) {
	_, c := start(t, kinesistest.Options{NoLimits: true}, 1)
	it := []byte(fromStart(t, c, id(0)))
	for _, forged := range []string{"x", "AAAAAAAAAAE=", strings.Repeat("A", 400)} {
		_, err := read(t, c, forged)
		wantFault(t, err, "InvalidArgumentException", "Invalid ShardIterator.")
	}
	it[len(it)/2] ^= 1
	_, err := read(t, c, string(it))
	wantFault(t, err, "InvalidArgumentException", "Invalid ShardIterator.")
}

// seek returns the data read from an iterator on, in one string.
func seek(t *testing.T, c *kinesis.Client, kind types.ShardIteratorType,
	change func(*kinesis.GetShardIteratorInput)) string {
	t.Helper()
	out := must[*kinesis.GetRecordsOutput](t)(read(t, c, must[string](t)(iterator(t, c, id(0), kind, change))))
	var all []byte
	for _, r := range out.Records {
		all = append(all, r.Data...)
	}
	return string(all)
}

func TestIteratorTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
		began := time.Now()
		var seqs []string
		for _, data := range []string{"a", "b", "c"} {
			time.Sleep(time.Second)
			_, seq, err := srv.Put("s", "k", []byte(data))
			if err != nil {
				t.Fatal(err)
			}
			seqs = append(seqs, seq)
		}
		sequence := func(seq string) func(*kinesis.GetShardIteratorInput) {
			return func(in *kinesis.GetShardIteratorInput) { in.StartingSequenceNumber = &seq }
		}
		at := func(d time.Duration) func(*kinesis.GetShardIteratorInput) {
			return func(in *kinesis.GetShardIteratorInput) { in.Timestamp = aws.Time(began.Add(d)) }
		}
		first := shards(t, c)[0].SequenceNumberRange.StartingSequenceNumber
		for _, tt := range []struct {
			name   string
			kind   types.ShardIteratorType
			change func(*kinesis.GetShardIteratorInput)
			want   string
		}{
			{"trim horizon", types.ShardIteratorTypeTrimHorizon, nil, "abc"},
			{"latest", types.ShardIteratorTypeLatest, nil, ""},
			{"at the first", types.ShardIteratorTypeAtSequenceNumber, sequence(seqs[0]), "abc"},
			{"after the first", types.ShardIteratorTypeAfterSequenceNumber, sequence(seqs[0]), "bc"},
			{"after the last", types.ShardIteratorTypeAfterSequenceNumber, sequence(seqs[2]), ""},
			{"at the shard's start", types.ShardIteratorTypeAtSequenceNumber, sequence(*first), "abc"},
			{"after the shard's start", types.ShardIteratorTypeAfterSequenceNumber, sequence(*first), "abc"},
			{"long ago", types.ShardIteratorTypeAtTimestamp, at(-time.Hour), "abc"},
			{"at the time of the second", types.ShardIteratorTypeAtTimestamp, at(2 * time.Second), "bc"},
			{"1 ms after the second", types.ShardIteratorTypeAtTimestamp, at(2*time.Second + time.Millisecond), "c"},
			{"now", types.ShardIteratorTypeAtTimestamp, at(3 * time.Second), "c"},
		} {
			if got := seek(t, c, tt.kind, tt.change); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
			}
		}
	})
}

// Records that arrive after an iterator was made are read, even in the same
// millisecond.
func TestLatestMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
		fill(t, srv, 1, 1)
		next := must[string](t)(iterator(t, c, id(0), types.ShardIteratorTypeLatest, nil))
		for range 3 {
			fill(t, srv, 1, 1)
			out := must[*kinesis.GetRecordsOutput](t)(read(t, c, next))
			if len(out.Records) != 1 {
				t.Fatalf("got %d records, want 1", len(out.Records))
			}
			next = *out.NextShardIterator
			must[*kinesis.GetRecordsOutput](t)(read(t, c, next))
		}
	})
}

// A clock that is set back must not put records where a reader has already
// been.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
		time.Sleep(time.Hour)
		out := must[*kinesis.GetRecordsOutput](t)(read(t, c, fromStart(t, c, id(0))))
		srv.AdvanceClock(-time.Minute)
		fill(t, srv, 1, 1)
		out = must[*kinesis.GetRecordsOutput](t)(read(t, c, *out.NextShardIterator))
		if len(out.Records) != 1 {
			t.Errorf("got %d records, want 1", len(out.Records))
		}
	})
}

func TestRefusedIterators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{NoLimits: true}, 2)
		_, old, err := srv.Put("s", "k", []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		oldIterator := fromStart(t, c, id(0))
		if err := srv.DeleteStream("s"); err != nil {
			t.Fatal(err)
		}
		if _, err := srv.CreateStream("s", 2); err != nil {
			t.Fatal(err)
		}
		other := *shards(t, c)[1].SequenceNumberRange.StartingSequenceNumber
		sequence := func(seq string) func(*kinesis.GetShardIteratorInput) {
			return func(in *kinesis.GetShardIteratorInput) { in.StartingSequenceNumber = &seq }
		}
		const after, invalid = types.ShardIteratorTypeAfterSequenceNumber, "InvalidArgumentException"
		for _, tt := range []struct {
			name   string
			shard  string
			kind   types.ShardIteratorType
			change func(*kinesis.GetShardIteratorInput)
			code   string
			text   string
		}{
			{"of the stream before", id(0), after, sequence(old), invalid,
				"StartingSequenceNumber " + old + " used in GetShardIterator " +
					"on shard shardId-000000000000 in stream s under account 000000000000 is invalid because it did " +
					"not come from this stream."},
			{"of another shard", id(0), after, sequence(other), invalid,
				"Invalid StartingSequenceNumber. It encodes shardId-000000000001, while it was used in a call to a " +
					"shard with shardId-000000000000"},
			{"made up", id(0), after, sequence("123"), invalid,
				"StartingSequenceNumber 123 used in GetShardIterator on shard " +
					"shardId-000000000000 in stream s under account 000000000000 is invalid."},
			{"not a number", id(0), after, sequence("12x"), "ValidationException",
				"1 validation error detected: Value '12x' at " +
					`'startingSequenceNumber' failed to satisfy constraint: Member must satisfy regular expression ` +
					`pattern: 0|([1-9]\d{0,128})`},
			{"missing", id(0), after, nil, invalid,
				"Request specified AFTER_SEQUENCE_NUMBER and no StartingSequenceNumber."},
			{"one too many", id(0), types.ShardIteratorTypeLatest, sequence(old), invalid,
				"Request specified LATEST and also a StartingSequenceNumber."},
			{"no time", id(0), types.ShardIteratorTypeAtTimestamp, nil, invalid,
				"Must specify timestampInMillis parameter"},
			{"the future", id(0), types.ShardIteratorTypeAtTimestamp,
				func(in *kinesis.GetShardIteratorInput) { in.Timestamp = aws.Time(time.Now().Add(time.Millisecond)) },
				invalid,
				"The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. " +
					"timestampInMillis: 946684800001, currentTimestampInMillis: 946684800000"},
			{"no such shard", id(7), types.ShardIteratorTypeLatest, nil, "ResourceNotFoundException",
				"Shard shardId-000000000007 in stream s under account 000000000000 does not exist"},
		} {
			t.Log(tt.name)
			_, err := iterator(t, c, tt.shard, tt.kind, tt.change)
			wantFault(t, err, tt.code, tt.text)
		}
		_, err = read(t, c, oldIterator)
		wantFault(t, err, "ResourceNotFoundException", "does not exist")
	})
}

func TestSequenceNumberAtTheEndOfAShard(t *testing.T) {
	srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
	if _, _, err := srv.Split("s", id(0)); err != nil {
		t.Fatal(err)
	}
	end := shards(t, c)[0].SequenceNumberRange.EndingSequenceNumber
	_, err := iterator(t, c, id(0), types.ShardIteratorTypeAfterSequenceNumber,
		func(in *kinesis.GetShardIteratorInput) { in.StartingSequenceNumber = end })
	wantFault(t, err, "InvalidArgumentException", "SequenceNumber has reached max possible value for the shard")
}

// shards lists the shards of "s".
func shards(t *testing.T, c *kinesis.Client) []types.Shard {
	t.Helper()
	out := must[*kinesis.ListShardsOutput](t)(
		c.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("s")}))
	return out.Shards
}
