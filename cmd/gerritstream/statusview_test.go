package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/overview"
)

// now is the time of every status in these tests.
var now = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

// seen is what a store holds of a stream of four shards: one ended, two read,
// one that waits for its parent.
func seen() gerritstream.Inspection {
	at := func(seq gerritstream.SequenceNumber, ended bool) *gerritstream.Position {
		return &gerritstream.Position{After: seq, Arrived: now.Add(-time.Minute), Ended: ended}
	}
	return gerritstream.Inspection{
		Origin: &gerritstream.Origin{
			Stream: gerritstream.Stream{ARN: "arn:aws:kinesis:eu-west-1:123456789012:stream/gerrit"},
			From:   gerritstream.StartingPosition{TrimHorizon: true},
		},
		Shards: map[gerritstream.ShardID]gerritstream.InspectedShard{
			"shardId-0": {Position: at("10", true), Term: 3, Committed: now.Add(-time.Hour)},
			"shardId-1": {Position: at("20", false), Term: 1, Leader: "a-1", Committed: now.Add(-10 * time.Second)},
			"shardId-2": {Position: at("30", false), Term: 2, Leader: "b-2", Committed: now.Add(-20 * time.Second)},
		},
		Reports: []gerritstream.Report{
			{Process: "b-2", At: now.Add(-time.Second), Status: gerritstream.Status{Shards: []gerritstream.ShardStatus{
				{Shard: "shardId-1", State: gerritstream.StateStandby, Trouble: "of an old term"},
				{Shard: "shardId-2", State: gerritstream.StateReading, Lag: 90 * time.Second, Since: now.Add(-time.Hour),
					Last: gerritstream.ShardTimes{Event: now.Add(-95 * time.Second), Page: now.Add(-2 * time.Second)}},
				{Shard: "shardId-3", State: gerritstream.StateWaiting, WaitingFor: []gerritstream.ShardID{"shardId-1"}},
			}}},
			{Process: "a-1", At: now.Add(-2 * time.Second), Status: gerritstream.Status{Shards: []gerritstream.ShardStatus{
				{Shard: "shardId-1", State: gerritstream.StateReading, Since: now.Add(-time.Hour), AtTip: true,
					Last: gerritstream.ShardTimes{Event: now.Add(-5 * time.Second), Page: now.Add(-2 * time.Second),
						Commit: now.Add(-10 * time.Second)}},
				{Shard: "shardId-3", State: gerritstream.StateWaiting, WaitingFor: []gerritstream.ShardID{"shardId-1"}},
			}}},
		},
		Queue: 1234, DeadLetters: 5,
	}
}

func inputOf(in gerritstream.Inspection) *statusInput {
	for i := range in.Reports {
		slices.SortFunc(in.Reports[i].Status.Shards, func(a, b gerritstream.ShardStatus) int {
			return cmp.Compare(a.Shard, b.Shard)
		})
	}
	return &statusInput{seen: overview.Input{
		Setup: overview.Setup{Connection: "gerrit", Store: "sqlite:/g.db", PollInterval: 200 * time.Millisecond},
		Store: overview.Store{Inspection: in, At: now}, Now: now,
	}}
}

// inputAs returns an input with another inspection.
func inputAs(l *statusInput, in gerritstream.Inspection) *statusInput {
	l.seen.Store = inputOf(in).seen.Store
	return l
}

func TestStatusStates(t *testing.T) {
	v := inputOf(seen()).view()
	states := map[gerritstream.ShardID]gerritstream.State{}
	for _, s := range v.Shards {
		states[s.Shard] = s.State
	}
	want := map[gerritstream.ShardID]gerritstream.State{
		"shardId-0": gerritstream.StateEnded, "shardId-1": gerritstream.StateReading,
		"shardId-2": gerritstream.StateReading, "shardId-3": gerritstream.StateWaiting,
	}
	if !reflect.DeepEqual(states, want) {
		t.Errorf("states %v, want %v", states, want)
	}
	one := v.Shards[1]
	if one.Leader != "a-1" || *one.LastEventAge != 5 || *one.LastCommitAge != 10 || *one.Lag != 0 || one.Trouble != "" {
		t.Errorf("shardId-1: %+v", one)
	}
	if two := v.Shards[2]; *two.LastEventAge != 60 || *two.Lag != 90 {
		t.Errorf("shardId-2: the position is newer than the report: %+v", two)
	}
	if len(v.Trouble) > 0 {
		t.Errorf("trouble where there is none: %q", v.Trouble)
	}
}

