package consumer_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/storetest"
)

// missingStream is how the service answers for a stream that does not exist.
var missingStream = kinesistest.Fail("ResourceNotFoundException",
	"Stream gerrit under account 000000000000 not found.", 0)

// A stream that vanishes while it is read is one finding, and a line of the log
// a minute. Nobody is elected meanwhile, the service is asked at the pace of
// the listing's back-off, and when the stream is back the reading goes on: of
// the same stream where it was, of another with its name in a new epoch.
func TestAStreamThatGoesIsWaitedFor(t *testing.T) {
	const shards, away = 8, 10 * time.Minute
	for name, recreated := range map[string]bool{"the same": false, "recreated": true} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 0, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				srv := kinesistest.New(kinesistest.Options{})
				var asked atomic.Int32
				srv.On(kinesistest.Hook{Do: kinesistest.Observe(func(*kinesistest.Request, *kinesistest.Reply) {
					asked.Add(1)
				})})
				create := func() {
					if _, err := srv.CreateStream(streamName, shards); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
				put := func(data string) {
					for _, s := range shardIDs(shards) {
						if _, err := srv.PutTo(streamName, string(s), "k", []byte(data)); err != nil {
							t.Fatal(err)
						}
					}
				}
				create()
				var elections terms
				p := cl.start(elections.in, func(c *consumer.Config) {
					c.Source = sourceOf(t, srv, kinesis.Config{PollInterval: time.Second})
				})
				time.Sleep(time.Minute)
				put("good before")
				time.Sleep(time.Minute)

				back := func() {}
				if recreated {
					if err := srv.DeleteStream(streamName); err != nil {
						t.Fatal(err)
					}
				} else {
					back = srv.On(kinesistest.Hook{Do: missingStream})
				}
				time.Sleep(5 * time.Second)
				asked.Store(0)
				before, logged := elections.count(), len(p.log.String())
				time.Sleep(away)
				cl.wantGone(p, shards)
				if n := elections.count() - before; n != 0 {
					t.Errorf("%d elections while the stream was gone", n)
				}
				if n := asked.Load(); n == 0 || n > int32(away/(4*time.Second)) {
					t.Errorf("the service was asked %d times in %v", n, away)
				}
				warnings := strings.Count(p.log.String()[logged:], "level=WARN")
				others := warnings - strings.Count(p.log.String()[logged:], "the stream is gone")
				if warnings > int(away/time.Minute) || others != 0 {
					t.Errorf("%d lines more, %d of them of other things:\n%s", warnings, others, p.log)
				}
				back()
				if recreated {
					create()
				}
				time.Sleep(30 * time.Second)
				put("good after")
				time.Sleep(time.Minute)
				cl.wantBack(p, shards, recreated)
			})
		})
	}
}

// wantGone fails unless the process shows that the stream is gone, and nothing
// else, and keeps its leaderships.
func (cl *cluster) wantGone(p *process, shards int) {
	cl.t.Helper()
	status := p.Status()
	if !strings.Contains(status.Trouble, "the stream is gone") {
		cl.t.Errorf("trouble %q", status.Trouble)
	}
	for i := range status.Shards {
		if s := &status.Shards[i]; s.Trouble != status.Trouble || s.State != gs.StateReading || s.AtTip {
			cl.t.Errorf("%+v", s)
		}
	}
	if len(status.Shards) != shards {
		cl.t.Errorf("%d shards", len(status.Shards))
	}
}

// wantBack fails unless everything was queued once, there is no trouble any
// more, and the epoch is the right one.
func (cl *cluster) wantBack(p *process, shards int, recreated bool) {
	cl.t.Helper()
	status := p.Status()
	if status.Trouble != "" || status.Origin == nil || status.Origin.Epoch > 0 != recreated {
		cl.t.Errorf("trouble %q, origin %+v", status.Trouble, status.Origin)
	}
	for i := range status.Shards {
		if s := &status.Shards[i]; s.Trouble != "" || s.State != gs.StateReading || !s.AtTip {
			cl.t.Errorf("%+v", s)
		}
	}
	if n := len(cl.memory.Entries()); n != 2*shards {
		cl.t.Errorf("%d entries, want %d\n%s", n, 2*shards, p.log)
	}
	if n := strings.Count(p.log.String(), "planning works again"); n != 1 {
		cl.t.Errorf("logged %d times that it is back\n%s", n, p.log)
	}
}

// A shard that is listed but not found costs neither terms nor requests without
// pauses.
func TestAListedShardThatIsNotFoundIsAskedForWithPauses(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		var elections terms
		reads, missing := 0, true
		cl.stream.onRead = func(gs.ShardID, gs.Position) { reads++ }
		cl.stream.readErr = func(gs.ShardID, gs.Position) error {
			if missing {
				return gs.ErrShardNotFound
			}
			return nil
		}
		cl.traffic(s0, 5)
		p := cl.start(elections.in)
		time.Sleep(10 * time.Minute)
		cl.stream.change(func() {
			if n := elections.count(); n != 1 || reads < 10 || reads > 50 {
				t.Errorf("%d elections, %d reads in 10 minutes", n, reads)
			}
		})
		if s := p.Status().Shards[0]; s.Trouble == "" {
			t.Errorf("%+v", s)
		}
		cl.stream.change(func() { missing = false })
		time.Sleep(30 * time.Second)
		cl.check()
	})
}

