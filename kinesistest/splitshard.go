package kinesistest

import "time"

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

func (s *Server) splitShard(in *splitShardInput, now time.Time) (any, *Fault) {
	st, f := s.active(in.ref())
	if f != nil {
		return nil, f
	}
	sh, f := s.resharded(st, *in.ShardToSplit)
	if f != nil {
		return nil, f
	}
	key, ok := parseHashKey(*in.NewStartingHashKey)
	if !ok || key.compare(sh.first) <= 0 || key.before() == sh.first || key.compare(sh.last) >= 0 {
		return nil, invalid("NewStartingHashKey %s used in SplitShard() on shard %s in stream %s under account %s is not both greater "+
			"than one plus the shard's StartingHashKey %s and less than the shard's EndingHashKey %s.",
			*in.NewStartingHashKey, sh.id, st.name, s.opts.Account, sh.first, sh.last)
	}
	if f := s.checkShardLimit(1); f != nil {
		return nil, f
	}
	st.begin(statusUpdating, now, s.opts.UpdateDelay, func(at time.Time) { st.split(sh, key, at) })
	return nil, nil
}

// resharded finds an open shard that is to be split or merged.
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
