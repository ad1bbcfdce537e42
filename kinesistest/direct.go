package kinesistest

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// The following methods serve tests. They take effect at once, without limits,
// delays and hooks. Their errors wrap a *Fault.

// CreateStream creates a stream with so many shards, at least 1, and returns
// its ARN.
func (s *Server) CreateStream(name string, shards int) (arn string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.settle()
	if s.streams[name] != nil {
		return "", s.streamExists(name)
	}
	st := s.addStream(name, now)
	st.fill(max(1, shards), now)
	return st.arn, nil
}

// Created returns when a stream was created, to the millisecond: with the ARN,
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

// Put stores a record and returns where.
func (s *Server) Put(streamName, partitionKey string, data []byte) (shard, sequenceNumber string, err error) {
	err = s.with(streamName, func(st *stream, now time.Time) error {
		sh := st.shardFor(hashOf(partitionKey))
		shard, sequenceNumber = sh.id, sh.put(entry{partitionKey, data}, now)
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
		sequenceNumber = sh.put(entry{partitionKey, data}, now)
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
		a, b, f := s.adjacentPair(st, shard, adjacentShard)
		if f != nil {
			return f
		}
		child = st.merge(a, b, now).id
		return nil
	})
	return child, err
}

// SetRetention sets any retention, unlike the operations. Older records are
// gone, and stay so when the retention is raised.
func (s *Server) SetRetention(streamName string, d time.Duration) error {
	return s.with(streamName, func(st *stream, now time.Time) error {
		st.setRetention(d, now)
		return nil
	})
}

// Record is a stored record.
type Record struct {
	Shard          string
	SequenceNumber string
	PartitionKey   string
	Arrived        time.Time // to the millisecond
	Data           []byte
}

// Records returns what a listed shard holds within retention, in order.
func (s *Server) Records(streamName, shard string) ([]Record, error) {
	var stored []record
	err := s.with(streamName, func(st *stream, now time.Time) error {
		sh := st.find(shard)
		if sh == nil {
			return s.shardNotFound(shard, st)
		}
		sh.trim(st.horizon(now))
		stored = slices.Clone(sh.records)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(stored))
	for _, r := range stored {
		out = append(out, Record{
			Shard:          shard,
			SequenceNumber: r.seq,
			PartitionKey:   r.key,
			Arrived:        time.UnixMilli(r.at.ms).UTC(),
			Data:           bytes.Clone(r.data()),
		})
	}
	return out, nil
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

// with calls do with an existing stream, brought up to date.
func (s *Server) with(name string, do func(st *stream, now time.Time) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.settle()
	st := s.streams[name]
	if st == nil || !st.serving() {
		return fmt.Errorf("find stream: %w", s.streamNotFound(name, s.opts.Account))
	}
	return do(st, now)
}
