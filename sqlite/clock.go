package sqlite

import (
	"sync"
	"time"
)

// maxSkew is how far the local clock and the service's may differ before one of
// them is taken to be wrong, and it is not known which.
const maxSkew = time.Hour

// clock is what commits tell of the service's clock.
type clock struct {
	mu      sync.Mutex
	service time.Time // under mu: a time it had reached; zero: not known
	at      time.Time // under mu: local, when that was
}

// saw takes in a time that the service's clock has reached; zero: not known.
func (c *clock) saw(service time.Time) {
	if service.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.service, c.at = service, time.Now()
}

// now returns a time that the service's clock has reached by now; ok is false
// when nobody has told. The local clock only measures how long ago that was,
// and a host that sleeps does not count that.
func (c *clock) now() (service time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.service.IsZero() {
		return time.Time{}, false
	}
	return c.service.Add(time.Since(c.at)), true
}

// differs reports whether the local clock and the service's cannot both be
// right.
func differs(service, local time.Time) bool { return service.Sub(local).Abs() > maxSkew }

// dated returns the time by which something is dated now: the local clock's,
// unless the service's, where known, contradicts it.
func dated(service, local time.Time) time.Time {
	if !service.IsZero() && differs(service, local) {
		return service
	}
	return local
}
