package plan

import (
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// ResetTarget is where an operator wants a shard to be read from: behind a record, or
// from a point of the stream. One of its fields is set.
type ResetTarget struct {
	After       gerritstream.SequenceNumber // behind this record: the next one read is the one after it
	TrimHorizon bool                        // with the oldest record kept
	Latest      bool                        // about 10 s before now
	Time        time.Time                   // with what arrived then or later
}

// ResetInput is what must be known besides a shard's position to take aim.
type ResetInput struct {
	Now      time.Time // the service's clock, as listed; for a sequence number the operator's will do
	Horizon  time.Time // the stream keeps nothing that arrived before; zero: not known
	Earliest time.Time // for a shard without a position: nothing in it arrived before; zero: not known
	Arrived  time.Time // for a sequence number: when that record arrived; zero: not known
	Open     bool      // the stream lists the shard as open: a position at its end is wrong
}

// ResetPlan is what an Aim means for one shard.
type ResetPlan struct {
	From *gerritstream.Position // nil: none yet
	To   *gerritstream.Position // nil: nothing is to be changed, for the reason in Why
	Why  string

	// Again is what was handled and will be read once more, and Skipped what
	// was not handled and will not be read: it is among To's Lost. nil:
	// nothing. A zero From means: not known.
	Again, Skipped *gerritstream.Interval
}

// Plan says what becomes of a shard with this position (nil: none) when it is
// read from where the Aim says. It is a pure function. The Time of an Aim must
// not be in the service's future.
func (a ResetTarget) Plan(stored *gerritstream.Position, m ResetInput) ResetPlan {
	s := resetPlanner{move: ResetPlan{From: stored}, handled: m.Earliest, ResetInput: m}
	if stored != nil {
		s.position, s.handled = *stored, stored.HandledUntil()
		s.position.Ended = stored.Ended && !m.Open
	}
	switch {
	case a.After != "":
		s.toRecord(a.After)
	case a.TrimHorizon:
		s.toHorizon()
	case a.Latest:
		s.toLatest()
	default:
		s.toTime(a.Time)
	}
	return s.move
}

// resetPlanner is a Move in the making.
type resetPlanner struct {
	ResetInput
	move     ResetPlan
	position gerritstream.Position // the zero value if there is none
	handled  time.Time             // everything that arrived before has been handled; zero: not known
}

// stay: nothing is to be changed.
func (s *resetPlanner) stay(why string) { s.move.Why = why }

// again goes back: what is read once more arrived from a time on.
func (s *resetPlanner) again(to gerritstream.Position, from time.Time) {
	to.Lost = s.position.Lost
	s.move.To = &to
	if s.move.From != nil && from.Before(s.handled) {
		s.move.Again = &gerritstream.Interval{From: from, Until: s.handled, Why: gerritstream.WhySetByOperator}
	}
}

// skip goes ahead: what arrived until a time is not read.
func (s *resetPlanner) skip(to gerritstream.Position, until time.Time) {
	i := gerritstream.Interval{From: s.handled, Until: until, Why: gerritstream.WhySetByOperator}
	to.Lost = s.position.Lost
	to = to.WithLost(i)
	s.move.To, s.move.Skipped = &to, &i
}

func (s *resetPlanner) toRecord(after gerritstream.SequenceNumber) {
	switch c := after.Compare(s.position.After); {
	case s.position.Ended && c > 0:
		s.stay("it has ended, and was handled to its end")
	case c == 0 && s.move.From != nil && s.move.From.Ended: // nothing is read again, but its end is looked at
		s.again(gerritstream.Position{After: after, Arrived: s.handled}, s.handled)
	case c == 0 && s.position.Partial == nil:
		s.stay("it is there already")
	case c <= 0:
		// What arrived until now has been handled, whatever is read once more:
		// the arrival stands for that, lest records that were handled are
		// reported as lost when the stream does not keep them.
		s.again(gerritstream.Position{After: after, Arrived: s.handled}, s.Arrived)
	default:
		arrived := firstOf(s.Arrived, s.handled, s.Now)
		s.skip(gerritstream.Position{After: after, Arrived: arrived}, firstOf(s.Arrived, s.Now))
	}
}

// firstOf returns the first time that is known.
func firstOf(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

func (s *resetPlanner) toHorizon() {
	if s.position.Ended && s.position.Arrived.Before(s.Horizon) {
		s.stay("it has ended, and the stream keeps nothing of it")
		return
	}
	s.again(gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true, Time: s.handled}}, s.Horizon)
}

func (s *resetPlanner) toLatest() {
	tip := s.Now.Add(-LatestSlack)
	switch {
	case s.position.Ended:
		s.stay("it has ended, and was handled to its end")
	case !s.handled.Before(tip):
		s.stay("it is at the tip already")
	default:
		s.toTime(tip)
	}
}

func (s *resetPlanner) toTime(t time.Time) {
	to := gerritstream.Position{From: gerritstream.StartingPosition{Time: t.UTC()}}
	switch {
	case s.position.Ended && s.position.Arrived.Before(t):
		s.stay("it has ended, and nothing in it arrived then or later")
	case t.Before(s.Horizon):
		s.toHorizon()
	case s.handled.Before(t): // or not known
		s.skip(to, t)
	default:
		s.again(to, t)
	}
}

// EarliestArrival returns a time before which nothing in a shard without a position
// arrived, as far as the positions of those it comes from tell, and the start
// record: for Moment. Zero: not known.
func EarliestArrival(shard gerritstream.ShardID, stored gerritstream.Stored, listed []gerritstream.Shard) time.Time {
	return earliestArrival(shard, stored, listed, map[gerritstream.ShardID]bool{})
}

func earliestArrival(shard gerritstream.ShardID, stored gerritstream.Stored, listed []gerritstream.Shard, seen map[gerritstream.ShardID]bool) (earliest time.Time) {
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
