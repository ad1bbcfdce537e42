package consumer_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/storetest"
)

// Promise 1's exceptions, one after the other: what may be lost is in the log,
// in the metric of its cause and in the store, which `status` shows, with the
// same interval, once; the rest is read.
func TestEachLossShowsInLogMetricAndStatus(t *testing.T) {
	const keeps = 24 * time.Hour // the stream
	for name, tc := range map[string]struct {
		do  func(*kinesisCluster)  // while no process runs, after "one", which was handled until handled
		cfg func(*consumer.Config) // of the next process
		why string                 // "": nothing is lost
		is  func(i gs.Interval, handled time.Time, k *kinesisCluster) bool
		get []string // that is queued as well
	}{
		"trimmed": {
			do: func(k *kinesisCluster) {
				k.put(s0, "gone")
				time.Sleep(keeps + time.Hour)
				k.put(s0, "kept")
			},
			why: gs.WhyTrimmed,
			is: func(i gs.Interval, handled time.Time, _ *kinesisCluster) bool {
				return i.From.Equal(handled) && about(i.Until, time.Now().Add(-keeps))
			},
			get: []string{"kept"},
		},
		"trimmed, then the retention raised": {
			do: func(k *kinesisCluster) {
				k.put(s0, "gone")
				time.Sleep(keeps + time.Hour)
				k.retain(7 * keeps)
				k.put(s0, "kept")
			},
			why: gs.WhyTrimmed,
			is: func(i gs.Interval, handled time.Time, _ *kinesisCluster) bool {
				return i.From.Equal(handled) && about(i.Until, time.Now().Add(-keeps))
			},
			get: []string{"kept"},
		},
		"raised, and raised again before anybody reads": {
			do: func(k *kinesisCluster) {
				k.put(s0, "gone")
				time.Sleep(keeps + time.Hour)
				k.retain(2 * keeps)
				k.listedBy(func(c *consumer.Config) { c.Source = unread{c.Source} })
				time.Sleep(keeps / 2)
				k.retain(7 * keeps)
				k.put(s0, "kept")
			},
			why: gs.WhyTrimmed,
			is: func(i gs.Interval, handled time.Time, _ *kinesisCluster) bool {
				return i.From.Equal(handled) && about(i.Until, time.Now().Add(-keeps-keeps/2))
			},
			get: []string{"kept"},
		},
		"lowered for a while": {
			do: func(k *kinesisCluster) {
				k.retain(4 * keeps)
				k.listedBy(func(c *consumer.Config) { c.Source = unread{c.Source} })
				k.put(s0, "gone")
				time.Sleep(2 * keeps)
				k.retain(keeps)
				k.listedBy(func(c *consumer.Config) { c.Source = unread{c.Source} })
				k.retain(4 * keeps)
				k.put(s0, "kept")
			},
			why: gs.WhyTrimmed,
			is: func(i gs.Interval, handled time.Time, _ *kinesisCluster) bool {
				return i.From.Equal(handled) && about(i.Until, time.Now().Add(-keeps))
			},
			get: []string{"kept"},
		},
		"raised in time": {
			do: func(k *kinesisCluster) {
				k.retain(7 * keeps)
				k.listedBy(func(c *consumer.Config) { c.Source = unread{c.Source} })
				k.put(s0, "kept")
				time.Sleep(6 * keeps)
			},
			get: []string{"kept"},
		},
		"raised, and two processes find it": {
			do: func(k *kinesisCluster) {
				k.put(s0, "gone")
				time.Sleep(keeps + time.Hour)
				k.retain(7 * keeps)
				k.memory.SetHook(func(w storetest.Write) storetest.Fault {
					if w.Point == storetest.PointSetOrigin { // both have read the origin before either writes
						time.Sleep(time.Second)
					}
					return storetest.NoFault
				})
				other := k.start(func(c *consumer.Config) { c.Source = unread{c.Source} })
				k.listedBy(func(c *consumer.Config) { c.Source = unread{c.Source} })
				other.end()
				k.memory.SetHook(nil)
			},
			why: gs.WhyTrimmed,
			is: func(i gs.Interval, handled time.Time, _ *kinesisCluster) bool {
				return i.From.Equal(handled) && about(i.Until, time.Now().Add(-keeps))
			},
		},
		"bad position": {
			do: func(k *kinesisCluster) {
				k.memory.WritePosition(0, s0, []byte("garbage"))
				k.put(s0, "passed")
				time.Sleep(time.Minute)
			},
			why: gs.WhyBadPosition,
			is: func(i gs.Interval, _ time.Time, _ *kinesisCluster) bool {
				return i.From.IsZero() && about(i.Until, time.Now())
			},
		},
		"bad position, of another stream": {
			do: func(k *kinesisCluster) {
				p, _ := k.memory.Position(0, s0)
				p.After, p.CaughtUp = "7", time.Time{}
				k.memory.WritePosition(0, s0, storekit.EncodePosition(p, gs.Stamp{}))
				k.put(s0, "passed")
				time.Sleep(time.Minute)
			},
			why: gs.WhyBadPosition,
			is: func(i gs.Interval, handled time.Time, _ *kinesisCluster) bool {
				return about(i.From, handled) && about(i.Until, time.Now())
			},
		},
		"recreated": {
			do: func(k *kinesisCluster) {
				k.put(s0, "gone with its stream")
				if err := k.server.DeleteStream(streamName); err != nil {
					k.t.Fatal(err)
				}
				time.Sleep(time.Hour)
				k.create(1)
				k.put(s0, "new")
			},
			why: gs.WhyRecreated,
			is: func(i gs.Interval, handled time.Time, k *kinesisCluster) bool {
				created, err := k.server.Created(streamName)
				return err == nil && i.From.Equal(handled) && i.Until.Equal(created)
			},
			get: []string{"new"},
		},
		"Python led from LATEST": {
			do:  func(*kinesisCluster) {},
			cfg: func(c *consumer.Config) { c.Store = foundLost{c.Store} },
			why: gs.WhyForeignLed,
			is: func(i gs.Interval, _ time.Time, _ *kinesisCluster) bool {
				return i == gs.Interval{From: earliestArrival, Until: earliestArrival.Add(time.Hour),
					Why: gs.WhyForeignLed}
			},
		},
		"positions deleted, origin older than the stream keeps": {
			do: func(k *kinesisCluster) {
				k.put(s0, "gone")
				time.Sleep(keeps + time.Hour)
				k.put(s0, "kept")
				k.memory.WritePosition(0, s0, nil)
			},
			why: gs.WhyTrimmed,
			is: func(i gs.Interval, _ time.Time, k *kinesisCluster) bool {
				in, err := k.memory.Inspect()
				return err == nil && i.From.Equal(in.Origin.From.Time) && about(i.Until, time.Now().Add(-keeps))
			},
			get: []string{"kept"},
		},
		"positions deleted, everything kept": {
			do:  func(k *kinesisCluster) { k.memory.WritePosition(0, s0, nil); k.put(s0, "next") },
			get: []string{"one", "next"}, // from the origin again
		},
		"origin deleted, positions kept": {
			do:  func(k *kinesisCluster) { k.memory.WriteOrigin(nil); k.put(s0, "next") },
			get: []string{"next"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			atTheTip(t, func(t *testing.T, k *kinesisCluster) {
				p := k.start()
				time.Sleep(time.Minute)
				k.put(s0, "one")
				time.Sleep(time.Minute)
				p.end()
				pos, _ := k.memory.Position(0, s0)
				handled := pos.HandledUntil()
				tc.do(k)
				if tc.cfg == nil {
					tc.cfg = func(*consumer.Config) {}
				}
				p = k.start(tc.cfg)
				time.Sleep(2 * time.Minute)
				k.wantQueued(append([]string{"one"}, tc.get...)...)
				k.wantLoss(p, tc.why, func(i gs.Interval) bool { return tc.is(i, handled, k) })
				p.end()
				p = k.start() // which has nothing to add
				time.Sleep(2 * time.Minute)
				if n := len(p.counted(t)) + len(p.logged("records may have been lost")); n != 0 {
					t.Errorf("reported again:\n%s", p.log)
				}
			})
		})
	}
}

