package kinesistest_test

import (
	"cmp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream/kinesistest"
)

const (
	exceeded     = "ProvisionedThroughputExceededException"
	exceededText = "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000."
)

func TestFiveReadsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 2)
		it := fromStart(t, c, id(0))
		for range 5 {
			must[*kinesis.GetRecordsOutput](t)(read(t, c, it))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(499 * time.Millisecond)
		_, err := read(t, c, it)
		wantFault(t, err, exceeded, exceededText)
		must[*kinesis.GetRecordsOutput](t)(read(t, c, fromStart(t, c, id(1)))) // another shard is not affected
		time.Sleep(time.Millisecond)
		must[*kinesis.GetRecordsOutput](t)(read(t, c, it))
		_, err = read(t, c, it)
		wantFault(t, err, exceeded, exceededText)
	})
}

func TestWhatIsReadIsOwed(t *testing.T) {
	const mib = 1<<20 - 1 // the key counts one byte
	for name, tt := range map[string]struct {
		records int
		size    int // of each; 0: 1 MiB
		limit   int32
		reads   int // that are allowed at once
		wait    time.Duration
	}{
		"10 MiB cost 5 s":              {records: 10, limit: 10, reads: 1, wait: 5 * time.Second},
		"2 MiB cost 1 s":               {records: 2, limit: 2, reads: 1, wait: time.Second},
		"1 MiB twice costs 1 s":        {records: 2, limit: 1, reads: 2, wait: time.Second},
		"1 MiB and 9 MiB cost 5 s":     {records: 10, limit: 9, reads: 2, wait: 5 * time.Second},
		"1 MiB alone costs no waiting": {records: 1, limit: 1, reads: 2, wait: 0},
		"10,000 records cost 5 s":      {records: 10_000, size: 2, limit: 10_000, reads: 1, wait: 5 * time.Second},
		"2,000 records cost 1 s":       {records: 2000, size: 2, limit: 2000, reads: 1, wait: time.Second},
		"1,999 cost no waiting":        {records: 1999, size: 2, limit: 1999, reads: 2, wait: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, c := start(t, kinesistest.Options{}, 1)
				fill(t, srv, tt.records, cmp.Or(tt.size, mib))
				next := fromStart(t, c, id(0))
				limit := tt.limit
				if tt.reads == 2 && tt.records == 10 {
					limit = 1 // 1 MiB first, then the rest
				}
				for range tt.reads {
					out := must[*kinesis.GetRecordsOutput](t)(c.GetRecords(t.Context(),
						&kinesis.GetRecordsInput{ShardIterator: &next, Limit: &limit}))
					next, limit = *out.NextShardIterator, tt.limit
				}
				if tt.wait > 0 {
					time.Sleep(tt.wait - time.Millisecond)
					_, err := read(t, c, next)
					wantFault(t, err, exceeded, exceededText)
					time.Sleep(time.Millisecond)
				}
				must[*kinesis.GetRecordsOutput](t)(read(t, c, next))
			})
		})
	}
}

func TestFiveIteratorsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 1)
		for range 5 {
			fromStart(t, c, id(0))
		}
		_, err := iterator(t, c, id(0), types.ShardIteratorTypeLatest, nil)
		wantFault(t, err, exceeded, exceededText)
		time.Sleep(time.Second)
		fromStart(t, c, id(0))
	})
}

func TestWriteLimits(t *testing.T) {
	put := func(t *testing.T, c *kinesis.Client, size int) error {
		_, err := c.PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: make([]byte, size),
		})
		return err
	}
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 1)
		for range 2 {
			if err := put(t, c, 1<<19-1); err != nil {
				t.Fatal(err)
			}
		}
		wantFault(t, put(t, c, 1), exceeded, exceededText)
		time.Sleep(time.Second)
		for range 1000 {
			if err := put(t, c, 1); err != nil {
				t.Fatal(err)
			}
		}
		wantFault(t, put(t, c, 1), exceeded, exceededText)
	})
}

func TestPutRecordsReportsEachRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{}, 2)
		in := &kinesis.PutRecordsInput{StreamName: aws.String("s")}
		for _, hash := range []string{"0", "0", "340282366920938463463374607431768211455"} {
			in.Records = append(in.Records, types.PutRecordsRequestEntry{
				PartitionKey: aws.String("k"), ExplicitHashKey: aws.String(hash), Data: make([]byte, 1<<20-1),
			})
		}
		out := must[*kinesis.PutRecordsOutput](t)(c.PutRecords(t.Context(), in))
		if *out.FailedRecordCount != 1 || len(out.Records) != 3 {
			t.Fatalf("%d of %d records failed, want 1 of 3", *out.FailedRecordCount, len(out.Records))
		}
		if r := out.Records[1]; aws.ToString(r.ErrorCode) != exceeded || *r.ErrorMessage != exceededText ||
			r.SequenceNumber != nil {
			t.Errorf("second record: %s: %s", aws.ToString(r.ErrorCode), aws.ToString(r.ErrorMessage))
		}
		for i, shard := range map[int]string{0: id(0), 2: id(1)} {
			stored := must[[]kinesistest.Record](t)(srv.Records("s", shard))
			if len(stored) != 1 || stored[0].SequenceNumber != *out.Records[i].SequenceNumber ||
				*out.Records[i].ShardId != shard {
				t.Errorf("record %d is not in the shard of its result", i)
			}
		}
	})
}

func TestCallsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 1)
		describe := func() error {
			_, err := c.DescribeStreamSummary(
				t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("s")})
			return err
		}
		for range 20 {
			if err := describe(); err != nil {
				t.Fatal(err)
			}
		}
		wantFault(t, describe(), "LimitExceededException", "Rate exceeded for stream s under account 000000000000.")
	})
}

func TestNoLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
		fill(t, srv, 1, 1<<20)
		for range 7 { // at one moment: more than five reads, 2 MiB read, 1 MiB written
			must[*kinesis.GetRecordsOutput](t)(read(t, c, fromStart(t, c, id(0))))
			must[*kinesis.PutRecordOutput](t)(c.PutRecord(t.Context(), &kinesis.PutRecordInput{
				StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: make([]byte, 1<<18),
			}))
		}
		for range 12 {
			must[*kinesis.DescribeStreamOutput](t)(c.DescribeStream(t.Context(),
				&kinesis.DescribeStreamInput{StreamName: aws.String("s")}))
		}
	})
}

func TestShardLimit(t *testing.T) {
	_, c := start(t, kinesistest.Options{ShardLimit: 4}, 3)
	create := func(shards int32) error {
		_, err := c.CreateStream(
			t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("t"), ShardCount: &shards})
		return err
	}
	wantFault(t, create(2), "LimitExceededException", "would exceed the shard limit")
	if err := create(1); err != nil {
		t.Fatal(err)
	}
	_, err := c.SplitShard(t.Context(), &kinesis.SplitShardInput{
		StreamName: aws.String("s"), ShardToSplit: aws.String(id(0)), NewStartingHashKey: aws.String("100"),
	})
	wantFault(t, err, "LimitExceededException", "would exceed the shard limit")
}
