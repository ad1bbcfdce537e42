package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/storetest"
)

// pause pauses a shard, or all, as `pause` does; a zero span: until it is
// resumed.
func (cl *cluster) pause(shard gs.ShardID, span time.Duration) {
	cl.t.Helper()
	p := pauses.Pause{Shard: shard, Since: time.Now().UTC(), By: "anna@ops", Reason: "upgrade of Zuul"}
	if span > 0 {
		p.Until = p.Since.Add(span)
	}
	cl.changePauses(func(s pauses.Set) pauses.Set { return s.With(p) })
}

// resume ends every pause.
func (cl *cluster) resume() {
	cl.t.Helper()
	cl.changePauses(func(pauses.Set) pauses.Set { return nil })
}

func (cl *cluster) changePauses(change func(pauses.Set) pauses.Set) {
	cl.t.Helper()
	_, err := cl.memory.Operator().ChangePauses(cl.t.Context(), func(s pauses.Set) (pauses.Set, error) {
		return change(s), nil
	})
	if err != nil {
		cl.t.Fatal(err)
	}
}

// readings counts the readings of the stream that begin, and its pages.
func (cl *cluster) readings() (begun *atomic.Int64) {
	begun = &atomic.Int64{}
	cl.stream.change(func() { cl.stream.onRead = func(gs.ShardID, gs.Position) { begun.Add(1) } })
	return begun
}

func (cl *cluster) pagesOf(shard gs.ShardID) (n int) {
	cl.stream.change(func() { n = cl.stream.pages[shard] })
	return n
}

func TestAPausedShardIsNotReadAndGoesOnWhereItWas(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		p := cl.start()
		cl.traffic(s0, 20)
		cl.traffic(s1, 20)
		time.Sleep(50 * time.Second) // progress is committed every 30
		term := p.shardOf(t, s0).Term
		cl.pause(s0, 0)
		paused := time.Now()
		cl.traffic(s1, 20)
		time.Sleep(time.Second)
		pages, handled := cl.pagesOf(s0), cl.position(s0)
		cl.traffic(s0, 20)
		time.Sleep(time.Hour)
		if n := cl.pagesOf(s0) - pages; n > 0 {
			t.Errorf("%d pages of a paused shard were read", n)
		}
		if now := cl.position(s0); now.String() != handled.String() {
			t.Errorf("the position of a paused shard went from %v to %v", handled, now)
		}
		s := p.shardOf(t, s0)
		if s.State != pauses.State || s.Term != term || s.Trouble != "" || s.AtTip ||
			s.Since.Sub(paused) > time.Second {
			t.Errorf("the paused shard shows as %+v", s)
		}
		if s.Lag < time.Hour || s.Lag > time.Hour+5*time.Minute || !s.HandledUntil.Before(paused) {
			t.Errorf("an hour later it lags by %v, handled until %v", s.Lag, s.HandledUntil)
		}
		if other := p.shardOf(t, s1); other.State != gs.StateReading || !other.AtTip {
			t.Errorf("the other shard shows as %+v", other)
		}
		if err := p.Alive(); err != nil {
			t.Error(err)
		}
		if p.Status().Lagging != 0 || len(p.logged("stalled")) > 0 || len(p.logged(`"reading paused"`)) != 1 {
			t.Errorf("%d lag; the log is\n%s", p.Status().Lagging, p.log)
		}
		cl.resume()
		time.Sleep(3 * time.Second)
		cl.check()
		if s := p.shardOf(t, s0); s.State != gs.StateReading || s.Term != term || !s.AtTip || len(p.ended) > 0 {
			t.Errorf("after the pause it shows as %+v; terms ended with %v", s, p.ended)
		}
	})
}

// A pause stands in the store: whoever is elected finds it before the first
// read, and commits nothing, not even where a shard begins.
func TestWhoeverIsElectedKeepsToAPause(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		cl.stream.split(s0)
		cl.pause(pauses.All, 0)
		begun := cl.readings()
		first := cl.start()
		cl.start()
		cl.traffic(s0, 10)
		cl.traffic(s1, 10)
		time.Sleep(time.Minute)
		first.kill()
		cl.memory.ExpireLeadership(s1)
		cl.start()
		time.Sleep(time.Minute)
		for _, shard := range shardIDs(3) {
			if pos, ok := cl.memory.Position(0, shard); ok || cl.memory.Leader(shard) == "" {
				t.Errorf("%s is led by %q, and at %v", shard, cl.memory.Leader(shard), pos)
			}
		}
		if n := begun.Load(); n > 0 {
			t.Errorf("%d readings have begun", n)
		}
		cl.resume()
		time.Sleep(time.Minute)
		cl.check()
	})
}

