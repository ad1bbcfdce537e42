package kinesistest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/gerritstream/gerritstream/kinesistest"
)

func TestPutAndRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 2)
		put := must[*kinesis.PutRecordOutput](t)(c.PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte(`{"a":1}`),
		}))
		if len(*put.SequenceNumber) != 56 {
			t.Errorf("sequence number %s has %d digits, want 56", *put.SequenceNumber, len(*put.SequenceNumber))
		}
		out := must[*kinesis.GetRecordsOutput](t)(read(t, c, fromStart(t, c, *put.ShardId)))
		if len(out.Records) != 1 {
			t.Fatalf("got %d records, want 1", len(out.Records))
		}
		r := out.Records[0]
		if string(r.Data) != `{"a":1}` || *r.PartitionKey != "k" || *r.SequenceNumber != *put.SequenceNumber {
			t.Errorf("got %q %s %s", r.Data, *r.PartitionKey, *r.SequenceNumber)
		}
		if !r.ApproximateArrivalTimestamp.Equal(time.Now()) {
			t.Errorf("arrived %s, want %s", r.ApproximateArrivalTimestamp, time.Now())
		}
		if *out.MillisBehindLatest != 0 || out.NextShardIterator == nil || out.ChildShards != nil {
			t.Errorf("behind %d, next %v, children %v", *out.MillisBehindLatest, out.NextShardIterator, out.ChildShards)
		}
	})
}
