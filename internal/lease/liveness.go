package lease

import (
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Process is a process as it was read.
type Process struct {
	ID        string
	Heartbeat uint64
	TTL       time.Duration // of its leases

	// Age is how long ago its last heartbeat was, by a clock that all the
	// processes of a store share. It only counts for a process that is seen for
	// the first time.
	Age time.Duration
}

// Liveness is what this process has seen of the heartbeats of others. Several
// goroutines may call its methods at once.
type Liveness struct {
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

// NewLiveness returns what a process that is called self, and whose leases have
// a time to live of ttl, has seen: nothing.
func NewLiveness(self string, ttl time.Duration) *Liveness { return &Liveness{self: self, ttl: ttl} }

// Observe notes the heartbeats that were read. A process that is seen for the
// first time may have been dead for long: then, and only then, a clock that is
// not this process' own decides since when. The next heartbeat corrects it.
func (l *Liveness) Observe(processes []Process) {
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

// Alive reports whether a process' heartbeat has changed within the TTL. now is
// not later than the moment of the last reading.
func (l *Liveness) Alive(id string, now time.Time) bool {
	if id == l.self {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.seen[id]
	return ok && now.Sub(h.since) < h.ttl
}

// NextDeath returns how long from now the first of the other processes counts
// as dead, unless a heartbeat of it comes before; 0: none is alive, as far as
// they were seen.
func (l *Liveness) NextDeath() (left time.Duration) {
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

// Group returns the state of the group with these members and candidates, of
// which those count that are alive. now is not later than the moment at which
// they were read. A leader, the first of a shard's candidates, is not also
// another one: its row may be a moment older than its lease.
func (l *Liveness) Group(
	members []gerritstream.Member, candidates map[gerritstream.ShardID][]string,
	shards []gerritstream.ShardID, now time.Time,
) gerritstream.GroupState {
	g := gerritstream.GroupState{
		Self: l.self, Members: make([]gerritstream.Member, 0, len(members)),
		Candidates: map[gerritstream.ShardID][]gerritstream.Candidate{},
	}
	for _, m := range members {
		if l.Alive(m.ID, now) {
			g.Members = append(g.Members, m)
		}
	}
	for _, shard := range shards {
		for i, id := range candidates[shard] {
			if l.Alive(id, now) && (i == 0 || id != candidates[shard][0]) {
				g.Candidates[shard] = append(g.Candidates[shard], gerritstream.Candidate{Member: id})
			}
		}
	}
	return g
}
