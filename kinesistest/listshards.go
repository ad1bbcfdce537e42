package kinesistest

import (
	"encoding/json"
	"slices"
	"time"
)

// ListShards: shards by id, closed ones within retention included, at most 1000
// a page. A NextToken replaces everything else, the stream's name and the
// filter included, and lasts 300 seconds. A filter selects shards by when they
// were open.

type listShardsInput struct {
	streamRef
	NextToken               *string
	ExclusiveStartShardId   *string //nolint:revive,staticcheck // as in the request
	MaxResults              *int
	StreamCreationTimestamp *epoch
	ShardFilter             *shardFilter
}

type shardFilter struct {
	Type      *string `json:",omitempty"`
	ShardId   *string `json:",omitempty"` //nolint:revive,staticcheck // as in the request
	Timestamp *epoch  `json:",omitempty"`
}

// epoch is a time in a request, in ms; in JSON it is in seconds, with a
// fraction.
type epoch int64

// UnmarshalJSON takes a number of seconds, rounded to the millisecond.
func (e *epoch) UnmarshalJSON(raw []byte) error {
	var sec float64
	if err := json.Unmarshal(raw, &sec); err != nil {
		return err
	}
	*e = epoch(sec*1000 + 0.5)
	return nil
}

// MarshalJSON does the inverse, for tokens.
func (e epoch) MarshalJSON() ([]byte, error) { return appendSeconds(nil, int64(e)), nil }

func (in *listShardsInput) check(c *checks) {
	c.stream(&in.streamRef)
	c.name(in.ExclusiveStartShardId, "exclusiveStartShardId", false)
	c.number(in.MaxResults, "maxResults", 1, 10000)
	if in.ShardFilter != nil {
		c.oneOf(in.ShardFilter.Type, "shardFilter.type", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST",
			"AT_TIMESTAMP", "FROM_TIMESTAMP", "AFTER_SHARD_ID")
		c.name(in.ShardFilter.ShardId, "shardFilter.shardId", false)
	}
}

type listShardsOutput struct {
	Shards    []shardDescription
	NextToken string `json:",omitempty"`
}

func (s *Server) listShards(in *listShardsInput, now time.Time) (any, *Fault) {
	st, token, f := s.listPoint(in, now)
	if f != nil {
		return nil, f
	}
	shards, f := st.filtered(st.after(token.After), token.Filter, now)
	if f != nil {
		return nil, f
	}
	limit := maxListedShards
	if in.MaxResults != nil {
		limit = min(limit, *in.MaxResults)
	}
	out := listShardsOutput{Shards: describeShards(shards[:min(limit, len(shards))])}
	if len(shards) > limit {
		token.After, token.Issued = shards[limit-1].id, now.UnixMilli()
		out.NextToken = s.sealed(token)
	}
	return out, nil
}

// listPoint finds the stream, and in the request or its token where and how to
// list it.
func (s *Server) listPoint(in *listShardsInput, now time.Time) (*stream, pageToken, *Fault) {
	if in.NextToken != nil {
		return s.nextListPoint(in, now)
	}
	st, f := s.lookup(in.ref())
	if f != nil {
		return nil, pageToken{}, f
	}
	if !st.serving() {
		return nil, pageToken{}, s.notActive(st)
	}
	if at := in.StreamCreationTimestamp; at != nil && int64(*at)/1000 != st.created.Unix() {
		return nil, pageToken{}, s.streamNotFound(st.name, s.opts.Account)
	}
	token := pageToken{Stream: st.name, Created: st.created.UnixMilli(), Filter: in.ShardFilter}
	if in.ExclusiveStartShardId != nil {
		token.After = *in.ExclusiveStartShardId
	}
	return st, token, nil
}

