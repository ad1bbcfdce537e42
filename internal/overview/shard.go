package overview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/pauses"
)

// Shard is one shard of the group.
type Shard struct {
	ID    gerritstream.ShardID
	Short string
	Level Level

	State  string // for people
	Leader string // the process; empty: none
	Host   string // of the leader

	Pace     Pace
	Trouble  string // its leader's own words
	Counts   gerritstream.ShardCounts
	Last     gerritstream.ShardTimes
	Position string

	Facts Facts

	is    shardIs
	fault fault // what is wrong with it; zero: nothing
}

// Facts are what is behind a shard's state.
type Facts struct {
	Stored   gerritstream.InspectedShard
	Reported *gerritstream.ShardStatus // by its leader, or else by another process; nil: by none
	At       time.Time                 // of the report, by that process' clock
	Leads    bool                      // the process that reported leads it
	Lost     []gerritstream.Interval
}

// shardIs is what a shard counts as.
type shardIs struct {
	read    bool // by a process, or another program
	stalled bool // led, and not moving on
	waiting bool // for a parent: nobody is to read it yet
	foreign bool // led by another program
	paused  bool // led, and not read because somebody wants it so
	atTip   bool
	ended   bool
}

// IsEnded reports whether a shard was read to its end.
func (s *Shard) IsEnded() bool { return s.is.ended }

// Pace is how fast a shard is read, and how much time is left to do so.
type Pace struct {
	Lag       time.Duration
	Rate      float64 // events queued a second
	RateKnown bool
	Rates     []float64     // of the last hour, oldest first; below 0: not known
	Headroom  time.Duration // until the stream trims what was not read
	HasRoom   bool          // Headroom is known
}

// rank orders shards: those that ended come last.
func (s *Shard) rank() int64 {
	if s.is.ended {
		return 1
	}
	return 0
}

const (
	fresh        = 3 * time.Second  // a page this old, besides the poll interval, shows that a shard is read
	silent       = 10 * time.Second // a page this old shows that it is not
	settleWithin = 30 * time.Second // by then a process has listed the stream, and shards have leaders
	stalePage    = 90 * time.Second // by then a page that does not come is trouble
	staleReport  = 2 * time.Minute  // processes report every 5 to 30 s
	staleTerms   = time.Minute      // without a commit, terms that end are not just unlucky
	staleCommit  = 2 * time.Minute  // progress is committed every 30 s, also on an idle shard
)

// shard puts one shard together.
func (m *merged) shard(id gerritstream.ShardID) Shard {
	stored := m.in.Store.Inspection.Shards[id]
	leader, foreign := m.leader(id, &stored)
	report, leads := m.reportOf(id, leader)
	s := Shard{ID: id, Short: Short(id), Leader: leader, Host: m.where(leader, foreign), is: shardIs{foreign: foreign}}
	var handled time.Time
	if p := stored.Position; p != nil {
		s.is.ended, s.Facts.Lost, s.Position, s.Last.Event = p.Ended, p.Lost, p.String(), p.Arrived
		handled = p.HandledUntil()
	}
	s.Facts.Stored, s.Facts.Leads = stored, leads
	s.Last.Commit = stored.Committed
	var status gerritstream.ShardStatus
	if report != nil {
		s.Facts.Reported, s.Facts.At = m.statusOf(report, id), report.At
		status = *s.Facts.Reported
		event, commit := s.Last.Event, s.Last.Commit
		s.Last, s.Counts, s.Trouble = status.Last, status.Counts, status.Trouble
		if event.After(s.Last.Event) {
			s.Last.Event = event
		}
		if commit.After(s.Last.Commit) {
			s.Last.Commit = commit
		}
		s.is.ended = s.is.ended || status.State == gerritstream.StateEnded
		if status.HandledUntil.After(handled) {
			handled = status.HandledUntil
		}
		if len(status.Position.Lost) > len(s.Facts.Lost) {
			s.Facts.Lost = status.Position.Lost
		}
	}
	if m.in.History != nil {
		s.Pace.Rates = m.in.History.rates(id)
		s.Pace.Rate, s.Pace.RateKnown = m.in.History.rate(id)
	}
	m.judge(&s, &stored, &status, report, leads, foreign)
	if s.is.ended {
		s.is.read, s.Level, s.Pace.Lag, s.Pace.RateKnown = false, s.fault.level, 0, false
	} else if m.origin != nil && m.origin.Retention > 0 && !handled.IsZero() {
		s.Pace.Headroom, s.Pace.HasRoom = Headroom(m.origin, handled, m.in.Now.Add(m.in.Ahead)), true
	}
	return s
}

