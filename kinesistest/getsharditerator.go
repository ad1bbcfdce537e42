package kinesistest

import "time"

// GetShardIterator: an iterator stands for a place in a shard and lasts five
// minutes. Five a second and shard. A sequence number that was trimmed means
// the trim horizon; one of another incarnation of the stream, or of another
// shard, is refused; so is a time in the future.

type getShardIteratorInput struct {
	streamRef
	ShardId                *string //nolint:revive,staticcheck // as in the request
	ShardIteratorType      *string
	StartingSequenceNumber *string
	Timestamp              *epoch
}

func (in *getShardIteratorInput) check(c *checks) {
	c.stream(&in.streamRef)
	c.name(in.ShardId, "shardId", true)
	c.oneOf(in.ShardIteratorType, "shardIteratorType",
		"AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON")
	c.sequenceNumber(in.StartingSequenceNumber, "startingSequenceNumber")
}

type getShardIteratorOutput struct{ ShardIterator string }

func (s *Server) getShardIterator(in *getShardIteratorInput, now time.Time) (any, *Fault) {
	st, f := s.serving(in.ref())
	if f != nil {
		return nil, f
	}
	sh := st.find(*in.ShardId)
	if sh == nil {
		return nil, fault("ResourceNotFoundException", "Shard %s in stream %s under account %s does not exist",
			*in.ShardId, st.name, s.opts.Account)
	}
	if !s.opts.NoLimits && !sh.iterators.allow(now, iteratorsASecond) {
		return nil, s.rateExceeded(sh)
	}
	at, f := s.startingPlace(in, sh, now)
	if f != nil {
		return nil, f
	}
	return getShardIteratorOutput{s.sealed(newIterator(sh, at, now))}, nil
}

// startingPlace is where in the shard an iterator of that type stands.
func (s *Server) startingPlace(in *getShardIteratorInput, sh *shard, now time.Time) (place, *Fault) {
	kind := *in.ShardIteratorType
	bySequence := kind == "AT_SEQUENCE_NUMBER" || kind == "AFTER_SEQUENCE_NUMBER"
	switch {
	case kind != "AT_TIMESTAMP" && bySequence != (in.StartingSequenceNumber != nil):
		has := "no StartingSequenceNumber."
		if in.StartingSequenceNumber != nil {
			has = "also a StartingSequenceNumber."
		}
		return place{}, invalid("Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "+
			"(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified %s and %s", kind, has)
	case bySequence:
		return s.placeOf(*in.StartingSequenceNumber, kind == "AFTER_SEQUENCE_NUMBER", sh)
	case kind == "AT_TIMESTAMP":
		return placeAt(in.Timestamp, now)
	case kind == "LATEST":
		return sh.tip(now), nil
	}
	return place{}, nil
}

// placeOf is the place of a sequence number, or the one behind it.
func (s *Server) placeOf(number string, after bool, sh *shard) (place, *Fault) {
	q, ok := parseSequence(number)
	used := "StartingSequenceNumber %s used in GetShardIterator on shard %s in stream %s under account %s is invalid"
	switch {
	case !ok:
		return place{}, invalid(used+".", number, sh.id, sh.stream.name, s.opts.Account)
	case q.stream != sh.stream.created.UnixMilli():
		return place{}, invalid(used+" because it did not come from this stream.", number, sh.id, sh.stream.name, s.opts.Account)
	case q.shard != sh.index:
		return place{}, invalid("Invalid StartingSequenceNumber. It encodes %s, while it was used in a call to a shard with %s",
			shardID(q.shard), sh.id)
	}
	at := place{q.ms, q.n}
	if !after {
		return at, nil
	}
	if sh.closed && at.compare(sh.endPlace()) >= 0 {
		return place{}, invalid("SequenceNumber has reached max possible value for the shard")
	}
	return at.next(), nil
}

// placeAt is the place of a time.
func placeAt(at *epoch, now time.Time) (place, *Fault) {
	if at == nil {
		return place{}, invalid("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. " +
			"Current request has no timestamp parameter.")
	}
	if int64(*at) > now.UnixMilli() {
		return place{}, invalid("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "+
			"timestampInMillis: %d, currentTimestampInMillis: %d", int64(*at), now.UnixMilli())
	}
	return place{ms: int64(*at)}, nil
}
