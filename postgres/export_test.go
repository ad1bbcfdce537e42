package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// For tests in package postgres_test.

// Writers is how many transactions with commits a process has at a time.
const Writers = writers

// Intercept wraps each write of a Store. Call it before the Store is used.
func (s *Store) Intercept(f storekit.Intercept) { s.writer.intercept = f }

// ID is what the schema calls a Store's process.
func (s *Store) ID() string { return s.id }

// Renew writes a heartbeat now.
func (s *Store) Renew() error { return s.heartbeat.Renew() }

// Beat writes a heartbeat of a process that is a candidate.
func (s *Store) Beat(ctx context.Context, keep, add []gerritstream.ShardID) error {
	_, err := s.tables.Beat(ctx, func() ([]gerritstream.ShardID, []gerritstream.ShardID) { return keep, add })
	return err
}

// Kill ends a Store as SIGKILL would: nothing more is written, or resigned. It
// does not wait.
func (s *Store) Kill() { _ = s.closing.do(func() error { s.closing.end(errClosed); return nil }) }

// Reap waits for a killed Store and closes its connections.
func (s *Store) Reap() {
	s.closing.running.Wait()
	s.disconnect()
}

// RemoveExpired removes what was queued before a time, as the sweeper does.
func (s *Store) RemoveExpired(before time.Time) (int64, error) {
	n, _, err := s.removeExpired(before, before)
	return n, err
}

// Intercept wraps each write of an Operator. Call it before the Operator is
// used.
func (o *Operator) Intercept(f storekit.Intercept) { o.intercept = f }

// Waiting returns how many commits wait for their turn.
func (s *Store) Waiting() int { return len(s.writer.jobs) }

// FateCodes returns the codes, and classes of codes, that have a fate of their
// own.
func FateCodes() []string { return slices.Collect(maps.Keys(fates)) }

// Direct reports whether the connections for calls are the server's own, as far
// as the Store knows.
func (s *Store) Direct() bool { return s.db.direct.Load() }