// retain changes how long the stream keeps its records.
func (k *kinesisCluster) retain(d time.Duration) {
	k.t.Helper()
	if err := k.server.SetRetention(streamName, d); err != nil {
		k.t.Fatal(err)
	}
}

// listedBy runs a process for a minute.
func (k *kinesisCluster) listedBy(change func(*consumer.Config)) {
	p := k.start(change)
	time.Sleep(time.Minute)
	p.end()
}

// unread is a Source that lists and never yields.
type unread struct{ gs.Source }

func (unread) Read(ctx context.Context, _ gs.ShardID, _ gs.Position) iter.Seq2[gs.Page, error] {
	return func(yield func(gs.Page, error) bool) {
		<-ctx.Done()
		yield(gs.Page{}, ctx.Err())
	}
}

func (u unread) Peek(ctx context.Context, shard gs.ShardID, from gs.Position) iter.Seq2[gs.Page, error] {
	return u.Read(ctx, shard, from)
}

// wantLoss fails unless exactly one interval of that cause, for which is holds,
// shows in log, metric and store; none may for "".
func (k *kinesisCluster) wantLoss(p *process, why string, is func(gs.Interval) bool) {
	k.t.Helper()
	counted, lines, stored := p.counted(k.t), p.logged("records may have been lost"), k.losses()
	if why == "" {
		if len(counted)+len(lines)+len(stored)+len(p.lost) != 0 {
			k.t.Errorf("counted %v, stored %+v, reported %+v, logged %q", counted, stored, p.lost, lines)
		}
		return
	}
	if !maps.Equal(counted, map[string]int{why: 1}) {
		k.t.Errorf("counted %v", counted)
	}
	if len(stored) != 1 || len(p.lost) != 1 || len(lines) != 1 {
		k.t.Fatalf("stored %+v, reported %+v, logged %q", stored, p.lost, lines)
	}
	i := stored[0]
	if i.Why != why || !is(i) {
		k.t.Errorf("stored %+v", i)
	}
	if o := p.lost[0]; !o.From.Equal(i.From) || !o.Until.Equal(i.Until) || o.Why != why {
		k.t.Errorf("reported %+v, stored %+v", o, i)
	}
	for _, part := range []string{fmt.Sprintf("why=%s", quotedIfNeeded(why)), "arrived_from=" + logTime(i.From),
		"arrived_until=" + logTime(i.Until)} {
		if !strings.Contains(lines[0], part) {
			k.t.Errorf("%q lacks %q", lines[0], part)
		}
	}
}

