package admin

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// self is the process that is asked.
const self = "ci1.example.com-4021-k3fq"

var stateNow = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

// group is a made-up group of processes, to which something happens.
type group struct {
	in        *overview.Input
	now       time.Time
	shards    int
	processes []string
	sqlite    bool
}

// leaderOf returns who leads a shard.
func (g *group) leaderOf(shard int) string { return g.processes[shard%len(g.processes)] }

func shardID(n int) gerritstream.ShardID {
	return gerritstream.ShardID(fmt.Sprintf("shardId-%012d", n))
}

// input returns what the first process sees at a moment at which all is well.
func (g *group) input(now time.Time) *overview.Input {
	began := stateNow.Add(-26 * time.Hour)
	origin := &gerritstream.Origin{From: gerritstream.StartingPosition{Time: began}, Retention: 24 * time.Hour,
		Stream: gerritstream.Stream{ARN: "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit", Created: began}}
	in := &overview.Input{Now: now, Store: overview.Store{At: now.Add(-2 * time.Second)}, Setup: overview.Setup{
		Connection: "gerrit", Store: "zookeeper://zk1:2281,zk2:2281,zk3:2281", Version: "v1.4.0",
		QueueLimit: 500, PollInterval: 250 * time.Millisecond,
	}}
	seen := &in.Store.Inspection
	seen.Origin, seen.Shards, seen.DeadLetters = origin, map[gerritstream.ShardID]gerritstream.InspectedShard{}, 2
	var members []gerritstream.MemberStatus
	for i, p := range g.processes {
		members = append(members, gerritstream.MemberStatus{ID: p, Process: p,
			Host: fmt.Sprintf("ci%d.example.com", i+1), PID: 4021 + i, Version: "v1.4.0", Readable: true, Self: i == 0})
	}
	minute := now.Sub(began).Minutes()
	seen.Queue = int64(40 + 30*math.Sin(minute/7))
	for i, p := range g.processes {
		r := gerritstream.Report{Process: p, At: now.Add(-3 * time.Second), Status: gerritstream.Status{
			Process: p, Began: began, Stream: origin.Stream, Origin: origin, Listed: now.Add(-20 * time.Second),
			Members: members,
		}}
		if i == 0 {
			r.At = now
		}
		for n := range g.shards {
			if g.leaderOf(n) != p {
				if i == 0 {
					r.Status.Shards = append(r.Status.Shards, gerritstream.ShardStatus{Shard: shardID(n),
						State: gerritstream.StateStandby, Since: began,
						Leader: gerritstream.ShardLeader{Process: g.leaderOf(n)}})
				}
				continue
			}
			r.Status.Shards = append(r.Status.Shards, g.reading(n, r.At, began))
			seen.Shards[shardID(n)] = gerritstream.InspectedShard{Leader: p, Term: uint64(9 + n),
				Committed: now.Add(-900 * time.Millisecond), Position: &gerritstream.Position{
					After:   gerritstream.SequenceNumber(fmt.Sprint("496613123456789012345678901234567890123", 10+n)),
					Arrived: now.Add(-time.Second), CaughtUp: now.Add(-time.Second)}}
		}
		seen.Reports = append(seen.Reports, r)
		if i == 0 {
			in.Process = r.Status
		}
	}
	if g.sqlite {
		g.consumers(in, now)
	}
	return in
}

// reading is a shard that its leader reads well.
func (g *group) reading(n int, at, began time.Time) gerritstream.ShardStatus {
	seconds := at.Sub(began).Seconds()
	rate := (19 + 6*float64(n%3)) / float64(max(g.shards, 4))
	count := uint64(rate*seconds + 900/float64(g.shards)*math.Sin(seconds/300+float64(n)))
	return gerritstream.ShardStatus{Shard: shardID(n), State: gerritstream.StateReading, Since: began,
		Term: uint64(9 + n), Lag: time.Duration(100+100*(n%4)) * time.Millisecond, HandledUntil: at.Add(-time.Second),
		Leader: gerritstream.ShardLeader{Process: g.leaderOf(n)},
		Last: gerritstream.ShardTimes{Event: at.Add(-time.Second), Page: at.Add(-200 * time.Millisecond),
			Commit: at.Add(-800 * time.Millisecond)},
		Counts: gerritstream.ShardCounts{Read: count + count/4, Queued: count, Filtered: count / 4}}
}

