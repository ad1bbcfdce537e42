package kinesistest

import "time"

// DescribeStreamSummary: the stream without its shards. Its creation time is
// the only sign that a stream was deleted and made again.

type describeStreamSummaryInput struct{ streamRef }

func (in *describeStreamSummaryInput) check(c *checks) { c.stream(&in.streamRef) }

type describeStreamSummaryOutput struct {
	StreamDescriptionSummary streamSummary
}

type streamSummary struct {
	streamFacts
	OpenShardCount     int
	ConsumerCount      int
	MaxRecordSizeInKiB int
}

func (s *Server) describeStreamSummary(in *describeStreamSummaryInput, _ time.Time) (any, *Fault) {
	st, f := s.lookup(in.ref())
	if f != nil {
		return nil, f
	}
	return describeStreamSummaryOutput{streamSummary{
		streamFacts:        st.facts(),
		OpenShardCount:     len(st.open),
		MaxRecordSizeInKiB: st.maxRecord >> 10,
	}}, nil
}
