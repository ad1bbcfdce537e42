package storetest

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

// MemoryConfig configures a Memory. Its zero value is useful.
type MemoryConfig struct {
	// Limits of each commit. Zero fields: 100 items, 900,000 bytes.
	Limits gerritstream.Limits

	// TakeoverAfter is how long the leaderships of a killed or frozen process
	// stand before another process can win them, as under a lease. Zero: they
	// are free at once.
	TakeoverAfter time.Duration

	// Deduplicates: an entry that is held already is dropped, as by a store
	// whose queue has identities. Otherwise it is held twice, so that tests see
	// each doubling.
	Deduplicates bool
}

// Memory is a state that any number of processes share, as they share a
// database; [Memory.Process] makes them.
type Memory struct {
	config MemoryConfig
	faults Faults

	mu          sync.Mutex    // guards everything below, and every Process and term of this Memory
	changed     chan struct{} // closed and replaced at each change
	hook        Hook          // decides on writes
	origin      []byte        // as stored; nil: none
	positions   map[gerritstream.PositionKey]*position
	leases      map[gerritstream.ShardID]*lease
	entries     []gerritstream.Entry
	dead        []gerritstream.StoredDeadLetter
	discarded   int64
	reports     map[string]report                                    // by id of the process
	members     map[string]gerritstream.Member                       // by id; they do not change
	checkpoints map[gerritstream.ShardID]gerritstream.SequenceNumber // of another program
	paused      pauses.Set
	count       uint64 // of processes and positions so far
}

// position is a position as stored.
type position struct {
	raw       []byte
	committed time.Time
}

// lease is the leadership of one shard and its candidates. Its number outlives
// every holder.
type lease struct {
	number     uint64
	holder     *term        // nil: free, or held by the foreign candidate that is first
	candidates []*candidate // in the order of succession
}

// NewMemory returns an empty state.
func NewMemory(config MemoryConfig) *Memory {
	if config.Limits.Items <= 0 {
		config.Limits.Items = 100
	}
	if config.Limits.Weight <= 0 {
		config.Limits.Weight = 900_000
	}
	return &Memory{
		config:      config,
		changed:     make(chan struct{}),
		positions:   map[gerritstream.PositionKey]*position{},
		leases:      map[gerritstream.ShardID]*lease{},
		reports:     map[string]report{},
		members:     map[string]gerritstream.Member{},
		checkpoints: map[gerritstream.ShardID]gerritstream.SequenceNumber{},
	}
}

// SetHook makes hook decide on every write from now on; nil ends that.
func (m *Memory) SetHook(hook Hook) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// FailNext makes the next write at a point suffer a fault; called again, the
// write after that, and so on. It takes precedence over the Hook.
func (m *Memory) FailNext(point Point, fault Fault) { m.faults.FailNext(point, fault) }

// ExpireLeadership takes the leadership of a shard away, as an expired session
// does: the term's Context ends, the shard is free. It reports whether any
// process led.
func (m *Memory) ExpireLeadership(shard gerritstream.ShardID) bool { return m.expire(shard, true) }

// ExpireQuietly does the same without ending the term's Context: the term
// notices at its next Commit, as after a partition.
func (m *Memory) ExpireQuietly(shard gerritstream.ShardID) bool { return m.expire(shard, false) }

func (m *Memory) expire(shard gerritstream.ShardID, notify bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.leases[shard]
	if l == nil || l.holder == nil {
		return false
	}
	m.takeAwayLocked(l, notify)
	m.changedLocked()
	return true
}

// takeAwayLocked frees a lease that is held. With notify the holder's term
// ends, or will when its frozen process thaws.
func (m *Memory) takeAwayLocked(l *lease, notify bool) {
	holder := l.holder
	l.holder = nil
	switch {
	case notify && holder.process.frozen != nil:
		holder.process.lost = append(holder.process.lost, holder)
	case notify:
		holder.endLocked(errExpired)
	}
}

// Leader returns the name of the process that leads a shard; empty: none.
func (m *Memory) Leader(shard gerritstream.ShardID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.leases[shard]; l != nil && l.holder != nil {
		return l.holder.process.name
	}
	return ""
}

// Entries returns copies of all entries committed, in the order of their
// commits.
func (m *Memory) Entries() []gerritstream.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries := slices.Clone(m.entries)
	for i := range entries {
		entries[i].Payload = bytes.Clone(entries[i].Payload)
	}
	return entries
}

// DeadLetters returns copies of all dead letters held, in the order of their
// commits.
func (m *Memory) DeadLetters() []gerritstream.DeadLetter {
	m.mu.Lock()
	defer m.mu.Unlock()
	dead := make([]gerritstream.DeadLetter, len(m.dead))
	for i := range m.dead {
		dead[i] = m.dead[i].DeadLetter
		dead[i].Payload = bytes.Clone(dead[i].Payload)
	}
	return dead
}

// Position returns a shard's position as stored; ok is false while there is
// none. A damaged one has Unreadable set.
func (m *Memory) Position(epoch int, shard gerritstream.ShardID) (pos gerritstream.Position, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.positions[gerritstream.PositionKey{Epoch: epoch, Shard: shard}]
	if p == nil {
		return gerritstream.Position{}, false
	}
	return p.stored().Position, true
}

// WritePosition stores raw as a shard's position, whatever it is; nil removes
// it. Terms do not notice.
func (m *Memory) WritePosition(epoch int, shard gerritstream.ShardID, raw []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := gerritstream.PositionKey{Epoch: epoch, Shard: shard}
	if raw == nil {
		delete(m.positions, key)
	} else {
		m.positions[key] = &position{raw: bytes.Clone(raw)}
	}
	m.changedLocked()
}

// WriteOrigin stores raw as the origin, whatever it is; nil removes it.
func (m *Memory) WriteOrigin(raw []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.origin = bytes.Clone(raw)
	m.changedLocked()
}

// changedLocked wakes those that wait for a change.
func (m *Memory) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// leaseLocked returns the lease of a shard.
func (m *Memory) leaseLocked(shard gerritstream.ShardID) *lease {
	l := m.leases[shard]
	if l == nil {
		l = &lease{}
		m.leases[shard] = l
	}
	return l
}

// holdersLocked returns the terms that a process holds, by shard.
func (m *Memory) holdersLocked(p *Process) []*term {
	var terms []*term
	for _, shard := range slices.Sorted(maps.Keys(m.leases)) {
		if t := m.leases[shard].holder; t != nil && t.process == p {
			terms = append(terms, t)
		}
	}
	return terms
}

// stored decodes a position and its stamp.
func (p *position) stored() gerritstream.StoredPosition {
	return storekit.StoredPosition(p.raw, p.committed)
}
