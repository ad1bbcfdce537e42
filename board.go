package gerritstream

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// board is where everything a Listener does leaves its state, for Status to
// copy.
type board struct {
	mu     sync.Mutex
	head   Status                   // under mu; without its shards
	shards map[ShardID]*ShardStatus // under mu
	holds  map[ShardID]*hold        // under mu; "": of the process as a whole
	paged  map[ShardID]time.Time    // under mu: local, when a shard that is led here got its last page, or its term
	busy   map[ShardID]activity     // under mu: what the reader of a shard that is led here waits for
	beats  map[string]time.Time     // under mu: local, when each part that runs showed last that it goes on
	clock  *serviceClock
	rate   rate // under mu: of dead letters

	foreigners map[ShardID]foreignSeen // under mu: what is known of shards that other programs lead
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

func newBoard(process string, clock *serviceClock) *board {
	return &board{
		head: Status{Process: process}, shards: map[ShardID]*ShardStatus{}, holds: map[ShardID]*hold{},
		paged: map[ShardID]time.Time{}, busy: map[ShardID]activity{}, beats: map[string]time.Time{}, clock: clock,
		foreigners: map[ShardID]foreignSeen{},
	}
}

// status returns a copy.
func (b *board) status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, now := b.head, time.Now()
	s.DeadRate = b.rate.shown()
	if h := b.holds[""]; h != nil && (s.Listed.IsZero() && !h.since.IsZero() || h.counts(0, now)) {
		s.Trouble = h.text
	}
	s.Shards = make([]ShardStatus, 0, len(b.shards))
	for _, id := range slices.Sorted(maps.Keys(b.shards)) {
		shard := *b.shards[id]
		b.age(&shard, now)
		if shard.State == StateReading && !shard.AtTip {
			s.Behind++
		}
		if h := b.holds[id]; h != nil && (shard.Term != 0 || h.isRecent(now)) && h.counts(shard.Behind, now) {
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
func (b *board) age(s *ShardStatus, now time.Time) {
	switch paged, led := b.paged[s.Shard]; {
	case s.State == StateEnded:
	case led && now.Sub(paged) >= silentFor:
		s.Behind += now.Sub(paged)
		s.AtTip = false
	case !led:
		s.Behind = b.distance(s.HandledUntil)
	}
}

// pageWithin is how long a healthy source takes for a page at the most: the
// longest poll interval and a retry.
const pageWithin = 90 * time.Second

// heldUp says what holds up a shard that is led here, without an error, for so
// long that it counts; empty: nothing. The caller holds mu.
func (b *board) heldUp(id ShardID, now time.Time) string {
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
func (b *board) wait(id ShardID, what string) (done func()) {
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
func (b *board) stuck() map[ShardID]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, all := time.Now(), map[ShardID]string{}
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
func (b *board) distance(handled time.Time) time.Duration {
	now := b.clock.now()
	if handled.IsZero() || now.IsZero() || now.Sub(handled) < freshFor {
		return 0
	}
	return now.Sub(handled)
}

// read notes a page of a shard.
func (b *board) read(id ShardID, change func(*ShardStatus)) {
	now := time.Now()
	b.shard(id, func(s *ShardStatus) {
		b.paged[id] = now
		change(s)
	})
}

// met notes trouble of a shard, or of the process as a whole (empty), and
// returns whether it counts.
func (b *board) met(id ShardID, text string, grave bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.holds[id]
	if h == nil {
		h = &hold{}
		b.holds[id] = h
	}
	var behind time.Duration
	if s := b.shards[id]; s != nil {
		behind = s.Behind
	}
	now := time.Now()
	h.met(text, grave, behind, now)
	return h.counts(behind, now)
}

// passed notes that nothing holds a shard up any more, or the process as a
// whole.
func (b *board) passed(id ShardID) {
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
func (b *board) report() Status {
	s := b.status()
	first := len(s.Members) == 0 || s.Members[0].Self
	s.Shards = slices.DeleteFunc(s.Shards, func(shard ShardStatus) bool {
		switch {
		case shard.Term != 0, shard.PlannedFor == s.Process, shard.OpenAfterEnd && first:
			return false
		case shard.State == StateEnded || shard.Leader != "" || shard.PlannedFor != "":
			return true
		}
		return !first
	})
	return s
}

// set changes the head.
func (b *board) set(change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.head)
}

// shard changes one shard, which is made if need be.
func (b *board) shard(id ShardID, change func(*ShardStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.shards[id]
	if !ok {
		s = &ShardStatus{Shard: id}
		s.become(StateStandby)
		b.shards[id] = s
	}
	change(s)
}

// plan takes in a plan and the positions it was made from: states of shards
// that nothing is done about here, and shards that are no more. What a running
// worker says of its own shard is left alone.
func (b *board) plan(steps []Step, positions map[ShardID]Position, working func(ShardID) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := make(map[ShardID]bool, len(steps))
	for _, step := range steps {
		seen[step.Shard] = true
		s, ok := b.shards[step.Shard]
		if !ok {
			s = &ShardStatus{Shard: step.Shard}
			s.become(StateStandby)
			b.shards[step.Shard] = s
		}
		s.Parents, s.WaitingFor = step.Parents, step.WaitFor
		if s.Term == 0 { // another process may be moving it
			s.Position = positions[step.Shard]
			if !s.Foreign { // who leads it is looked up next, and that may take a while
				s.HandledUntil = b.handledUntil(step, positions)
			}
		}
		runs := step.Action == ActionRun || step.Action == ActionClose
		if runs && (s.State == StateWaiting || s.State == StateEnded) {
			s.become(StateStandby)
			s.AtTip = false
		}
		if working(step.Shard) {
			continue
		}
		switch step.Action {
		case ActionWait:
			s.become(StateWaiting)
		case ActionEnded:
			s.become(StateEnded)
			s.Behind, s.AtTip = 0, true
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
func (b *board) handledUntil(step Step, positions map[ShardID]Position) time.Time {
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
func (b *board) reopened(open map[ShardID]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, s := range b.shards {
		s.OpenAfterEnd = open[id]
	}
}

// isReopened reports whether a shard was said to have ended here and to be
// open.
func (b *board) isReopened(id ShardID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.shards[id]
	return ok && s.OpenAfterEnd
}

// shares takes in whose the shards are and are to be, and the members.
func (b *board) shares(members []MemberStatus, whose func(ShardID) (leader Contender, planned string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.head.Members = members
	for id, s := range b.shards {
		leader, planned := whose(id)
		s.Leader, s.Foreign, s.PlannedFor = leader.Member, leader.Foreign, planned
		s.ForeignUnread = time.Time{}
		if !s.Foreign || s.Term != 0 || planned != b.head.Process {
			delete(b.foreigners, id)
		}
		if s.Foreign && s.Term == 0 { // it keeps its own position
			s.HandledUntil, s.ForeignUnread = b.foreigners[id].until, b.foreigners[id].late
		}
	}
}

// foreignClear returns when nothing was left to read for another program that
// leads a shard, by the service's clock; zero: not known.
func (b *board) foreignClear(id ShardID) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.foreigners[id].clear
}

// foreign notes how far another program is with a shard.
func (b *board) foreign(id ShardID, seen foreignSeen) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.foreigners[id] = seen
	if s, ok := b.shards[id]; ok && s.Foreign && s.Term == 0 {
		s.HandledUntil, s.ForeignUnread = seen.until, seen.late
	}
}

// leading returns the shards that this process leads, by id.
func (b *board) leading() []ShardID {
	b.mu.Lock()
	defer b.mu.Unlock()
	var leads []ShardID
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
func (b *board) position(id ShardID) Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.shards[id]; ok {
		return s.Position
	}
	return Position{}
}

// elected notes the beginning of a term.
func (b *board) elected(id ShardID, term uint64, pos Position) {
	now := time.Now()
	b.shard(id, func(s *ShardStatus) {
		if h := b.holds[id]; h != nil && !h.isRecent(time.Now()) {
			delete(b.holds, id) // of a term long ago
		}
		s.State, s.Since = StateReading, time.Now()
		s.Term, s.Position, s.Trouble, s.AtTip = term, pos, "", false
		if until := pos.HandledUntil(); !until.IsZero() {
			s.HandledUntil = until
		}
		s.Behind = b.distance(s.HandledUntil)
		b.paged[id] = now
	})
}

// committed notes a durable commit.
func (b *board) committed(id ShardID, c *Commit, filtered uint64) {
	now := time.Now()
	b.shard(id, func(s *ShardStatus) {
		s.Position, s.LastCommit = c.Position, now
		if until := c.Position.HandledUntil(); !until.IsZero() {
			s.HandledUntil = until
		}
		s.Queued += uint64(len(c.Entries))
		s.Dead += uint64(len(c.DeadLetters))
		s.Filtered += filtered
		b.rate.add(len(c.Entries)+len(c.DeadLetters)+int(filtered), c.DeadLetters, now) //nolint:gosec // a commit's worth
	})
}

// deadRate returns how many of the last records became dead letters; nil: none
// ever did.
func (b *board) deadRate() *DeadRate {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rate.shown()
}

// resigned notes the end of a term.
func (b *board) resigned(id ShardID) {
	b.shard(id, func(s *ShardStatus) {
		s.Term, s.Behind, s.AtTip = 0, 0, s.Position.Ended
		delete(b.paged, id)
		if s.Position.Ended {
			s.become(StateEnded)
		} else {
			s.become(StateStandby)
		}
	})
}
