package consumer

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// tracker is where everything a Consumer does leaves its state, for Status to
// copy.
type tracker struct {
	mu         sync.Mutex
	head       gerritstream.Status                                // under mu; without its shards
	shards     map[gerritstream.ShardID]*gerritstream.ShardStatus // under mu
	holds      map[gerritstream.ShardID]*hold                     // under mu; "": of the process as a whole
	paged      map[gerritstream.ShardID]time.Time                 // under mu: local, when a shard that is led here got its last page, or its term
	busy       map[gerritstream.ShardID]activity                  // under mu: what the reader of a shard that is led here waits for
	heartbeats map[string]time.Time                               // under mu: local, when each part that runs showed last that it goes on
	clock      *serviceClock
	rate       rate // under mu: of dead letters

	foreigners map[gerritstream.ShardID]foreignSeen // under mu: what is known of shards that other programs lead
}

// foreignSeen is how far another program is with a shard that it leads.
type foreignSeen struct {
	until time.Time // what arrived before is handled; zero: not known
	late  time.Time // since when a record waits for too long; zero: none does
	clear time.Time // the service's: nothing was behind its checkpoint then; zero: not known
}

// activity is a call that a reader waits for.
type activity struct {
	what  string
	since time.Time // local
}

func newTracker(process string, clock *serviceClock) *tracker {
	return &tracker{
		head: gerritstream.Status{Process: process}, shards: map[gerritstream.ShardID]*gerritstream.ShardStatus{}, holds: map[gerritstream.ShardID]*hold{},
		paged: map[gerritstream.ShardID]time.Time{}, busy: map[gerritstream.ShardID]activity{}, heartbeats: map[string]time.Time{}, clock: clock,
		foreigners: map[gerritstream.ShardID]foreignSeen{},
	}
}

// status returns a copy.
func (b *tracker) status() gerritstream.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, now := b.head, time.Now()
	s.DeadRate = b.rate.status()
	if h := b.holds[""]; h != nil && (s.Listed.IsZero() && !h.since.IsZero() || h.counts(0, now)) {
		s.Trouble = h.text
	}
	s.Shards = make([]gerritstream.ShardStatus, 0, len(b.shards))
	for _, id := range slices.Sorted(maps.Keys(b.shards)) {
		shard := *b.shards[id]
		b.age(&shard, now)
		if shard.State == gerritstream.StateReading && !shard.AtTip {
			s.Lagging++
		}
		if h := b.holds[id]; h != nil && (shard.Term != 0 || h.isRecent(now)) && h.counts(shard.Lag, now) {
			shard.Trouble = h.text
		}
		if shard.Trouble == "" {
			shard.Trouble = b.heldUp(id, now)
		}
		s.Shards = append(s.Shards, shard)
	}
	return s
}

const (
	// silentFor is how long a shard that is led may get no page before its
	// distance from the tip grows by the clock.
	silentFor = 30 * time.Second

	// freshFor is how old the position of a shard at its tip may be: progress
	// is committed every 30 s, and others look at it then.
	freshFor = 90 * time.Second
)

// age moves what was seen of a shard on to now, so that a shard of which
// nothing is heard falls behind. The caller holds mu.
func (b *tracker) age(s *gerritstream.ShardStatus, now time.Time) {
	switch paged, led := b.paged[s.Shard]; {
	case s.State == gerritstream.StateEnded:
	case led && now.Sub(paged) >= silentFor:
		s.Lag += now.Sub(paged)
		s.AtTip = false
	case !led:
		s.Lag = b.distance(s.HandledUntil)
	}
}

// pageWithin is how long a healthy source takes for a page at the most: the
// longest poll interval and a retry.
const pageWithin = 90 * time.Second

// heldUp says what holds up a shard that is led here, without an error, for so
// long that it counts; empty: nothing. The caller holds mu.
func (b *tracker) heldUp(id gerritstream.ShardID, now time.Time) string {
	if a, ok := b.busy[id]; ok && now.Sub(a.since) >= lastsFor {
		return "waiting for " + a.what
	}
	if paged, led := b.paged[id]; led && now.Sub(paged) >= pageWithin {
		return "waiting for a page: the source is silent, or there is no memory for one"
	}
	return ""
}

// wait notes that the reader of a shard waits for something, until done is
// called.
func (b *tracker) wait(id gerritstream.ShardID, what string) (done func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy[id] = activity{what, time.Now()}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.busy, id)
	}
}

// stuck returns what holds up the shards that are led here, without an error.
func (b *tracker) stuck() map[gerritstream.ShardID]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, all := time.Now(), map[gerritstream.ShardID]string{}
	for id := range b.paged {
		if h := b.holds[id]; h != nil && !h.since.IsZero() || b.shards[id].Trouble != "" {
			continue // it says itself why it does not go on
		}
		if what := b.heldUp(id, now); what != "" {
			all[id] = what
		}
	}
	return all
}

