package storetest

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// MemoryConfig configures a Memory. Its zero value is useful.
type MemoryConfig struct {
	// Limits of each commit. Zero fields: 100 items, 900,000 bytes.
	Limits gerritstream.Limits

	// TakeoverAfter is how long the leaderships of a killed or frozen process
	// stand before another can win them, as under a lease. Zero: they are free
	// at once.
	TakeoverAfter time.Duration

	// Deduplicates: an entry that is held already is dropped, as by a store
	// with identities. Otherwise it is held twice, so that a test of what uses
	// the store sees each doubling.
	Deduplicates bool
}

// Memory is a state that any number of processes share, as they share a
// database. See [Memory.Process].
type Memory struct {
	config MemoryConfig

	mu          sync.Mutex                // guards all below, and every Process and term of this Memory
	changed     chan struct{}             // closed and replaced at each change: whoever waits looks again
	hook        Hook                      //
	once        map[Point][]Fault         // queued by FailNext, each for one write
	origin      []byte                    // as stored; nil: none
	positions   map[positionKey]*position //
	leases      map[gerritstream.ShardID]*lease
	entries     []gerritstream.Entry
	held        map[gerritstream.EventID]bool // ids of entries
	dead        []gerritstream.StoredDeadLetter
	discarded   int64
	reports     map[string]report                                    // by id of the process
	members     map[string]gerritstream.Member                       // by id; they do not change
	checkpoints map[gerritstream.ShardID]gerritstream.SequenceNumber // of another program
	processes   int                                                  // made so far
	nonces      uint64
}

type positionKey struct {
	epoch int
	shard gerritstream.ShardID
}

// position is a position as stored.
type position struct {
	raw       []byte
	committed time.Time
}

// lease is the leadership of one shard and the line in front of it. Its number
// outlives every holder.
type lease struct {
	number     uint64
	holder     *term        // nil: free, or a foreign contender's who is first in line
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
		once:        map[Point][]Fault{},
		positions:   map[positionKey]*position{},
		leases:      map[gerritstream.ShardID]*lease{},
		held:        map[gerritstream.EventID]bool{},
		reports:     map[string]report{},
		members:     map[string]gerritstream.Member{},
		checkpoints: map[gerritstream.ShardID]gerritstream.SequenceNumber{},
	}
}

// SetHook makes hook decide over every write from now on; nil ends that.
func (m *Memory) SetHook(hook Hook) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// FailNext makes the next write at point suffer fault; called again, the write
// after it, and so on. It goes before the Hook.
func (m *Memory) FailNext(point Point, fault Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.once[point] = append(m.once[point], fault)
}

// fault asks what befalls a write.
func (m *Memory) fault(w Write) Fault {
	m.mu.Lock()
	if queued := m.once[w.Point]; len(queued) > 0 {
		m.once[w.Point] = queued[1:]
		m.mu.Unlock()
		return queued[0]
	}
	hook := m.hook
	m.mu.Unlock()
	if hook == nil {
		return NoFault
	}
	return hook(w)
}

// ExpireLeadership takes the leadership of a shard away, as an expired session
// does: the term's Context ends, the shard is free. It reports whether anybody
// led.
func (m *Memory) ExpireLeadership(shard gerritstream.ShardID) bool { return m.expire(shard, true) }

// ExpireQuietly does the same without telling the term: it learns of it from
// its next Commit, as after a partition.
func (m *Memory) ExpireQuietly(shard gerritstream.ShardID) bool { return m.expire(shard, false) }

func (m *Memory) expire(shard gerritstream.ShardID, tell bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.leases[shard]
	if l == nil || l.holder == nil {
		return false
	}
	m.takeAwayLocked(l, tell)
	m.changedLocked()
	return true
}

// takeAwayLocked frees a lease that is held. The holder is told, or, while its
// process is frozen, will be when it thaws.
func (m *Memory) takeAwayLocked(l *lease, tell bool) {
	holder := l.holder
	l.holder = nil
	switch {
	case tell && holder.process.frozen != nil:
		holder.process.lost = append(holder.process.lost, holder)
	case tell:
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
	letters := make([]gerritstream.DeadLetter, len(m.dead))
	for i := range m.dead {
		letters[i] = m.dead[i].DeadLetter
		letters[i].Payload = bytes.Clone(letters[i].Payload)
	}
	return letters
}

// Position returns a shard's position as stored; ok is false while there is
// none. One that cannot be understood has Unreadable set.
func (m *Memory) Position(epoch int, shard gerritstream.ShardID) (pos gerritstream.Position, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.positions[positionKey{epoch, shard}]
	if p == nil {
		return gerritstream.Position{}, false
	}
	return p.stored().Position, true
}

// WritePosition stores raw as a shard's position, whatever it is; nil removes
// it. Terms under way do not learn of it.
func (m *Memory) WritePosition(epoch int, shard gerritstream.ShardID, raw []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := positionKey{epoch, shard}
	if raw == nil {
		delete(m.positions, key)
	} else {
		m.positions[key] = &position{raw: bytes.Clone(raw)}
	}
	m.changedLocked()
}

// WriteStart stores raw as the start record, whatever it is; nil removes it.
func (m *Memory) WriteOrigin(raw []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.origin = bytes.Clone(raw)
	m.changedLocked()
}

// changedLocked wakes whoever waits for a change.
func (m *Memory) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// leaseLocked returns the lease of a shard, making it when it is new.
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

// stored returns a position with what is beside it.
func (p *position) stored() gerritstream.StoredPosition {
	return storekit.StoredPosition(p.raw, p.committed)
}
