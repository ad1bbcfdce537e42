package kinesistest

import (
	"maps"
	"slices"
	"time"
)

// ListStreams: names in alphabetical order, 100 a page unless Limit says
// otherwise, going on behind ExclusiveStartStreamName or with NextToken.

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
	after, f := s.streamsAfter(in, now)
	if f != nil {
		return nil, f
	}
	names := slices.Sorted(maps.Keys(s.streams))
	names = slices.DeleteFunc(names, func(n string) bool { return after != "" && n <= after })
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

// streamsAfter is the name behind which a request goes on.
func (s *Server) streamsAfter(in *listStreamsInput, now time.Time) (string, *Fault) {
	if in.NextToken == nil {
		if in.ExclusiveStartStreamName == nil {
			return "", nil
		}
		return *in.ExclusiveStartStreamName, nil
	}
	if in.ExclusiveStartStreamName != nil {
		return "", invalid("NextToken and ExclusiveStartStreamName cannot be provided together.")
	}
	var token pageToken
	if !s.open(*in.NextToken, &token) {
		return "", invalid("NextToken is invalid.")
	}
	if now.Sub(time.UnixMilli(token.Issued)) > tokenLife {
		return "", s.tokenExpired()
	}
	return token.After, nil
}

func (s *Server) tokenExpired() *Fault {
	return fault("ExpiredNextTokenException", "NextToken has expired.")
}