// distance is how far a shard is behind its tip as far as its position tells.
func (b *tracker) distance(handled time.Time) time.Duration {
	now := b.clock.now()
	if handled.IsZero() || now.IsZero() || now.Sub(handled) < freshFor {
		return 0
	}
	return now.Sub(handled)
}

// read notes a page of a shard.
func (b *tracker) read(id gerritstream.ShardID, change func(*gerritstream.ShardStatus)) {
	now := time.Now()
	b.shard(id, func(s *gerritstream.ShardStatus) {
		b.paged[id] = now
		change(s)
	})
}

// met notes trouble of a shard, or of the process as a whole (empty), and
// returns whether it counts.
func (b *tracker) met(id gerritstream.ShardID, text string, grave bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.holds[id]
	if h == nil {
		h = &hold{}
		b.holds[id] = h
	}
	var behind time.Duration
	if s := b.shards[id]; s != nil {
		behind = s.Lag
	}
	now := time.Now()
	h.met(text, grave, behind, now)
	return h.counts(behind, now)
}

// passed notes that nothing holds a shard up any more, or the process as a
// whole.
func (b *tracker) passed(id gerritstream.ShardID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h := b.holds[id]; h != nil {
		h.passed()
	}
}

// report returns what the other processes do not say: the shards that this one
// leads, those that are planned for it, and, by the first of the members, those
// that nobody leads and that are planned for nobody, for they wait. What has
// ended is told by its position.
func (b *tracker) report() gerritstream.Status {
	s := b.status()
	first := len(s.Members) == 0 || s.Members[0].Self
	s.Shards = slices.DeleteFunc(s.Shards, func(shard gerritstream.ShardStatus) bool {
		switch {
		case shard.Term != 0, shard.Leader.Planned == s.Process, shard.OpenAfterEnd && first:
			return false
		case shard.State == gerritstream.StateEnded || shard.Leader.Process != "" || shard.Leader.Planned != "":
			return true
		}
		return !first
	})
	return s
}

// set changes the head.
func (b *tracker) set(change func(*gerritstream.Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.head)
}

// shard changes one shard, which is made if need be.
func (b *tracker) shard(id gerritstream.ShardID, change func(*gerritstream.ShardStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.shards[id]
	if !ok {
		s = &gerritstream.ShardStatus{Shard: id}
		become(s, gerritstream.StateStandby)
		b.shards[id] = s
	}
	change(s)
}

// plan takes in a plan and the positions it was made from: states of shards
// that nothing is done about here, and shards that are no more. What a running
// worker says of its own shard is left alone.
func (b *tracker) plan(steps []plan.Step, positions map[gerritstream.ShardID]gerritstream.Position, working func(gerritstream.ShardID) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := make(map[gerritstream.ShardID]bool, len(steps))
	for _, step := range steps {
		seen[step.Shard] = true
		s, ok := b.shards[step.Shard]
		if !ok {
			s = &gerritstream.ShardStatus{Shard: step.Shard}
			become(s, gerritstream.StateStandby)
			b.shards[step.Shard] = s
		}
		s.Parents, s.WaitingFor = step.Parents, step.WaitFor
		if s.Term == 0 { // another process may be moving it
			s.Position = positions[step.Shard]
			if !s.Leader.Foreign { // who leads it is looked up next, and that may take a while
				s.HandledUntil = b.handledUntil(step, positions)
			}
		}
		runs := step.State == plan.Runnable || step.State == plan.Gone
		if runs && (s.State == gerritstream.StateWaiting || s.State == gerritstream.StateEnded) {
			become(s, gerritstream.StateStandby)
			s.AtTip = false
		}
		if working(step.Shard) {
			continue
		}
		switch step.State {
		case plan.Waiting:
			become(s, gerritstream.StateWaiting)
		case plan.Ended:
			become(s, gerritstream.StateEnded)
			s.Lag, s.AtTip = 0, true
		}
	}
	for id := range b.shards {
		if !seen[id] && !working(id) {
			delete(b.shards, id)
			delete(b.holds, id)
		}
	}
}

// handledUntil returns until when what arrived in a shard has been handled, as
// far as its position tells, or, if it has none, what it comes from. Zero: not
// known. The caller holds mu.
func (b *tracker) handledUntil(step plan.Step, positions map[gerritstream.ShardID]gerritstream.Position) time.Time {
	if own, ok := positions[step.Shard]; ok {
		return own.HandledUntil()
	}
	until := step.From.Time
	for _, id := range step.WaitFor { // the shard opened when they closed
		parent := b.shards[id] // planned before its children: ids grow
		if parent != nil && (until.IsZero() || !parent.HandledUntil.IsZero() && parent.HandledUntil.Before(until)) {
			until = parent.HandledUntil
		}
	}
	return until
}

// reopened takes in which shards have ended here and are open in the stream.
func (b *tracker) reopened(open map[gerritstream.ShardID]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, s := range b.shards {
		s.OpenAfterEnd = open[id]
	}
}

// isReopened reports whether a shard was said to have ended here and to be
// open.
func (b *tracker) isReopened(id gerritstream.ShardID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.shards[id]
	return ok && s.OpenAfterEnd
}

// assign takes in whose the shards are and are to be, and the members.
func (b *tracker) assign(members []gerritstream.MemberStatus, whose func(gerritstream.ShardID) (leader gerritstream.Candidate, planned string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.head.Members = members
	for id, s := range b.shards {
		leader, planned := whose(id)
		s.Leader = gerritstream.ShardLeader{Process: leader.Member, Foreign: leader.Foreign, Planned: planned}
		if !s.Leader.Foreign || s.Term != 0 || planned != b.head.Process {
			delete(b.foreigners, id)
		}
		if s.Leader.Foreign && s.Term == 0 { // it keeps its own position
			s.HandledUntil, s.Leader.Unread = b.foreigners[id].until, b.foreigners[id].late
		}
	}
}

// foreignClear returns when nothing was left to read for another program that
// leads a shard, by the service's clock; zero: not known.
func (b *tracker) foreignClear(id gerritstream.ShardID) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.foreigners[id].clear
}

// foreign notes how far another program is with a shard.
func (b *tracker) foreign(id gerritstream.ShardID, seen foreignSeen) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.foreigners[id] = seen
	if s, ok := b.shards[id]; ok && s.Leader.Foreign && s.Term == 0 {
		s.HandledUntil, s.Leader.Unread = seen.until, seen.late
	}
}

