package kinesistest

import "time"

// DescribeStream: the stream with its shards, at most 100 of them, going on
// behind ExclusiveStartShardId.

type describeStreamInput struct {
	streamRef
	Limit                 *int
	ExclusiveStartShardId *string //nolint:revive,staticcheck // as in the request
}

func (in *describeStreamInput) check(c *checks) {
	c.stream(&in.streamRef)
	c.number(in.Limit, "limit", 1, 10000)
	c.name(in.ExclusiveStartShardId, "exclusiveStartShardId", false)
}

type describeStreamOutput struct {
	StreamDescription streamDescription
}

type streamDescription struct {
	streamFacts
	Shards        []shardDescription
	HasMoreShards bool
}

func (s *Server) describeStream(in *describeStreamInput, _ time.Time) (any, *Fault) {
	st, f := s.lookup(in.ref())
	if f != nil {
		return nil, f
	}
	shards := st.shards
	if in.ExclusiveStartShardId != nil {
		shards = st.after(*in.ExclusiveStartShardId)
	}
	limit := maxDescribeShards
	if in.Limit != nil {
		limit = min(limit, *in.Limit)
	}
	more := len(shards) > limit
	out := streamDescription{
		streamFacts:   st.facts(),
		Shards:        describeShards(shards[:min(limit, len(shards))]),
		HasMoreShards: more,
	}
	return describeStreamOutput{out}, nil
}
