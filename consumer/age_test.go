package consumer_test

import (
	"slices"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/storetest"
)

// shardOf returns what a process says of a shard.
func (p *process) shardOf(t *testing.T, shard gs.ShardID) gs.ShardStatus {
	t.Helper()
	shards := p.Status().Shards
	i := slices.IndexFunc(shards, func(s gs.ShardStatus) bool { return s.Shard == shard })
	if i < 0 {
		t.Fatalf("%s says nothing of %s", p.Status().Process, shard)
	}
	return shards[i]
}

// Every process knows how old the position of each open shard is, whoever leads
// it, and when nothing is heard any more that grows by the clock: of the
// service, of the store, of the leader.
func TestAgeAndLagGrowWhenNothingIsHeard(t *testing.T) {
	const away = time.Hour
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

// wantAges fails unless every process says of both shards that they were
// handled until a time that far ago, and are that far behind.
func (cl *cluster) wantAges(from, to, behind time.Duration) {
	cl.t.Helper()
	for _, p := range cl.processes {
		for _, shard := range []gs.ShardID{s0, s1} {
			s := p.shardOf(cl.t, shard)
			if age := time.Since(s.HandledUntil); age < from || age > to {
				cl.t.Errorf("%s: age %v of %s, want %v to %v", p.Status().Process, age, shard, from, to)
			}
			if s.Lag < behind || s.Lag > to || behind == 0 && s.Lag != 0 {
				cl.t.Errorf("%s: %s is %v behind, want %v to %v", p.Status().Process, shard, s.Lag, behind, to)
			}
			if behind > 0 && s.AtTip {
				cl.t.Errorf("%s: %s is said to be at its tip", p.Status().Process, shard)
			}
		}
	}
}

// A shard that has no position is as old as what it comes from: the start of
// the stream, or its parents.
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
		began := time.Now() // the tip, because another program leads
		p := cl.start(func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(time.Hour)
		for _, shard := range []gs.ShardID{s0, child} {
			if s := p.shardOf(t, shard); !s.HandledUntil.Equal(began) || s.Lag < time.Hour-time.Minute {
				t.Errorf("%s: handled until %v, %v behind; it began at %v", shard, s.HandledUntil, s.Lag, began)
			}
		}
		// it keeps its own position
		if s := p.shardOf(t, s1); time.Since(s.HandledUntil) > 2*time.Minute || s.Lag != 0 {
			t.Errorf("of what another program reads: %v, %v behind", s.HandledUntil, s.Lag)
		}
	})
}
