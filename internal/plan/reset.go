package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// ResetTarget is where an operator wants a shard to be read from. One of its
// fields is set.
type ResetTarget struct {
	After       gerritstream.SequenceNumber // with the record after this one
	TrimHorizon bool                        // with the oldest record kept
	Latest      bool                        // about 10 s before now
	Time        time.Time                   // with what arrived then or later; not in the service's future
}

// ResetInput is what Reset plans from besides a shard's position.
type ResetInput struct {
	Now      time.Time // the service's clock, as listed; for a sequence number the operator's will do
	Horizon  time.Time // the stream keeps nothing that arrived before; zero: not known
	Earliest time.Time // see EarliestArrival, for a shard without a position
	Arrived  time.Time // for a sequence number: when that record arrived; zero: not known
	Open     bool      // the stream lists the shard as open, so that a position at its end is wrong
}

// ResetPlan is what a reset means for one shard.
type ResetPlan struct {
	From *gerritstream.Position // nil: none yet
	To   *gerritstream.Position // nil: nothing changes, for the reason in Why
	Why  string

	// Again was handled and will be read once more. Skipped was not handled and
	// will not be read; it is among To's Lost. nil: nothing. A zero From means:
	// not known.
	Again, Skipped *gerritstream.Interval
}

// Reset plans to read a shard with this position (nil: none) from a target on.
func Reset(target ResetTarget, stored *gerritstream.Position, in ResetInput) ResetPlan {
	r := reset{in: in, plan: ResetPlan{From: stored}, handled: in.Earliest}
	if stored != nil {
		r.position, r.handled = *stored, stored.HandledUntil()
		r.position.Ended = stored.Ended && !in.Open
	}
	switch {
	case target.After != "":
		r.toRecord(target.After)
	case target.TrimHorizon:
		r.toHorizon()
	case target.Latest:
		r.toLatest()
	default:
		r.toTime(target.Time)
	}
	return r.plan
}

// reset makes a ResetPlan.
type reset struct {
	in       ResetInput
	plan     ResetPlan
	position gerritstream.Position // zero if there is none
	handled  time.Time             // everything that arrived before was handled; zero: not known
}

// back moves back: what arrived from a time on is read again.
func (r *reset) back(to gerritstream.Position, from time.Time) {
	to.Lost = r.position.Lost
	r.plan.To = &to
	if r.plan.From != nil && from.Before(r.handled) {
		r.plan.Again = &gerritstream.Interval{From: from, Until: r.handled, Why: gerritstream.WhySetByOperator}
	}
}

// skip moves ahead: what arrived until a time is not read.
func (r *reset) skip(to gerritstream.Position, until time.Time) {
	i := gerritstream.Interval{From: r.handled, Until: until, Why: gerritstream.WhySetByOperator}
	to.Lost = r.position.Lost
	to = to.WithLost(i)
	r.plan.To, r.plan.Skipped = &to, &i
}

func (r *reset) toRecord(after gerritstream.SequenceNumber) {
	// What arrived until now was handled, whatever is read again: with this
	// arrival the position reports no loss of records that were handled when
	// the stream does not keep them.
	to := gerritstream.Position{After: after, Arrived: r.handled}
	switch c := after.Compare(r.position.After); {
	case r.position.Ended && c > 0:
		r.plan.Why = "it has ended, and was handled to its end"
	case c == 0 && r.plan.From != nil && r.plan.From.Ended: // nothing is read again, but its end is looked at
		r.back(to, r.handled)
	case c == 0 && r.position.Partial == nil:
		r.plan.Why = "it is there already"
	case c <= 0:
		r.back(to, r.in.Arrived)
	default:
		to.Arrived = cmp.Or(r.in.Arrived, r.handled, r.in.Now)
		r.skip(to, cmp.Or(r.in.Arrived, r.in.Now))
	}
}

func (r *reset) toHorizon() {
	if r.position.Ended && r.position.Arrived.Before(r.in.Horizon) {
		r.plan.Why = "it has ended, and the stream keeps nothing of it"
		return
	}
	r.back(gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true, Time: r.handled}}, r.in.Horizon)
}

func (r *reset) toLatest() {
	latest := r.in.Now.Add(-LatestSlack)
	switch {
	case r.position.Ended:
		r.plan.Why = "it has ended, and was handled to its end"
	case !r.handled.Before(latest):
		r.plan.Why = "it is at the tip already"
	default:
		r.toTime(latest)
	}
}

func (r *reset) toTime(t time.Time) {
	to := gerritstream.Position{From: gerritstream.StartingPosition{Time: t.UTC()}}
	switch {
	case r.position.Ended && r.position.Arrived.Before(t):
		r.plan.Why = "it has ended, and nothing in it arrived then or later"
	case t.Before(r.in.Horizon):
		r.toHorizon()
	case r.handled.Before(t): // or not known
		r.skip(to, t)
	default:
		r.back(to, t)
	}
}

// EarliestArrival returns a time before which nothing in a shard without a
// position arrived, by the positions of its ancestors and the origin. Zero: not
// known.
func EarliestArrival(
	shard gerritstream.ShardID, stored gerritstream.Stored, listed []gerritstream.Shard,
) time.Time {
	return earliestArrival(shard, stored, listed, map[gerritstream.ShardID]bool{})
}

func earliestArrival(
	shard gerritstream.ShardID, stored gerritstream.Stored, listed []gerritstream.Shard,
	seen map[gerritstream.ShardID]bool,
) (earliest time.Time) {
	i := slices.IndexFunc(listed, func(s gerritstream.Shard) bool { return s.ID == shard })
	if i < 0 || len(listed[i].Parents) == 0 || seen[shard] {
		if stored.Origin == nil {
			return time.Time{}
		}
		return stored.Origin.From.Time
	}
	seen[shard] = true
	for n, parent := range listed[i].Parents {
		pos, ok := stored.Positions[parent]
		until := pos.Position.HandledUntil() // the shard opened when this one closed
		if !ok {
			until = earliestArrival(parent, stored, listed, seen)
		}
		if n == 0 || until.Before(earliest) {
			earliest = until
		}
	}
	return earliest
}
