package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/queue"
)

// stateUnread is the state of a shard that no process reports.
const stateUnread gerritstream.State = "not read"

// statusView is the result of `status`, as JSON. Times are in UTC, ages in
// seconds.
type statusView struct {
	State      string               `json:"state"` // in a sentence
	Connection string               `json:"connection"`
	Store      string               `json:"store"`
	Origin     *gerritstream.Origin `json:"start"` // null: no process has run yet
	Queue      int64                `json:"queue"`
	QueueLimit int64                `json:"queue_limit,omitempty"` // at which commits wait, as configured here
	storeCounts
	Pauses    pauses.Set    `json:"pauses,omitempty"`
	Consumers []queue.Info  `json:"consumers,omitempty"`
	Webhooks  []hooks.View  `json:"webhooks,omitempty"`
	Processes []processView `json:"processes"`
	Shards    []shardView   `json:"shards"`
	Trouble   []string      `json:"trouble"` // what --check fails for, a line for each cause
	Causes    []causeView   `json:"causes"`  // the same in parts, and warnings of which it does not

	view overview.View
}

// storeCounts counts what is not in the queue. It is embedded because the JSON
// is flat.
type storeCounts struct {
	DeadLetters int64 `json:"dead_letters"`
	Discarded   int64 `json:"discarded"`
	Expired     int64 `json:"expired"`
	Unread      int64 `json:"expired_unread"`
}

// causeView is one thing that is wrong.
type causeView struct {
	Level  string `json:"level"` // trouble or warning
	Cause  string `json:"cause"` // section of docs/runbook.md
	Text   string `json:"text"`
	Of     string `json:"of,omitempty"`     // some of the shards or processes
	Detail string `json:"detail,omitempty"` // in the words of what failed
}