// consumers adds readers of a SQLite queue.
func (g *group) consumers(in *overview.Input, now time.Time) {
	in.Setup.Store, in.Setup.QueueLimit = "sqlite:/var/lib/gerritstream/gerrit.db", 0
	in.Store.Inspection.Queue = 61_204
	known := hooks.Known{Receivers: map[string]string{"chat": "https://chat.example.com"}}
	known.Consumers = []queue.Info{
		{Name: "mirror", Reader: self, Pending: 3, Oldest: now.Add(-2 * time.Second)},
		{Name: "statistics", Pending: 812, Oldest: now.Add(-3 * time.Hour)},
		{Name: "webhook:chat", Reader: self, Pending: 40, Oldest: now.Add(-9 * time.Minute)},
	}
	known.States = []webhook.State{{Name: "chat", DeadLetters: 1, Report: webhook.Report{
		FailingSince: now.Add(-9 * time.Minute), Failures: 12, LastError: "503 Service Unavailable",
		NextAttempt: now.Add(40 * time.Second)}}}
	in.Consumers, in.Webhooks = known.Consumers, known.Views(now)
}

// led applies a change to each shard that is led, as its leader reports it.
func (g *group) led(change func(s *gerritstream.ShardStatus, at time.Time)) {
	for i := range g.in.Store.Inspection.Reports {
		r := &g.in.Store.Inspection.Reports[i]
		for j := range r.Status.Shards {
			if r.Status.Shards[j].State == gerritstream.StateReading {
				change(&r.Status.Shards[j], r.At)
			}
		}
	}
	g.in.Process = g.in.Store.Inspection.Reports[0].Status
}

// trouble makes shards, or each of them, fail with a text for a while.
func (g *group) trouble(lasts time.Duration, text string, shards ...int) {
	g.led(func(s *gerritstream.ShardStatus, at time.Time) {
		n, err := strconv.Atoi(overview.Short(s.Shard))
		if err != nil || len(shards) > 0 && !slices.Contains(shards, n) {
			return
		}
		s.Last.Page, s.Last.Commit, s.HandledUntil = at.Add(-lasts), at.Add(-lasts), at.Add(-lasts)
		s.Lag += lasts
		s.Trouble = fmt.Sprintf(text, s.Shard)
		p := g.in.Store.Inspection.Shards[s.Shard].Position
		p.CaughtUp, p.Arrived = at.Add(-lasts), at.Add(-lasts)
	})
}

// state is one of the states in which a page is looked at, and what it has to
// say.
type state struct {
	name   string
	shards int  // 0: four
	sqlite bool // the store is
	unseen bool // it is not looked at in a browser
	change func(*group)

	level    overview.Level
	sentence string
	causes   []string
}

const unreached = "kinesis:GetRecords on arn:aws:kinesis:us-west-2:123456789012:stream/gerrit/%s: Post " +
	`"https://kinesis.us-west-2.amazonaws.com/": dial tcp 10.0.0.7:443: connect: connection refused`

const throttledText = "kinesis:GetRecords on arn:aws:kinesis:us-west-2:123456789012:stream/gerrit/%s: " +
	"ProvisionedThroughputExceededException: Rate exceeded for shard (request 5f1c)"

