// Package plan decides, without doing anything: which shards can be read and
// from where (lineage), which member leads them (assignment), where a stream
// begins (origin), and what an operator's commands mean (reset, prune,
// redrive). Its functions are pure, apart from Absences, which remembers. Any
// process that sees the same comes to the same plan.
package plan

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// State is what has to be done about a shard.
type State int

// The states of a plan.
const (
	Runnable State = iota // it can be read
	Waiting               // a parent comes first
	Gone                  // it is gone with records unread, and has to be marked ended
	Ended                 // it was handled to its end
)

// Step is the plan for one shard.
type Step struct {
	Shard   gerritstream.ShardID
	Parents []gerritstream.ShardID
	State   State
	From    gerritstream.StartingPosition // with Runnable: where to start; zero if the shard has a position
	WaitFor []gerritstream.ShardID        // with Waiting: the parents that have not ended
}

// Input is what Steps plans from. The shards must have been listed completely
// before the positions were read: otherwise a parent that was read to its end
// and trimmed in between would look as if it had never been followed.
type Input struct {
	Shards    []gerritstream.Shard
	Gone      map[gerritstream.ShardID]bool // see Absences
	Positions map[gerritstream.ShardID]gerritstream.Position
	Origin    gerritstream.StartingPosition // of the stream
}

// Steps plans each shard, in the order of IDs. Stale knowledge does no harm,
// because no shard is ever passed over.
//
//   - A shard that has ended is done. One of which something was handled runs
//     from its position.
//   - Another one waits for every parent that has not ended and is listed or
//     has a position: a parent that was never followed runs first. Then it runs
//     from its position, if it has one: it got that after its parents' ends,
//     unless an operator moved the whole family back. Without a position it
//     starts at its trim horizon if a parent was followed, for all its records
//     are new; otherwise where the stream begins.
//   - A shard that is gone with a position, and not ended, is marked ended, so
//     that its children can start.
func Steps(in Input) []Step {
	listed := make(map[gerritstream.ShardID]bool, len(in.Shards))
	for _, s := range in.Shards {
		listed[s.ID] = true
	}
	steps := make([]Step, 0, len(in.Shards))
	for _, s := range in.Shards {
		steps = append(steps, in.step(s, listed))
	}
	for id, pos := range in.Positions {
		if in.Gone[id] && !listed[id] && !pos.Ended {
			steps = append(steps, Step{Shard: id, State: Gone})
		}
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.Shard, b.Shard) })
	return steps
}

// step plans one listed shard.
func (in *Input) step(s gerritstream.Shard, listed map[gerritstream.ShardID]bool) Step {
	step := Step{Shard: s.ID, Parents: s.Parents, State: Runnable}
	own, positioned := in.Positions[s.ID]
	switch {
	case positioned && own.Ended:
		step.State = Ended
		return step
	case positioned && own.Begun():
		return step
	}
	followed := false
	var since time.Time
	for _, parent := range s.Parents {
		pos, ok := in.Positions[parent]
		switch {
		case ok && !pos.Ended, !ok && listed[parent]:
			step.WaitFor = append(step.WaitFor, parent)
		case ok:
			if until := pos.HandledUntil(); !followed || until.Before(since) {
				since = until
			}
			followed = true
		}
	}
	switch {
	case len(step.WaitFor) > 0:
		step.State = Waiting
	case positioned:
	case followed:
		step.From = gerritstream.StartingPosition{TrimHorizon: true, Time: since}
	default:
		step.From = in.Origin
	}
	return step
}

// GoneAfter is how far apart two complete listings without a shard must be for
// the shard to count as gone.
const GoneAfter = 30 * time.Second

// Absences remembers since when shards have been missing from the listings, or
// have been listed although they should not be. One goroutine uses it.
type Absences map[gerritstream.ShardID]time.Time

// Note takes in a complete listing, made at now by the local monotonic clock,
// and the positions read after it. It returns the shards that are gone.
func (a Absences) Note(
	shards []gerritstream.Shard, positions map[gerritstream.ShardID]gerritstream.Position, now time.Time,
) map[gerritstream.ShardID]bool {
	listed := make(map[gerritstream.ShardID]bool, len(shards))
	for _, s := range shards {
		listed[s.ID] = true
		delete(a, s.ID)
	}
	gone := map[gerritstream.ShardID]bool{}
	for id := range positions {
		if listed[id] {
			continue
		}
		if first, ok := a[id]; !ok {
			a[id] = now
		} else if now.Sub(first) >= GoneAfter {
			gone[id] = true
		}
	}
	maps.DeleteFunc(a, func(id gerritstream.ShardID, _ time.Time) bool { _, ok := positions[id]; return !ok })
	return gone
}
