package kinesistest_test

import (
	"fmt"
	"math/big"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"pgregory.net/rapid"

	"github.com/gerritstream/gerritstream/kinesistest"
)

func TestSplitAndMerge(t *testing.T) {
	srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
	_, before, err := srv.Put("s", "k", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SplitShard(t.Context(), &kinesis.SplitShardInput{
		StreamName: aws.String("s"), ShardToSplit: aws.String(id(0)), NewStartingHashKey: aws.String("1000"),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.MergeShards(t.Context(), &kinesis.MergeShardsInput{
		StreamName: aws.String("s"), ShardToMerge: aws.String(id(2)), AdjacentShardToMerge: aws.String(id(1)),
	}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, sh := range shards(t, c) {
		got = append(got, fmt.Sprint(
			*sh.ShardId, " ", aws.ToString(sh.ParentShardId), " ", aws.ToString(sh.AdjacentParentShardId), " ",
			*sh.HashKeyRange.StartingHashKey, "-", *sh.HashKeyRange.EndingHashKey, " ",
			sh.SequenceNumberRange.EndingSequenceNumber != nil))
	}
	const last = "340282366920938463463374607431768211455"
	want := []string{
		id(0) + "   0-" + last + " true",
		id(1) + " " + id(0) + "  0-999 true",
		id(2) + " " + id(0) + "  1000-" + last + " true",
		id(3) + " " + id(2) + " " + id(1) + " 0-" + last + " false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("shards:\n%v\nwant:\n%v", got, want)
	}
	_, after, err := srv.Put("s", "k", []byte("y"))
	if err != nil {
		t.Fatal(err)
	}
	parent := shards(t, c)[0].SequenceNumberRange
	if inOrder := []string{*parent.StartingSequenceNumber, before, *parent.EndingSequenceNumber}; !slices.IsSorted(
		inOrder) {
		t.Errorf("not in order: %v", inOrder)
	}
	if after <= before {
		t.Errorf("the child's record %s is not after the parent's %s", after, before)
	}
}

func TestReshardRefusals(t *testing.T) {
	_, c := start(t, kinesistest.Options{NoLimits: true}, 4)
	split := func(shard, key string) error {
		_, err := c.SplitShard(t.Context(),
			&kinesis.SplitShardInput{StreamName: aws.String("s"), ShardToSplit: &shard, NewStartingHashKey: &key})
		return err
	}
	merge := func(a, b int) error {
		_, err := c.MergeShards(t.Context(), &kinesis.MergeShardsInput{
			StreamName: aws.String("s"), ShardToMerge: aws.String(id(a)), AdjacentShardToMerge: aws.String(id(b)),
		})
		return err
	}
	const invalid = "InvalidArgumentException"
	wantFault(t, split(id(0), "0"), invalid,
		"NewStartingHashKey 0 used in SplitShard() on shard shardId-000000000000 in stream s under "+
			"account 000000000000 is not both greater than one plus the shard's StartingHashKey 0 and less than")
	wantFault(t, split(id(1), "5"), invalid, "NewStartingHashKey 5")
	wantFault(t, split(id(0), "1"), invalid, "NewStartingHashKey 1")
	wantFault(t, split(id(0), "85070591730234615865843651857942052863"), invalid, "NewStartingHashKey 8507")
	wantFault(t, split(id(9), "5"), "ResourceNotFoundException",
		"Could not find shard shardId-000000000009 in stream s under account 000000000000.")
	wantFault(t, split(id(0), "05"), "ValidationException", "at 'newStartingHashKey'")
	wantFault(t, merge(0, 2), invalid,
		"Shards shardId-000000000000 and shardId-000000000002 in stream s under account 000000000000 "+
			"are not an adjacent pair of shards eligible for merging")
	wantFault(t, merge(0, 0), invalid, "not an adjacent pair")
	wantFault(t, merge(0, 3), invalid, "not an adjacent pair") // the first key does not follow the last
	if err := split(id(0), "2"); err != nil {
		t.Error(err)
	}
	if err := split(id(1), "170141183460469231731687303715884105726"); err != nil {
		t.Error(err)
	}
	wantFault(t, merge(2, 9), "ResourceNotFoundException", "Could not find shard shardId-000000000009")
}

func TestUpdateShardCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 3)
		update := func(target int32) error {
			time.Sleep(time.Second)
			_, err := c.UpdateShardCount(t.Context(), &kinesis.UpdateShardCountInput{
				StreamName: aws.String("s"), TargetShardCount: &target, ScalingType: types.ScalingTypeUniformScaling,
			})
			return err
		}
		wantFault(t, update(7), "InvalidArgumentException",
			"UpdateShardCount cannot scale up over double your current open shard count. "+
				"Current open shard count: 3 Target shard count: 7")
		wantFault(t, update(1), "InvalidArgumentException",
			"cannot scale down below half your current open shard count.")
		for i, target := range []int32{6, 5, 3, 2, 1, 2, 4, 8, 5, 7} {
			if err := update(target); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if got := *summary(t, c).OpenShardCount; got != target {
				t.Fatalf("step %d: %d open shards, want %d", i, got, target)
			}
		}
		wantFault(t, update(8), "LimitExceededException", "has been scaled 10 times within 24 hours.")
		time.Sleep(24 * time.Hour)
		if err := update(8); err != nil {
			t.Fatal(err)
		}
	})
}

