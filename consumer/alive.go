package consumer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

const (
	// beatWithin is how long one round of planning, or one report, may take.
	// Each of the calls within it ends after some seconds, by the contracts of
	// Source and Store.
	heartbeatWithin = 2 * time.Minute

	// moveWithin is how long the reader of a shard may show nothing at all: no
	// page, no trouble, no commit. While others do, it may be its turn for
	// memory that it waits for: each of them may hold that for as long as is no
	// trouble.
	moveWithin = 5 * time.Minute
)

// The parts of a Consumer that show that they go on.
const (
	partPlan   = "planning"
	partReport = "reporting to the store"
)

// heartbeat notes that a part goes on.
func (b *tracker) heartbeat(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heartbeats[part] = time.Now()
}

// endHeartbeats notes that nothing runs any more, and nothing is expected.
func (b *tracker) endHeartbeats() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.heartbeats)
}

// alive implements Consumer.Alive.
func (b *tracker) alive() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	var still []error
	for _, part := range slices.Sorted(maps.Keys(b.heartbeats)) {
		if d := now.Sub(b.heartbeats[part]); d > heartbeatWithin {
			still = append(still, fmt.Errorf("%s stands still for %s", part, d.Round(time.Second)))
		}
	}
	if len(b.heartbeats) == 0 || b.anyBusy(now) {
		return errors.Join(still...)
	}
	moves, last := b.moves()
	within := moveWithin
	if now.Sub(last) <= moveWithin {
		within += time.Duration(len(moves)-1) * lastsFor
	}
	for _, id := range slices.Sorted(maps.Keys(moves)) {
		if d := now.Sub(moves[id]); d > within {
			still = append(still, fmt.Errorf("the reading of %s stands still for %s", id, d.Round(time.Second)))
		}
	}
	return errors.Join(still...)
}

// moves returns when the reader of each shard that is read here showed
// something last, and when the last of them did. The caller holds mu.
func (b *tracker) moves() (moves map[gerritstream.ShardID]time.Time, last time.Time) {
	moves = make(map[gerritstream.ShardID]time.Time, len(b.paged))
	for id, moved := range b.paged {
		s := b.shards[id]
		if s == nil || s.State != gerritstream.StateReading {
			continue
		}
		if h := b.holds[id]; h != nil && h.last.After(moved) {
			moved = h.last
		}
		if s.Last.Commit.After(moved) {
			moved = s.Last.Commit
		}
		moves[id] = moved
		if moved.After(last) {
			last = moved
		}
	}
	return moves, last
}

// anyBusy reports whether the reader of some shard waits for a sink or a
// commit: the memory that it holds may be what others wait for. The caller
// holds mu.
func (b *tracker) anyBusy(now time.Time) bool {
	for _, a := range b.busy {
		if now.Sub(a.since) >= lastsFor {
			return true
		}
	}
	return false
}