// leader returns who leads a shard: the asked process knows best what it leads.
func (m *merged) leader(id gerritstream.ShardID, stored *gerritstream.InspectedShard) (name string, foreign bool) {
	self := m.in.Process.Process
	for i := range m.in.Process.Shards {
		s := &m.in.Process.Shards[i]
		if s.Shard != id {
			continue
		}
		switch {
		case isLed(s.State):
			return self, false
		case m.in.Store.At.IsZero() || stored.Leader == self:
			if s.Leader.Process == self {
				return "", false
			}
			return s.Leader.Process, s.Leader.Foreign
		}
	}
	return stored.Leader, stored.Foreign
}

// isLed reports whether a process with a shard in this state leads it.
func isLed(s gerritstream.State) bool {
	return s == gerritstream.StateReading || s == gerritstream.StateHalted || s == pauses.State
}

// reportOf returns the report of a shard's leader; if that has none, of another
// process, preferably one that waits for a parent.
func (m *merged) reportOf(id gerritstream.ShardID, leader string) (found *gerritstream.Report, leads bool) {
	for i := range m.reports {
		r := &m.reports[i]
		s := m.statusOf(r, id)
		if s == nil {
			continue
		}
		if r.Process == leader {
			return r, isLed(s.State)
		}
		if found == nil || s.State == gerritstream.StateWaiting || r.Process == m.in.Process.Process {
			found = r
		}
	}
	return found, false
}

func (m *merged) statusOf(r *gerritstream.Report, id gerritstream.ShardID) *gerritstream.ShardStatus {
	byID := func(s gerritstream.ShardStatus, id gerritstream.ShardID) int { return cmp.Compare(s.Shard, id) }
	if i, ok := slices.BinarySearchFunc(r.Status.Shards, id, byID); ok {
		return &r.Status.Shards[i]
	}
	return nil
}

// where names a leader by its host, unless other processes run there, too.
func (m *merged) where(process string, foreign bool) string {
	if host := m.host(process, foreign); m.onHost[host] < 2 {
		return host
	}
	return process
}

// host returns where a process runs.
func (m *merged) host(process string, foreign bool) string {
	if foreign || process == "" {
		return process
	}
	return cmp.Or(m.hosts[process], hostOf(process))
}

// hostOf returns the host in a process' name: HOST-PID-SOMETHING.
func hostOf(process string) string {
	parts := strings.Split(process, "-")
	if len(parts) < 3 {
		return process
	}
	return strings.Join(parts[:len(parts)-2], "-")
}

const betweenLeaders = "between two leaders"

