package kinesistest_test

import (
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

func TestStreamStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := kinesistest.New(
			kinesistest.Options{CreateDelay: time.Second, UpdateDelay: time.Second, DeleteDelay: time.Second})
		c := newClient(srv.Transport(), "http://kinesis.test")
		status := func(want types.StreamStatus, open int32) {
			t.Helper()
			if d := summary(t, c); d.StreamStatus != want || *d.OpenShardCount != open {
				t.Errorf("status %s with %d open shards, want %s with %d", d.StreamStatus, *d.OpenShardCount, want,
					open)
			}
		}
		put := func() error {
			_, err := c.PutRecord(t.Context(), &kinesis.PutRecordInput{
				StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("x"),
			})
			return err
		}
		split := func() error {
			_, err := c.SplitShard(t.Context(), &kinesis.SplitShardInput{
				StreamName: aws.String("s"), ShardToSplit: aws.String(id(0)), NewStartingHashKey: aws.String("100"),
			})
			return err
		}
		create(t, c, 1)
		status(types.StreamStatusCreating, 0)
		wantFault(t, put(), "ResourceNotFoundException", "Stream s under account 000000000000 not found.")
		wantFault(t, split(), "ResourceInUseException",
			"Stream s under account 000000000000 not ACTIVE, instead in state CREATING")
		_, err := c.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("s")})
		wantFault(t, err, "ResourceInUseException", "not ACTIVE")
		time.Sleep(time.Second)
		status(types.StreamStatusActive, 1)
		if err := split(); err != nil {
			t.Fatal(err)
		}
		status(types.StreamStatusUpdating, 1)
		if err := put(); err != nil {
			t.Errorf("put while UPDATING: %v", err)
		}
		wantFault(t, split(), "ResourceInUseException", "instead in state UPDATING")
		time.Sleep(time.Second)
		status(types.StreamStatusActive, 2)
		wantFault(t, split(), "InvalidArgumentException", "has already been merged or split")
		if _, err := c.DeleteStream(t.Context(), &kinesis.DeleteStreamInput{StreamName: aws.String("s")}); err != nil {
			t.Fatal(err)
		}
		status(types.StreamStatusDeleting, 2)
		wantFault(t, put(), "ResourceNotFoundException", "Stream s under account 000000000000 not found.")
		time.Sleep(time.Second)
		_, err = c.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("s")})
		wantFault(t, err, "ResourceNotFoundException", "Stream s under account 000000000000 not found.")
	})
}

func create(t *testing.T, c *kinesis.Client, shards int32) {
	t.Helper()
	if _, err := c.CreateStream(
		t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("s"), ShardCount: &shards}); err != nil {
		t.Fatal(err)
	}
}

// A recreated stream differs in its creation time, even within a millisecond.
func TestRecreatedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{}, 1)
		before := summary(t, c)
		fill(t, srv, 1, 1)
		if err := srv.DeleteStream("s"); err != nil {
			t.Fatal(err)
		}
		create(t, c, 1)
		after := summary(t, c)
		if *before.StreamARN != *after.StreamARN ||
			!after.StreamCreationTimestamp.After(*before.StreamCreationTimestamp) {
			t.Errorf("before: %s %s, after: %s %s",
				*before.StreamARN, before.StreamCreationTimestamp, *after.StreamARN, after.StreamCreationTimestamp)
		}
		if got := seek(t, c, types.ShardIteratorTypeTrimHorizon, nil); got != "" {
			t.Errorf("the new stream holds %q", got)
		}
	})
}

func TestCreateStreamRefusals(t *testing.T) {
	_, c := start(t, kinesistest.Options{NoLimits: true}, 1)
	for _, tt := range []struct {
		in         kinesis.CreateStreamInput
		code, text string
	}{
		{kinesis.CreateStreamInput{StreamName: aws.String("s"), ShardCount: aws.Int32(1)}, "ResourceInUseException",
			"Stream s under account 000000000000 already exists."},
		{kinesis.CreateStreamInput{StreamName: aws.String("t"), ShardCount: aws.Int32(0)}, "ValidationException",
			"1 validation error detected: Value '0' at 'shardCount' failed to satisfy constraint: " +
				"Member must have value greater than or equal to 1"},
		{kinesis.CreateStreamInput{StreamName: aws.String("a b"), ShardCount: aws.Int32(0)}, "ValidationException",
			"2 validation errors detected: Value 'a b' at 'streamName' failed to satisfy constraint: Member must " +
				"satisfy regular expression pattern: [a-zA-Z0-9_.-]+; Value '0' at 'shardCount'"},
		{kinesis.CreateStreamInput{StreamName: aws.String("t")}, "ValidationException", "ShardCount must be specified"},
	} {
		_, err := c.CreateStream(t.Context(), &tt.in)
		wantFault(t, err, tt.code, tt.text)
	}
}

