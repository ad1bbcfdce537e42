package consumer

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// clockTrust is how long the local clock extends a time of the service before a
// newer one replaces it in any case: clocks drift apart, and not every host of
// a service has the same time.
const clockTrust = time.Minute

// serviceClock is the service's clock between its replies. Each reply holds a
// time that the clock has reached; the local clock, which need not be right,
// only measures how long ago that was. All of these times are lower bounds, up
// to two seconds early, so the latest one of the last minute counts.
type serviceClock struct {
	mu   sync.Mutex
	time time.Time // under mu: the service's; zero: not known
	at   time.Time // under mu: local, when the service's clock had reached it
}

// saw takes in a time that the service's clock has reached; zero: not known.
func (c *serviceClock) saw(now time.Time) {
	if now.IsZero() {
		return
	}
	local := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if since := local.Sub(c.at); since >= clockTrust || now.After(c.time.Add(since)) {
		c.time, c.at = now, local
	}
}

// now returns a time that the service's clock has reached by now; zero: not
// known.
func (c *serviceClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.time.IsZero() {
		return time.Time{}
	}
	return c.time.Add(time.Since(c.at))
}

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

// pause waits and reports whether to continue: false when ctx ended first.
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