// processView is one running process.
type processView struct {
	Process string    `json:"process"`
	At      time.Time `json:"at"`
	Trouble string    `json:"trouble,omitempty"`
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

// statusInput is what a view is made from.
type statusInput struct {
	seen overview.Input

	// The reports seen last, and those seen before them, by process.
	last, before map[string]gerritstream.Report
}

// remember keeps the reports of the inspection for the rates of later ones.
func (in *statusInput) remember() {
	if in.last == nil {
		in.last, in.before = map[string]gerritstream.Report{}, map[string]gerritstream.Report{}
	}
	for _, r := range in.seen.Store.Inspection.Reports {
		if last, ok := in.last[r.Process]; ok && last.At.Before(r.At) {
			in.before[r.Process] = last
		}
		in.last[r.Process] = r
	}
}

// view puts the result of `status` together.
func (in *statusInput) view() statusView {
	seen := &in.seen.Store.Inspection
	v := statusView{
		Connection: in.seen.Setup.Connection, Store: in.seen.Setup.Store, Origin: seen.Origin, Queue: seen.Queue,
		storeCounts: storeCounts{seen.DeadLetters, seen.Discarded, seen.Expired, seen.ExpiredUnread},
		Pauses:      in.seen.Pauses, Webhooks: in.seen.Webhooks, QueueLimit: in.seen.Setup.QueueLimit,
		view:      overview.New(&in.seen),
		Processes: []processView{}, Shards: []shardView{}, Trouble: []string{}, Causes: []causeView{},
	}
	v.State = commas(v.view.Sentence)
	for i := range in.seen.Consumers {
		if _, hook := queue.WebhookOf(in.seen.Consumers[i].Name); !hook {
			v.Consumers = append(v.Consumers, in.seen.Consumers[i])
		}
	}
	for _, r := range seen.Reports {
		p := processView{Process: r.Process, At: r.At.UTC(), Trouble: r.Status.Trouble}
		if overview.IsYoung(&r) {
			p.Trouble = "" // it has just begun, and tries again
		}
		v.Processes = append(v.Processes, p)
	}
	slices.SortFunc(v.Processes, func(a, b processView) int { return cmp.Compare(a.Process, b.Process) })
	for i := range v.view.Shards {
		v.Shards = append(v.Shards, in.shard(&v.view.Shards[i]))
	}
	slices.SortFunc(v.Shards, func(a, b shardView) int { return cmp.Compare(a.Shard, b.Shard) })
	for i := range v.view.Causes {
		c := &v.view.Causes[i]
		if c.IsFinding() {
			v.Trouble = append(v.Trouble, commas(c.Line()))
		}
		v.Causes = append(v.Causes, causeView{c.Level.String(), c.Help, commas(c.Text), c.Of, commas(c.Detail)})
	}
	return v
}

// commas writes the thousands of an overview's numbers apart with a comma, as
// this program does elsewhere.
func commas(text string) string { return strings.ReplaceAll(text, "\u202f", ",") }

// shard puts one shard together.
func (in *statusInput) shard(of *overview.Shard) shardView {
	stored, reported := &of.Facts.Stored, of.Facts.Reported
	v := shardView{
		Shard: of.ID, Position: stored.Position, State: stateOf(&of.Facts),
		leadership: leadership{stored.Leader, stored.Foreign, stored.Term},
		progress:   progress{LastCommit: stored.Committed.UTC(), LastCommitAge: in.age(stored.Committed)},
	}
	if stored.Position != nil {
		v.Lost, v.LastEvent = stored.Position.Lost, stored.Position.Arrived
	}
	if reported != nil {
		v.WaitingFor, v.OpenAfterEnd = reported.WaitingFor, reported.OpenAfterEnd
		v.ForeignUnread = reported.Leader.Unread
		if reported.Last.Event.After(v.LastEvent) {
			v.LastEvent = reported.Last.Event
		}
	}
	if _, paused := in.seen.Pauses.Of(of.ID); paused && v.State != gerritstream.StateEnded && !stored.Foreign {
		v.State = pauses.State
	}
	if of.Facts.Leads {
		v.Trouble, v.Rate = reported.Trouble, in.rate(stored.Leader, &of.Facts)
		if v.State == gerritstream.StateReading || v.State == pauses.State {
			lag := reported.Lag.Seconds()
			v.Lag = &lag
		}
	}
	v.LastEvent, v.LastEventAge = v.LastEvent.UTC(), in.age(v.LastEvent)
	return v
}

// rate returns how many records a leader reads a second: between its last two
// reports that were seen, or else since its process began; nil: that is not
// known yet.
func (in *statusInput) rate(leader string, now *overview.Facts) *float64 {
	records, from := now.Reported.Counts.Read, time.Time{}
	for _, r := range in.seen.Store.Inspection.Reports {
		if r.Process == leader {
			from = r.Status.Began
		}
	}
	before := in.before[leader]
	for i := range before.Status.Shards {
		s := &before.Status.Shards[i]
		if s.Shard == now.Reported.Shard && s.Counts.Read <= records {
			records, from = records-s.Counts.Read, before.At
		}
	}
	if seconds := now.At.Sub(from).Seconds(); !from.IsZero() && seconds >= 1 {
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

// stateOf returns a shard's state: ended by its position, else by its leader,
// else by what is reported.
func stateOf(f *overview.Facts) gerritstream.State {
	switch {
	case f.Stored.Position != nil && f.Stored.Position.Ended:
		return gerritstream.StateEnded
	case f.Leads && f.Reported.State == gerritstream.StateHalted:
		return gerritstream.StateHalted
	case f.Stored.Leader != "":
		return gerritstream.StateReading
	case f.Reported == nil:
	case f.Reported.State == gerritstream.StateWaiting, f.Reported.State == gerritstream.StateStandby:
		return f.Reported.State
	}
	return stateUnread
}

// age returns how many seconds ago a time was, or nil for none.
func (in *statusInput) age(t time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	seconds := max(0, in.seen.Now.Sub(t)).Round(time.Millisecond).Seconds()
	return &seconds
}

// findings returns the trouble as an error, a line each; nil: there is none.
func (v *statusView) findings() error {
	errs := make([]error, len(v.Trouble))
	for i, line := range v.Trouble {
		errs[i] = errors.New(printable(line))
	}
	return errors.Join(errs...)
}