func TestStreamByARN(t *testing.T) {
	srv, c := start(t, kinesistest.Options{Region: "eu-west-1", Account: "123456789012"}, 1)
	arn := "arn:aws:kinesis:eu-west-1:123456789012:stream/s"
	describe := func(name, arn *string) error {
		_, err := c.DescribeStreamSummary(
			t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: name, StreamARN: arn})
		return err
	}
	if err := describe(nil, &arn); err != nil {
		t.Error(err)
	}
	if err := describe(aws.String("s"), &arn); err != nil {
		t.Error(err)
	}
	fill(t, srv, 1, 1)
	it := must[*kinesis.GetShardIteratorOutput](t)(c.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamARN: &arn, ShardId: aws.String(id(0)), ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	}))
	out := must[*kinesis.GetRecordsOutput](t)(c.GetRecords(t.Context(),
		&kinesis.GetRecordsInput{StreamARN: &arn, ShardIterator: it.ShardIterator}))
	if len(out.Records) != 1 {
		t.Errorf("got %d records, want 1", len(out.Records))
	}
	const missing = "ResourceNotFoundException"
	wantFault(t, describe(nil, aws.String("arn:aws:kinesis:eu-west-1:210987654321:stream/s")), missing,
		"Stream s under account 210987654321 not found.")
	wantFault(t, describe(nil, aws.String("arn:aws:kinesis:us-east-1:123456789012:stream/s")), missing,
		"Stream s under account 123456789012 not found.")
	wantFault(t, describe(aws.String("t"), &arn), "InvalidArgumentException", "do not name the same stream")
	wantFault(t, describe(nil, nil), "InvalidArgumentException", "Either StreamName or StreamARN")
	wantFault(t, describe(nil, aws.String("s")), "ValidationException", "at 'streamARN' failed to satisfy constraint")
}

func TestListStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := kinesistest.New(kinesistest.Options{NoLimits: true})
		c := newClient(srv.Transport(), "http://kinesis.test")
		var want []string
		for i := range 105 {
			name := fmt.Sprintf("s%03d", i)
			want = append(want, name)
			if _, err := srv.CreateStream(name, 1); err != nil {
				t.Fatal(err)
			}
		}
		var got, sizes []string
		var token *string
		for p := kinesis.NewListStreamsPaginator(c, &kinesis.ListStreamsInput{}); p.HasMorePages(); {
			page := must[*kinesis.ListStreamsOutput](t)(p.NextPage(t.Context()))
			got = append(got, page.StreamNames...)
			sizes = append(sizes, fmt.Sprint(len(page.StreamNames), len(page.StreamSummaries), *page.HasMoreStreams))
			token = cmpOr(page.NextToken, token)
		}
		if !slices.Equal(got, want) || !slices.Equal(sizes, []string{"100 100 true", "5 5 false"}) {
			t.Errorf("pages %v of names %v", sizes, got)
		}
		out := must[*kinesis.ListStreamsOutput](t)(c.ListStreams(t.Context(), &kinesis.ListStreamsInput{
			ExclusiveStartStreamName: aws.String("s100"), Limit: aws.Int32(2),
		}))
		if !slices.Equal(out.StreamNames, []string{"s101", "s102"}) {
			t.Errorf("after s100: %v", out.StreamNames)
		}
		time.Sleep(300*time.Second + time.Millisecond)
		_, err := c.ListStreams(t.Context(), &kinesis.ListStreamsInput{NextToken: token})
		wantFault(t, err, "ExpiredNextTokenException", "")
	})
}

func cmpOr(a, b *string) *string {
	if a != nil {
		return a
	}
	return b
}

func TestDescribeStreamPages(t *testing.T) {
	_, c := start(t, kinesistest.Options{NoLimits: true}, 101)
	describe := func(after *string, limit *int32) *types.StreamDescription {
		out := must[*kinesis.DescribeStreamOutput](t)(c.DescribeStream(t.Context(),
			&kinesis.DescribeStreamInput{StreamName: aws.String("s"), ExclusiveStartShardId: after, Limit: limit}))
		return out.StreamDescription
	}
	if d := describe(nil, aws.Int32(1000)); len(d.Shards) != 100 || !*d.HasMoreShards {
		t.Errorf("first page: %d shards, more: %t", len(d.Shards), *d.HasMoreShards)
	}
	if d := describe(aws.String(id(99)), nil); len(d.Shards) != 1 || *d.HasMoreShards ||
		*d.Shards[0].ShardId != id(100) {
		t.Errorf("second page: %d shards, more: %t", len(d.Shards), *d.HasMoreShards)
	}
	if d := describe(aws.String(id(5)), aws.Int32(2)); len(d.Shards) != 2 || *d.Shards[0].ShardId != id(6) ||
		!*d.HasMoreShards {
		t.Errorf("two after the sixth: %d shards, more: %t", len(d.Shards), *d.HasMoreShards)
	}
}

func TestMaxRecordSize(t *testing.T) {
	_, c := start(t, kinesistest.Options{NoLimits: true}, 1)
	put := func(size int) error {
		_, err := c.PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: make([]byte, size),
		})
		return err
	}
	if err := put(1<<20 - 1); err != nil {
		t.Error(err)
	}
	wantFault(t, put(1<<20), "ValidationException",
		"Value at 'data' failed to satisfy constraint: Member must have length less than or equal to 1048576")
	_, err := c.UpdateMaxRecordSize(t.Context(), &kinesis.UpdateMaxRecordSizeInput{
		StreamARN: summary(t, c).StreamARN, MaxRecordSizeInKiB: aws.Int32(10240),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := put(10<<20 - 1); err != nil {
		t.Error(err)
	}
	wantFault(t, put(10<<20), "ValidationException", "less than or equal to 10485760")
	if got := *summary(t, c).MaxRecordSizeInKiB; got != 10240 {
		t.Errorf("records of %d KiB are allowed", got)
	}
}