// judge says in which state a shard is, and what is wrong with it.
func (m *merged) judge(s *Shard, stored *gerritstream.InspectedShard, status *gerritstream.ShardStatus,
	report *gerritstream.Report, leads, foreign bool,
) {
	wrong := func(level Level, k trouble.Kind, text string) {
		s.Level, s.fault = level, fault{level, k, text}
	}
	quiet := m.in.Now.Sub(s.Last.Commit)
	pause, isPaused := m.in.Pauses.Of(s.ID)
	switch {
	case stored.Position != nil && stored.Position.Unreadable != nil:
		s.State = "its position cannot be read"
		wrong(Trouble, unreadable, "the position cannot be read: "+stored.Position.Unreadable.Error())
	case s.is.ended && status.OpenAfterEnd:
		s.State = "ended here, open in the stream"
		wrong(Trouble, openAfterEnd,
			"what ended here is open in the stream: nothing reads it until `checkpoint set` moves it back")
	case s.is.ended:
		s.State = "ended"
	case foreign && !status.Leader.Unread.IsZero():
		s.State = s.Leader + " has stopped"
		wrong(Trouble, foreignStopped, fmt.Sprintf("%s has stopped: records since %s are not handled; "+
			"its lock may be abandoned", s.Leader, clock(status.Leader.Unread)))
	case foreign:
		s.State, s.is.read, s.Pace.Lag = "read by "+s.Leader, true, status.Lag
		wrong(Warning, foreignLeads, s.State)
	case s.Leader == "" && status.State == gerritstream.StateWaiting:
		s.State, s.is.waiting = "waits for its parent "+shorts(status.WaitingFor), true
	case s.Leader == "" && !m.in.Store.AwaySince.IsZero():
		s.State, s.Level, s.Pace.RateKnown = "nobody reads it: the store is away", Trouble, false
	case s.Leader == "" && m.losesLeaders(status, report, quiet):
		s.State = "each leader fails soon"
		wrong(Trouble, known(trouble.Kind(report.Status.Causes[s.ID]), status.Trouble), status.Trouble)
	case s.Leader == "" && len(m.reports) > 0 && (m.unsettled(status, report) || quiet < staleCommit):
		s.State = betweenLeaders
	case s.Leader == "":
		s.State = "nobody reads it"
		wrong(Trouble, notRead, "no process reads it")
	case isPaused:
		s.State, s.is.paused, s.Pace.Lag, s.Level = m.pausedFor(&pause), true, status.Lag, Warning
		s.Pace.Rate, s.Pace.RateKnown = 0, true
	case !leads && !s.Last.Commit.IsZero() && quiet > staleCommit && m.in.Store.AwaySince.IsZero():
		s.State, s.is.read, s.is.stalled = "nothing committed for "+Span(quiet), true, true
		wrong(Trouble, noCommit, "its leader has not reported, and nothing was committed for "+Span(quiet))
	case !leads:
		s.State, s.is.read = "its leader has not reported yet", true
	default:
		m.judgeLed(s, status, report, wrong)
	}
}

func shorts(ids []gerritstream.ShardID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = Short(id)
	}
	return strings.Join(texts, ", ")
}

// judgeLed says how a shard that is led by a process does.
func (m *merged) judgeLed(s *Shard, status *gerritstream.ShardStatus, report *gerritstream.Report,
	wrong func(Level, trouble.Kind, string),
) {
	s.is.read, s.Pace.Lag = true, status.Lag
	last := status.Last.Page
	if status.Since.After(last) {
		last = status.Since
	}
	quiet := report.At.Sub(last) // by the leader's clock
	if last.IsZero() {
		quiet = 0 // it does not tell
	}
	if quiet > fresh+m.in.Setup.PollInterval {
		quiet += max(0, m.in.Now.Sub(report.At)) // it has heard nothing since, as far as is known
	}
	idle := m.idle(status, report)
	told := known(trouble.Kind(report.Status.Causes[s.ID]), status.Trouble)
	switch {
	case status.State == pauses.State: // and the pause is over by now
		s.State = "about to be read again"
	case status.State == gerritstream.StateHalted:
		s.State, s.is.read = "halted: a bad position waits for a decision", false
		wrong(Trouble, trouble.Halted, status.Trouble)
	case status.Trouble != "" && told == trouble.QueueFull:
		s.State, s.is.stalled = "waits: Zuul's queue is full", true
		wrong(Trouble, told, status.Trouble)
	case status.Trouble != "" && told == trouble.Stalled:
		s.State, s.is.stalled = "nothing read for "+Span(quiet.Truncate(time.Second)), true
		wrong(Trouble, told, status.Trouble)
	case strings.HasPrefix(status.Trouble, "waiting for "):
		s.State, s.is.stalled = status.Trouble, true
		wrong(Trouble, told, status.Trouble)
	case status.Trouble != "":
		s.State, s.is.stalled = retrying(quiet), true
		wrong(Trouble, told, status.Trouble)
	case quiet > silent+m.in.Setup.PollInterval:
		s.State, s.is.stalled = "nothing read for "+Span(quiet.Truncate(time.Second)), true
		level := Warning
		if quiet > stalePage+m.in.Setup.PollInterval {
			level = Trouble
		}
		k, why := m.whyNothingIsRead(s)
		wrong(level, k, why)
	case idle > staleCommit:
		s.State, s.is.stalled = "nothing committed for "+Span(idle), true
		wrong(Trouble, noCommit, "nothing was committed for "+Span(idle))
	case quiet > fresh+m.in.Setup.PollInterval:
		s.State = "last read " + Span(quiet) + " ago"
	case m.in.Now.Sub(report.At) > staleReport && m.in.Store.AwaySince.IsZero():
		s.State, s.Level = "not known: its leader reported "+Span(m.in.Now.Sub(report.At))+" ago", Warning
		s.Pace.Lag, s.Pace.RateKnown = 0, false
	case report.Process != m.in.Process.Process && !m.in.Store.AwaySince.IsZero():
		s.State, s.Level, s.Pace.Lag, s.Pace.RateKnown = "not known: the store is away", Warning, 0, false
	case status.AtTip:
		s.State, s.is.atTip = "at the tip", true
	default:
		s.State = "catching up"
		if s.Pace.Lag < 5*time.Second {
			s.State = "reading"
		}
	}
	if s.is.stalled {
		s.Pace.Rate, s.Pace.RateKnown, s.Pace.Lag = 0, true, max(s.Pace.Lag, quiet) // whatever it was before
	}
}