func quotedIfNeeded(s string) string {
	if strings.Contains(s, " ") {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// logTime is how slog writes a time.
func logTime(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z07:00") }

// about allows for the time between two looks at a clock.
func about(a, b time.Time) bool { d := a.Sub(b); return -5*time.Minute < d && d < 5*time.Minute }

// earliestArrival is where a foreign leader's loss begins in a test.
var earliestArrival = time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)

// foundLost is a Store that finds out, once, that a foreign leader led from the
// tip, as ZooKeeper's does.
type foundLost struct{ gs.Store }

func (s foundLost) Campaign(ctx context.Context, epoch int, shard gs.ShardID) (gs.Term, error) {
	term, err := s.Store.Campaign(ctx, epoch, shard)
	if err != nil {
		return nil, err
	}
	return foundLostTerm{term}, nil
}

type foundLostTerm struct{ gs.Term }

func (t foundLostTerm) Beginning() gs.Beginning {
	began := t.Term.Beginning()
	if !slices.ContainsFunc(began.Position.Lost, func(o gs.Interval) bool { return o.Why == gs.WhyForeignLed }) {
		began.Lost = &gs.Interval{From: earliestArrival, Until: earliestArrival.Add(time.Hour), Why: gs.WhyForeignLed}
	}
	return began
}

// What a foreign leader may have lost is committed before anything is read: the
// next leader finds it in the position.
func TestWhatAForeignLeaderLostIsCommittedFirst(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.start(untilCaughtUp).wait(t)
		before := cl.position(s0)
		reads := 0
		cl.stream.onRead = func(gs.ShardID, gs.Position) {
			reads++
			if p := cl.position(s0); len(p.Lost) != 1 || p.HandledUntil().Before(before.HandledUntil()) {
				t.Errorf("read with %+v stored", p)
			}
		}
		cl.start(untilCaughtUp, func(c *consumer.Config) { c.Store = foundLost{c.Store} }).wait(t)
		if reads != 1 {
			t.Errorf("%d readings", reads)
		}
	})
}

// All state is deleted under a running process: the origin is written again as
// it was, and nothing that has arrived since is skipped, even by a process that
// starts only then.
func TestStateDeletedUnderARunningProcess(t *testing.T) {
	atTheTip(t, func(t *testing.T, k *kinesisCluster) {
		p := k.start()
		time.Sleep(time.Minute)
		k.put(s0, "one")
		time.Sleep(time.Minute + time.Second) // not at the moment of a plan, which would take the deletion over
		was, err := k.memory.Inspect()
		if err != nil {
			t.Fatal(err)
		}
		k.memory.WriteOrigin(nil)
		k.memory.WritePosition(0, s0, nil)
		k.memory.ExpireLeadership(s0)
		time.Sleep(2 * time.Minute) // by then the stream is listed again
		p.end()
		k.put(s0, "two")
		k.memory.WritePosition(0, s0, nil)
		time.Sleep(time.Hour)
		q := k.start()
		time.Sleep(2 * time.Minute)
		is, err := k.memory.Inspect()
		if err != nil || is.Origin == nil || is.Origin.From != was.Origin.From || is.Origin.Epoch != was.Origin.Epoch {
			t.Errorf("origin %+v, was %+v, %v", is.Origin, was.Origin, err)
		}
		k.wantQueued("one", "one", "one", "two")
		k.wantLoss(p, "", nil)
		k.wantLoss(q, "", nil)
		for _, want := range []string{"origin was deleted from the store",
			"checkpoint was deleted from the store; starting the shard over"} {
			if !strings.Contains(p.log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, p.log)
			}
		}
	})
}
