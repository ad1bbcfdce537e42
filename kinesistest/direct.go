package kinesistest

import (
	"fmt"
	"slices"
	"time"
)

// What tests do to a stream directly: at once, past the limits, the delays and
// the hooks. Their errors hold a *Fault.

// CreateStream makes a stream with so many shards, 1 at least, and returns its
// ARN.
func (s *Server) CreateStream(name string, shards int) (arn string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.settleAll(now)
	if s.streams[name] != nil {
		return "", fault("ResourceInUseException", "Stream %s under account %s already exists.", name, s.opts.Account)
	}
	st := s.addStream(name, now)
	st.fill(max(1, shards), now)
	return st.arn, nil
}

// Created returns when a stream was made, to the millisecond: the other half of
// its identity.
func (s *Server) Created(streamName string) (at time.Time, err error) {
	err = s.with(streamName, func(st *stream, _ time.Time) error {
		at = time.UnixMilli(st.created.UnixMilli()).UTC()
		return nil
	})
	return at, err
}

// DeleteStream deletes a stream with everything in it.
func (s *Server) DeleteStream(name string) error {
	return s.with(name, func(st *stream, _ time.Time) error {
		delete(s.streams, st.name)
		return nil
	})
}

// Put stores a record and says where.
func (s *Server) Put(streamName, partitionKey string, data []byte) (shard, sequenceNumber string, err error) {
	err = s.with(streamName, func(st *stream, now time.Time) error {
		sh := st.shardFor(hashOf(partitionKey))
		shard, sequenceNumber = sh.id, sh.put(newEntry(partitionKey, data), now)
		return nil
	})
	return shard, sequenceNumber, err
}

// PutTo stores a record in an open shard, whatever its partition key.
func (s *Server) PutTo(streamName, shard, partitionKey string, data []byte) (sequenceNumber string, err error) {
	err = s.with(streamName, func(st *stream, now time.Time) error {
		sh, f := s.resharded(st, shard)
		if f != nil {
			return f
		}
		sequenceNumber = sh.put(newEntry(partitionKey, data), now)
		return nil
	})
	return sequenceNumber, err
}

// Split splits an open shard in the middle and returns its children.
func (s *Server) Split(streamName, shard string) (left, right string, err error) {
	err = s.with(streamName, func(st *stream, now time.Time) error {
		sh, f := s.resharded(st, shard)
		if f != nil {
			return f
		}
		if sh.first == sh.last {
			return invalid("Shard %s has a single hash key.", shard)
		}
		l, r := st.split(sh, middle(sh.first, sh.last), now)
		left, right = l.id, r.id
		return nil
	})
	return left, right, err
}

// Merge merges two adjacent open shards and returns their child.
func (s *Server) Merge(streamName, shard, adjacentShard string) (child string, err error) {
	err = s.with(streamName, func(st *stream, now time.Time) error {
		a, f := s.resharded(st, shard)
		if f != nil {
			return f
		}
		b, f := s.resharded(st, adjacentShard)
		if f != nil {
			return f
		}
		if !adjacent(a, b) {
			return invalid("Shards %s and %s are not adjacent.", shard, adjacentShard)
		}
		child = st.merge(a, b, now).id
		return nil
	})
	return child, err
}

// SetRetention sets any retention, unlike the operations; what is older is
// gone, and stays so when the retention is raised.
func (s *Server) SetRetention(streamName string, d time.Duration) error {
	return s.with(streamName, func(st *stream, now time.Time) error {
		st.setRetention(d, now)
		return nil
	})
}

// Records returns what a listed shard holds within retention, in order.
func (s *Server) Records(streamName, shard string) ([]Record, error) {
	stored, err := s.stored(streamName, shard)
	if err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(stored))
	for i := range stored {
		r, err := stored[i].decode(shard)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// stored returns a copy of a shard's list of records.
func (s *Server) stored(streamName, shard string) (records []record, err error) {
	err = s.with(streamName, func(st *stream, now time.Time) error {
		sh := st.find(shard)
		if sh == nil {
			return s.shardNotFound(shard, st)
		}
		sh.trim(st.horizon(now))
		records = slices.Clone(sh.records)
		return nil
	})
	return records, err
}

// Shard is a listed shard.
type Shard struct {
	ID      string
	Parents []string // none, one (split) or two (merge)
	Open    bool
	Records int // stored and not yet trimmed
}

// Shards returns the listed shards of a stream, by id.
func (s *Server) Shards(streamName string) (shards []Shard, err error) {
	err = s.with(streamName, func(st *stream, _ time.Time) error {
		for _, sh := range st.shards {
			shards = append(shards, Shard{sh.id, slices.Clone(sh.parents), !sh.closed, len(sh.records)})
		}
		return nil
	})
	return shards, err
}

// with does something to a stream that is there, brought up to date.
func (s *Server) with(name string, do func(st *stream, now time.Time) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.settleAll(now)
	st := s.streams[name]
	if st == nil || !st.serving() {
		return fmt.Errorf("find stream: %w", s.streamNotFound(name, s.opts.Account))
	}
	return do(st, now)
}
