package plan

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// State is what is to be done about a shard.
type State int

// The actions of a plan.
const (
	Runnable State = iota // read it
	Waiting               // a parent comes first
	Gone                  // it is gone with records unread: mark it ended
	Ended                 // nothing: it was handled to its end
)

// Step is the plan for one shard.
type Step struct {
	Shard   gerritstream.ShardID
	Parents []gerritstream.ShardID
	State   State
	From    gerritstream.StartingPosition // with ActionRun: where to start; zero if the shard has a position
	WaitFor []gerritstream.ShardID        // with ActionWait: the parents that are not ended
}

// Input is what a plan is made from. The shards must have been listed,
// completely, before the positions were read: otherwise a parent that was read
// to its end and then trimmed, in between, would look as if nobody had followed
// it.
type Input struct {
	Shards    []gerritstream.Shard
	Gone      map[gerritstream.ShardID]bool // shards with a position that two listings at least 30 s apart did not name
	Positions map[gerritstream.ShardID]gerritstream.Position
	Origin    gerritstream.StartingPosition // of the stream
}

// Steps says for each shard what is to be done, in the order of their ids. It is
// a pure function; any process that sees the same comes to the same plan, and
// stale knowledge does no harm, because no shard is ever passed over.
//
//   - A shard that ended is done; one of which something was handled runs from
//     its position.
//   - One of which nothing was handled waits for every parent that is listed or
//     has a position, and has not ended: a parent that nobody followed is run
//     first. Then it runs from its position, if it has one: its parents were
//     ended when it got that, unless an operator sent the family back. Without
//     one, if a parent has a position, the shard starts at its trim horizon,
//     for all its records are news; otherwise it starts where the stream does.
//   - One that is gone with a position, not ended, is closed, so that its
//     children can begin.
func Steps(v Input) []Step {
	listed := make(map[gerritstream.ShardID]bool, len(v.Shards))
	for _, s := range v.Shards {
		listed[s.ID] = true
	}
	steps := make([]Step, 0, len(v.Shards))
	for _, s := range v.Shards {
		steps = append(steps, v.step(s, listed))
	}
	for id, pos := range v.Positions {
		if v.Gone[id] && !listed[id] && !pos.Ended {
			steps = append(steps, Step{Shard: id, State: Gone})
		}
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.Shard, b.Shard) })
	return steps
}

// step plans one listed shard.
func (v *Input) step(s gerritstream.Shard, listed map[gerritstream.ShardID]bool) Step {
	step := Step{Shard: s.ID, Parents: s.Parents, State: Runnable}
	own, positioned := v.Positions[s.ID]
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
		pos, ok := v.Positions[parent]
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
		step.From = v.Origin
	}
	return step
}

// GoneAfter is how far apart two complete listings without a shard must be for
// it to count as gone.
const GoneAfter = 30 * time.Second

// Absences remembers since when shards have been missing from the listings, or
// are listed as they should not be. It is owned by the goroutine of Run.
type Absences map[gerritstream.ShardID]time.Time

// Note takes in a complete listing and the positions read after it, and returns
// the shards that are gone. now is the local monotonic clock at the listing.
func (a Absences) Note(shards []gerritstream.Shard, positions map[gerritstream.ShardID]gerritstream.Position, now time.Time) map[gerritstream.ShardID]bool {
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
