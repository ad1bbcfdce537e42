package kinesistest

import (
	"slices"
	"time"
)

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
	if in.TargetShardCount == nil {
		c.add("null", "targetShardCount", "not be null")
	}
	c.number(in.TargetShardCount, "targetShardCount", 1, 1<<31-1)
	c.oneOf(in.ScalingType, "scalingType", "UNIFORM_SCALING")
}

type updateShardCountOutput struct {
	StreamName        string
	StreamARN         string
	CurrentShardCount int
	TargetShardCount  int
}

func (s *Server) updateShardCount(in *updateShardCountInput, now time.Time) (any, *Fault) {
	st, f := s.active(in.ref())
	if f != nil {
		return nil, f
	}
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