// Terms that end at once are spaced, those of one worker as well as those of
// workers in a row: the pause belongs to the shard.
func TestTermsThatEndAtOnceAreSpaced(t *testing.T) {
	for name, spoil := range map[string]func(cl *cluster) gs.Source{
		"in one worker": func(cl *cluster) gs.Source {
			cl.stream.readErr = func(gs.ShardID, gs.Position) error { return errSilent }
			return cl.stream
		},
		"in a worker each": func(cl *cluster) gs.Source { // the plan within the term does not know the shard
			var within atomic.Bool
			cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
				within.Store(within.Load() || w.Point == storetest.PointCampaign)
				return storetest.NoFault
			})
			return listsWith{cl.stream, func(l *gs.Listing) {
				if within.Swap(false) {
					l.Shards = nil
				}
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				var elections terms
				source := spoil(cl)
				cl.start(elections.in, func(c *consumer.Config) { c.Source = source })
				time.Sleep(time.Minute) // until the pause has grown
				before := elections.count()
				time.Sleep(10 * time.Minute)
				if n := elections.count() - before; n < 60 || n > 250 {
					t.Errorf("%d terms in 10 minutes", n)
				}
			})
		})
	}
}

// listsWith is a Source whose listings are changed.
type listsWith struct {
	gs.Source
	change func(*gs.Listing)
}

func (s listsWith) List(ctx context.Context) (gs.Listing, error) {
	l, err := s.Source.List(ctx)
	s.change(&l)
	return l, err
}

// While nothing can be listed, nothing overrides the pause between two
// attempts: neither shards that are not found, nor shards that end in a row,
// nor a process that waits to be caught up.
func TestTheListingsBackOffIsNotOverridden(t *testing.T) {
	const lasts = 5 * time.Minute
	for name, tc := range map[string]struct {
		until bool
		most  int // attempts: by the supervisor, and by all terms together
		ask   func(cl *cluster)
	}{
		"shards that cannot be found": {most: 90, ask: func(cl *cluster) {
			cl.stream.change(func() {
				cl.stream.readErr = func(gs.ShardID, gs.Position) error { return gs.ErrShardNotFound }
			})
		}},
		"shards that end": {most: 45, ask: func(cl *cluster) {
			for _, shard := range shardIDs(60) {
				cl.stream.change(func() { cl.stream.close(shard) })
				time.Sleep(lasts / 60)
			}
		}},
		"a process that waits for the tip": {until: true, most: 45, ask: func(*cluster) {}},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 60, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				lists, fails := 0, false
				cl.stream.listErr = func() error {
					lists++
					if fails {
						return errors.New("no route")
					}
					return nil
				}
				cl.stream.lagsBy = func(gs.ShardID) (time.Duration, bool) { return time.Hour, tc.until }
				cl.start(func(c *consumer.Config) { c.UntilCaughtUp = tc.until })
				time.Sleep(time.Minute)
				cl.stream.change(func() { fails, lists = true, 0 })
				began := time.Now()
				tc.ask(cl)
				time.Sleep(lasts - time.Since(began))
				cl.stream.change(func() {
					if lists < 15 || lists > tc.most {
						t.Errorf("%d attempts in %v", lists, lasts)
					}
				})
			})
		})
	}
}

// A shard that ended here and is open in two listings half a minute apart,
// without children, is a finding, in log and status, until its position is set:
// then what came since is read. One that ends as shards do is no finding.
func TestAShardThatEndedAndIsOpenIsFound(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, cl *cluster) {
		cl.start()
		p := cl.start()
		cl.stream.put(s0, "good 1")
		cl.stream.put(s1, "good 1")
		time.Sleep(time.Minute)
		cl.stream.split(s1) // as shards end
		pos := cl.position(s0)
		pos.Ended = true // by a reply that was wrong
		cl.memory.WritePosition(0, s0, storekit.EncodePosition(pos, gs.Stamp{}))
		cl.memory.ExpireLeadership(s0)
		time.Sleep(10 * time.Second)
		cl.stream.split("shardId-000000000002") // which has them list once more, soon
		time.Sleep(10 * time.Second)
		cl.stream.put(s0, "good 2")
		if s := p.shardOf(t, s0); s.State != gs.StateEnded || s.OpenAfterEnd {
			t.Errorf("after 20 s: %+v", s)
		}
		time.Sleep(2 * time.Minute)
		for _, p := range cl.processes {
			if s := p.shardOf(t, s0); !s.OpenAfterEnd {
				t.Errorf("%s does not show it: %+v", p.Status().Process, s)
			}
			if s := p.shardOf(t, s1); s.OpenAfterEnd || s.State != gs.StateEnded {
				t.Errorf("%s shows one that ended as it should: %+v", p.Status().Process, s)
			}
			if n := strings.Count(p.log.String(), "ended shards are open in the stream"); n != 1 {
				t.Errorf("logged %d times", n)
			}
		}
		if !reported(t, cl, s0) {
			t.Error("it is in no report")
		}
		if move := cl.reset(s0, plan.ResetTarget{After: pos.After}); move.To == nil || move.Again != nil ||
			move.Skipped != nil {
			t.Fatalf("it cannot be repaired: %+v", move)
		}
		time.Sleep(2 * time.Minute)
		cl.check()
		if s := p.shardOf(t, s0); s.OpenAfterEnd || s.State == gs.StateEnded {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

// reported reports whether the reports in the store show that a shard is open
// after its end.
func reported(t *testing.T, cl *cluster, shard gs.ShardID) (found bool) {
	t.Helper()
	in, err := cl.memory.Inspect()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range in.Reports {
		for _, s := range r.Status.Shards {
			found = found || s.Shard == shard && s.OpenAfterEnd
		}
	}
	return found
}
