package postgres

import (
	"context"
	"time"
)

// Sweep removes what is held from before a time and no consumer waits for, and
// what is held from before an earlier one.
func (s *Store) Sweep(before, last time.Time) (removed, unread int64, err error) {
	return s.removeExpired(before, last)
}

// SweepOnce removes one batch of what is held from before a time. between is
// called after that was read.
func (s *Store) SweepOnce(ctx context.Context, before time.Time, between func()) (removed bool, err error) {
	x := expiry{acked: before, all: before}
	r, err := x.events(ctx, s)
	if err != nil {
		return false, err
	}
	between()
	return r.remove(ctx, s)
}

// SetMaxBytes changes the size from which on retention waits for nobody. Call
// it while nobody sweeps.
func (s *Store) SetMaxBytes(n int64) { s.config.RetentionMaxBytes = n }