func TestStatusTrouble(t *testing.T) {
	const denied = "denied:\n  kinesis:GetRecords"
	tests := []struct {
		name   string
		change func(*gerritstream.Inspection, *statusInput)
		want   []string
	}{
		{"nothing begun", func(in *gerritstream.Inspection, _ *statusInput) { *in = gerritstream.Inspection{} },
			[]string{"No process has run on this store yet"}},
		{"nobody runs", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Reports = nil
			for id, s := range in.Shards {
				s.Leader = ""
				in.Shards[id] = s
			}
		}, []string{"No process runs"}},
		{"a burst of dead letters", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Reports[0].Status.DeadRate = &gerritstream.DeadRate{
				Records: 200, Dead: 20, Last: now.Add(-time.Minute), Reason: "json", Detail: "it looks like gzip",
			}
		}, []string{"20 of the last 200 records became dead letters: json: it looks like gzip (b-2)"}},
		{"nothing begun, by a process that runs", func(in *gerritstream.Inspection, _ *statusInput) {
			*in = gerritstream.Inspection{Reports: []gerritstream.Report{
				{Process: "a", At: now, Status: gerritstream.Status{Began: now.Add(-time.Minute), Trouble: denied}},
			}}
		}, []string{"Kinesis fails (a): denied: kinesis:GetRecords"}},
		{"reports of processes that are stuck", func(in *gerritstream.Inspection, _ *statusInput) {
			for i := range in.Reports {
				in.Reports[i].At = now.Add(-time.Hour)
			}
		}, []string{"A process is stuck, or a clock is wrong: the last report is 1 h off (a-1, b-2)"}},
		{"a shard without a leader", func(in *gerritstream.Inspection, _ *statusInput) { unled(in, 3*time.Minute, time.Hour) },
			[]string{"No process reads some of the stream (shard 1)"}},
		{"a shard without a leader, and without a position", func(in *gerritstream.Inspection, _ *statusInput) {
			unled(in, 0, time.Hour)
			delete(in.Shards, "shardId-1")
		}, []string{"No process reads some of the stream (shard 1)"}},
		{"a position that no process knows of", func(in *gerritstream.Inspection, _ *statusInput) {
			unled(in, 3*time.Minute, time.Hour)
			in.Reports[0].Status.Shards = nil
		}, []string{"No process reads some of the stream (shard 1)"}},
		{"cannot list", func(in *gerritstream.Inspection, _ *statusInput) { in.Reports[0].Status.Trouble = denied },
			[]string{"Kinesis fails (b-2): denied: kinesis:GetRecords"}},
		{"another program leads and has stopped", func(in *gerritstream.Inspection, _ *statusInput) {
			s := in.Shards["shardId-2"]
			s.Leader, s.Foreign = "Zuul (Python)", true
			in.Shards["shardId-2"] = s
			in.Reports[0].Status.Shards[1] = gerritstream.ShardStatus{
				Shard: "shardId-2", State: gerritstream.StateStandby,
				Leader: gerritstream.ShardLeader{Unread: now.Add(-3 * time.Minute)},
			}
		}, []string{"Zuul (Python) has stopped: records since 2026-01-31 07:57:00 UTC are not handled; " +
			"its lock may be abandoned (shard 2)"}},
		{"a shard that ended and is open", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Reports[0].Status.Shards = append(in.Reports[0].Status.Shards,
				gerritstream.ShardStatus{Shard: "shardId-0", State: gerritstream.StateEnded, OpenAfterEnd: true})
		}, []string{"What ended here is open in the stream: nothing reads it until `checkpoint set` moves it back (shard 0)"}},
		{"the stream is gone", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Reports[1].Status.Trouble = "the stream is gone: not found"
			in.Reports[1].Status.Shards[0].Trouble = in.Reports[1].Status.Trouble
			s := in.Shards["shardId-1"]
			s.Committed = now.Add(-5 * time.Minute)
			in.Shards["shardId-1"] = s
		}, []string{"The stream is gone: 1 shard waits (shard 1): the stream is gone: not found"}},
		{"a stalled shard", func(in *gerritstream.Inspection, _ *statusInput) { in.Reports[1].Status.Shards[0].Trouble = denied },
			[]string{"Kinesis fails: 1 shard waits (shard 1): denied: kinesis:GetRecords"}},
		{"halted", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Reports[1].Status.Shards[0].State = gerritstream.StateHalted
			in.Reports[1].Status.Shards[0].Trouble = "halted: bad position"
		}, []string{"A bad position waits for a decision: 1 shard waits (shard 1): halted: bad position"}},
		{"an old commit", func(in *gerritstream.Inspection, _ *statusInput) {
			s := in.Shards["shardId-2"]
			s.Committed = now.Add(-5 * time.Minute)
			in.Shards["shardId-2"] = s
			leads := &in.Reports[0].Status.Shards[1]
			leads.AtTip, leads.Last.Commit = true, s.Committed
		}, []string{"Nothing is committed, and it is not known why: 1 shard waits (shard 2): nothing was committed for 4 min"}},
		{"an old commit, and another program leads", func(in *gerritstream.Inspection, _ *statusInput) {
			s := in.Shards["shardId-2"]
			s.Committed, s.Leader, s.Foreign = now.Add(-5*time.Minute), "Zuul (Python)", true
			in.Shards["shardId-2"] = s
		}, nil},
		{"an unreadable position", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Shards["shardId-2"].Position.Unreadable = errors.New("no JSON")
		}, []string{"The position cannot be read: no JSON (shard 2)"}},
		{"a long reader", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Log = &gerritstream.WriteAheadLog{Bytes: 187e6, HeldSince: now.Add(-5 * time.Minute)}
		}, []string{"SQLite's write-ahead log has 187 MB: readers keep it from being emptied, the oldest for at least 5 min"}},
		{"a short reader", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Log = &gerritstream.WriteAheadLog{Bytes: 30e6, HeldSince: now.Add(-50 * time.Second)}
		}, nil},
		{"short readers without a gap", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Log = &gerritstream.WriteAheadLog{Bytes: 187e6, HeldSince: now.Add(-5 * time.Second)}
		}, []string{"SQLite's write-ahead log has 187 MB: readers keep it from being emptied, the oldest for at least 5 s"}},
		{"removed unread", func(in *gerritstream.Inspection, _ *statusInput) {
			in.Expired, in.ExpiredUnread, in.ExpiredUnreadAt = 150, 50, now.Add(-time.Hour)
		}, []string{"50 events expired before any consumer had read them, the last at 2026-01-31 07:00:00 UTC"}},
		{"removed, and read or known already", func(in *gerritstream.Inspection, l *statusInput) {
			in.Expired, in.ExpiredUnread, in.ExpiredUnreadAt = 150, 50, now.Add(-time.Hour)
			l.seen.LostAfter = now.Add(-30 * time.Minute)
		}, nil},
		{"lost", lose, []string{
			"Records that arrived from an unknown time until 2026-01-30 08:00:00 UTC may be lost (the stream: recreated)",
			"Records that arrived from 2026-01-28 08:00:00 UTC until 2026-01-29 08:00:00 UTC may be lost (shard 0: trimmed)",
		}},
		{"lost, and partly known already", func(in *gerritstream.Inspection, l *statusInput) {
			lose(in, l)
			l.seen.LostAfter = now.Add(-30 * time.Hour)
		}, []string{"Records that arrived from an unknown time until 2026-01-30 08:00:00 UTC may be lost (the stream: recreated)"}},
		{"one cause on many shards, and losses of many", func(in *gerritstream.Inspection, l *statusInput) {
			lose(in, l)
			in.Origin.Lost = nil
			a := &in.Reports[1].Status
			for i := range 9 {
				id := gerritstream.ShardID(fmt.Sprintf("shardId-%d", 10+i))
				until := now.Add(-time.Duration(i) * time.Hour)
				in.Shards[id] = gerritstream.InspectedShard{Term: 1, Leader: "a-1", Committed: now.Add(-time.Hour),
					Position: &gerritstream.Position{
						Lost: []gerritstream.Interval{{From: until.Add(-time.Hour), Until: until, Why: "trimmed"}},
					}}
				a.Shards = append(a.Shards, gerritstream.ShardStatus{
					Shard: id, State: gerritstream.StateReading, Trouble: fmt.Sprintf("read %s: no route (request %d)",
						id, i),
				})
			}
		}, []string{
			"Read shardId-10: no route (request 0) (shards 10, 11, 12 and 6 more)",
			"Records that arrived from 2026-01-28 08:00:00 UTC until 2026-01-31 08:00:00 UTC may be lost " +
				"(shards 0, 10, 11 and 7 more: trimmed, 10 intervals)",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := seen()
			l := inputOf(in)
			tt.change(&in, l)
			if got := inputAs(l, in).view().Trouble; !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// unled takes the leader of shardId-1 away: its last commit is committed ago,
// and one process has been on standby for standby.
func unled(in *gerritstream.Inspection, committed, standby time.Duration) {
	s := in.Shards["shardId-1"]
	s.Leader, s.Committed = "", now.Add(-committed)
	in.Shards["shardId-1"] = s
	in.Reports = in.Reports[:1]
	in.Reports[0].Status.Began = now.Add(-standby)
	in.Reports[0].Status.Shards[0].Since = now.Add(-standby)
}

// A healthy store gives no findings: operators switch a noisy probe off.
func TestStatusFindsNothingWhereAllIsRight(t *testing.T) {
	leader := func(in *gerritstream.Inspection) *gerritstream.ShardStatus { return &in.Reports[1].Status.Shards[0] }
	tests := map[string]func(*gerritstream.Inspection){
		"leases of a stream recreated with fewer shards, or of positions that were pruned": func(in *gerritstream.Inspection) {
			in.Shards["shardId-77"] = gerritstream.InspectedShard{Term: 5}
		},
		"a leader that has just gone": func(in *gerritstream.Inspection) { unled(in, time.Minute, time.Hour) },
		"a process that has just begun, after all were away": func(in *gerritstream.Inspection) {
			unled(in, time.Hour, time.Second)
			in.Reports[0].Status.Shards = in.Reports[0].Status.Shards[:1]
			delete(in.Shards, "shardId-2")
		},
		"a process that has just begun and not listed yet": func(in *gerritstream.Inspection) {
			unled(in, time.Hour, time.Second)
			in.Reports[0].Status.Shards = nil
			in.Reports[0].Status.Trouble = "no route"
			delete(in.Shards, "shardId-2")
		},
		"the first process of all": func(in *gerritstream.Inspection) {
			*in = gerritstream.Inspection{Reports: []gerritstream.Report{
				{Process: "a", At: now, Status: gerritstream.Status{Began: now.Add(-time.Second)}},
			}}
		},
		"a new shard": func(in *gerritstream.Inspection) {
			s := &in.Reports[0].Status
			s.Began = now.Add(-time.Hour)
			s.Shards = append(s.Shards, gerritstream.ShardStatus{
				Shard: "shardId-4", State: gerritstream.StateStandby, Since: now.Add(-time.Second),
			})
		},
		"a term that began after a long pause": func(in *gerritstream.Inspection) {
			s := in.Shards["shardId-1"]
			s.Committed = now.Add(-time.Hour)
			in.Shards["shardId-1"] = s
			leader(in).Since = now.Add(-10 * time.Second)
		},
		"a walk through days without a record": func(in *gerritstream.Inspection) {
			s := in.Shards["shardId-1"]
			s.Committed = now.Add(-10 * time.Minute)
			in.Shards["shardId-1"] = s
			*leader(in) = gerritstream.ShardStatus{
				Shard: "shardId-1", State: gerritstream.StateReading, Since: now.Add(-10 * time.Minute),
				Lag: 48 * time.Hour, Last: gerritstream.ShardTimes{Page: now.Add(-3 * time.Second)},
			}
		},
		"a store whose clock is half an hour behind": func(in *gerritstream.Inspection) {
			s := in.Shards["shardId-1"]
			s.Committed = now.Add(-30 * time.Minute)
			in.Shards["shardId-1"] = s
			leader(in).Last.Commit, leader(in).Since = in.Reports[1].At.Add(-20*time.Second), now.Add(-24*time.Hour)
		},
		"a dead letter now and then": func(in *gerritstream.Inspection) {
			in.Reports[0].Status.DeadRate = &gerritstream.DeadRate{Records: 200, Dead: 19, Last: now, Reason: "json"}
		},
		"a burst of dead letters that is over": func(in *gerritstream.Inspection) {
			in.Reports[0].Status.DeadRate = &gerritstream.DeadRate{Records: 200, Dead: 200, Last: now.Add(-time.Hour),
				Reason: "json"}
		},
		"a report of another process about a shard that is led": func(in *gerritstream.Inspection) {
			in.Reports[0].Status.Shards[0].Trouble = "of an old term"
			in.Reports = in.Reports[:1] // its leader has not reported yet
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			in := seen()
			change(&in)
			if got := inputOf(in).view().Trouble; len(got) > 0 {
				t.Errorf("got %q", got)
			}
		})
	}
}

// lose adds an interval to a shard and one to the stream.
func lose(in *gerritstream.Inspection, _ *statusInput) {
	in.Shards["shardId-0"].Position.Lost = []gerritstream.Interval{
		{From: now.Add(-72 * time.Hour), Until: now.Add(-48 * time.Hour), Why: "trimmed"},
	}
	in.Origin.Lost = []gerritstream.Interval{{Until: now.Add(-24 * time.Hour), Why: "recreated"}}
}

func TestStatusTable(t *testing.T) {
	in := seen()
	lose(&in, nil)
	in.Reports[0].Status.Began = now.Add(-101 * time.Second)
	in.Reports[0].Status.Shards[1].Counts.Read = 1900
	in.Shards["shardId-2"].Position.After = "49180000000000000000000000000000000000000000001234567890"
	v := inputOf(in).view()
	written := func(table statusTable) string {
		t.Helper()
		var b strings.Builder
		if err := table.write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const want = `Both shards are read, 1 min behind.
warning: Records that arrived from an unknown time until 2026-01-30 08:00:00 UTC
  may be lost (the stream: recreated)
warning: Records that arrived from 2026-01-28 08:00:00 UTC until 2026-01-29
  08:00:00 UTC may be lost (shard 0: trimmed)

connection   gerrit
store        sqlite:/g.db
stream       arn:aws:kinesis:eu-west-1:123456789012:stream/gerrit
origin       trim horizon
processes    a-1, b-2
queue        1,234 events
dead letters 5

SHARD  STATE                   LEADER  LAG    RATE  EVENT  POSITION
1      at the tip              a-1     0 s    -     5 s    after 20
2      catching up             b-2     1 min  19/s  60 s   …00001234567890
3      waits for its parent 1  -       -      -     -      -
0      ended                   -       -      -     60 s   after 10
`
	if got := written(statusTable{view: &v}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	wide := written(statusTable{view: &v, wide: true, quiet: true})
	for _, want := range []string{
		"\nshardId-3  waits for its parent 1  -", "after 49180000000000000000000000000000000000000000001234567890",
	} {
		if !strings.Contains(wide, want) {
			t.Errorf("%q is missing in\n%s", want, wide)
		}
	}
	if strings.Contains(wide, "warning:") {
		t.Error("a check has its findings on standard error")
	}
}

// TestStatusFitsATerminal: with real ids, positions and the names of
// containers' hosts it keeps to 80 columns.
func TestStatusFitsATerminal(t *testing.T) {
	in := gerritstream.Inspection{Origin: seen().Origin, Shards: map[gerritstream.ShardID]gerritstream.InspectedShard{}}
	for i := range 12 {
		process := fmt.Sprintf("gerritstream-5d8f7c9b6-x%d-1-abcd", i)
		id := gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i*100))
		in.Shards[id] = gerritstream.InspectedShard{
			Position: &gerritstream.Position{
				After: "49180000000000000000000000000000000000000000001234567890", Arrived: now,
			},
			Committed: now.Add(-47*time.Hour - 59*time.Minute), Leader: process,
		}
		in.Reports = append(in.Reports, gerritstream.Report{Process: process, At: now, Status: gerritstream.Status{
			Began: now.Add(-time.Hour),
			Shards: []gerritstream.ShardStatus{{
				Shard: id, State: gerritstream.StateReading, Lag: 26 * time.Hour, Since: now.Add(-time.Hour),
				Last:   gerritstream.ShardTimes{Page: now},
				Counts: gerritstream.ShardCounts{Read: 5e6},
			}},
		}})
	}
	input := inputOf(in)
	input.seen.Setup.QueueLimit = 10_000
	v := input.view()
	var b strings.Builder
	if err := (&statusTable{view: &v, quiet: true}).write(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "LEADER              LAG   RATE     EVENT  POSITION\n") {
		t.Errorf("columns are missing:\n%s", b.String())
	}
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > statusColumns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// TestStatusSentence: a shard counts as read only if its leader reads it.
func TestStatusSentence(t *testing.T) {
	tests := map[string]func(*gerritstream.Inspection, *statusInput){
		"Nothing has been read yet.": func(in *gerritstream.Inspection, _ *statusInput) { *in = gerritstream.Inspection{} },
		"Neither shard is read: no process runs.": func(in *gerritstream.Inspection, _ *statusInput) {
			in.Reports = nil
			for id, s := range in.Shards {
				s.Leader = ""
				in.Shards[id] = s
			}
		},
		"1 of 2 shards is read and 1 waits, 1 min behind.": func(in *gerritstream.Inspection, _ *statusInput) {
			in.Reports[1].Status.Shards[0].Trouble = "no route"
		},
		"1 of 2 shards is read, 1 min behind.": func(in *gerritstream.Inspection, _ *statusInput) {
			in.Reports[1].Status.Shards[0].State = gerritstream.StateHalted
		},
	}
	for want, change := range tests {
		in := seen()
		l := inputOf(in)
		change(&in, l)
		l.seen.Store.Inspection = in
		if got := l.view().State; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// TestStatusRate: --watch shows the rate between the last two reports,
// also while no new one comes.
func TestStatusRate(t *testing.T) {
	l := inputOf(seen())
	leader := &l.seen.Store.Inspection.Reports[0]
	look := func(at time.Time, read uint64) *float64 {
		leader.At, leader.Status.Shards[1].Counts.Read = at, read
		reports := slices.Clone(l.seen.Store.Inspection.Reports)
		for i := range reports {
			reports[i].Status.Shards = slices.Clone(reports[i].Status.Shards)
		}
		looked := *l
		looked.seen.Store.Inspection.Reports = reports
		looked.remember()
		l.last, l.before = looked.last, looked.before
		return looked.view().Shards[2].Rate
	}
	leader.Status.Began = now.Add(-100 * time.Second)
	for _, step := range []struct {
		after time.Duration
		read  uint64
		want  float64
	}{
		{0, 1000, 10}, {0, 1000, 10}, {5 * time.Second, 1200, 40}, {5 * time.Second, 1200, 40},
		{10 * time.Second, 1200, 0},
	} {
		if got := look(now.Add(step.after), step.read); got == nil || *got != step.want {
			t.Errorf("%+v: got %v", step, got)
		}
	}
	if got := look(now.Add(12*time.Second), 7); got == nil || *got != 7/112. {
		t.Errorf("a count that began again: got %v", got)
	}
}

// TestStatusJSONHasItsLists: lists are never null, so that a script need not
// ask.
func TestStatusJSONHasItsLists(t *testing.T) {
	text, err := json.Marshal(inputOf(gerritstream.Inspection{}).view())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"start":null`, `"processes":[]`, `"shards":[]`, `"trouble":["No process`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is missing in %s", want, text)
		}
	}
}
