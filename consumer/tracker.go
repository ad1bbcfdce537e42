package consumer

import (
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/pauses"
)

const (
	silentFor    = 30 * time.Second // how long a shard that is led may get no page before its lag grows by the clock
	freshFor     = 90 * time.Second // how old a position at the tip may be: it is committed every 30 s
	ratedRecords = 200              // how many of the last records a deadRate is about
)

// tracker holds the state of everything that a Consumer does, for Status to
// copy. Its methods may be called by several goroutines at once.
type tracker struct {
	clock *serviceClock

	mu         sync.Mutex
	head       gerritstream.Status                    // under mu; without its shards
	shards     map[gerritstream.ShardID]*trackedShard // under mu
	stall      stall                                  // under mu: of the whole process
	mute       stall                                  // under mu: of its reports to the store
	heartbeats map[string]time.Time                   // under mu: local, when each part that runs last made progress
	rate       deadRate                               // under mu
}

// trackedShard is what is known of a shard. It is guarded by the tracker's mu.
type trackedShard struct {
	status     gerritstream.ShardStatus
	stall      stall
	paged      time.Time   // local: when the last page came, or the term began; zero: not led here
	waitsFor   why         // what the reader waits for
	waitsSince time.Time   // local
	foreign    foreignSeen // while a foreign leader leads it
}

// isLed reports whether this process leads the shard.
func (s *trackedShard) isLed() bool { return !s.paged.IsZero() }

// foreignSeen is how far a foreign leader is with a shard.
type foreignSeen struct {
	until time.Time // what arrived before is handled; zero: not known
	late  time.Time // since when a record waits for too long; zero: none does
	clear time.Time // the service's: no record was after the checkpoint then; zero: not known
}

func newTracker(process string, clock *serviceClock) *tracker {
	return &tracker{
		clock: clock, head: gerritstream.Status{Process: process},
		shards: map[gerritstream.ShardID]*trackedShard{}, heartbeats: map[string]time.Time{},
	}
}

// status returns a copy.
func (t *tracker) status() gerritstream.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	status, now := t.head, time.Now()
	causes := map[gerritstream.ShardID]string{}
	status.DeadRate = t.rate.status()
	switch {
	case status.Listed.IsZero() && !t.stall.since.IsZero(), t.stall.counts(0, now):
		status.Trouble, causes[""] = t.stall.why.text, string(t.stall.why.kind)
	case t.mute.counts(0, now):
		status.Trouble, causes[""] = t.mute.why.text, string(t.mute.why.kind)
	}
	status.Shards = make([]gerritstream.ShardStatus, 0, len(t.shards))
	for _, id := range slices.Sorted(maps.Keys(t.shards)) {
		s := t.shards[id]
		shard := s.status
		switch { // a shard that nothing is heard of lags more and more
		case shard.State == gerritstream.StateEnded:
		case s.isLed() && now.Sub(s.paged) >= silentFor:
			shard.Lag += now.Sub(s.paged)
			shard.AtTip = false
		case !s.isLed():
			shard.Lag = t.distance(shard.HandledUntil)
		}
		if shard.State == gerritstream.StateReading && !shard.AtTip {
			status.Lagging++
		}
		if found := s.trouble(shard.Lag, now); found.text != "" {
			shard.Trouble, causes[id] = found.text, string(found.kind)
		}
		status.Shards = append(status.Shards, shard)
	}
	if len(causes) > 0 {
		status.Causes = causes
	}
	return status
}

// trouble returns what stalls a shard with a lag, if anything does. The caller
// holds mu.
func (s *trackedShard) trouble(lag time.Duration, now time.Time) why {
	switch {
	case (s.status.Term != 0 || s.stall.isRecent(now)) && s.stall.counts(lag, now):
		return s.stall.why
	case s.status.State == gerritstream.StateHalted:
		return why{s.status.Trouble, trouble.Halted}
	case s.status.Trouble != "": // the last term ended with it
		return why{s.status.Trouble, s.stall.why.kind}
	}
	return s.silentStall(now)
}

// report returns what the other processes do not report: the shards that this
// one leads, those planned for it and, if it is the first member, those that
// nobody leads and that are planned for nobody, because they wait. The
// positions show what has ended.
func (t *tracker) report() gerritstream.Status {
	s := t.status()
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
	maps.DeleteFunc(s.Causes, func(id gerritstream.ShardID, _ string) bool {
		isOf := func(shard gerritstream.ShardStatus) bool { return shard.Shard == id }
		return id != "" && !slices.ContainsFunc(s.Shards, isOf)
	})
	return s
}

