package kinesistest

import (
	"slices"
	"time"
)

// SplitShard: the stream is UPDATING for Options.UpdateDelay; at its end the
// shard closes and two children open.

type splitShardInput struct {
	streamRef
	ShardToSplit       *string
	NewStartingHashKey *string
}

func (in *splitShardInput) check(c *checks) {
	c.stream(&in.streamRef)
	c.name(in.ShardToSplit, "shardToSplit", true)
	c.hashKey(in.NewStartingHashKey, "newStartingHashKey", true)
}

func (s *Server) splitShard(st *stream, in *splitShardInput, now time.Time) (any, *Fault) {
	sh, f := s.resharded(st, *in.ShardToSplit)
	if f != nil {
		return nil, f
	}
	key, ok := parseHashKey(*in.NewStartingHashKey)
	if !ok || key.compare(sh.first) <= 0 || key.before() == sh.first || key.compare(sh.last) >= 0 {
		return nil, invalid("NewStartingHashKey %s used in SplitShard() on shard %s in stream %s under account %s is "+
			"not both greater than one plus the shard's StartingHashKey %s and less than the shard's EndingHashKey %s.",
			*in.NewStartingHashKey, sh.id, st.name, s.opts.Account, sh.first, sh.last)
	}
	if f := s.checkShardLimit(1); f != nil {
		return nil, f
	}
	st.begin(statusUpdating, now, s.opts.UpdateDelay, func(at time.Time) { st.split(sh, key, at) })
	return nil, nil
}

// resharded finds an open shard to be split or merged.
func (s *Server) resharded(st *stream, id string) (*shard, *Fault) {
	sh := st.find(id)
	if sh == nil {
		return nil, s.shardNotFound(id, st)
	}
	if sh.closed {
		return nil, invalid("Shard %s in stream %s under account %s has already been merged or split, "+
			"and thus is not eligible for merging or splitting.", id, st.name, s.opts.Account)
	}
	return sh, nil
}

// split closes a shard and opens two children, the second starting at a key
// within.
func (st *stream) split(sh *shard, at hashKey, now time.Time) (left, right *shard) {
	st.closeShard(sh, now)
	left = st.addShard(sh.first, at.before(), now, sh)
	right = st.addShard(at, sh.last, now, sh)
	return left, right
}

// MergeShards: the stream is UPDATING for Options.UpdateDelay; at its end both
// shards close and one child opens, which has the first as its parent and the
// second as its adjacent parent.

type mergeShardsInput struct {
	streamRef
	ShardToMerge         *string
	AdjacentShardToMerge *string
}

func (in *mergeShardsInput) check(c *checks) {
	c.stream(&in.streamRef)
	c.name(in.ShardToMerge, "shardToMerge", true)
	c.name(in.AdjacentShardToMerge, "adjacentShardToMerge", true)
}

func (s *Server) mergeShards(st *stream, in *mergeShardsInput, now time.Time) (any, *Fault) {
	a, b, f := s.adjacentPair(st, *in.ShardToMerge, *in.AdjacentShardToMerge)
	if f != nil {
		return nil, f
	}
	st.begin(statusUpdating, now, s.opts.UpdateDelay, func(at time.Time) { st.merge(a, b, at) })
	return nil, nil
}

// adjacentPair finds two open shards to be merged: the keys of one must follow
// those of the other.
func (s *Server) adjacentPair(st *stream, id, adjacentID string) (a, b *shard, f *Fault) {
	if a, f = s.resharded(st, id); f != nil {
		return nil, nil, f
	}
	if b, f = s.resharded(st, adjacentID); f != nil {
		return nil, nil, f
	}
	low, high := a, b
	if b.first.compare(a.first) < 0 {
		low, high = b, a
	}
	if low.last == maxHashKey() || high.first == (hashKey{}) || low.last != high.first.before() {
		return nil, nil, invalid("Shards %s and %s in stream %s under account %s "+
			"are not an adjacent pair of shards eligible for merging", id, adjacentID, st.name, s.opts.Account)
	}
	return a, b, nil
}

// merge closes two adjacent shards and opens their child.
func (st *stream) merge(a, b *shard, now time.Time) *shard {
	st.closeShard(a, now)
	st.closeShard(b, now)
	first, last := a.first, b.last
	if b.first.compare(a.first) < 0 {
		first, last = b.first, a.last
	}
	return st.addShard(first, last, now, a, b)
}

// UpdateShardCount: the stream is UPDATING for Options.UpdateDelay; at its end
// it is split and merged into shards of equal size. At most double, at least
// half, ten times a day.

type updateShardCountInput struct {
	streamRef
	TargetShardCount *int
	ScalingType      *string
}

func (in *updateShardCountInput) check(c *checks) {
	c.stream(&in.streamRef)
	c.requiredNumber(in.TargetShardCount, "targetShardCount", 1, 1<<31-1)
	c.oneOf(in.ScalingType, "scalingType", "UNIFORM_SCALING")
}

type updateShardCountOutput struct {
	StreamName        string
	StreamARN         string
	CurrentShardCount int
	TargetShardCount  int
}

func (s *Server) updateShardCount(st *stream, in *updateShardCountInput, now time.Time) (any, *Fault) {
	current, target := len(st.open), *in.TargetShardCount
	if f := s.checkResize(st, current, target, now); f != nil {
		return nil, f
	}
	st.resized = append(st.resized, now)
	st.begin(statusUpdating, now, s.opts.UpdateDelay, func(at time.Time) { st.resize(target, at) })
	return updateShardCountOutput{st.name, st.arn, current, target}, nil
}

func (s *Server) checkResize(st *stream, current, target int, now time.Time) *Fault {
	if s.opts.NoLimits {
		return s.checkShardLimit(target - current)
	}
	st.resized = slices.DeleteFunc(st.resized, func(at time.Time) bool { return now.Sub(at) >= 24*time.Hour })
	counts := "your current open shard count. Current open shard count: %d Target shard count: %d"
	switch {
	case target > 2*current:
		return invalid("UpdateShardCount cannot scale up over double "+counts, current, target)
	case 2*target < current:
		return invalid("UpdateShardCount cannot scale down below half "+counts, current, target)
	case len(st.resized) >= resizesADay:
		return fault("LimitExceededException", "Stream %s under account %s has been scaled %d times within 24 hours.",
			st.name, s.opts.Account, resizesADay)
	}
	return s.checkShardLimit(target - current)
}

// resize splits and merges until there are n shards of equal size. Shards in
// between live for a moment only, as at AWS.
func (st *stream) resize(n int, now time.Time) {
	starts := evenStarts(n)
	for _, start := range starts {
		if sh := st.shardFor(start); sh.first != start {
			st.split(sh, start, now)
		}
	}
	for i := 0; i+1 < len(st.open); {
		if _, border := slices.BinarySearchFunc(starts, st.open[i+1].first, hashKey.compare); border {
			i++
			continue
		}
		st.merge(st.open[i], st.open[i+1], now)
	}
}