// A doubling splits each shard once, whatever their number: as at AWS, it needs
// no shards in between.
func TestADoublingOnlySplits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards = 1000
		srv, c := start(t, kinesistest.Options{ShardLimit: 2 * shards}, shards)
		_, err := c.UpdateShardCount(t.Context(), &kinesis.UpdateShardCountInput{
			StreamName: aws.String("s"), TargetShardCount: aws.Int32(2 * shards),
			ScalingType: types.ScalingTypeUniformScaling,
		})
		if err != nil {
			t.Fatal(err)
		}
		all, err := srv.Shards("s")
		if err != nil || len(all) != 3*shards {
			t.Errorf("%d shards are listed (%v), want %d", len(all), err, 3*shards)
		}
	})
}

// After any resharding the open shards cover all keys once, every record is in
// exactly one shard, parents are closed, and each key's records are in order
// along the lineage.
func TestReshardingKeepsTheKeysCovered(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		srv := kinesistest.New(kinesistest.Options{NoLimits: true})
		c := newClient(srv.Transport(), "http://kinesis.test")
		if _, err := srv.CreateStream("s", rapid.IntRange(1, 5).Draw(rt, "shards")); err != nil {
			rt.Fatal(err)
		}
		puts := 0
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				puts++
				if _, _, err := srv.Put("s", rapid.StringN(1, 20, -1).Draw(rt, "key"), []byte("x")); err != nil {
					rt.Fatal(err)
				}
			},
			"split": func(rt *rapid.T) {
				sh := rapid.SampledFrom(openShards(t, c)).Draw(rt, "shard")
				if _, _, err := srv.Split("s", *sh.ShardId); err != nil {
					rt.Skip(err)
				}
			},
			"merge": func(rt *rapid.T) {
				open := openShards(t, c)
				if len(open) < 2 {
					rt.Skip("one shard")
				}
				i := rapid.IntRange(0, len(open)-2).Draw(rt, "pair")
				if _, err := srv.Merge("s", *open[i+1].ShardId, *open[i].ShardId); err != nil {
					rt.Fatal(err)
				}
			},
			"resize": func(rt *rapid.T) {
				_, err := c.UpdateShardCount(t.Context(), &kinesis.UpdateShardCountInput{
					StreamName: aws.String("s"), ScalingType: types.ScalingTypeUniformScaling,
					TargetShardCount: aws.Int32(rapid.Int32Range(1, 9).Draw(rt, "target")),
				})
				if err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				checkCover(rt, openShards(t, c))
				stored := 0
				for _, sh := range must[[]kinesistest.Shard](t)(srv.Shards("s")) {
					stored += sh.Records
				}
				if stored != puts {
					rt.Fatalf("%d records are stored, %d were put", stored, puts)
				}
			},
		})
	})
}

// openShards are those without an end, by hash key.
func openShards(t *testing.T, c *kinesis.Client) []types.Shard {
	t.Helper()
	open := slices.DeleteFunc(
		shards(t, c), func(sh types.Shard) bool { return sh.SequenceNumberRange.EndingSequenceNumber != nil })
	slices.SortFunc(open, func(a, b types.Shard) int {
		return number(*a.HashKeyRange.StartingHashKey).Cmp(number(*b.HashKeyRange.StartingHashKey))
	})
	return open
}

func checkCover(rt *rapid.T, open []types.Shard) {
	next := big.NewInt(0)
	for _, sh := range open {
		if number(*sh.HashKeyRange.StartingHashKey).Cmp(next) != 0 {
			rt.Fatalf("%s starts at %s, want %s", *sh.ShardId, *sh.HashKeyRange.StartingHashKey, next)
		}
		next.Add(number(*sh.HashKeyRange.EndingHashKey), big.NewInt(1))
	}
	if end := new(big.Int).Lsh(big.NewInt(1), 128); next.Cmp(end) != 0 {
		rt.Fatalf("the last shard ends before %s, want %s", next, end)
	}
}

func number(s string) *big.Int {
	n, _ := new(big.Int).SetString(s, 10)
	return n
}

// The MD5 of these keys is known: 0x…; each goes to the shard whose range holds
// it.
func TestRouting(t *testing.T) {
	srv, c := start(t, kinesistest.Options{NoLimits: true}, 4)
	for key, want := range map[string]int{
		"a":       0, // 0cc175b9c0f1b6a831c399e269772661
		"abc":     2, // 900150983cd24fb0d6963f7d28e17f72
		"message": 1, // 78e731027d8fd50ed642340b7c9a63b3
		"1":       3, // c4ca4238a0b923820dcc509a6f75849b
	} {
		if shard, _, err := srv.Put("s", key, nil); err != nil || shard != id(want) {
			t.Errorf("key %q went to %s, want %s (%v)", key, shard, id(want), err)
		}
	}
	put := func(hash string) (*kinesis.PutRecordOutput, error) {
		return c.PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String("a"), ExplicitHashKey: &hash, Data: []byte("x"),
		})
	}
	for hash, want := range map[string]int{
		"0": 0, "85070591730234615865843651857942052863": 0, "85070591730234615865843651857942052864": 1,
		"340282366920938463463374607431768211455": 3,
	} {
		if out := must[*kinesis.PutRecordOutput](t)(put(hash)); *out.ShardId != id(want) {
			t.Errorf("hash key %s went to %s, want %s", hash, *out.ShardId, id(want))
		}
	}
	_, err := put("340282366920938463463374607431768211456")
	wantFault(t, err, "InvalidArgumentException",
		"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1].")
}
