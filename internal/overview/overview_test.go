package overview

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/pauses"
)

var now = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 400 * time.Millisecond: "0.4 s", 9960 * time.Millisecond: "10 s", 22 * time.Second: "22 s",
		-22 * time.Second: "-22 s", 89 * time.Second: "89 s", 40*time.Minute + 59*time.Second: "40 min",
		24*time.Hour - time.Second: "23 h 59 min", 26 * time.Hour: "26 h", 100 * time.Hour: "4 d 4 h",
		168 * time.Hour: "7 d",
	} {
		if got := Span(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", 0.001: "< 0.01", 0.05: "0.05", 0.33: "0.3", 3: "3", 9.96: "10", 19.4: "19", 1234: "1234",
		61204: "61\u202f204", 1234567: "1\u202f234\u202f567", -2: "-2",
	} {
		if got := Number(f); got != want {
			t.Errorf("%v: got %q, want %q", f, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	for id, want := range map[gerritstream.ShardID]string{
		"shardId-000000000007": "7", "shardId-000000000000": "0", "shardId-x": "shardId-x", "other": "other",
	} {
		if got := Short(id); got != want {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
}

// one returns a process that reads one shard, which has queued so many events.
func one(process string, began, at time.Time, queued uint64) gerritstream.Report {
	return gerritstream.Report{Process: process, At: at, Status: gerritstream.Status{
		Process: process, Began: began, Listed: at, Shards: []gerritstream.ShardStatus{{
			Shard: "shardId-000000000000", State: gerritstream.StateReading, Since: began,
			Counts: gerritstream.ShardCounts{Queued: queued}, Last: gerritstream.ShardTimes{Page: at},
		}},
	}}
}

// A rate is what a leader has counted between two of its reports. It is not
// known after a change of leader, and is believed between reports.
func TestRates(t *testing.T) {
	h := NewHistory()
	begun := now.Add(-time.Hour)
	add := func(after time.Duration, r gerritstream.Report) (float64, bool) {
		h.Add(&Input{Now: now.Add(after), History: h, Store: Store{At: now.Add(after),
			Inspection: gerritstream.Inspection{Reports: []gerritstream.Report{r}}}}, Unknown)
		return h.rate("shardId-000000000000")
	}
	for i, step := range []struct {
		after  time.Duration
		report gerritstream.Report
		rate   float64
		known  bool
	}{
		{0, one("a-1-x", begun, now, 1000), 0, false},
		{10 * time.Second, one("a-1-x", begun, now.Add(5*time.Second), 1010), 2, true},
		{20 * time.Second, one("a-1-x", begun, now.Add(5*time.Second), 1010), 2, true}, // the same report
		{30 * time.Second, one("b-1-x", begun, now.Add(30*time.Second), 5000), 0, false},
		{40 * time.Second, one("b-1-x", begun, now.Add(40*time.Second), 5000), 0, true},
	} {
		if rate, known := add(step.after, step.report); known != step.known || known && rate != step.rate {
			t.Errorf("%d: got %v, %v, want %v, %v", i, rate, known, step.rate, step.known)
		}
	}
	if got := h.rates("shardId-000000000000"); !slices.Equal(got, []float64{Unknown, 2, 2, Unknown, 0}) {
		t.Errorf("the last hour is %v", got)
	}
}

// A history holds an hour, of processes as well.
func TestHistoryIsBounded(t *testing.T) {
	h := NewHistory()
	for i := range Length + 10 {
		in := &Input{Now: now.Add(time.Duration(i) * Every), History: h, Store: Store{At: now}}
		in.Store.Inspection.Reports = []gerritstream.Report{one(fmt.Sprintf("h%d-1-x", i), now, in.Now, 7)}
		in.Store.Inspection.Queue = int64(i)
		h.Add(in, Unknown)
	}
	past := h.past(func(s *Sample) float64 { return s.Queue })
	if len(past) != Length || past[0] != 10 || past[Length-1] != Length+9 {
		t.Errorf("%d samples from %v to %v", len(past), past[0], past[len(past)-1])
	}
	if n := len(h.seen); n > Length+2 {
		t.Errorf("%d processes are remembered", n)
	}
}

// Where the last process has gone, no others read what it read.
func TestTheLastProcessGone(t *testing.T) {
	in := &Input{Now: now, History: NewHistory(), Store: Store{At: now}}
	in.Store.Inspection.Origin = &gerritstream.Origin{}
	in.Store.Inspection.Reports = []gerritstream.Report{one("a-1-x", now, now, 0)}
	in.History.Add(in, Unknown)
	in.Store.Inspection.Reports, in.Now = nil, now.Add(time.Minute)
	in.History.Add(in, Unknown)
	v := New(in)
	if len(v.Causes) != 1 || v.Causes[0].Text != "No process runs" {
		t.Errorf("got %+v", v.Causes)
	}
}

// A process that is gone is named, unless another began on its host since.
func TestGone(t *testing.T) {
	h := NewHistory()
	view := func(after time.Duration, reports ...gerritstream.Report) []string {
		in := &Input{Now: now.Add(after), History: h, Store: Store{At: now.Add(after)}}
		in.Process.Process = "me-1-x"
		in.Store.Inspection.Reports = reports
		h.Add(in, Unknown)
		var gone []string
		for _, g := range h.gone(in.merge().running(), in.Now) {
			gone = append(gone, g.Name)
		}
		return gone
	}
	view(0, one("a-1-x", now, now, 0), one("b-1-x", now, now, 0))
	later := now.Add(time.Minute)
	got := view(time.Minute, one("b-2-y", later, later, 0))
	if !slices.Equal(got, []string{"a-1-x"}) {
		t.Errorf("gone: %q", got)
	}
	if got := view(2 * time.Hour); len(got) > 0 {
		t.Errorf("two hours later gone: %q", got)
	}
}

// Where nobody reads anything, all is not well, whatever the reason will be.
// One shard of two may change its leader, and a process that has begun may not
// have been elected yet.
func TestNothingReadIsNotWell(t *testing.T) {
	shard := func(id gerritstream.ShardID, state gerritstream.State) gerritstream.ShardStatus {
		s := gerritstream.ShardStatus{Shard: id, State: state, Since: now.Add(-5 * time.Second), AtTip: true}
		s.Last.Page, s.Last.Commit = now, now
		return s
	}
	for _, tt := range []struct {
		began  time.Duration // before now
		states [2]gerritstream.State
		want   Level
	}{
		{time.Hour, [2]gerritstream.State{gerritstream.StateStandby, gerritstream.StateStandby}, Warning},
		{time.Hour, [2]gerritstream.State{gerritstream.StateReading, gerritstream.StateStandby}, Fine},
		{time.Second, [2]gerritstream.State{gerritstream.StateStandby, gerritstream.StateStandby}, Fine},
	} {
		status := gerritstream.Status{Process: "a-1-x", Began: now.Add(-tt.began), Listed: now,
			Shards: []gerritstream.ShardStatus{
				shard("shardId-000000000000", tt.states[0]), shard("shardId-000000000001", tt.states[1]),
			}}
		v := New(&Input{Process: status, Now: now})
		if v.Level != tt.want {
			t.Errorf("%v, begun %v ago: %v: %s %v", tt.states, tt.began, v.Level, v.Sentence, v.Causes)
		}
	}
}

// Texts of errors as processes report them that do not tell their kinds yet
// have their kinds.
func TestKinds(t *testing.T) {
	for _, tt := range []struct{ want, text string }{
		{"queue full", "reading paused: Zuul's queue is full (509 of 500)"},
		{"Kinesis away", "retrying: kinesis:GetRecords on gerrit/1: dial tcp 10.0.0.7:443: connection refused"},
		{"throttled", "kinesis:GetRecords on gerrit/1: ProvisionedThroughputExceededException: Rate exceeded"},
		{"access denied", "kinesis:ListShards on gerrit: AccessDeniedException: not authorized (request 12)"},
		{"access denied", "kinesis:GetRecords on g/s: the policy of the stream's KMS key does not grant kms:Decrypt"},
		{"Kinesis fails", "kinesis:GetRecords on g/s: InternalFailure: try again (request 12)"},
		{"sink", "deliver to stdout: broken pipe"},
		{"halted", "halted: bad position"},
		{"sink", "waiting for the sink stdout"},
		{"store away", "waiting for the store to commit"},
		{"stalled", "waiting for a page: the source is silent, or there is no memory for one"},
		{"store away", "commit: no server of ZooKeeper answers"},
		{"store away", "commit: database is locked (5) (SQLITE_BUSY)"},
		{"trouble", "something else"},

		// They quote errors.
		{"halted", "halted: kinesis:GetShardIterator on g/s: InvalidArgumentException: Signature (request 12)"},
		{"sink", "deliver to webhook: write /var/sqlite: disk full"},
		{"sink", "retrying: deliver to stdout: write: no space left on the disk"},
	} {
		if got := kindOf(known("", tt.text)).name; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.text, got, tt.want)
		}
	}
}

// Each kind of cause has its section in the runbook.
func TestCausesAreInTheRunbook(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(strings.TrimSpace(line), "## "); ok {
			sections[strings.ReplaceAll(strings.ToLower(title), " ", "-")] = true
		}
	}
	for _, help := range Sections() {
		if !sections[help] {
			t.Errorf("the runbook has no section %q", help)
		}
	}
}

// What was never said of a shard is not invented: without a leader it is read
// by nobody, and a page that is late takes "at the tip" away.
func TestStateOfAShard(t *testing.T) {
	began := now.Add(-time.Hour)
	tests := []struct {
		name   string
		change func(*gerritstream.ShardStatus)
		want   string
	}{
		{"at the tip", func(s *gerritstream.ShardStatus) { s.AtTip = true }, "at the tip"},
		{"not at the tip", func(*gerritstream.ShardStatus) {}, "reading"},
		{"behind", func(s *gerritstream.ShardStatus) { s.Lag = time.Hour }, "catching up"},
		{"late", func(s *gerritstream.ShardStatus) {
			s.AtTip, s.Last.Page = true, now.Add(-5*time.Second)
		}, "last read 5 s ago"},
		{"silent", func(s *gerritstream.ShardStatus) {
			s.AtTip, s.Last.Page = true, now.Add(-22*time.Second)
		}, "nothing read for 22 s"},
		{"trouble", func(s *gerritstream.ShardStatus) { s.AtTip, s.Trouble = true, "kinesis: x" }, "retrying"},
		{"a sink waits", func(s *gerritstream.ShardStatus) {
			s.Trouble = "waiting for the sink stdout"
		}, "waiting for the sink stdout"},
		{"halted", func(s *gerritstream.ShardStatus) {
			s.State = gerritstream.StateHalted
		}, "halted: a bad position waits for a decision"},
		{"no commits", func(s *gerritstream.ShardStatus) {
			s.AtTip, s.Last.Commit = true, now.Add(-3*time.Minute)
		}, "nothing committed for 3 min"},
		{"waiting", func(s *gerritstream.ShardStatus) {
			s.State, s.WaitingFor = gerritstream.StateWaiting, []gerritstream.ShardID{"shardId-000000000003"}
		}, "waits for its parent 3"},
		{"nobody's", func(s *gerritstream.ShardStatus) {
			s.State, s.Last.Commit = gerritstream.StateStandby, now.Add(-time.Hour)
		}, "nobody reads it"},
		{"nobody's yet", func(s *gerritstream.ShardStatus) {
			s.State, s.Since = gerritstream.StateStandby, now.Add(-5*time.Second)
		}, "between two leaders"},
		{"terms that fail", func(s *gerritstream.ShardStatus) {
			s.State, s.Trouble, s.Since = gerritstream.StateStandby, "commit: x", now.Add(-time.Second)
			s.Last.Commit, s.Leader.Planned = now.Add(-2*time.Minute), "a-1-x"
		}, "each leader fails soon"},
		{"a term that failed", func(s *gerritstream.ShardStatus) {
			s.State, s.Trouble, s.Since = gerritstream.StateStandby, "commit: x", now.Add(-time.Second)
			s.Last.Commit, s.Leader.Planned = now.Add(-40*time.Second), "a-1-x"
		}, "between two leaders"},
		{"ended", func(s *gerritstream.ShardStatus) { s.State = gerritstream.StateEnded }, "ended"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := one("a-1-x", began, now, 0)
			r.Status.Shards[0].Last.Commit = now
			tt.change(&r.Status.Shards[0])
			v := New(&Input{Process: r.Status, Now: now})
			if got := v.Shards[0].State; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A leader is named by its host, unless that does not tell it from another.
func TestLeaderIsNamedByItsHost(t *testing.T) {
	for other, want := range map[string]string{"b-2-y": "a", "a-2-y": "a-1-x"} {
		in := &Input{Process: one("a-1-x", now.Add(-time.Hour), now, 0).Status, Now: now, Store: Store{At: now}}
		in.Store.Inspection.Reports = []gerritstream.Report{{Process: other, At: now}}
		if got := New(in).Shards[0].Host; got != want {
			t.Errorf("beside %s it is %q, want %q", other, got, want)
		}
	}
}

// Of a shard of another process only its last report is known, and only for a
// while.
func TestReportsGrowOld(t *testing.T) {
	for age, want := range map[time.Duration]string{
		20 * time.Second: "at the tip", 3 * time.Minute: "not known: its leader reported 3 min ago",
	} {
		r := one("b-1-x", now.Add(-time.Hour), now.Add(-age), 0)
		r.Status.Shards[0].AtTip, r.Status.Shards[0].Last.Commit = true, r.At
		in := &Input{Process: gerritstream.Status{Process: "a-1-x"}, Now: now, Store: Store{At: now}}
		in.Store.Inspection.Reports = []gerritstream.Report{r}
		in.Store.Inspection.Shards = map[gerritstream.ShardID]gerritstream.InspectedShard{
			"shardId-000000000000": {Leader: "b-1-x"},
		}
		if got := New(in).Shards[0].State; got != want {
			t.Errorf("%v: got %q, want %q", age, got, want)
		}
	}
}

// A pause is named, with who wants it and why, and is no finding; what it does
// to a shard that another program leads is said as well.
func TestPausesAreShown(t *testing.T) {
	const id, other, foreign = "shardId-000000000000", "shardId-000000000001", "shardId-000000000002"
	report := one("a-1-x", now.Add(-time.Hour), now, 7)
	report.Status.Shards[0].State, report.Status.Shards[0].Lag = pauses.State, time.Minute
	report.Status.Shards[0].Since = now.Add(-10 * time.Minute)
	report.Status.Shards = append(report.Status.Shards, gerritstream.ShardStatus{
		Shard: other, State: gerritstream.StateReading, AtTip: true, Since: now.Add(-time.Minute),
		Last: gerritstream.ShardTimes{Page: now},
	})
	in := &Input{Now: now, Store: Store{At: now, Inspection: gerritstream.Inspection{
		Origin: &gerritstream.Origin{}, Reports: []gerritstream.Report{report},
		Shards: map[gerritstream.ShardID]gerritstream.InspectedShard{
			id: {Leader: "a-1-x"}, other: {Leader: "a-1-x"},
		},
	}}}
	pause := pauses.Pause{Shard: id, Since: now.Add(-10 * time.Minute), By: "anna@ops", Reason: "upgrade"}
	look := func(p ...pauses.Pause) View {
		in.Pauses = p
		return New(in)
	}
	says := func(v View, sentence, line string) {
		t.Helper()
		var lines []string
		for i := range v.Causes {
			lines = append(lines, v.Causes[i].Line())
			if v.Causes[i].IsFinding() || v.Causes[i].Help != "paused" {
				t.Errorf("a finding: %+v", v.Causes[i])
			}
		}
		if v.Sentence != sentence || strings.Join(lines, "; ") != line {
			t.Errorf("it says %q and %q,\nwant %q and %q", v.Sentence, lines, sentence, line)
		}
	}
	v := look(pause)
	says(v, "1 of 2 shards is read, 1 is paused, 60 s behind.",
		"Reading is paused by anna@ops since 2026-01-31 07:50:00 UTC (shard 0): upgrade")
	if s := v.Shards[0]; s.ID != id || s.State != "paused by anna@ops for 10 min" || s.Level != Warning {
		t.Errorf("the paused shard is %+v", s)
	}
	if p := v.Processes[0]; p.Leads != 2 {
		t.Errorf("the process is %+v", p)
	}
	also := pause
	also.Shard = other
	says(look(pause, also), "Both shards are paused, 60 s behind.",
		"Reading is paused by anna@ops since 2026-01-31 07:50:00 UTC (shards 0, 1): upgrade")
	pause.Shard, pause.Until = pauses.All, now.Add(-time.Second)
	says(look(pause), "Both shards are paused, 60 s behind.",
		"Reading is paused by anna@ops since 2026-01-31 07:50:00 UTC, and should have ended at 2026-01-31 07:59:59 UTC: "+
			"a process that reads the stream ends it (all shards): upgrade")
	says(look(), "Both shards are read, 60 s behind.", "")
	in.Store.Inspection.Shards[foreign] = gerritstream.InspectedShard{Leader: "Zuul (Python)", Foreign: true}
	pause.Until = time.Time{}
	v = look(pause)
	if !slices.ContainsFunc(v.Causes, func(c Cause) bool {
		return c.Text == "Zuul (Python) keeps to no pause, and leads 1 paused shard" && c.Level == Warning
	}) {
		t.Errorf("the causes are %+v", v.Causes)
	}
}
