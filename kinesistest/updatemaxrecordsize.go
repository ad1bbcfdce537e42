package kinesistest

import "time"

// UpdateMaxRecordSize: how large a record may be, its partition key included: 1
// MiB unless changed, 10 MiB at most.

type updateMaxRecordSizeInput struct {
	streamRef
	MaxRecordSizeInKiB *int
}

func (in *updateMaxRecordSizeInput) check(c *checks) {
	c.stream(&in.streamRef)
	if in.MaxRecordSizeInKiB == nil {
		c.add("null", "maxRecordSizeInKiB", "not be null")
	}
	c.number(in.MaxRecordSizeInKiB, "maxRecordSizeInKiB", 1024, 10240)
}

func (s *Server) updateMaxRecordSize(in *updateMaxRecordSizeInput, now time.Time) (any, *Fault) {
	st, f := s.active(in.ref())
	if f != nil {
		return nil, f
	}
	bytes := *in.MaxRecordSizeInKiB << 10
	st.begin(statusUpdating, now, s.opts.UpdateDelay, func(time.Time) { st.maxRecord = bytes })
	return nil, nil
}