// nextListPoint is listPoint for a request with a NextToken.
func (s *Server) nextListPoint(in *listShardsInput, now time.Time) (*stream, pageToken, *Fault) {
	var token pageToken
	other := ""
	switch {
	case in.StreamName != nil:
		other = "StreamName"
	case in.StreamCreationTimestamp != nil:
		other = "StreamCreationTimestamp"
	case in.ExclusiveStartShardId != nil:
		other = "ExclusiveStartShardId"
	case in.ShardFilter != nil:
		other = "ShardFilter"
	}
	if other != "" {
		return nil, token, invalid("NextToken and %s cannot be provided together.", other)
	}
	if f := s.openToken(*in.NextToken, &token, now); f != nil {
		return nil, token, f
	}
	st := s.streams[token.Stream]
	if st == nil || st.created.UnixMilli() != token.Created {
		return nil, token, s.streamNotFound(token.Stream, s.opts.Account)
	}
	return st, token, nil
}

// filtered returns the shards that a filter selects.
func (st *stream) filtered(shards []*shard, filter *shardFilter, now time.Time) ([]*shard, *Fault) {
	if filter == nil {
		return shards, nil
	}
	horizon := max(st.horizon(now), st.created.UnixMilli())
	var keep func(*shard) bool
	switch *filter.Type {
	case "FROM_TRIM_HORIZON":
		return shards, nil
	case "AT_TRIM_HORIZON":
		keep = func(sh *shard) bool { return sh.openAt(horizon) }
		if horizon == st.created.UnixMilli() { // nothing is trimmed yet: the first shards, even if resharded at once
			keep = func(sh *shard) bool { return len(sh.parents) == 0 }
		}
	case "AT_LATEST":
		keep = func(sh *shard) bool { return !sh.closed }
	case "AFTER_SHARD_ID":
		if filter.ShardId == nil {
			return nil, invalid("ShardId must be specified for shard filter type AFTER_SHARD_ID.")
		}
		keep = func(sh *shard) bool { return sh.id > *filter.ShardId }
	default:
		if filter.Timestamp == nil {
			return nil, invalid("Timestamp must be specified for shard filter type %s.", *filter.Type)
		}
		at := max(int64(*filter.Timestamp), horizon)
		keep = func(sh *shard) bool { return sh.openAt(at) }
		if *filter.Type == "FROM_TIMESTAMP" {
			keep = func(sh *shard) bool { return sh.openSince(at) }
		}
	}
	return slices.DeleteFunc(slices.Clone(shards), func(sh *shard) bool { return !keep(sh) }), nil
}

type hashKeyRange struct{ StartingHashKey, EndingHashKey string }

func (sh *shard) hashKeys() hashKeyRange { return hashKeyRange{sh.first.String(), sh.last.String()} }

// shardDescription is a shard in a listing; an open one has no ending sequence
// number.
type shardDescription struct {
	ShardId               string `json:"ShardId"` //nolint:revive,staticcheck // as in the reply
	ParentShardId         string `json:"ParentShardId,omitempty"`
	AdjacentParentShardId string `json:"AdjacentParentShardId,omitempty"`
	HashKeyRange          hashKeyRange
	SequenceNumberRange   sequenceRange
}

type sequenceRange struct {
	StartingSequenceNumber string
	EndingSequenceNumber   string `json:",omitempty"`
}

func describeShards(shards []*shard) []shardDescription {
	out := make([]shardDescription, 0, len(shards))
	for _, sh := range shards {
		d := shardDescription{
			ShardId:             sh.id,
			HashKeyRange:        sh.hashKeys(),
			SequenceNumberRange: sequenceRange{StartingSequenceNumber: sh.sequenceAt(place{ms: sh.created})},
		}
		if len(sh.parents) > 0 {
			d.ParentShardId = sh.parents[0]
		}
		if len(sh.parents) > 1 {
			d.AdjacentParentShardId = sh.parents[1]
		}
		if sh.closed {
			d.SequenceNumberRange.EndingSequenceNumber = sh.sequenceAt(sh.endPlace())
		}
		out = append(out, d)
	}
	return out
}