// states are those of the page, and some more.
var states = []state{
	{name: "fine", level: overview.Fine,
		sentence: "All 4 shards are read, 0.4 s behind, 25 events/s; 23 h 59 min until data would be lost."},
	{name: "fine-sqlite", sqlite: true, level: overview.Trouble,
		sentence: "All 4 shards are read, 0.4 s behind, 25 events/s; 23 h 59 min until data would be lost.",
		causes: []string{"Webhook chat: its receiver has failed for 9m (12 failed): 503 Service Unavailable; " +
			"next attempt in 40s"}},
	{name: "kinesis-away", change: func(g *group) { g.trouble(74*time.Second, unreached) }, level: overview.Trouble,
		sentence: "All 4 shards wait, 77 s behind; 23 h 58 min until data would be lost.",
		causes:   []string{"Kinesis does not answer: 4 shards wait"}},
	{name: "kinesis-away-for-processes", unseen: true, change: func(g *group) {
		g.trouble(74*time.Second, unreached, 0, 1)
		g.trouble(15*time.Second, "%.0s", 2, 3) // led since, and nothing heard yet
		g.in.Process.Trouble = "kinesis:DescribeStreamSummary on gerrit: dial tcp 10.0.0.7:443: connection refused"
	}, level: overview.Trouble,
		sentence: "All 4 shards wait, 77 s behind; 23 h 58 min until data would be lost.",
		causes:   []string{"Kinesis does not answer: 4 shards wait"}},
	{name: "kinesis-away-just-now", unseen: true, change: func(g *group) {
		g.trouble(22*time.Second, "%.0s")
	}, level: overview.Warning,
		sentence: "All 4 shards wait, 25 s behind; 23 h 59 min until data would be lost.",
		causes:   []string{"Nothing was read for some seconds, and it is not known yet why: 4 shards wait"}},
	{name: "zookeeper-away", change: zooKeeperAway, level: overview.Trouble,
		sentence: "ZooKeeper has not answered this process for 42 s, so it can queue nothing; " +
			"23 h 59 min until data would be lost.",
		causes: []string{"ZooKeeper does not answer; nothing is lost before the stream trims what was not read"}},
	{name: "queue-full", change: func(g *group) {
		g.in.Store.Inspection.Queue = 509
		g.trouble(41*time.Second, "reading paused: Zuul's queue is full (509 of 500)%.0s")
	}, level: overview.Trouble,
		sentence: "All 4 shards wait, 44 s behind; 23 h 59 min until data would be lost.",
		causes:   []string{"Zuul's queue is full (509 of 500): 4 shards wait"}},
	{name: "queue-full-just-now", unseen: true, change: func(g *group) {
		g.in.Store.Inspection.Queue = 500
		g.trouble(15*time.Second, "%.0s")
	}, level: overview.Warning,
		sentence: "All 4 shards wait, 18 s behind; 23 h 59 min until data would be lost.",
		causes:   []string{"Zuul's queue is full (500 of 500): 4 shards wait"}},
	{name: "throttled", change: func(g *group) { g.trouble(38*time.Second, throttledText) }, level: overview.Trouble,
		sentence: "All 4 shards wait, 41 s behind; 23 h 59 min until data would be lost.",
		causes: []string{"Kinesis throttles the reads, perhaps because another program reads the stream too: " +
			"4 shards wait"}},
	{name: "records-lost", change: func(g *group) {
		s := g.in.Store.Inspection.Shards[shardID(2)]
		s.Position.Lost = []gerritstream.Interval{{From: g.now.Add(-29 * time.Hour), Until: g.now.Add(-5 * time.Hour),
			Why: gerritstream.WhyTrimmed}}
	}, level: overview.Trouble,
		sentence: "All 4 shards are read, 0.4 s behind, 25 events/s, but records may have been lost; " +
			"23 h 59 min until more would be lost.",
		causes: []string{"Records that arrived from 2026-01-30 03:00:00 UTC until 2026-01-31 03:00:00 UTC " +
			"may be lost"}},
	{name: "foreign-leader", change: foreignLeader, level: overview.Warning,
		sentence: "All 4 shards are read, 0.3 s behind, 19 events/s; 23 h 59 min until data would be lost.",
		causes:   []string{"Zuul's own listener reads 1 shard: it may lose or repeat events"}},
	{name: "many-shards", shards: 500, change: func(g *group) {
		g.trouble(3*time.Minute, unreached, 17, 403)
	}, level: overview.Trouble,
		sentence: "498 of 500 shards are read and 2 wait, 3 min behind, 24 events/s; " +
			"23 h 56 min until data would be lost.",
		causes: []string{"Kinesis does not answer: 2 shards wait"}},
	{name: "process-gone", change: processGone, level: overview.Warning,
		sentence: "All 4 shards are read, 0.4 s behind; 23 h 59 min until data would be lost.",
		causes:   []string{"1 process is gone; others read what it read"}},
}

// zooKeeperAway: inspecting fails, and the terms of this process are over.
func zooKeeperAway(g *group) {
	lasts := 42 * time.Second
	g.in.Store.At, g.in.Store.AwaySince = g.now.Add(-lasts-2*time.Second), g.now.Add(-lasts)
	g.in.Store.Err = "inspect: no server of ZooKeeper answers: dial tcp 10.0.0.9:2281: connect: connection refused"
	for i := range g.in.Process.Shards {
		s := &g.in.Process.Shards[i]
		s.State, s.Term, s.Since = gerritstream.StateStandby, 0, g.now.Add(-lasts+10*time.Second)
		s.HandledUntil = g.now.Add(-lasts)
		s.Leader = gerritstream.ShardLeader{}
	}
	for id, s := range g.in.Store.Inspection.Shards {
		s.Position.CaughtUp, s.Committed = g.now.Add(-lasts-time.Second), g.now.Add(-lasts)
		g.in.Store.Inspection.Shards[id] = s
	}
}

// foreignLeader: Zuul's listener leads a shard.
func foreignLeader(g *group) {
	s := g.in.Store.Inspection.Shards[shardID(3)]
	s.Leader, s.Foreign, s.Term = "Zuul (Python)", true, 0
	g.in.Store.Inspection.Shards[shardID(3)] = s
	shards := g.in.Process.Shards
	shards[3].State, shards[3].Term = gerritstream.StateStandby, 0
	shards[3].Leader = gerritstream.ShardLeader{Process: "Zuul (Python)", Foreign: true}
	shards[3].Lag = 0
	g.in.History = pastOf(g, 3)
}