// distance returns how far a shard is from its tip, as far as its position
// shows.
func (t *tracker) distance(handledUntil time.Time) time.Duration {
	now := t.clock.now()
	if handledUntil.IsZero() || now.IsZero() || now.Sub(handledUntil) < freshFor {
		return 0
	}
	return now.Sub(handledUntil)
}

// set changes the head.
func (t *tracker) set(change func(*gerritstream.Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.head)
}

// shard changes one shard, which is added if need be.
func (t *tracker) shard(id gerritstream.ShardID, change func(*gerritstream.ShardStatus)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.shardLocked(id).status)
}

func (t *tracker) shardLocked(id gerritstream.ShardID) *trackedShard {
	s, ok := t.shards[id]
	if !ok {
		s = &trackedShard{status: gerritstream.ShardStatus{Shard: id}}
		become(&s.status, gerritstream.StateStandby)
		t.shards[id] = s
	}
	return s
}

// become changes the State of a shard.
func become(s *gerritstream.ShardStatus, state gerritstream.State) {
	if s.State != state {
		s.State, s.Since = state, time.Now()
	}
}

// known returns what is known of a shard; the zero value if nothing is.
func (t *tracker) known(id gerritstream.ShardID) trackedShard {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, ok := t.shards[id]; ok {
		return *s
	}
	return trackedShard{}
}

// position returns a shard's position as this process knows it; the zero value
// for none.
func (t *tracker) position(id gerritstream.ShardID) gerritstream.Position {
	s := t.known(id)
	return s.status.Position
}

// plan takes in a plan and the positions it was made from. It leaves alone what
// a running worker reports of its own shard, and drops shards that are no more.
func (t *tracker) plan(steps []plan.Step, positions storedPositions, working func(gerritstream.ShardID) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := make(shardSet, len(steps))
	for _, step := range steps {
		seen[step.Shard] = true
		s := &t.shardLocked(step.Shard).status
		s.Parents, s.WaitingFor = step.Parents, step.WaitFor
		if s.Term == 0 { // another process may be moving it
			s.Position = positions[step.Shard]
			if !s.Leader.Foreign { // who leads it now is looked up next, and that may take a while
				s.HandledUntil = t.handledUntil(step, positions)
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
	maps.DeleteFunc(t.shards, func(id gerritstream.ShardID, _ *trackedShard) bool { return !seen[id] && !working(id) })
}

// handledUntil returns the time before which everything that arrived in a shard
// has been handled, as its position shows or, if it has none, what it comes
// from. Zero: not known. The caller holds mu.
func (t *tracker) handledUntil(step plan.Step, positions storedPositions) time.Time {
	if own, ok := positions[step.Shard]; ok {
		return own.HandledUntil()
	}
	until := step.From.Time
	for _, id := range step.WaitFor { // the shard opened when they closed
		parent := t.shards[id] // planned before its children: ids grow
		if parent == nil {
			continue
		}
		if handled := parent.status.HandledUntil; until.IsZero() || !handled.IsZero() && handled.Before(until) {
			until = handled
		}
	}
	return until
}

// reopened takes in which shards have ended here and are open in the stream,
// and returns those that were not before.
func (t *tracker) reopened(open shardSet) (fresh []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, s := range t.shards {
		if open[id] && !s.status.OpenAfterEnd {
			fresh = append(fresh, string(id))
		}
		s.status.OpenAfterEnd = open[id]
	}
	slices.Sort(fresh)
	return fresh
}

// assign takes in the members, and who leads each shard and is planned to.
func (t *tracker) assign(
	members []gerritstream.MemberStatus,
	whose func(gerritstream.ShardID) (leader gerritstream.Candidate, planned string),
) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.head.Members = members
	for id, s := range t.shards {
		leader, planned := whose(id)
		s.status.Leader = gerritstream.ShardLeader{Process: leader.Member, Foreign: leader.Foreign, Planned: planned}
		if !leader.Foreign || s.status.Term != 0 || planned != t.head.Process {
			s.foreign = foreignSeen{}
		}
		s.showForeign()
	}
}

// foreign notes how far a foreign leader is with a shard.
func (t *tracker) foreign(id gerritstream.ShardID, seen foreignSeen) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.shards[id]; s != nil {
		s.foreign = seen
		s.showForeign()
	}
}

// showForeign shows how far a foreign leader is: it keeps its own position.
func (s *trackedShard) showForeign() {
	if s.status.Leader.Foreign && s.status.Term == 0 {
		s.status.HandledUntil, s.status.Leader.Unread = s.foreign.until, s.foreign.late
	}
}

// leading returns the shards that this process leads, by id.
func (t *tracker) leading() []gerritstream.ShardID {
	t.mu.Lock()
	defer t.mu.Unlock()
	var leads []gerritstream.ShardID
	for id, s := range t.shards {
		if s.status.Term != 0 {
			leads = append(leads, id)
		}
	}
	slices.Sort(leads)
	return leads
}

// elected notes the beginning of a term.
func (t *tracker) elected(id gerritstream.ShardID, term uint64, pos gerritstream.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, now := t.shardLocked(id), time.Now()
	if !s.stall.isRecent(now) {
		s.stall = stall{} // of a term long ago
	}
	status := &s.status
	status.State, status.Since, status.Term = gerritstream.StateReading, now, term
	status.Position, status.Trouble, status.AtTip = pos, "", false
	if until := pos.HandledUntil(); !until.IsZero() {
		status.HandledUntil = until
	}
	status.Lag = t.distance(status.HandledUntil)
	s.paged = now
}

// read notes a page of a shard.
func (t *tracker) read(id gerritstream.ShardID, p *gerritstream.Page) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, now := t.shardLocked(id), time.Now()
	s.paged = now
	status := &s.status
	status.Lag, status.Last.Page = p.Lag, now
	status.Counts.Read += uint64(len(p.Records))
	if n := len(p.Records); n > 0 {
		status.Last.Event = p.Records[n-1].Arrived
	}
	if p.Lag > 0 {
		status.AtTip = false
	}
}

