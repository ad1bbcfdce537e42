package webhook

import (
	"math/rand/v2"
	"time"
)

// The pauses between attempts.
const (
	minBackOff = 5 * time.Second
	maxBackOff = time.Hour
)

// backOff returns the pause after so many failures in a row: twice as long each
// time, and up to a fifth more or less, so that many hooks of one receiver do
// not come back at once.
func backOff(failures int) time.Duration {
	pause := maxBackOff
	if failures < 12 {
		pause = min(minBackOff<<(failures-1), maxBackOff)
	}
	pause += time.Duration((rand.Float64() - 0.5) * 0.4 * float64(pause))
	return min(max(pause, minBackOff), maxBackOff)
}

// health is what is known of a receiver as a whole. The goroutine of a term
// owns it.
type health struct {
	since    time.Time // it fails since; zero: it does not. Survives restarts
	failures int       // in a row, those at the same time counted once, in this term
	failedAt time.Time // when the last of them ended
	until    time.Time // no request before, by the back-off
	asked    time.Time // likewise, by what the receiver asked for
	refused  int       // events refused in a row
	events   int       // that failed since the receiver was well, each counted once
}

// fail notes a failure that is the receiver's.
func (h *health) fail(a *Attempt) {
	ended := a.Began.Add(a.Took)
	if h.since.IsZero() {
		h.since = ended
	}
	if h.failures == 0 || !a.Began.Before(h.failedAt) {
		h.failures++
		h.until = ended.Add(backOff(h.failures))
		h.failedAt = ended
	}
	if a.RetryAfter > 0 {
		h.until = time.Time{}
		if asked := ended.Add(a.RetryAfter); asked.After(h.asked) {
			h.asked = asked
		}
	}
}

// next returns when the next request may begin.
func (h *health) next() time.Time {
	if h.asked.After(h.until) {
		return h.asked
	}
	return h.until
}

// ok notes an answer that shows the receiver to be well, and reports whether it
// had failed. One to a request from before the failure shows nothing.
func (h *health) ok(a *Attempt) (recovered bool) {
	if h.failures > 0 && a.Began.Before(h.failedAt) {
		return false
	}
	recovered = !h.since.IsZero()
	*h = health{failedAt: h.failedAt, refused: h.refused}
	return recovered
}

// probing: one request at a time finds out whether the receiver is well again.
func (h *health) probing() bool { return h.failures > 0 }
