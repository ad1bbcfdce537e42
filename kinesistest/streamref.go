package kinesistest

import "strings"

// streamRef is how requests name a stream: by name, by ARN, or both.
type streamRef struct {
	StreamName *string
	StreamARN  *string
}

// ref makes a request that embeds it an input about that stream.
func (r *streamRef) ref() *streamRef { return r }

// name is the stream's name, or "" when none is given.
func (r *streamRef) name() string {
	switch {
	case r == nil:
		return ""
	case r.StreamName != nil:
		return *r.StreamName
	case r.StreamARN != nil:
		_, name, _ := strings.Cut(*r.StreamARN, ":stream/")
		return name
	}
	return ""
}

// lookup finds the stream a request names, in whatever state it is. mu is held.
func (s *Server) lookup(r *streamRef) (*stream, *Fault) {
	name := r.name()
	if name == "" {
		return nil, invalid("Either StreamName or StreamARN must be specified.")
	}
	if r.StreamARN != nil {
		if f := s.checkARN(*r.StreamARN, name); f != nil {
			return nil, f
		}
	}
	st := s.streams[name]
	if st == nil {
		return nil, s.streamNotFound(name, s.opts.Account)
	}
	return st, nil
}

// checkARN refuses an ARN of another account, region or name.
func (s *Server) checkARN(arn, name string) *Fault {
	if arn == s.arn(name) {
		return nil
	}
	parts := strings.SplitN(arn, ":", 6)
	if parts[5] != "stream/"+name {
		return invalid("StreamARN %s and StreamName %s do not name the same stream.", arn, name)
	}
	return s.streamNotFound(name, parts[4])
}

// active finds a stream that can be changed: it must be ACTIVE. mu is held.
func (s *Server) active(r *streamRef) (*stream, *Fault) {
	st, f := s.lookup(r)
	if f != nil {
		return nil, f
	}
	if st.status() != statusActive {
		return nil, s.notActive(st)
	}
	return st, nil
}

// serving finds a stream that takes and gives records: one that is being made
// or deleted is not there yet, or no more. mu is held.
func (s *Server) serving(r *streamRef) (*stream, *Fault) {
	st, f := s.lookup(r)
	if f != nil {
		return nil, f
	}
	if !st.serving() {
		return nil, s.streamNotFound(st.name, s.opts.Account)
	}
	return st, nil
}
