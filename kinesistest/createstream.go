package kinesistest

import "time"

// CreateStream: the stream is CREATING, without shards, for
// Options.CreateDelay. ShardCount may be left out in capacity mode ON_DEMAND
// only, which starts with four.

type createStreamInput struct {
	StreamName         *string
	ShardCount         *int
	MaxRecordSizeInKiB *int
	StreamModeDetails  *streamMode
}

type streamMode struct{ StreamMode string }

func (in *createStreamInput) ref() *streamRef { return &streamRef{StreamName: in.StreamName} }

func (in *createStreamInput) check(c *checks) {
	c.name(in.StreamName, "streamName", true)
	c.number(in.ShardCount, "shardCount", 1, 1<<31-1)
	c.number(in.MaxRecordSizeInKiB, "maxRecordSizeInKiB", 1024, 10240)
}

func (s *Server) createStream(in *createStreamInput, now time.Time) (any, *Fault) {
	mode, shards := "PROVISIONED", 0
	if in.StreamModeDetails != nil {
		mode = in.StreamModeDetails.StreamMode
	}
	switch {
	case in.ShardCount != nil:
		shards = *in.ShardCount
	case mode == "ON_DEMAND":
		shards = 4
	default:
		return nil, fault("ValidationException", "ShardCount must be specified for a stream in PROVISIONED mode.")
	}
	maxRecord := defaultMaxRecord
	if in.MaxRecordSizeInKiB != nil {
		maxRecord = *in.MaxRecordSizeInKiB << 10
	}
	if s.streams[*in.StreamName] != nil {
		return nil, fault("ResourceInUseException", "Stream %s under account %s already exists.",
			*in.StreamName, s.opts.Account)
	}
	if f := s.checkShardLimit(shards); f != nil {
		return nil, f
	}
	st := s.addStream(*in.StreamName, now)
	st.mode, st.maxRecord = mode, maxRecord
	st.begin(statusCreating, now, s.opts.CreateDelay, func(at time.Time) { st.fill(shards, at) })
	return nil, nil
}

// addStream makes a stream without shards. Its creation time is later than that
// of every stream of that name before it: two incarnations are never taken for
// one. mu is held.
func (s *Server) addStream(name string, now time.Time) *stream {
	born := max(now.UnixMilli(), s.born[name]+1)
	s.born[name] = born
	st := &stream{
		name:      name,
		arn:       s.arn(name),
		created:   time.UnixMilli(born).UTC(),
		retention: defaultRetention,
		maxRecord: defaultMaxRecord,
		mode:      "PROVISIONED",
	}
	s.streams[name] = st
	return st
}

// fill gives a new stream its shards.
func (st *stream) fill(shards int, at time.Time) {
	starts := evenStarts(shards)
	for i, start := range starts {
		last := maxHashKey()
		if i+1 < shards {
			last = starts[i+1].before()
		}
		st.addShard(start, last, at)
	}
}

// checkShardLimit refuses more open shards than the account may have. mu is
// held.
func (s *Server) checkShardLimit(more int) *Fault {
	limit := maxShards
	if !s.opts.NoLimits {
		limit = min(limit, s.opts.ShardLimit)
	}
	open := 0
	for _, st := range s.streams {
		open += len(st.open)
	}
	if open+more <= limit {
		return nil
	}
	return fault("LimitExceededException", "This request would exceed the shard limit for the account %s in %s. "+
		"Current shard count for the account: %d. Limit: %d. Number of additional shards that would have resulted from this request: %d. "+
		"Refer to the AWS Service Limits page for current limits and how to request higher limits.",
		s.opts.Account, s.opts.Region, open, limit, more)
}
