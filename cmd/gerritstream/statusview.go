package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// The limits of `status`.
const (
	staleReport  = 2 * time.Minute  // processes report every 5 s, by clocks of their own
	staleCommit  = 2 * time.Minute  // progress is committed every 30 s, on an idle shard as well
	stalePage    = 90 * time.Second // a page is read several times a second, and at least once a minute
	settleWithin = 30 * time.Second // a process has listed, and shards have leaders, by then
	longReader   = time.Minute      // reads of a SQLite file take less
	largeLog     = 128 << 20        // bytes: several times what readers that keep it short leave there
)

// stateUnread is the state of a shard that no process says anything of.
const stateUnread gerritstream.State = "not read"

// statusView is what `status` says, as JSON. Times are in UTC, ages in seconds.
type statusView struct {
	Connection  string               `json:"connection"`
	Store       string               `json:"store"`
	Start       *gerritstream.Origin `json:"start"` // null: nothing has begun
	Queue       int64                `json:"queue"`
	DeadLetters int64                `json:"dead_letters"`
	Discarded   int64                `json:"discarded"`
	Expired     int64                `json:"expired"`
	Unread      int64                `json:"expired_unread"`
	Processes   []processView        `json:"processes"`
	Shards      []shardView          `json:"shards"`
	Trouble     []string             `json:"trouble"`
}

// processView is one running process.
type processView struct {
	Process string    `json:"process"`
	At      time.Time `json:"at"`
	Trouble string    `json:"trouble,omitempty"`

	deadRate *gerritstream.DeadRate
}

// shardView is one shard, put together from what the store holds and what its
// leader reported.
type shardView struct {
	Shard         gerritstream.ShardID    `json:"shard"`
	State         gerritstream.State      `json:"state"`
	Leader        string                  `json:"leader,omitempty"`
	Foreign       bool                    `json:"foreign,omitempty"` // another program leads: Zuul's own listener
	Term          uint64                  `json:"term,omitempty"`
	WaitingFor    []gerritstream.ShardID  `json:"waiting_for,omitempty"`
	Position      *gerritstream.Position  `json:"position"`
	BehindSeconds *float64                `json:"behind_seconds,omitempty"`
	LastEvent     time.Time               `json:"last_event,omitzero"`
	LastEventAge  *float64                `json:"last_event_age_seconds,omitempty"`
	LastCommit    time.Time               `json:"last_commit,omitzero"`
	LastCommitAge *float64                `json:"last_commit_age_seconds,omitempty"`
	Lost          []gerritstream.Interval `json:"possibly_lost,omitempty"`
	Trouble       string                  `json:"trouble,omitempty"`
	OpenAfterEnd  bool                    `json:"open_after_end,omitempty"`      // it ended here and is open in the stream
	ForeignUnread time.Time               `json:"foreign_unread_since,omitzero"` // another program leads, and stands still

	leads   *gerritstream.ShardStatus // what its leader reports; nil: nothing
	at      time.Time                 // when that was, by the leader's clock
	settled bool                      // some process has had the time to take it, or to see to it that another does
}

// look is what a view is made from.
type look struct {
	connection, store string
	inspection        gerritstream.Inspection
	now               time.Time
	lostAfter         time.Time // intervals that end before are overlooked as trouble
}

// view puts together what `status` says.
func (l *look) view() statusView {
	in := &l.inspection
	reports := slices.Clone(in.Reports)
	slices.SortFunc(reports, func(a, b gerritstream.Report) int { return cmp.Compare(a.Process, b.Process) })
	v := statusView{
		Connection: l.connection, Store: l.store, Start: in.Origin,
		Queue: in.Queue, DeadLetters: in.DeadLetters, Discarded: in.Discarded, Expired: in.Expired, Unread: in.ExpiredUnread,
		Processes: []processView{}, Shards: []shardView{}, Trouble: []string{},
	}
	for _, r := range reports {
		p := processView{Process: r.Process, At: r.At.UTC(), Trouble: r.Status.Trouble, deadRate: r.Status.DeadRate}
		if r.Status.Listed.IsZero() && isYoung(r.Status.Began, r.At) {
			p.Trouble = "" // it has just begun, and tries again
		}
		v.Processes = append(v.Processes, p)
	}
	for _, id := range l.shardIDs(reports) {
		v.Shards = append(v.Shards, l.shard(id, reports))
	}
	v.Trouble = append(v.Trouble, l.trouble(&v)...)
	return v
}