// While pauses come and go, leaders die, freeze and lose their shards: nothing
// is queued while all is paused, and nothing is lost or queued twice.
func TestPausesComeAndGoUnderTraffic(t *testing.T) {
	for seed := range 3 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inCluster(t, 2, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				procs := []*process{cl.start(), cl.start(), cl.start()}
				for i := range 30 {
					cl.traffic(s0, 3+i%5)
					cl.traffic(s1, 3)
					time.Sleep(time.Duration(i*(seed+1)%50) * time.Millisecond)
					cl.pause([]gs.ShardID{pauses.All, s0, pauses.All}[i%3], 0)
					held := len(cl.memory.Entries()) + len(cl.memory.DeadLetters())
					switch (i*7 + seed*13) % 4 {
					case 0:
						cl.memory.ExpireLeadership(s0)
					case 1:
						victim := (i + seed) % 3
						procs[victim].kill()
						procs[victim] = cl.start()
					case 2:
						p := procs[(i+seed)%3]
						p.store.Freeze()
						time.Sleep(time.Second)
						p.store.Thaw()
					}
					cl.traffic(s0, 2)
					time.Sleep(time.Duration(50+seed*150) * time.Millisecond)
					now := len(cl.memory.Entries()) + len(cl.memory.DeadLetters())
					if i%3 != 1 && now != held {
						t.Fatalf("%d records were committed during a pause", now-held)
					}
					cl.resume()
				}
				time.Sleep(time.Minute)
				cl.check()
			})
		})
	}
}

// A pause is made while a commit is on its way: the store refuses that one, and
// its records are read again, once.
func TestAPauseOvertakesACommit(t *testing.T) {
	for nth := range 6 {
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				var commits atomic.Int64
				paused := make(chan int, 1)
				cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
					if w.Point == storetest.PointCommit && commits.Add(1) == int64(nth+1) {
						cl.pause(s0, 0)
						paused <- len(cl.memory.Entries())
					}
					return storetest.NoFault
				})
				cl.traffic(s0, 40)
				p := cl.start()
				time.Sleep(time.Minute)
				if held := <-paused; len(cl.memory.Entries()) != held {
					t.Errorf("%d entries were queued after the pause", len(cl.memory.Entries())-held)
				}
				cl.resume()
				time.Sleep(time.Minute)
				cl.check()
				if len(p.ended) > 0 || len(p.logged("stalled")) > 0 {
					t.Errorf("terms ended with %v; the log is\n%s", p.ended, p.log)
				}
			})
		})
	}
}

// A pause with an end is over by the stream's clock, not by a process' own.
// Until then every process keeps to it, and an operator may move its end.
func TestAPauseEndsByItself(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		const slow = 20 * time.Minute // the stream's clock, behind all others
		cl.stream.lag = slow
		cl.stream.change(func() { cl.stream.readErr = func(gs.ShardID, gs.Position) error { return gs.ErrRetrying } })
		p := cl.start()
		cl.start()
		time.Sleep(time.Minute)
		cl.pause(pauses.All, 10*time.Minute)
		cl.pause(s1, 0)
		time.Sleep(time.Second)
		cl.stream.change(func() { cl.stream.readErr = nil })
		cl.traffic(s0, 10)
		cl.traffic(s1, 10)
		time.Sleep(9 * time.Minute)
		cl.pause(pauses.All, 20*time.Minute)
		time.Sleep(20*time.Minute + slow - 5*time.Second)
		if n := len(cl.memory.Entries()); n > 0 {
			t.Fatalf("%d entries were queued before the end of the pause", n)
		}
		time.Sleep(10 * time.Second)
		if set := p.Pauses(); len(set) != 1 || set[0].Shard != s1 {
			t.Errorf("the pauses are %v", set)
		}
		if s := p.shardOf(t, s0); cl.pagesOf(s0) == 0 || cl.pagesOf(s1) > 0 || s.State == pauses.State {
			t.Errorf("%d and %d pages were read after the end; the shard is %+v", cl.pagesOf(s0), cl.pagesOf(s1), s)
		}
		cl.resume()
		time.Sleep(time.Minute)
		cl.check()
	})
}

// A paused shard that is split stays at its place before the end: its children
// wait. A stream that was recreated has shards of the same names: they are
// paused, too.
func TestWhatBecomesOfThePausedShard(t *testing.T) {
	t.Run("split", func(t *testing.T) {
		inCluster(t, 1, func(t *testing.T, cl *cluster) {
			cl.level = slog.LevelInfo
			p := cl.start()
			cl.traffic(s0, 10)
			time.Sleep(time.Minute)
			cl.pause(s0, 0)
			cl.traffic(s0, 10)
			a, b := cl.stream.split(s0)
			cl.traffic(a, 5)
			cl.traffic(b, 5)
			time.Sleep(10 * time.Minute)
			if s := p.shardOf(t, a); s.State != gs.StateWaiting || cl.position(s0).Ended {
				t.Errorf("the child of a paused shard is %+v", s)
			}
			cl.resume()
			time.Sleep(time.Minute)
			cl.check()
		})
	})
	t.Run("its position is set", func(t *testing.T) {
		inCluster(t, 1, func(_ *testing.T, cl *cluster) {
			cl.level = slog.LevelInfo
			cl.start()
			seqs := cl.puts(s0, 1, 5)
			time.Sleep(time.Minute)
			cl.pause(s0, 0)
			cl.puts(s0, 6, 7)
			cl.reset(s0, plan.ResetTarget{After: seqs[2]})
			time.Sleep(time.Minute)
			cl.wantNumbers(s0, "1 2 3 4 5")
			cl.resume()
			time.Sleep(2 * time.Second)
			cl.wantNumbers(s0, "1 2 3 4 5 4 5 6 7")
		})
	})
	t.Run("trimmed", func(t *testing.T) {
		inCluster(t, 1, func(t *testing.T, cl *cluster) {
			cl.level = slog.LevelInfo
			cl.stream.retention = time.Hour
			cl.start()
			cl.traffic(s0, 10)
			time.Sleep(time.Minute)
			cl.pause(s0, 0)
			time.Sleep(time.Minute)
			cl.puts(s0, 1, 3)
			time.Sleep(90 * time.Minute)
			if lost := cl.reported(); len(lost) > 0 {
				t.Errorf("reported lost before it was read: %v", lost)
			}
			cl.resume()
			time.Sleep(time.Minute)
			if lost := cl.position(s0).Lost; len(lost) != 1 || lost[0].Why != gs.WhyTrimmed {
				t.Errorf("recorded as lost: %v", lost)
			}
		})
	})
}

