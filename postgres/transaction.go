package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

const (
	attempts     = 5                                               // of a transaction that another one is in the way of
	againPause   = 10 * time.Millisecond                           // before the second attempt; it doubles
	currentEpoch = `coalesce((SELECT max(epoch) FROM @.start), 0)` // of the origin; 0 while there is none
)

// write writes for the caller of a method, in one transaction: all of it or
// nothing. An error is one of the Store's; errUnknownOutcome: it may have been
// written. add may be called several times: for each attempt.
func (s *Store) write(ctx context.Context, p storekit.Point, add func(*batch)) error {
	return s.writer.intercept.Write(p, func() error { return s.persist(ctx, add) })
}

// now is the local clock, as it is stored: to the millisecond.
func (s *Store) now() time.Time { return s.config.Now().Truncate(time.Millisecond) }

// persist is write for what tests do not make fail.
func (s *Store) persist(ctx context.Context, add func(*batch)) error {
	if err := s.check(); err != nil {
		return err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	err := s.db.persist(ctx, add)
	if err != nil && s.life.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(s.life), err)
	}
	return explain(err)
}

// bounded returns a context for a call that takes no longer than callPatience,
// or the life of the store.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// persist is write, with further attempts where another transaction was in the
// way.
func (d *database) persist(ctx context.Context, add func(*batch)) error {
	pause := againPause
	for attempt := 1; ; attempt++ {
		err := d.write(ctx, add)
		if err == nil || errors.Is(err, errUnknownOutcome) || errors.Is(err, gerritstream.ErrRetryLater) ||
			fateOf(err) != again || attempt == attempts || !storekit.Sleep(ctx, pause) {
			return err
		}
		pause *= 2
	}
}
