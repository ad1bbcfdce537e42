package storekit

import (
	"sync"
	"time"
)

// maxSkew is how far the local clock and the service's may differ before one of
// them must be wrong, and it is not known which.
const maxSkew = time.Hour

// ServiceClock is the service's clock, as far as commits reveal it. Several
// goroutines may call its methods at once.
type ServiceClock struct {
	mu      sync.Mutex
	service time.Time // under mu: a time it had reached; zero: not known
	at      time.Time // under mu: local, when that was
}

// Saw notes a time that the service's clock has reached; zero: not known.
func (c *ServiceClock) Saw(service time.Time) {
	if service.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.service, c.at = service, time.Now()
}

// Now returns a time that the service's clock has reached by now; zero: not
// known. The local clock only measures how long ago that was noted, and not
// while the host sleeps.
func (c *ServiceClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.service.IsZero() {
		return time.Time{}
	}
	return c.service.Add(time.Since(c.at))
}

// differ reports whether the local clock and the service's cannot both be
// right.
func differ(service, local time.Time) bool { return service.Sub(local).Abs() > maxSkew }

// Dated returns the time that dates something now: the local clock's, unless
// the service's, where known, contradicts it.
func Dated(service, local time.Time) time.Time {
	if !service.IsZero() && differ(service, local) {
		return service
	}
	return local
}
