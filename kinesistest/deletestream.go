package kinesistest

import "time"

// DeleteStream: the stream is DELETING for Options.DeleteDelay, then gone with
// all its records. A stream of the same name that is made afterwards has a
// newer creation time, and its shard ids start again.

type deleteStreamInput struct {
	streamRef
	EnforceConsumerDeletion bool
}

func (in *deleteStreamInput) check(c *checks) { c.stream(&in.streamRef) }

func (s *Server) deleteStream(in *deleteStreamInput, now time.Time) (any, *Fault) {
	st, f := s.lookup(in.ref())
	if f != nil {
		return nil, f
	}
	if st.status() == statusDeleting {
		return nil, s.notActive(st)
	}
	st.begin(statusDeleting, now, s.opts.DeleteDelay, func(time.Time) { delete(s.streams, st.name) })
	return nil, nil
}
