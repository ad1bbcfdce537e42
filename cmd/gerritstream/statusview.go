package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
)

// stateUnread is the state of a shard that no process reports.
const stateUnread gerritstream.State = "not read"

// statusView is the result of `status`, as JSON. Times are in UTC, ages in
// seconds.
type statusView struct {
	State       string               `json:"state"` // in a sentence
	Connection  string               `json:"connection"`
	Store       string               `json:"store"`
	Origin      *gerritstream.Origin `json:"start"` // null: no process has run yet
	Queue       int64                `json:"queue"`
	QueueLimit  int64                `json:"queue_limit,omitempty"` // at which commits wait, as configured here
	DeadLetters int64                `json:"dead_letters"`
	Discarded   int64                `json:"discarded"`
	Expired     int64                `json:"expired"`
	Unread      int64                `json:"expired_unread"`
	Consumers   []queue.Info         `json:"consumers,omitempty"`
	Webhooks    []hooks.View         `json:"webhooks,omitempty"`
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

// shardView is one shard: what the store holds, with what its leader reported.
// leadership and progress are embedded because the JSON is flat.
type shardView struct {
	Shard gerritstream.ShardID `json:"shard"`
	State gerritstream.State   `json:"state"`
	leadership
	WaitingFor []gerritstream.ShardID `json:"waiting_for,omitempty"`
	Position   *gerritstream.Position `json:"position"`
	progress
	Lost          []gerritstream.Interval `json:"possibly_lost,omitempty"`
	Trouble       string                  `json:"trouble,omitempty"`
	OpenAfterEnd  bool                    `json:"open_after_end,omitempty"`      // ended here, open in the stream
	ForeignUnread time.Time               `json:"foreign_unread_since,omitzero"` // a foreign leader has stopped

	report  leaderReport
	settled bool // some process has had time to lead it, or to let another lead it
}

// leadership is who leads a shard.
type leadership struct {
	Leader  string `json:"leader,omitempty"`
	Foreign bool   `json:"foreign,omitempty"` // another program leads: Zuul's own listener
	Term    uint64 `json:"term,omitempty"`
}

// progress is how far a shard is.
type progress struct {
	Lag           *float64  `json:"behind_seconds,omitempty"`
	Rate          *float64  `json:"records_per_second,omitempty"`
	LastEvent     time.Time `json:"last_event,omitzero"`
	LastEventAge  *float64  `json:"last_event_age_seconds,omitempty"`
	LastCommit    time.Time `json:"last_commit,omitzero"`
	LastCommitAge *float64  `json:"last_commit_age_seconds,omitempty"`
}

// leaderReport is what a shard's leader reported.
type leaderReport struct {
	status *gerritstream.ShardStatus // nil: nothing
	at     time.Time                 // by the leader's clock
}

// statusInput is what a view is made from.
type statusInput struct {
	connection, store string
	inspection        gerritstream.Inspection
	consumers         []queue.Info // without those of webhooks
	hooks             []hooks.View
	now               time.Time
	lostAfter         time.Time // losses that ended before are no trouble
	queueLimit        int64     // 0: none

	// The reports seen last, and those seen before them, by process.
	last, before map[string]gerritstream.Report
}

// remember keeps the reports of the inspection for the rates of later ones.
func (in *statusInput) remember() {
	if in.last == nil {
		in.last, in.before = map[string]gerritstream.Report{}, map[string]gerritstream.Report{}
	}
	for _, r := range in.inspection.Reports {
		if last, ok := in.last[r.Process]; ok && last.At.Before(r.At) {
			in.before[r.Process] = last
		}
		in.last[r.Process] = r
	}
}

// view puts the result of `status` together.
func (in *statusInput) view() statusView {
	seen := &in.inspection
	reports := slices.Clone(seen.Reports)
	slices.SortFunc(reports, func(a, b gerritstream.Report) int { return cmp.Compare(a.Process, b.Process) })
	v := statusView{
		Connection: in.connection, Store: in.store, Origin: seen.Origin, Queue: seen.Queue,
		DeadLetters: seen.DeadLetters, Discarded: seen.Discarded, Expired: seen.Expired, Unread: seen.ExpiredUnread,
		Consumers: in.consumers, Webhooks: in.hooks, QueueLimit: in.queueLimit,
		Processes: []processView{}, Shards: []shardView{}, Trouble: []string{},
	}
	ids := map[gerritstream.ShardID]bool{}
	for id, s := range seen.Shards {
		// The store may remember others that were led once: those of a stream
		// that was recreated since, or whose positions were pruned.
		if s.Position != nil || s.Leader != "" {
			ids[id] = true
		}
	}
	for _, r := range reports {
		p := processView{Process: r.Process, At: r.At.UTC(), Trouble: r.Status.Trouble, deadRate: r.Status.DeadRate}
		if r.Status.Listed.IsZero() && isYoung(r.Status.Began, r.At) {
			p.Trouble = "" // it has just begun, and tries again
		}
		v.Processes = append(v.Processes, p)
		for i := range r.Status.Shards {
			ids[r.Status.Shards[i].Shard] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		v.Shards = append(v.Shards, in.shard(id, reports))
	}
	v.Trouble = append(v.Trouble, in.trouble(&v)...)
	v.State = v.sentence()
	return v
}

// isYoung reports whether what began at a time was still settling at another. A
// zero time is long ago.
func isYoung(began, at time.Time) bool { return at.Sub(began) < settleWithin }

// shard puts one shard together.
func (in *statusInput) shard(id gerritstream.ShardID, reports []gerritstream.Report) shardView {
	stored := in.inspection.Shards[id]
	v := shardView{
		Shard: id, Position: stored.Position, settled: settled(id, reports),
		leadership: leadership{stored.Leader, stored.Foreign, stored.Term},
		progress:   progress{LastCommit: stored.Committed.UTC(), LastCommitAge: in.age(stored.Committed)},
	}
	report, leads := reportOf(id, stored.Leader, reports)
	v.State = stateOf(&stored, report.status, leads)
	if stored.Position != nil {
		v.Lost, v.LastEvent = stored.Position.Lost, stored.Position.Arrived
	}
	if s := report.status; s != nil {
		v.WaitingFor, v.OpenAfterEnd, v.ForeignUnread = s.WaitingFor, s.OpenAfterEnd, s.Leader.Unread
		if s.Last.Event.After(v.LastEvent) {
			v.LastEvent = s.Last.Event
		}
		if leads {
			v.Trouble, v.report = s.Trouble, report
			v.Rate = in.rate(stored.Leader, &report)
		}
		if leads && v.State == gerritstream.StateReading {
			lag := s.Lag.Seconds()
			v.Lag = &lag
		}
	}
	v.LastEvent, v.LastEventAge = v.LastEvent.UTC(), in.age(v.LastEvent)
	return v
}

// sentence says how the stream is read.
func (v *statusView) sentence() string {
	if v.Origin == nil {
		return "Nothing has been read yet."
	}
	open, read, waiting, halted := 0, 0, 0, 0
	behind, rate, rated := 0.0, 0.0, false
	for i := range v.Shards {
		s := &v.Shards[i]
		switch {
		case s.State == gerritstream.StateEnded:
			continue
		case s.State == gerritstream.StateWaiting:
			waiting++
			continue
		case s.State == gerritstream.StateHalted:
			halted++
		case s.State == gerritstream.StateReading && s.Trouble == "" && s.ForeignUnread.IsZero():
			read++
		}
		open++
		if s.Lag != nil {
			behind = max(behind, *s.Lag)
		}
		if s.Rate != nil {
			rate, rated = rate+*s.Rate, true
		}
	}
	text := fmt.Sprintf("%d of %s read", read, pluralBe(open, "shard"))
	switch {
	case read == open && open == 1:
		text = "1 shard is read"
	case read == open && open == 2:
		text = "Both shards are read"
	case read == open && open > 2:
		text = fmt.Sprintf("All %s read", pluralBe(open, "shard"))
	}
	switch {
	case len(v.Processes) == 0:
		return text + ": no process is running."
	case halted > 0:
		text += fmt.Sprintf(", %d halted", halted)
	}
	if waiting > 0 {
		text += fmt.Sprintf(", %d waiting for a parent", waiting)
	}
	if behind >= 1 {
		text += fmt.Sprintf(", %s behind", when.Span(time.Duration(behind*float64(time.Second))))
	}
	if rated {
		text += ", " + strings.Replace(perSecond(rate), "/s", " records/s", 1)
	}
	return text + "."
}

// pluralBe is "1 shard is" or "4 shards are".
func pluralBe(n int, thing string) string {
	if n == 1 {
		return "1 " + thing + " is"
	}
	return plural(n, thing) + " are"
}

// rate returns how many records a leader reads a second: between its last two
// reports that were seen, or else since its process began; nil: that is not
// known yet.
func (in *statusInput) rate(leader string, now *leaderReport) *float64 {
	records, from := now.status.Counts.Read, time.Time{}
	for _, r := range in.inspection.Reports {
		if r.Process == leader {
			from = r.Status.Began
		}
	}
	before := in.before[leader]
	for i := range before.Status.Shards {
		s := &before.Status.Shards[i]
		if s.Shard == now.status.Shard && s.Counts.Read <= records {
			records, from = records-s.Counts.Read, before.At
		}
	}
	if seconds := now.at.Sub(from).Seconds(); !from.IsZero() && seconds >= 1 {
		rate := float64(records) / seconds
		return &rate
	}
	return nil
}

// perSecond writes a rate for people.
func perSecond(rate float64) string {
	switch {
	case rate == 0 || rate >= 10:
		return thousands(int(rate+0.5)) + "/s"
	case rate < 0.1:
		return "<0.1/s"
	}
	return fmt.Sprintf("%.1f/s", rate)
}

// reportOf returns what a shard's leader reports of it. If the leader does not,
// it is what another process reports, preferably one that waits for a parent.
func reportOf(id gerritstream.ShardID, leader string, reports []gerritstream.Report) (found leaderReport, leads bool) {
	for _, r := range reports {
		i := slices.IndexFunc(r.Status.Shards, func(s gerritstream.ShardStatus) bool { return s.Shard == id })
		if i < 0 {
			continue
		}
		s := &r.Status.Shards[i]
		if r.Process == leader {
			return leaderReport{s, r.At}, s.State == gerritstream.StateReading || s.State == gerritstream.StateHalted
		}
		if found.status == nil || s.State == gerritstream.StateWaiting {
			found = leaderReport{s, r.At}
		}
	}
	return found, false
}

// settled reports whether some process has reported its state of a shard for a
// while, or, if none reports the shard, whether some process has run for a
// while. Without any process it is true.
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

// stateOf returns a shard's state: ended by its position, else by its leader,
// else by what is reported.
func stateOf(stored *gerritstream.InspectedShard, reported *gerritstream.ShardStatus, leads bool) gerritstream.State {
	switch {
	case stored.Position != nil && stored.Position.Ended:
		return gerritstream.StateEnded
	case leads && reported.State == gerritstream.StateHalted:
		return gerritstream.StateHalted
	case stored.Leader != "":
		return gerritstream.StateReading
	case reported == nil:
	case reported.State == gerritstream.StateWaiting, reported.State == gerritstream.StateStandby:
		return reported.State
	}
	return stateUnread
}

// age returns how many seconds ago a time was, or nil for none.
func (in *statusInput) age(t time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	seconds := max(0, in.now.Sub(t)).Round(time.Millisecond).Seconds()
	return &seconds
}
