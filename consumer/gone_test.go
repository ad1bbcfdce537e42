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
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/storetest"
)

// missingStream is what the service answers about a stream that it does not
// have.
var missingStream = kinesistest.Fail("ResourceNotFoundException", "Stream gerrit under account 000000000000 not found.", 0)

// A stream that goes while it is read is one finding, and a line of the log a
// minute. Nobody is elected meanwhile, the service is asked at the pace of the
// listing's back-off, and when the stream is back the reading goes on: the same
// stream where it was, another under its name in a new epoch.
func TestAStreamThatGoesIsWaitedFor(t *testing.T) {
	const shards, away = 8, 10 * time.Minute
	for name, anew := range map[string]bool{"the same": false, "recreated": true} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, 0, func(t *testing.T, h *house) {
				h.level = slog.LevelInfo
				srv := kinesistest.New(kinesistest.Options{})
				var asked atomic.Int32
				srv.On(kinesistest.Hook{Do: kinesistest.Observe(func(*kinesistest.Request, *kinesistest.Reply) { asked.Add(1) })})
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
				p := h.start(elections.in, func(c *consumer.Config) {
					c.Source = sourceOf(t, srv, kinesis.Config{PollInterval: time.Second})
				})
				time.Sleep(time.Minute)
				put("good before")
				time.Sleep(time.Minute)

				back := func() {}
				if anew {
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
				h.wantGone(p, shards)
				if n := elections.count() - before; n != 0 {
					t.Errorf("%d elections while the stream was gone", n)
				}
				if n := asked.Load(); n == 0 || n > int32(away/(4*time.Second)) {
					t.Errorf("the service was asked %d times in %v", n, away)
				}
				warnings := strings.Count(p.log.String()[logged:], "level=WARN")
				if others := warnings - strings.Count(p.log.String()[logged:], "the stream is gone"); warnings > int(away/time.Minute) || others != 0 {
					t.Errorf("%d lines more, %d of them of other things:\n%s", warnings, others, p.log)
				}
				back()
				if anew {
					create()
				}
				time.Sleep(30 * time.Second)
				put("good after")
				time.Sleep(time.Minute)
				h.wantBack(p, shards, anew)
			})
		})
	}
}

// wantGone fails unless the process says that the stream is gone, and nothing
// else, and keeps its leaderships.
func (h *house) wantGone(p *proc, shards int) {
	h.t.Helper()
	status := p.Status()
	if !strings.Contains(status.Trouble, "the stream is gone") {
		h.t.Errorf("trouble %q", status.Trouble)
	}
	for i := range status.Shards {
		if s := &status.Shards[i]; s.Trouble != status.Trouble || s.State != gs.StateReading || s.AtTip {
			h.t.Errorf("%+v", s)
		}
	}
	if len(status.Shards) != shards {
		h.t.Errorf("%d shards", len(status.Shards))
	}
}

// wantBack fails unless everything was queued once, nothing is wrong any more,
// and the epoch is the right one.
func (h *house) wantBack(p *proc, shards int, anew bool) {
	h.t.Helper()
	status := p.Status()
	if status.Trouble != "" || status.Origin == nil || status.Origin.Epoch > 0 != anew {
		h.t.Errorf("trouble %q, start %+v", status.Trouble, status.Origin)
	}
	for i := range status.Shards {
		if s := &status.Shards[i]; s.Trouble != "" || s.State != gs.StateReading || !s.AtTip {
			h.t.Errorf("%+v", s)
		}
	}
	if n := len(h.memory.Entries()); n != 2*shards {
		h.t.Errorf("%d entries, want %d\n%s", n, 2*shards, p.log)
	}
	if n := strings.Count(p.log.String(), "planning works again"); n != 1 {
		h.t.Errorf("logged %d times that it is back\n%s", n, p.log)
	}
}

// A shard that is listed and cannot be found costs neither terms nor a request
// after the other.
func TestAListedShardThatIsNotFoundIsAskedForWithPauses(t *testing.T) {
	inHouse(t, 1, func(t *testing.T, h *house) {
		var elections terms
		reads, missing := 0, true
		h.stream.onRead = func(gs.ShardID, gs.Position) { reads++ }
		h.stream.readErr = func(gs.ShardID, gs.Position) error {
			if missing {
				return gs.ErrShardNotFound
			}
			return nil
		}
		h.traffic(s0, 5)
		p := h.start(elections.in)
		time.Sleep(10 * time.Minute)
		h.stream.change(func() {
			if n := elections.count(); n != 1 || reads < 10 || reads > 50 {
				t.Errorf("%d elections, %d reads in 10 minutes", n, reads)
			}
		})
		if s := p.Status().Shards[0]; s.Trouble == "" {
			t.Errorf("%+v", s)
		}
		h.stream.change(func() { missing = false })
		time.Sleep(30 * time.Second)
		h.check()
	})
}

// Terms that end at once are spaced, those of one worker and those of workers
// that come one after the other: the pause belongs to the shard.
func TestTermsThatEndAtOnceAreSpaced(t *testing.T) {
	for name, spoil := range map[string]func(h *house) gs.Source{
		"in one worker": func(h *house) gs.Source {
			h.stream.readErr = func(gs.ShardID, gs.Position) error { return errSilent }
			return h.stream
		},
		"in a worker each": func(h *house) gs.Source { // the plan within the term does not know the shard
			var within atomic.Bool
			h.memory.SetHook(func(w storetest.Write) storetest.Fault {
				within.Store(within.Load() || w.Point == storetest.PointCampaign)
				return storetest.NoFault
			})
			return listsWith{h.stream, func(l *gs.Listing) {
				if within.Swap(false) {
					l.Shards = nil
				}
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, 1, func(t *testing.T, h *house) {
				var elections terms
				source := spoil(h)
				h.start(elections.in, func(c *consumer.Config) { c.Source = source })
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

// listsWith is a Source whose listings are changed on the way.
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
// attempts: neither shards that cannot be found, nor shards that end, one after
// the other, nor a process that waits for the tip.
func TestTheListingsBackOffIsNotOverridden(t *testing.T) {
	const lasts = 5 * time.Minute
	for name, tc := range map[string]struct {
		until bool
		most  int // attempts: by the supervisor, and by all terms together
		ask   func(h *house)
	}{
		"shards that cannot be found": {most: 90, ask: func(h *house) {
			h.stream.change(func() { h.stream.readErr = func(gs.ShardID, gs.Position) error { return gs.ErrShardNotFound } })
		}},
		"shards that end": {most: 45, ask: func(h *house) {
			for _, shard := range shardIDs(60) {
				h.stream.change(func() { h.stream.close(shard) })
				time.Sleep(lasts / 60)
			}
		}},
		"a process that waits for the tip": {until: true, most: 45, ask: func(*house) {}},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, 60, func(t *testing.T, h *house) {
				h.level = slog.LevelInfo
				lists, fails := 0, false
				h.stream.listErr = func() error {
					lists++
					if fails {
						return errors.New("no route")
					}
					return nil
				}
				h.stream.behindBy = func(gs.ShardID) (time.Duration, bool) { return time.Hour, tc.until }
				h.start(func(c *consumer.Config) { c.UntilCaughtUp = tc.until })
				time.Sleep(time.Minute)
				h.stream.change(func() { fails, lists = true, 0 })
				began := time.Now()
				tc.ask(h)
				time.Sleep(lasts - time.Since(began))
				h.stream.change(func() {
					if lists < 15 || lists > tc.most {
						t.Errorf("%d attempts in %v", lists, lasts)
					}
				})
			})
		})
	}
}