// isYoung reports whether what began at a time was still settling at another. A
// time of zero is long ago.
func isYoung(began, at time.Time) bool { return at.Sub(began) < settleWithin }

// shardIDs returns every shard that has a position or a leader, or that a
// process knows. Of others the store may remember that they were led once:
// those of a stream that was recreated since, or whose positions were pruned.
func (l *look) shardIDs(reports []gerritstream.Report) []gerritstream.ShardID {
	ids := map[gerritstream.ShardID]bool{}
	for id, s := range l.inspection.Shards {
		if s.Position != nil || s.Leader != "" {
			ids[id] = true
		}
	}
	for _, r := range reports {
		for i := range r.Status.Shards {
			ids[r.Status.Shards[i].Shard] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// shard puts one shard together.
func (l *look) shard(id gerritstream.ShardID, reports []gerritstream.Report) shardView {
	stored := l.inspection.Shards[id]
	v := shardView{
		Shard: id, Leader: stored.Leader, Foreign: stored.Foreign, Term: stored.Term, Position: stored.Position,
		LastCommit: stored.Committed.UTC(), LastCommitAge: l.age(stored.Committed),
	}
	said, at, leads := whatIsSaid(id, stored.Leader, reports)
	v.State, v.settled = stateOf(&stored, said, leads), settled(id, reports)
	if stored.Position != nil {
		v.Lost, v.LastEvent = stored.Position.Lost, stored.Position.Arrived
	}
	if said != nil {
		v.WaitingFor, v.OpenAfterEnd, v.ForeignUnread = said.WaitingFor, said.OpenAfterEnd, said.Leader.Unread
		if said.Last.Event.After(v.LastEvent) {
			v.LastEvent = said.Last.Event
		}
	}
	if leads {
		v.Trouble, v.leads, v.at = said.Trouble, said, at
	}
	if leads && v.State == gerritstream.StateReading {
		behind := said.Lag.Seconds()
		v.BehindSeconds = &behind
	}
	v.LastEvent, v.LastEventAge = v.LastEvent.UTC(), l.age(v.LastEvent)
	return v
}

// whatIsSaid returns what the leader reports of a shard, and when it did;
// without a leader, what another process does, one that waits before one that
// stands by. nil: nothing.
func whatIsSaid(id gerritstream.ShardID, leader string, reports []gerritstream.Report) (
	said *gerritstream.ShardStatus, at time.Time, leads bool,
) {
	for _, r := range reports {
		i := slices.IndexFunc(r.Status.Shards, func(s gerritstream.ShardStatus) bool { return s.Shard == id })
		if i < 0 {
			continue
		}
		shard := &r.Status.Shards[i]
		if r.Process == leader {
			return shard, r.At, shard.State == gerritstream.StateReading || shard.State == gerritstream.StateHalted
		}
		if said == nil || shard.State == gerritstream.StateWaiting {
			said, at = shard, r.At
		}
	}
	return said, at, false
}

// settled reports whether what the processes say of a shard they have said for
// a while; of one that none of them knows, whether they have run for a while.
// Without a process nothing is in the making.
func settled(id gerritstream.ShardID, reports []gerritstream.Report) bool {
	known, settled := false, len(reports) == 0
	for _, r := range reports {
		i := slices.IndexFunc(r.Status.Shards, func(s gerritstream.ShardStatus) bool { return s.Shard == id })
		switch {
		case i >= 0 && !known:
			known, settled = true, !isYoung(r.Status.Shards[i].Since, r.At)
		case i >= 0:
			settled = settled || !isYoung(r.Status.Shards[i].Since, r.At)
		case !known:
			settled = settled || !isYoung(r.Status.Began, r.At)
		}
	}
	return settled
}

// stateOf names a shard's state: by its position if that is at its end, else by
// who leads it, else by what is said.
func stateOf(stored *gerritstream.InspectedShard, said *gerritstream.ShardStatus, leads bool) gerritstream.State {
	switch {
	case stored.Position != nil && stored.Position.Ended:
		return gerritstream.StateEnded
	case leads && said.State == gerritstream.StateHalted:
		return gerritstream.StateHalted
	case stored.Leader != "":
		return gerritstream.StateReading
	case said != nil && (said.State == gerritstream.StateWaiting || said.State == gerritstream.StateStandby):
		return said.State
	}
	return stateUnread
}

// age returns how many seconds ago something was; nil: it never was.
func (l *look) age(t time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	seconds := max(0, l.now.Sub(t)).Round(time.Millisecond).Seconds()
	return &seconds
}

// trouble returns what an operator should look at, a line for each cause.
func (l *look) trouble(v *statusView) []string {
	var found []trouble.Trouble
	switch {
	case v.Start == nil && settled("", l.inspection.Reports):
		found = append(found, trouble.Trouble{Text: "nothing has been read yet: no process has begun on this store"})
	case v.Start != nil && len(v.Processes) == 0:
		found = append(found, trouble.Trouble{Text: "no process is running"})
	}
	for _, p := range v.Processes {
		if age := l.now.Sub(p.At).Abs(); age > staleReport {
			found = append(found, trouble.Trouble{Of: []string{p.Process},
				Text: fmt.Sprintf("its last report is %s away: it stands still, or a clock is wrong", age.Round(time.Second))})
		}
		if p.deadRate != nil && p.deadRate.Burst(p.At) {
			found = append(found, trouble.Trouble{Of: []string{p.Process}, Text: p.deadRate.String()})
		}
		if p.Trouble != "" {
			found = append(found, trouble.Trouble{Of: []string{p.Process}, Text: p.Trouble})
		}
	}
	if at := l.inspection.ExpiredUnreadAt; v.Unread > 0 && !at.IsZero() && !at.Before(l.lostAfter) {
		found = append(found, trouble.Trouble{Text: fmt.Sprintf(
			"%d events were removed after their retention, the last of them at %s, before any consumer had read them",
			v.Unread, at.UTC().Format(time.RFC3339))})
	}
	if held := l.logTrouble(); held != "" {
		found = append(found, trouble.Trouble{Text: held})
	}
	lost := losses{after: l.lostAfter}
	if v.Start != nil {
		lost.add("stream", v.Start.Lost)
	}
	for i := range v.Shards {
		s := &v.Shards[i]
		for _, what := range l.shardTrouble(s, len(v.Processes)) {
			found = append(found, trouble.Trouble{Of: []string{string(s.Shard)}, Text: what})
		}
		lost.add(string(s.Shard), s.Lost)
	}
	lines := []string{}
	for _, t := range append(trouble.Group(found), lost.all...) {
		lines = append(lines, t.String())
	}
	return lines
}

// logTrouble returns how readers keep the write-ahead log from being carried
// over; "": they do not.
func (l *look) logTrouble() string {
	log := l.inspection.Log
	if log == nil || log.HeldSince.IsZero() {
		return ""
	}
	age := l.now.Sub(log.HeldSince).Round(time.Second)
	if age <= longReader && log.Bytes <= largeLog {
		return ""
	}
	return fmt.Sprintf("the write-ahead log has %d MB: readers of the file keep it from being carried over, the oldest for %s at least",
		log.Bytes/1e6, age)
}

// shardTrouble returns what is wrong with one shard.
func (l *look) shardTrouble(s *shardView, processes int) []string {
	var found []string
	if s.Position != nil && s.Position.Unreadable != nil {
		found = append(found, "its position cannot be read: "+s.Position.Unreadable.Error())
	}
	switch s.State {
	case gerritstream.StateEnded:
		if s.OpenAfterEnd {
			found = append(found, "it ended here and is open in the stream: nothing reads it until `checkpoint set` sends it back")
		}
	case stateUnread, gerritstream.StateStandby:
		if l.isUnread(s, processes) {
			found = append(found, "nobody reads it")
		}
	case gerritstream.StateReading, gerritstream.StateHalted:
		if s.Foreign && !s.ForeignUnread.IsZero() {
			found = append(found, fmt.Sprintf("%s leads it and stands still: what arrived since %s is not handled; perhaps nobody holds its lock any more",
				s.Leader, s.ForeignUnread.UTC().Format(time.RFC3339)))
		}
		if s.Trouble != "" {
			found = append(found, s.Trouble)
		}
		if age := l.idle(s); s.Trouble == "" && age > staleCommit { // what holds it up says why as well
			found = append(found, fmt.Sprintf("nothing was committed for %s", age.Round(time.Second)))
		}
	}
	return found
}

// isUnread reports whether a shard without a leader should have one by now.
// While a leader is succeeded, and while a process begins, there is none for
// some seconds.
func (l *look) isUnread(s *shardView, processes int) bool {
	if processes == 0 {
		return false // this is said once, of all
	}
	if !s.LastCommit.IsZero() && l.now.Sub(s.LastCommit) < staleCommit {
		return false
	}
	return s.settled
}

// idle returns for how long the leader of a shard has committed nothing though
// it should have. By its own clock, if it says so: since its term began, unless
// it walks through a part of the shard without records, where there is nothing
// to commit.
func (l *look) idle(s *shardView) time.Duration {
	switch {
	case s.Foreign: // another program commits elsewhere, and only when there are events
		return 0
	case s.leads != nil && !s.leads.AtTip && s.at.Sub(s.leads.Last.Page) < stalePage:
		return 0
	case s.leads != nil && !s.leads.Since.IsZero():
		last := s.leads.Since
		if s.leads.Last.Commit.After(last) {
			last = s.leads.Last.Commit
		}
		return s.at.Sub(last)
	case s.LastCommit.IsZero():
		return 0
	}
	return l.now.Sub(s.LastCommit)
}

// losses gathers what may be lost, a line for each cause.
type losses struct {
	after time.Time // what ended before is overlooked
	all   []trouble.Trouble
	by    map[string]*loss
}

// loss is what may be lost for one cause: it spans all of its intervals.
type loss struct {
	at   int // in all
	span gerritstream.Interval
	n    int
}

// add takes in what a shard, or the stream, may have lost.
func (c *losses) add(of string, lost []gerritstream.Interval) {
	for _, i := range lost {
		if i.Until.Before(c.after) {
			continue
		}
		l := c.by[i.Why]
		if l == nil {
			l = &loss{at: len(c.all), span: i}
			if c.by == nil {
				c.by = map[string]*loss{}
			}
			c.by[i.Why] = l
			c.all = append(c.all, trouble.Trouble{})
		}
		l.n++
		if i.From.Before(l.span.From) {
			l.span.From = i.From
		}
		if i.Until.After(l.span.Until) {
			l.span.Until = i.Until
		}
		t := &c.all[l.at]
		if !slices.Contains(t.Of, of) {
			t.Of = append(t.Of, of)
		}
		t.Text = l.String()
	}
}

// String says it for people.
func (l *loss) String() string {
	from := "an unknown time"
	if !l.span.From.IsZero() {
		from = l.span.From.UTC().Format(time.RFC3339)
	}
	why := l.span.Why
	if l.n > 1 {
		why = fmt.Sprintf("%s, %d intervals", why, l.n)
	}
	return fmt.Sprintf("what arrived from %s until %s may be lost (%s)", from, l.span.Until.UTC().Format(time.RFC3339), why)
}

// findings returns the trouble as an error, a line each; nil: there is none.
func (v *statusView) findings() error {
	errs := make([]error, len(v.Trouble))
	for i, line := range v.Trouble {
		errs[i] = errors.New(line)
	}
	return errors.Join(errs...)
}