// nothingRead is the fault of a shard of which no page has come, for no reason
// that is known yet.
const nothingRead = "nothing was read for a while"

// whyNothingIsRead returns what is known before a leader's trouble counts.
func (m *merged) whyNothingIsRead(s *Shard) (trouble.Kind, string) {
	limit, length := m.in.Setup.QueueLimit, m.in.Store.Inspection.Queue
	if limit == 0 || length < limit {
		return trouble.Stalled, nothingRead
	}
	s.State = "waits: Zuul's queue is full"
	return trouble.QueueFull, fmt.Sprintf("Zuul's queue is full (%d of %d)", length, limit)
}

func retrying(quiet time.Duration) string {
	if quiet < time.Second {
		return "retrying"
	}
	return "retrying for " + Span(quiet.Truncate(time.Second))
}

// unsettled reports whether a shard without a leader may still be about to get
// one: its leader is being replaced, or a process has just begun.
func (m *merged) unsettled(status *gerritstream.ShardStatus, report *gerritstream.Report) bool {
	if report == nil {
		for i := range m.reports {
			r := &m.reports[i]
			if r.At.Sub(r.Status.Began) >= settleWithin {
				return false
			}
		}
		return true
	}
	return report.At.Sub(status.Since) < settleWithin
}

// losesLeaders reports whether a shard has no leader because the terms of the
// process for which it is planned have ended with trouble, so that nothing was
// committed for a while.
func (m *merged) losesLeaders(status *gerritstream.ShardStatus, report *gerritstream.Report, quiet time.Duration) bool {
	return status.Trouble != "" && status.Leader.Planned == report.Process && quiet > staleTerms &&
		report.At.Sub(report.Status.Began) > staleTerms
}

// idle returns for how long the leader of a shard has committed nothing though
// it should have: from the start of its term, unless it walks through a part of
// the shard without records, where there is nothing to commit.
func (m *merged) idle(status *gerritstream.ShardStatus, report *gerritstream.Report) time.Duration {
	if !status.AtTip || status.Since.IsZero() {
		return 0
	}
	last := status.Since
	if status.Last.Commit.After(last) {
		last = status.Last.Commit
	}
	return report.At.Sub(last)
}

// Headroom returns how long it is until the stream begins to trim what arrived
// after a moment. It is negative once the stream has begun to.
func Headroom(origin *gerritstream.Origin, after, now time.Time) time.Duration {
	left := after.Sub(now.Add(-origin.Retention))
	if after.Before(origin.Trimmed) {
		return min(left, after.Sub(origin.Trimmed))
	}
	return left
}
