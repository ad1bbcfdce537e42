package consumer

import (
	"sync"
	"time"
)

// clockTrust is how long a time of the service is carried on by the local clock
// before a newer one replaces it in any case: clocks drift apart, and not every
// host of a service has the same time.
const clockTrust = time.Minute

// serviceClock is the service's clock between its replies. Each reply tells a
// time that the clock has reached; the local clock, which need not be right,
// measures only how long ago that was. Of the times of the last minute the
// furthest counts, which is the most exact: all of them are lower bounds, and
// each is too early by up to two seconds.
type serviceClock struct {
	mu   sync.Mutex
	time time.Time // under mu: the service's; zero: not known
	at   time.Time // under mu: local, when the service's clock had reached it
}

// saw takes in a time that the service's clock has reached; zero: the service
// did not tell.
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