// leading returns the shards that this process leads, by id.
func (b *tracker) leading() []gerritstream.ShardID {
	b.mu.Lock()
	defer b.mu.Unlock()
	var leads []gerritstream.ShardID
	for id, s := range b.shards {
		if s.Term != 0 {
			leads = append(leads, id)
		}
	}
	slices.Sort(leads)
	return leads
}

// position returns a shard's position as this process knows it; the zero value
// for none.
func (b *tracker) position(id gerritstream.ShardID) gerritstream.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.shards[id]; ok {
		return s.Position
	}
	return gerritstream.Position{}
}

// elected notes the beginning of a term.
func (b *tracker) elected(id gerritstream.ShardID, term uint64, pos gerritstream.Position) {
	now := time.Now()
	b.shard(id, func(s *gerritstream.ShardStatus) {
		if h := b.holds[id]; h != nil && !h.isRecent(time.Now()) {
			delete(b.holds, id) // of a term long ago
		}
		s.State, s.Since = gerritstream.StateReading, time.Now()
		s.Term, s.Position, s.Trouble, s.AtTip = term, pos, "", false
		if until := pos.HandledUntil(); !until.IsZero() {
			s.HandledUntil = until
		}
		s.Lag = b.distance(s.HandledUntil)
		b.paged[id] = now
	})
}

// committed notes a durable commit.
func (b *tracker) committed(id gerritstream.ShardID, c *gerritstream.Commit, filtered uint64) {
	now := time.Now()
	b.shard(id, func(s *gerritstream.ShardStatus) {
		s.Position, s.Last.Commit = c.Position, now
		if until := c.Position.HandledUntil(); !until.IsZero() {
			s.HandledUntil = until
		}
		s.Counts.Queued += uint64(len(c.Entries))
		s.Counts.Dead += uint64(len(c.DeadLetters))
		s.Counts.Filtered += filtered
		b.rate.add(len(c.Entries)+len(c.DeadLetters)+int(filtered), c.DeadLetters, now) //nolint:gosec // a commit's worth
	})
}

// deadRate returns how many of the last records became dead letters; nil: none
// ever did.
func (b *tracker) deadRate() *gerritstream.DeadRate {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rate.status()
}

// resigned notes the end of a term.
func (b *tracker) resigned(id gerritstream.ShardID) {
	b.shard(id, func(s *gerritstream.ShardStatus) {
		s.Term, s.Lag, s.AtTip = 0, 0, s.Position.Ended
		delete(b.paged, id)
		if s.Position.Ended {
			become(s, gerritstream.StateEnded)
		} else {
			become(s, gerritstream.StateStandby)
		}
	})
}

// become changes the State of a shard.
func become(s *gerritstream.ShardStatus, state gerritstream.State) {
	if s.State != state {
		s.State, s.Since = state, time.Now()
	}
}
