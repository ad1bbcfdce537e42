package lease

import (
	"sync"
	"time"
)

// liveness is what this process has seen of the heartbeats of others. Several
// goroutines may call its methods at once.
type liveness struct {
	self string
	ttl  time.Duration

	mu   sync.Mutex
	seen map[string]unchangedHeartbeat // under mu: as read last
}

// unchangedHeartbeat is a process' heartbeat and since when it has been seen
// just so.
type unchangedHeartbeat struct {
	number uint64
	since  time.Time
	ttl    time.Duration // the longer one of that process' and ours
}

// observe notes the heartbeats that were read. A process that is seen for the
// first time may have been dead for long: then, and only then, a clock that is
// not this process' own decides since when. The next heartbeat corrects it.
func (l *liveness) observe(processes []Process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now() // after the reading: first seen then
	seen := make(map[string]unchangedHeartbeat, len(processes))
	for _, p := range processes {
		h := unchangedHeartbeat{p.Heartbeat, now, max(p.TTL, l.ttl)}
		was, known := l.seen[p.ID]
		switch {
		case !known:
			h.since = now.Add(-min(max(p.Age, 0), h.ttl))
		case was.number == p.Heartbeat:
			h.since = was.since
		}
		seen[p.ID] = h
	}
	l.seen = seen
}

// alive reports whether a process' heartbeat has changed within the TTL. now is
// not later than the moment of the last reading.
func (l *liveness) alive(id string, now time.Time) bool {
	if id == l.self {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.seen[id]
	return ok && now.Sub(h.since) < h.ttl
}

// nextDeath returns how long from now the first of the other processes counts
// as dead, unless a heartbeat of it comes before; 0: none is alive, as far as
// they were seen.
func (l *liveness) nextDeath() (left time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for id, h := range l.seen {
		if d := h.ttl - now.Sub(h.since); id != l.self && d > 0 && (left == 0 || d < left) {
			left = d
		}
	}
	return left
}
