package kinesistest

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

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
		return nil, s.streamExists(*in.StreamName)
	}
	if f := s.checkShardLimit(shards); f != nil {
		return nil, f
	}
	st := s.addStream(*in.StreamName, now)
	st.mode, st.maxRecord = mode, maxRecord
	st.begin(statusCreating, now, s.opts.CreateDelay, func(at time.Time) { st.fill(shards, at) })
	return nil, nil
}

// DeleteStream: the stream is DELETING for Options.DeleteDelay, then gone with
// all its records. A stream created afterwards under its name has a later
// creation time, and its shard ids start again.

type deleteStreamInput struct {
	streamRef
	EnforceConsumerDeletion bool
}

func (s *Server) deleteStream(st *stream, in *deleteStreamInput, now time.Time) (any, *Fault) {
	if st.status() == statusDeleting {
		return nil, s.notActive(st)
	}
	if len(st.consumers) > 0 && !in.EnforceConsumerDeletion {
		return nil, fault("ResourceInUseException", "Stream %s under account %s has consumers registered.", st.name,
			s.opts.Account)
	}
	st.begin(statusDeleting, now, s.opts.DeleteDelay, func(time.Time) {
		delete(s.streams, st.name)
		for _, sh := range st.shards {
			sh.wake()
		}
	})
	return nil, nil
}

// ListStreams: names in alphabetical order, 100 a page unless Limit says
// otherwise, continued after ExclusiveStartStreamName or with NextToken.

type listStreamsInput struct {
	Limit                    *int
	ExclusiveStartStreamName *string
	NextToken                *string
}

func (in *listStreamsInput) ref() *streamRef { return nil }

func (in *listStreamsInput) check(c *checks) {
	c.number(in.Limit, "limit", 1, maxListedStreams)
	c.name(in.ExclusiveStartStreamName, "exclusiveStartStreamName", false)
}

type listStreamsOutput struct {
	StreamNames     []string
	HasMoreStreams  bool
	NextToken       string `json:",omitempty"`
	StreamSummaries []listedStream
}

type listedStream struct {
	StreamName              string
	StreamARN               string
	StreamStatus            string
	StreamModeDetails       streamMode
	StreamCreationTimestamp seconds
}

func (s *Server) listStreams(in *listStreamsInput, now time.Time) (any, *Fault) {
	var token pageToken
	switch {
	case in.NextToken == nil && in.ExclusiveStartStreamName != nil:
		token.After = *in.ExclusiveStartStreamName
	case in.NextToken == nil:
	case in.ExclusiveStartStreamName != nil:
		return nil, invalid("NextToken and ExclusiveStartStreamName cannot be provided together.")
	default:
		if f := s.openToken(*in.NextToken, &token, now); f != nil {
			return nil, f
		}
	}
	names := slices.Sorted(maps.Keys(s.streams))
	names = slices.DeleteFunc(names, func(n string) bool { return token.After != "" && n <= token.After })
	limit := 100
	if in.Limit != nil {
		limit = *in.Limit
	}
	out := listStreamsOutput{StreamNames: names, StreamSummaries: []listedStream{}}
	if len(names) > limit {
		out.StreamNames, out.HasMoreStreams = names[:limit], true
		out.NextToken = s.sealed(pageToken{After: names[limit-1], Issued: now.UnixMilli()})
	}
	for _, name := range out.StreamNames {
		st := s.streams[name]
		out.StreamSummaries = append(out.StreamSummaries, listedStream{
			name, st.arn, st.status(), streamMode{st.mode}, seconds(st.created),
		})
	}
	if out.StreamNames == nil {
		out.StreamNames = []string{}
	}
	return out, nil
}

// DescribeStream: the stream with its shards, at most 100 of them, continued
// after ExclusiveStartShardId.

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

type streamDescription struct {
	streamFacts
	Shards        []shardDescription
	HasMoreShards bool
}

func (s *Server) describeStream(st *stream, in *describeStreamInput, _ time.Time) (any, *Fault) {
	shards := st.shards
	if in.ExclusiveStartShardId != nil {
		shards = st.after(*in.ExclusiveStartShardId)
	}
	limit := maxDescribeShards
	if in.Limit != nil {
		limit = min(limit, *in.Limit)
	}
	return map[string]any{"StreamDescription": streamDescription{
		streamFacts:   st.facts(),
		Shards:        describeShards(shards[:min(limit, len(shards))]),
		HasMoreShards: len(shards) > limit,
	}}, nil
}

// DescribeStreamSummary: the stream without its shards. Its creation time is
// the only sign that a stream was deleted and recreated.

type streamSummary struct {
	streamFacts
	OpenShardCount     int
	ConsumerCount      int
	MaxRecordSizeInKiB int
}

func (s *Server) describeStreamSummary(st *stream, _ *streamRef, _ time.Time) (any, *Fault) {
	return map[string]any{"StreamDescriptionSummary": streamSummary{
		streamFacts:        st.facts(),
		OpenShardCount:     len(st.open),
		MaxRecordSizeInKiB: st.maxRecord >> 10,
	}}, nil
}

// streamFacts are the members of both descriptions of a stream.
type streamFacts struct {
	StreamName              string
	StreamARN               string
	StreamStatus            string
	StreamModeDetails       streamMode
	RetentionPeriodHours    int
	StreamCreationTimestamp seconds
	EnhancedMonitoring      json.RawMessage
	EncryptionType          string
}

func (st *stream) facts() streamFacts {
	return streamFacts{
		StreamName:              st.name,
		StreamARN:               st.arn,
		StreamStatus:            st.status(),
		StreamModeDetails:       streamMode{st.mode},
		RetentionPeriodHours:    int(st.retention / time.Hour),
		StreamCreationTimestamp: seconds(st.created),
		EnhancedMonitoring:      json.RawMessage(`[{"ShardLevelMetrics":[]}]`),
		EncryptionType:          "NONE",
	}
}

// seconds is a time as AWS JSON writes it.
type seconds time.Time

// MarshalJSON writes seconds with three decimals.
func (t seconds) MarshalJSON() ([]byte, error) {
	return appendSeconds(nil, time.Time(t).UnixMilli()), nil
}
