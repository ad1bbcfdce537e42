package kinesistest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream/kinesistest"
)

func TestListShardsPages(t *testing.T) {
	_, c := start(t, kinesistest.Options{}, 1001)
	in := &kinesis.ListShardsInput{StreamName: aws.String("s")}
	var sizes []int
	var last string
	for {
		out := must[*kinesis.ListShardsOutput](t)(c.ListShards(t.Context(), in))
		sizes = append(sizes, len(out.Shards))
		last = *out.Shards[len(out.Shards)-1].ShardId
		if out.NextToken == nil {
			break
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken, MaxResults: aws.Int32(1)}
	}
	if !slices.Equal(sizes, []int{1000, 1}) || last != id(1000) {
		t.Errorf("pages of %d shards up to %s", sizes, last)
	}
}

func TestListShardsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{}, 3)
		first := must[*kinesis.ListShardsOutput](t)(c.ListShards(t.Context(),
			&kinesis.ListShardsInput{StreamName: aws.String("s"), MaxResults: aws.Int32(2)}))
		list := func(change func(*kinesis.ListShardsInput)) error {
			in := &kinesis.ListShardsInput{NextToken: first.NextToken}
			change(in)
			_, err := c.ListShards(t.Context(), in)
			return err
		}
		const invalid = "InvalidArgumentException"
		wantFault(t, list(func(in *kinesis.ListShardsInput) { in.StreamName = aws.String("s") }), invalid,
			"NextToken and StreamName cannot be provided together.")
		wantFault(t, list(func(in *kinesis.ListShardsInput) { in.ExclusiveStartShardId = aws.String(id(0)) }), invalid,
			"NextToken and ExclusiveStartShardId cannot be provided together.")
		wantFault(t, list(func(in *kinesis.ListShardsInput) { in.NextToken = aws.String("AAAA") }), invalid,
			"NextToken is invalid.")
		time.Sleep(300 * time.Second)
		if err := list(func(*kinesis.ListShardsInput) {}); err != nil {
			t.Errorf("after 300 s: %v", err)
		}
		time.Sleep(time.Millisecond)
		wantFault(t, list(func(*kinesis.ListShardsInput) {}), "ExpiredNextTokenException", "")
		srv.AdvanceClock(-time.Minute)
		if err := srv.DeleteStream("s"); err != nil {
			t.Fatal(err)
		}
		create(t, c, 3)
		wantFault(t, list(func(*kinesis.ListShardsInput) {}), "ResourceNotFoundException",
			"Stream s under account 000000000000 not found.")
	})
}

func TestShardFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{}, 2)
		began := time.Now()
		time.Sleep(time.Hour)
		if _, _, err := srv.Split("s", id(0)); err != nil { // closes 0, opens 2 and 3
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, err := srv.Merge("s", id(2), id(3)); err != nil { // closes both, opens 4
			t.Fatal(err)
		}
		at := func(d time.Duration) *time.Time { return aws.Time(began.Add(d)) }
		for _, tt := range []struct {
			filter types.ShardFilter
			want   []int
		}{
			{types.ShardFilter{Type: types.ShardFilterTypeFromTrimHorizon}, []int{0, 1, 2, 3, 4}},
			{types.ShardFilter{Type: types.ShardFilterTypeAtTrimHorizon}, []int{0, 1}},
			{types.ShardFilter{Type: types.ShardFilterTypeAtLatest}, []int{1, 4}},
			{types.ShardFilter{Type: types.ShardFilterTypeAtTimestamp, Timestamp: at(30 * time.Minute)}, []int{0, 1}},
			{types.ShardFilter{Type: types.ShardFilterTypeAtTimestamp, Timestamp: at(time.Hour)}, []int{1, 2, 3}},
			{types.ShardFilter{Type: types.ShardFilterTypeFromTimestamp, Timestamp: at(time.Hour)}, []int{1, 2, 3, 4}},
			{types.ShardFilter{Type: types.ShardFilterTypeFromTimestamp, Timestamp: at(0)}, []int{0, 1, 2, 3, 4}},
			{types.ShardFilter{Type: types.ShardFilterTypeAfterShardId, ShardId: aws.String(id(2))}, []int{3, 4}},
		} {
			if got := filtered(t, c, &tt.filter); !slices.Equal(got, tt.want) {
				t.Errorf("%s: shards %d, want %d", tt.filter.Type, got, tt.want)
			}
		}
		time.Sleep(22*time.Hour + 30*time.Minute) // the trim horizon is half an hour after the beginning
		if got := filtered(t, c, &types.ShardFilter{Type: types.ShardFilterTypeAtTrimHorizon}); !slices.Equal(
			got, []int{0, 1}) {
			t.Errorf("at the moved trim horizon: %d", got)
		}
		time.Sleep(time.Hour)
		if got := filtered(t, c, &types.ShardFilter{Type: types.ShardFilterTypeAtTrimHorizon}); !slices.Equal(
			got, []int{1, 2, 3}) {
			t.Errorf("an hour later: %d", got)
		}
	})
}

func TestShardFilterRefusals(t *testing.T) {
	_, c := start(t, kinesistest.Options{}, 1)
	for _, tt := range []struct {
		filter     types.ShardFilter
		code, text string
	}{
		{types.ShardFilter{Type: types.ShardFilterTypeAtTimestamp}, "InvalidArgumentException",
			"Timestamp must be specified"},
		{types.ShardFilter{Type: types.ShardFilterTypeAfterShardId}, "InvalidArgumentException",
			"ShardId must be specified"},
		{types.ShardFilter{Type: "OPEN"}, "ValidationException",
			"Value 'OPEN' at 'shardFilter.type' failed to satisfy constraint: Member " +
				"must satisfy enum value set: [AT_TRIM_HORIZON, "},
	} {
		_, err := c.ListShards(
			t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("s"), ShardFilter: &tt.filter})
		wantFault(t, err, tt.code, tt.text)
	}
}

// filtered lists "s" one shard a page, so that the filter must survive in the
// token, and returns the indexes.
func filtered(t *testing.T, c *kinesis.Client, filter *types.ShardFilter) (indexes []int) {
	t.Helper()
	in := &kinesis.ListShardsInput{StreamName: aws.String("s"), ShardFilter: filter, MaxResults: aws.Int32(1)}
	for {
		out := must[*kinesis.ListShardsOutput](t)(c.ListShards(t.Context(), in))
		for _, sh := range out.Shards {
			indexes = append(indexes, shardIndex(*sh.ShardId))
		}
		if out.NextToken == nil {
			return indexes
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken, MaxResults: aws.Int32(1)}
	}
}

func shardIndex(shard string) int { return int(number(shard[len("shardId-"):]).Int64()) }

func TestListShardsByCreationTime(t *testing.T) {
	_, c := start(t, kinesistest.Options{}, 1)
	created := *summary(t, c).StreamCreationTimestamp
	list := func(at time.Time) error {
		_, err := c.ListShards(
			t.Context(), &kinesis.ListShardsInput{StreamName: aws.String("s"), StreamCreationTimestamp: &at})
		return err
	}
	if err := list(created); err != nil {
		t.Error(err)
	}
	wantFault(t, list(created.Add(-time.Hour)), "ResourceNotFoundException", "not found")
}