func TestUntilCaughtUpWaitsForAPausedShard(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		cl.traffic(s0, 10)
		cl.pause(pauses.All, 0)
		p := cl.start(untilCaughtUp)
		time.Sleep(10 * time.Minute)
		if len(p.logged("it is paused by anna@ops since")) == 0 {
			t.Errorf("what it waits for is not logged:\n%s", p.log)
		}
		select {
		case <-p.done:
			t.Fatal("it has ended")
		default:
		}
		cl.resume()
		p.wait(t)
		cl.check()
	})
}

// brokenSink fails until it is mended, and counts.
type brokenSink struct {
	mended atomic.Bool
	tries  atomic.Int64
}

func (s *brokenSink) Name() string { return "broken" }

func (s *brokenSink) Deliver(context.Context, []gs.Entry) error {
	s.tries.Add(1)
	if s.mended.Load() {
		return nil
	}
	return errors.New("broken")
}

// What was judged and not committed when the pause came is dropped with its
// memory, its sinks are left alone, and it is read again.
func TestAPauseEndsTheWaitForASink(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		sink := &brokenSink{}
		cl.traffic(s0, 10)
		p := cl.start(func(c *consumer.Config) { c.Sinks = []gs.Sink{sink} })
		time.Sleep(time.Minute)
		cl.pause(s0, 0)
		time.Sleep(15 * time.Second) // the next try
		tries := sink.tries.Load()
		sink.mended.Store(true)
		time.Sleep(10 * time.Minute)
		if s := p.shardOf(t, s0); sink.tries.Load() != tries || s.State != pauses.State || s.Trouble != "" {
			t.Errorf("%d tries during the pause; the shard is %+v", sink.tries.Load()-tries, s)
		}
		cl.resume()
		time.Sleep(time.Minute)
		cl.check()
	})
}

// Pauses that cannot be read keep a term from its first read.
func TestATermWaitsUntilItKnowsThePauses(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		begun, store := cl.readings(), &mutePauses{}
		store.deaf.Store(true)
		cl.traffic(s0, 10)
		cl.start(func(c *consumer.Config) { store.Store, c.Pauses = c.Pauses, store })
		time.Sleep(time.Minute)
		if _, ok := cl.memory.Position(0, s0); ok || begun.Load() > 0 {
			t.Errorf("%d readings have begun", begun.Load())
		}
		store.deaf.Store(false)
		time.Sleep(time.Minute)
		cl.check()
	})
}

// mutePauses does not answer what is paused while it is deaf.
type mutePauses struct {
	pauses.Store
	deaf atomic.Bool
}

func (s *mutePauses) Pauses(ctx context.Context) (pauses.Set, error) {
	if s.deaf.Load() {
		return nil, errors.New("no answer")
	}
	return s.Store.Pauses(ctx)
}

// A pause that is over as soon as the reader has seen it drops what it refused
// all the same: the page that this came from is gone.
func TestAPauseThatIsOverAtOnceLosesNothing(t *testing.T) {
	for nth := range 4 {
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			inCluster(t, 1, func(_ *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				var commits atomic.Int64
				cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
					if w.Point == storetest.PointCommit && commits.Add(1) == int64(nth+2) {
						cl.pause(s0, 0)
					}
					return storetest.NoFault
				})
				cl.traffic(s0, 40)
				cl.start(func(c *consumer.Config) { c.Pauses = &briefPauses{c.Pauses, cl} })
				time.Sleep(time.Minute)
				cl.check()
			})
		})
	}
}

// briefPauses ends every pause once it was seen.
type briefPauses struct {
	pauses.Store
	cl *cluster
}

func (s *briefPauses) Pauses(ctx context.Context) (pauses.Set, error) {
	set, err := s.Store.Pauses(ctx)
	if len(set) > 0 {
		s.cl.resume()
	}
	return set, err
}
