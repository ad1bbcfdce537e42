package kinesistest

import "time"

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

func (s *Server) mergeShards(in *mergeShardsInput, now time.Time) (any, *Fault) {
	st, f := s.active(in.ref())
	if f != nil {
		return nil, f
	}
	a, f := s.resharded(st, *in.ShardToMerge)
	if f != nil {
		return nil, f
	}
	b, f := s.resharded(st, *in.AdjacentShardToMerge)
	if f != nil {
		return nil, f
	}
	if !adjacent(a, b) {
		return nil, invalid("Shards %s and %s in stream %s under account %s are not an adjacent pair of shards eligible for merging",
			a.id, b.id, st.name, s.opts.Account)
	}
	st.begin(statusUpdating, now, s.opts.UpdateDelay, func(at time.Time) { st.merge(a, b, at) })
	return nil, nil
}
