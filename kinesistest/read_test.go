package kinesistest_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream/kinesistest"
)

func TestPutAndRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 2)
		time.Sleep(1234567 * time.Microsecond) // the bubble's clock: to a time with a fraction
		put := must[*kinesis.PutRecordOutput](t)(c.PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String(`k"<é`), Data: []byte{0, 1, 0xff, '"'},
		}))
		if len(*put.SequenceNumber) != 56 {
			t.Errorf("sequence number %s has %d digits, want 56", *put.SequenceNumber, len(*put.SequenceNumber))
		}
		out := must[*kinesis.GetRecordsOutput](t)(read(t, c, fromStart(t, c, *put.ShardId)))
		if len(out.Records) != 1 {
			t.Fatalf("got %d records, want 1", len(out.Records))
		}
		r := out.Records[0]
		if !bytes.Equal(r.Data, []byte{0, 1, 0xff, '"'}) || *r.PartitionKey != `k"<é` ||
			*r.SequenceNumber != *put.SequenceNumber {
			t.Errorf("got %q %s %s", r.Data, *r.PartitionKey, *r.SequenceNumber)
		}
		if want := time.Now().Truncate(time.Millisecond); !r.ApproximateArrivalTimestamp.Equal(want) {
			t.Errorf("arrived %s, want %s", r.ApproximateArrivalTimestamp, want)
		}
		if *out.MillisBehindLatest != 0 || out.NextShardIterator == nil || out.ChildShards != nil {
			t.Errorf("behind %d, next %v, children %v", *out.MillisBehindLatest, out.NextShardIterator, out.ChildShards)
		}
	})
}

func TestPagesAreBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		records, size, limit int
		want                 []int
	}{
		"by limit":          {records: 5, size: 10, limit: 2, want: []int{2, 2, 1}},
		"by 10,000 records": {records: 10001, size: 1, want: []int{10000, 1}},
		"by 10 MiB":         {records: 12, size: 1<<20 - 1, want: []int{10, 2}}, // the key counts one byte
	} {
		t.Run(name, func(t *testing.T) {
			srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
			fill(t, srv, tt.records, tt.size)
			next := fromStart(t, c, id(0))
			for i, want := range tt.want {
				in := &kinesis.GetRecordsInput{ShardIterator: &next}
				if tt.limit > 0 {
					in.Limit = aws.Int32(int32(tt.limit))
				}
				out := must[*kinesis.GetRecordsOutput](t)(c.GetRecords(t.Context(), in))
				if len(out.Records) != want {
					t.Errorf("page %d has %d records, want %d", i, len(out.Records), want)
				}
				if last := i == len(tt.want)-1; (*out.MillisBehindLatest == 0) != last {
					t.Errorf("page %d is %d ms behind; last: %t", i, *out.MillisBehindLatest, last)
				}
				next = *out.NextShardIterator
			}
		})
	}
}

// A record larger than a page comes alone; it is not left out.
func TestRecordLargerThanAPage(t *testing.T) {
	srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
	fill(t, srv, 1, 1)
	fill(t, srv, 1, 10<<20)
	next := fromStart(t, c, id(0))
	for i, want := range []int{1, 10 << 20} {
		out := must[*kinesis.GetRecordsOutput](t)(read(t, c, next))
		if len(out.Records) != 1 || len(out.Records[0].Data) != want {
			t.Fatalf("page %d: %d records", i, len(out.Records))
		}
		next = *out.NextShardIterator
	}
}

func TestMillisBehindLatestGoesByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
		fill(t, srv, 1, 1)
		time.Sleep(time.Minute)
		fill(t, srv, 1, 1)
		time.Sleep(time.Hour)
		next := fromStart(t, c, id(0))
		one := func() *kinesis.GetRecordsOutput {
			out := must[*kinesis.GetRecordsOutput](t)(c.GetRecords(t.Context(),
				&kinesis.GetRecordsInput{ShardIterator: &next, Limit: aws.Int32(1)}))
			next = *out.NextShardIterator
			return out
		}
		if got, want := *one().MillisBehindLatest, (time.Hour + time.Minute).Milliseconds(); got != want {
			t.Errorf("behind %d ms after the first record, want %d", got, want)
		}
		if out := one(); len(out.Records) != 1 || *out.MillisBehindLatest != 0 {
			t.Errorf("the record at the tip: %d records, %d ms behind", len(out.Records), *out.MillisBehindLatest)
		}
		if out := one(); len(out.Records) != 0 || *out.MillisBehindLatest != 0 {
			t.Errorf("at the tip: %d records, %d ms behind", len(out.Records), *out.MillisBehindLatest)
		}
	})
}

func TestScanSpanMakesEmptyPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{NoLimits: true, ScanSpan: time.Hour}, 1)
		time.Sleep(150 * time.Minute)
		fill(t, srv, 1, 1)
		time.Sleep(150 * time.Minute)
		next := fromStart(t, c, id(0))
		var records []int
		var behind []int64
		for range 7 {
			out := must[*kinesis.GetRecordsOutput](t)(read(t, c, next))
			records = append(records, len(out.Records))
			behind = append(behind, *out.MillisBehindLatest/60000)
			next = *out.NextShardIterator
		}
		if want := []int{0, 0, 1, 0, 0, 0, 0}; !slices.Equal(records, want) {
			t.Errorf("records on the pages: %d, want %d", records, want)
		}
		if want := []int64{240, 180, 90, 30, 0, 0, 0}; !slices.Equal(behind, want) {
			t.Errorf("minutes behind: %d, want %d", behind, want)
		}
		time.Sleep(3 * time.Minute)
		fill(t, srv, 1, 1)
		if out := must[*kinesis.GetRecordsOutput](t)(read(t, c, next)); len(out.Records) != 1 {
			t.Errorf("a new record at the tip was not read")
		}
	})
}

func TestLastPageOfAClosedShard(t *testing.T) {
	for _, emptyLast := range []bool{false, true} {
		t.Run(fmt.Sprintf("empty last page %t", emptyLast), func(t *testing.T) {
			srv, c := start(t, kinesistest.Options{NoLimits: true, EmptyLastPage: emptyLast}, 1)
			fill(t, srv, 3, 1)
			next := fromStart(t, c, id(0))
			if _, _, err := srv.Split("s", id(0)); err != nil {
				t.Fatal(err)
			}
			out := must[*kinesis.GetRecordsOutput](t)(read(t, c, next))
			if len(out.Records) != 3 {
				t.Fatalf("got %d records, want 3", len(out.Records))
			}
			if emptyLast {
				if out.NextShardIterator == nil || len(out.ChildShards) != 0 {
					t.Fatalf("the page with the records ends the shard")
				}
				out = must[*kinesis.GetRecordsOutput](t)(read(t, c, *out.NextShardIterator))
			}
			if out.NextShardIterator != nil || *out.MillisBehindLatest != 0 {
				t.Errorf("next %v, %d ms behind", out.NextShardIterator, *out.MillisBehindLatest)
			}
			wantChildren(t, out.ChildShards)
		})
	}
}

func wantChildren(t *testing.T, children []types.ChildShard) {
	t.Helper()
	var got []string
	for _, c := range children {
		got = append(got, fmt.Sprintln(
			*c.ShardId, c.ParentShards, *c.HashKeyRange.StartingHashKey, *c.HashKeyRange.EndingHashKey))
	}
	want := []string{
		fmt.Sprintln(id(1), []string{id(0)}, 0, "170141183460469231731687303715884105727"),
		fmt.Sprintln(id(2), []string{id(0)}, "170141183460469231731687303715884105728",
			"340282366920938463463374607431768211455"),
	}
	if !slices.Equal(got, want) {
		t.Errorf("children:\n%v\nwant:\n%v", got, want)
	}
}

// fill puts records of that size into the first shard of "s", under a key of
// one byte.
func fill(t *testing.T, srv *kinesistest.Server, records, size int) {
	t.Helper()
	data := make([]byte, size)
	for range records {
		if _, err := srv.PutTo("s", id(0), "k", data); err != nil {
			t.Fatal(err)
		}
	}
}
