package main

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/queue"
)

// stateUnread is the state of a shard that no process reports.
const stateUnread gerritstream.State = "not read"

// statusView is the result of `status`, as JSON. Times are in UTC, ages in
// seconds.
type statusView struct {
	Connection  string               `json:"connection"`
	Store       string               `json:"store"`
	Origin      *gerritstream.Origin `json:"start"` // null: no process has run yet
	Queue       int64                `json:"queue"`
	DeadLetters int64                `json:"dead_letters"`
	Discarded   int64                `json:"discarded"`
	Expired     int64                `json:"expired"`
	Unread      int64                `json:"expired_unread"`
	Consumers   []queue.Info         `json:"consumers,omitempty"`
	Webhooks    []hooks.View         `json:"webhooks,omitempty"`
	Processes   []processView        `json:"processes"`
	Shards      []shardView          `json:"shards"`
	Trouble     []string             `json:"trouble"`

	now time.Time
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
}

// view puts the result of `status` together.
func (in *statusInput) view() statusView {
	seen := &in.inspection
	reports := slices.Clone(seen.Reports)
	slices.SortFunc(reports, func(a, b gerritstream.Report) int { return cmp.Compare(a.Process, b.Process) })
	v := statusView{
		Connection: in.connection, Store: in.store, Origin: seen.Origin, Queue: seen.Queue,
		DeadLetters: seen.DeadLetters, Discarded: seen.Discarded, Expired: seen.Expired, Unread: seen.ExpiredUnread,
		Consumers: in.consumers, Webhooks: in.hooks, now: in.now,
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
		}
		if leads && v.State == gerritstream.StateReading {
			lag := s.Lag.Seconds()
			v.Lag = &lag
		}
	}
	v.LastEvent, v.LastEventAge = v.LastEvent.UTC(), in.age(v.LastEvent)
	return v
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
