package consumer

import (
	"maps"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// frontier is how far this process knows the shards of the stream to be handled
// and committed. That something was committed stays true, whoever leads: there
// is no need of a fence. Several goroutines may call its methods at once.
type frontier struct {
	mu    sync.Mutex
	epoch int
	until map[gerritstream.ShardID]time.Time // under mu: see Consumer.Frontier
}

// plan takes in a plan, the listing it was made from and the positions that
// were read after it.
//
// A shard that has ended is left out once it was listed as closed: its children
// were listed with it. Until then it stays, and holds up the others at its end,
// because records of children that nobody knows of arrived later than that. A
// shard that waits for a parent is left out: the parent stands for it. One that
// has a position and is not listed may be gone, and stays until it is marked
// ended.
func (f *frontier) plan(
	epoch int, listing *gerritstream.Listing, steps []plan.Step, positions storedPositions,
) {
	closed := shardSet{}
	for _, s := range listing.Shards {
		closed[s.ID] = s.Last != ""
	}
	until := map[gerritstream.ShardID]time.Time{}
	for _, step := range steps {
		pos, positioned := positions[step.Shard]
		switch {
		case step.State == plan.Waiting, step.State == plan.Ended && closed[step.Shard]:
		case positioned:
			until[step.Shard] = pos.HandledUntil()
		default:
			until[step.Shard] = step.From.Time
		}
	}
	for shard, pos := range positions {
		if _, listed := closed[shard]; !listed && !pos.Ended {
			until[shard] = pos.HandledUntil()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.epoch == epoch {
		for shard := range until {
			if known := f.until[shard]; known.After(until[shard]) {
				until[shard] = known
			}
		}
	}
	f.epoch, f.until = epoch, until
}

// reached notes that what arrived in a shard before a time is committed.
func (f *frontier) reached(epoch int, shard gerritstream.ShardID, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, open := f.until[shard]; open && f.epoch == epoch && until.After(known) {
		f.until[shard] = until
	}
}

// Frontier returns, for each shard that may still bring events, a time: of what
// arrived there before it, everything is committed; zero: not known. A shard
// that is missing opens when one closes that is there. until is nil while
// nothing is known. It may be called at any time.
//
// For the shards that this process leads it is as of the last page. Those of
// others are as old as their stored positions: half a minute if they are idle.
// Who puts the frontiers of all processes together knows more: see
// queue.Frontier.
func (c *Consumer) Frontier() (epoch int, until map[gerritstream.ShardID]time.Time) {
	c.frontier.mu.Lock()
	defer c.frontier.mu.Unlock()
	return c.frontier.epoch, maps.Clone(c.frontier.until)
}
