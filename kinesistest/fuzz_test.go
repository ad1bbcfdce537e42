package kinesistest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// Any body of a request is answered: by success, or by a fault of the caller.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][2]string{
		{"CreateStream", `{"StreamName":"t","ShardCount":2}`},
		{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"eA==","ExplicitHashKey":"7"}`},
		{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"\u0065A=="}`},
		{"PutRecords", `{"StreamName":"s","Records":[{"PartitionKey":"k","Data":"eA=="},{}]}`},
		{"ListShards", `{"StreamName":"s","ShardFilter":{"Type":"AT_TIMESTAMP","Timestamp":1e300}}`},
		{"ListShards", `{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s","ShardFilter":{}}`},
		{"GetShardIterator", `{"StreamName":"s","ShardId":"shardId-000000000000","ShardIteratorType":"AT_TIMESTAMP",` +
			`"Timestamp":-1}`},
		{"GetShardIterator", `{"StreamName":"s","ShardId":"shardId-000000000000",` +
			`"ShardIteratorType":"AFTER_SEQUENCE_NUMBER",` +
			`"StartingSequenceNumber":"49094668480000009466848000000000000000000001000000000000"}`},
		{"GetRecords", `{"ShardIterator":"AAAA","Limit":1}`},
		{"SplitShard", `{"StreamName":"s","ShardToSplit":"shardId-000000000000","NewStartingHashKey":"9"}`},
		{"MergeShards", `{"StreamName":"s","ShardToMerge":"shardId-000000000000",` +
			`"AdjacentShardToMerge":"shardId-000000000001"}`},
		{"UpdateShardCount", `{"StreamName":"s","TargetShardCount":3,"ScalingType":"UNIFORM_SCALING"}`},
		{"IncreaseStreamRetentionPeriod", `{"StreamName":"s","RetentionPeriodHours":48}`},
		{"UpdateMaxRecordSize",
			`{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s","MaxRecordSizeInKiB":2048}`},
		{"DescribeStream", `null`},
		{"ListStreams", `{"NextToken":"x"}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, operation, body string) {
		srv := kinesistest.New(kinesistest.Options{})
		if _, err := srv.CreateStream("s", 2); err != nil {
			t.Fatal(err)
		}
		status, _, reply := exchange(t, srv.Transport(), func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
			r.Body = io.NopCloser(strings.NewReader(body))
		})
		if status != http.StatusOK && status != http.StatusBadRequest {
			t.Errorf("%s %q: got %d %s", operation, body, status, reply)
		}
	})
}