// committed notes a durable commit.
func (t *tracker) committed(id gerritstream.ShardID, c *gerritstream.Commit, filtered uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	status, now := &t.shardLocked(id).status, time.Now()
	status.Position, status.Last.Commit = c.Position, now
	if until := c.Position.HandledUntil(); !until.IsZero() {
		status.HandledUntil = until
	}
	status.Counts.Queued += uint64(len(c.Entries))
	status.Counts.Dead += uint64(len(c.DeadLetters))
	status.Counts.Filtered += filtered
	t.rate.add(len(c.Entries)+len(c.DeadLetters)+int(filtered), c.DeadLetters, now) //nolint:gosec // small
}

// pause notes that a shard which is led here is not read for now, or is read
// again.
func (t *tracker) pause(id gerritstream.ShardID, paused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.shardLocked(id)
	s.stall = stall{}
	status := &s.status
	if paused {
		become(status, pauses.State)
		s.paged, status.AtTip, status.Lag = time.Time{}, false, 0 // it lags by the age of its position
	} else {
		become(status, gerritstream.StateReading)
		s.paged = time.Now()
		status.Lag = t.distance(status.HandledUntil)
	}
}

// resigned notes the end of a term.
func (t *tracker) resigned(id gerritstream.ShardID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.shardLocked(id)
	s.paged = time.Time{}
	status := &s.status
	status.Term, status.Lag, status.AtTip = 0, 0, status.Position.Ended
	if status.Position.Ended {
		become(status, gerritstream.StateEnded)
	} else {
		become(status, gerritstream.StateStandby)
	}
}

// deadRate returns how many of the last records became dead letters; nil: none
// ever did.
func (t *tracker) deadRate() *gerritstream.DeadRate {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rate.status()
}

// deadRate counts records and the dead letters among them, and forgets the
// older ones in proportion.
type deadRate struct {
	records, dead  float64
	last           time.Time
	reason, detail string
}

// add takes in the records of one commit.
func (r *deadRate) add(records int, dead []gerritstream.DeadLetter, now time.Time) {
	if records == 0 {
		return
	}
	all, bad := float64(max(records, len(dead))), float64(len(dead))
	if all > ratedRecords {
		all, bad = ratedRecords, bad*ratedRecords/all
	}
	if keep := ratedRecords - all; r.records > keep {
		r.dead *= keep / r.records
		r.records = keep
	}
	r.records += all
	r.dead += bad
	if i := len(dead) - 1; i >= 0 {
		r.last, r.reason, r.detail = now, dead[i].Reason, dead[i].Detail
	}
}

// status returns the rate for Status; nil: there were no dead letters.
func (r *deadRate) status() *gerritstream.DeadRate {
	if r.last.IsZero() {
		return nil
	}
	return &gerritstream.DeadRate{
		Records: int(math.Round(r.records)), Dead: int(math.Round(r.dead)),
		Last: r.last, Reason: r.reason, Detail: r.detail,
	}
}
