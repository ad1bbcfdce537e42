package kinesistest_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream/kinesistest"
)

func TestPutRefusals(t *testing.T) {
	_, c := start(t, kinesistest.Options{NoLimits: true}, 1)
	for name, tt := range map[string]struct {
		in         kinesis.PutRecordInput
		code, text string
	}{
		"no such stream": {kinesis.PutRecordInput{
			StreamName: aws.String("t"), PartitionKey: aws.String("k"), Data: []byte("x")},
			"ResourceNotFoundException", "Stream t under account 000000000000 not found."},
		"empty key": {kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String(""), Data: []byte("x")},
			"ValidationException",
			"Value '' at 'partitionKey' failed to satisfy constraint: Member must have length greater than or equal " +
				"to 1"},
		"long key": {kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String(strings.Repeat("é", 257)), Data: []byte("x")},
			"ValidationException",
			"at 'partitionKey' failed to satisfy constraint: Member must have length less than or equal to 256"},
		"hash key": {kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("x"),
			ExplicitHashKey: aws.String("-1")},
			"ValidationException",
			`Value '-1' at 'explicitHashKey' failed to satisfy constraint: Member must satisfy regular expression ` +
				`pattern: 0|([1-9]\d{0,38})`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.PutRecord(t.Context(), &tt.in)
			wantFault(t, err, tt.code, tt.text)
		})
	}
}

func TestPutRecordsRefusals(t *testing.T) {
	_, c := start(t, kinesistest.Options{NoLimits: true}, 1)
	records := func(n, size int) []types.PutRecordsRequestEntry {
		list := make([]types.PutRecordsRequestEntry, n)
		for i := range list {
			list[i] = types.PutRecordsRequestEntry{PartitionKey: aws.String("k"), Data: make([]byte, size)}
		}
		return list
	}
	put := func(list []types.PutRecordsRequestEntry) error {
		_, err := c.PutRecords(t.Context(), &kinesis.PutRecordsInput{StreamName: aws.String("s"), Records: list})
		return err
	}
	if err := put(records(500, 1)); err != nil {
		t.Error(err)
	}
	wantFault(t, put(records(501, 1)), "ValidationException",
		"Value at 'records' failed to satisfy constraint: Member must have length less than or equal to 500")
	wantFault(t, put([]types.PutRecordsRequestEntry{}), "ValidationException", "greater than or equal to 1")
	wantFault(t, put(records(11, 1<<20-1)), "InvalidArgumentException", "Records size exceeds 10 MB limit")
	if err := put(records(10, 1<<20-1)); err != nil {
		t.Error(err)
	}
	one := append(records(1, 1), records(1, 1<<20)...)
	wantFault(t, put(one), "ValidationException",
		"Value at 'records.2.member.data' failed to satisfy constraint: Member must have length less than or equal to "+
			"1048576")
	one[1] = types.PutRecordsRequestEntry{PartitionKey: aws.String(""), Data: []byte("x")}
	wantFault(t, put(one), "ValidationException", "Value '' at 'records.2.member.partitionKey'")
}
