package consumer_test

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/storetest"
)

// A process reports as it begins, and shows since when each shard is in its
// state, so that what is still settling can be told from what is stuck.
func TestTheStatusShowsSinceWhen(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.listErr = func() error { return errors.New("not yet") }
		began := time.Now()
		p := cl.start()
		time.Sleep(time.Millisecond)
		in, err := cl.memory.Inspect()
		if err != nil || len(in.Reports) != 1 || !in.Reports[0].Status.Began.Equal(began) ||
			!in.Reports[0].Status.Listed.IsZero() {
			t.Errorf("reports %+v, %v", in.Reports, err)
		}
		time.Sleep(time.Second)
		cl.stream.change(func() { cl.stream.listErr = nil })
		time.Sleep(time.Hour)
		is := p.Status().Shards[0]
		if is.State != gs.StateReading || time.Since(is.Since) < 59*time.Minute ||
			time.Since(is.Last.Page) > time.Second {
			t.Errorf("reading since %s, last page %s", is.Since, is.Last.Page)
		}
		again := time.Now()
		cl.memory.ExpireLeadership(s0)
		time.Sleep(time.Minute)
		if is = p.Status().Shards[0]; is.State != gs.StateReading || is.Since.Before(again) {
			t.Errorf("%s since %s, led again since %s", is.State, is.Since, again)
		}
		cl.stream.split(s0)
		ended := time.Now()
		time.Sleep(time.Minute)
		for _, s := range p.Status().Shards {
			if s.Since.Before(ended) {
				t.Errorf("%s %s since %s", s.Shard, s.State, s.Since)
			}
		}
	})
}

// Each shard that has not ended is in one report: its leader's, that of the
// process it is planned for or, where it waits, the first member's. If every
// report held every shard, their size would grow with shards times processes.
func TestAShardIsReportedOnce(t *testing.T) {
	const shards, processes = 6, 3
	inCluster(t, shards, func(t *testing.T, cl *cluster) {
		waiting, _ := cl.stream.split(s0)
		// it does not end
		cl.stream.lagsBy = func(shard gs.ShardID) (time.Duration, bool) { return time.Hour, shard == s0 }
		cl.stream.split(s1)
		for range processes {
			cl.start()
		}
		time.Sleep(time.Minute)
		in, err := cl.memory.Inspect()
		if err != nil || len(in.Reports) != processes {
			t.Fatalf("%d reports, %v", len(in.Reports), err)
		}
		said := map[gs.ShardID]int{}
		for _, r := range in.Reports {
			for _, s := range r.Status.Shards {
				said[s.Shard]++
				if s.State == gs.StateReading && cl.memory.Leader(s.Shard) != r.Process {
					t.Errorf("%s reports %s, which %s leads", r.Process, s.Shard, cl.memory.Leader(s.Shard))
				}
				if s.Shard == waiting && s.State != gs.StateWaiting {
					t.Errorf("%s is %s", s.Shard, s.State)
				}
			}
		}
		for _, s := range shardIDs(shards + 4) {
			want := 1
			if pos, _ := cl.memory.Position(0, s); pos.Ended {
				want = 0
			}
			if said[s] != want {
				t.Errorf("%s is in %d reports, want %d", s, said[s], want)
			}
		}
		if !cl.position(s1).Ended || said[waiting] != 1 {
			t.Error("no shard has ended, or none waits")
		}
	})
}

// shardOf returns the status that a process has of a shard.
func (p *process) shardOf(t *testing.T, shard gs.ShardID) gs.ShardStatus {
	t.Helper()
	shards := p.Status().Shards
	i := slices.IndexFunc(shards, func(s gs.ShardStatus) bool { return s.Shard == shard })
	if i < 0 {
		t.Fatalf("%s has no status of %s", p.Status().Process, shard)
	}
	return shards[i]
}

// Every process knows how old the position of each open shard is, whoever leads
// the shard. The age grows by the clock while nothing is heard of the service,
// the store or the leader.
func TestAgeAndLagGrowWhenNothingIsHeard(t *testing.T) {
	const away = time.Hour
	if underRace { // its runtime crashes in one of ten runs of "the store is away", and on one thread in none
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	for name, cut := range map[string]func(cl *cluster) (back func()){
		"the stream cannot be read": func(cl *cluster) func() {
			cl.stream.change(func() { cl.stream.readErr = func(gs.ShardID, gs.Position) error { return errNoRoute } })
			return func() { cl.stream.change(func() { cl.stream.readErr = nil }) }
		},
		"the source is silent": func(cl *cluster) func() {
			cl.stream.change(func() { cl.stream.pollEvery = away + 2*time.Minute })
			return func() { cl.stream.change(func() { cl.stream.pollEvery = time.Second }) }
		},
		"the store is away": func(cl *cluster) func() {
			for _, p := range cl.processes {
				p.store.Freeze()
			}
			return func() {
				for _, p := range cl.processes {
					p.store.Thaw()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 2, func(_ *testing.T, cl *cluster) {
				cl.start()
				cl.start()
				cl.traffic(s0, 3)
				cl.traffic(s1, 3)
				time.Sleep(5 * time.Minute)
				cl.wantAges(0, time.Minute, 0)
				back := cut(cl)
				time.Sleep(away)
				cl.wantAges(away-time.Minute, away+2*time.Minute, away-2*time.Minute)
				back()
				time.Sleep(5 * time.Minute)
				cl.wantAges(0, time.Minute, 0)
			})
		})
	}
}

// wantAges fails unless every process shows both shards as handled until that
// long ago, and as lagging by that much.
func (cl *cluster) wantAges(from, to, behind time.Duration) {
	cl.t.Helper()
	for _, p := range cl.processes {
		for _, shard := range []gs.ShardID{s0, s1} {
			s := p.shardOf(cl.t, shard)
			if age := time.Since(s.HandledUntil); age < from || age > to {
				cl.t.Errorf("%s: age %v of %s, want %v to %v", p.Status().Process, age, shard, from, to)
			}
			if s.Lag < behind || s.Lag > to || behind == 0 && s.Lag != 0 {
				cl.t.Errorf("%s: %s lags by %v, want %v to %v", p.Status().Process, shard, s.Lag, behind, to)
			}
			if behind > 0 && s.AtTip {
				cl.t.Errorf("%s: %s is shown at its tip", p.Status().Process, shard)
			}
		}
	}
}

// A shard without a position is as old as its origin: the start of the stream,
// or its parents.
func TestAgeWithoutAPosition(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
			if w.Point == storetest.PointCommit {
				return storetest.RetryLater
			}
			return storetest.NoFault
		})
		child, _ := cl.stream.split(s0)
		cl.memory.Foreign("zuul", s1)
		began := time.Now() // the tip, because a foreign leader leads
		p := cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Hour)
		for _, shard := range []gs.ShardID{s0, child} {
			if s := p.shardOf(t, shard); !s.HandledUntil.Equal(began) || s.Lag < time.Hour-time.Minute {
				t.Errorf("%s: handled until %v, lagging by %v; it began at %v", shard, s.HandledUntil, s.Lag, began)
			}
		}
		// a foreign leader keeps its own position
		if s := p.shardOf(t, s1); time.Since(s.HandledUntil) > 2*time.Minute || s.Lag != 0 {
			t.Errorf("of what a foreign leader reads: %v, lagging by %v", s.HandledUntil, s.Lag)
		}
	})
}