// processGone: the third process ends, and the first takes its shard.
func processGone(g *group) {
	in := &g.in.Store.Inspection
	in.Reports = in.Reports[:2]
	g.in.Process.Members = g.in.Process.Members[:2]
	s := in.Shards[shardID(2)]
	s.Leader = self
	in.Shards[shardID(2)] = s
	shards := g.in.Process.Shards
	shards[2] = g.reading(2, g.now, g.now.Add(-26*time.Hour))
	shards[2].Since = g.now.Add(-40 * time.Second)
	shards[2].Leader.Process = self
	g.in.History.Add(g.in, 0.5)
	in.Reports[0].At = g.now
}

// pastOf returns an hour in which all was well, but that a shard was not read
// by the group; below 0: all were.
func pastOf(g *group, without int) *overview.History {
	h := overview.NewHistory()
	length := min(overview.Length, 20_000/g.shards)
	for i := range length {
		in := g.input(g.now.Add(time.Duration(i-length) * overview.Every))
		if without >= 0 {
			in.Process.Shards[without].State = gerritstream.StateStandby
		}
		in.History = h
		h.Add(in, 0.35+0.1*math.Sin(float64(i)/9))
	}
	return h
}

// input returns what the page of a state is made from.
func (s *state) input(t *testing.T) *overview.Input {
	t.Helper()
	g := &group{now: stateNow, shards: max(s.shards, 4), sqlite: s.sqlite, processes: []string{
		self, "ci2.example.com-4022-8dzw", "ci3.example.com-4023-p0xm",
	}}
	g.in = g.input(g.now)
	g.in.History = pastOf(g, -1)
	if s.change != nil {
		s.change(g)
	}
	g.in.Store.Inspection.Reports[0].Status = g.in.Process
	for i := range 50 {
		e := overview.Event{At: g.now.Add(-time.Duration(i) * time.Second / 5), Verdict: "queued",
			Type: "comment-added", Project: "example/widgets", Ref: "refs/heads/main",
			Change: int64(40000 + i%7), Shard: fmt.Sprint(i % 4),
			Sequence: fmt.Sprint(100000 - i)}
		if i%9 == 4 {
			e.Verdict, e.Why, e.Type, e.Ref = "filtered", "meta-ref", "ref-updated", "refs/changes/16/40016/meta"
		}
		g.in.Events = append(g.in.Events, e)
	}
	for i := range g.in.Store.Inspection.Reports[1:] {
		e := overview.Event{At: g.now.Add(-time.Duration(i+1) * 700 * time.Millisecond), Verdict: "queued",
			Type: "change-merged", Project: "example/gadgets", Ref: "refs/heads/main", Change: int64(40100 + i),
			Shard: fmt.Sprint(i), Sequence: fmt.Sprint(200000 + i)}
		g.in.Store.Inspection.Reports[i+1].Status.Extra = overview.NewShared(0.4, []overview.Event{e})
	}
	for i := range 2 {
		g.in.DeadLetters = append(g.in.DeadLetters, gerritstream.StoredDeadLetter{DeadLetter: gerritstream.DeadLetter{
			ID: gerritstream.EventID{byte(i), 0xab}, Shard: shardID(1), Seq: "49661312345", Reason: "shape",
			Length: 812, Detail: "byte 172: change is not an object",
			Arrived: g.now.Add(-time.Duration(3+i) * time.Hour)}})
	}
	return g.in
}

// What the page says is true in each state.
func TestPageSaysWhatIsSo(t *testing.T) {
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) {
			v := overview.New(s.input(t))
			if v.Sentence != s.sentence {
				t.Errorf("it says\n%s\nwant\n%s", v.Sentence, s.sentence)
			}
			if v.Level != s.level {
				t.Errorf("the level is %v, want %v", v.Level, s.level)
			}
			var causes []string
			for _, c := range v.Causes {
				causes = append(causes, c.Text)
				t.Logf("%v: %s [%s] %s #%s", c.Level, c.Text, c.Of, c.Detail, c.Help)
			}
			if fmt.Sprint(causes) != fmt.Sprint(s.causes) {
				t.Errorf("causes\n%q\nwant\n%q", causes, s.causes)
			}
			for i := range v.Shards {
				if sh := &v.Shards[i]; i < 4 {
					t.Logf("shard %s %v: %s, lag %v, rate %v", sh.Short, sh.Level, sh.State, sh.Pace.Lag, sh.Pace.Rate)
				}
			}
		})
	}
}
