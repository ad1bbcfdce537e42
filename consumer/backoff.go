package consumer

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff spaces attempts: each pause is drawn between half of a bound and the
// bound, which doubles from first to most.
type backoff struct {
	first, most time.Duration
	bound       time.Duration // of the pause before; owned by the caller's goroutine
}

// next draws the next pause.
func (b *backoff) next() time.Duration {
	b.bound = min(max(b.first, 2*b.bound), b.most)
	return b.bound/2 + rand.N(b.bound/2+1) //nolint:gosec // jitter is no secret
}

// pause waits and reports whether to go on: false when ctx ended first.
func (b *backoff) pause(ctx context.Context) bool { return sleep(ctx, b.next()) }

// reset forgets the failures so far.
func (b *backoff) reset() { b.bound = 0 }

// sleep waits for d and reports true, or false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
