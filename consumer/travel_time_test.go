package consumer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/storetest"
)

// A shard that was idle for days lies behind thousands of empty pages: the
// first to come there walks through them. Whoever leads next, after a stop or a
// death, is at new records within 25 reads: of a shard that had records once,
// and of one that never had any.
func TestAShardIdleForDaysResumesInAFewReads(t *testing.T) {
	const span, idle = 2 * time.Minute, 3 * 24 * time.Hour
	const pages = int(idle / span) // 2,160
	inTravel(t, kinesistest.Options{ScanSpan: span}, 2, func(t *testing.T, w *travel) {
		w.must(w.srv.SetRetention(streamName, 7*24*time.Hour))
		w.put(s0, "good 1")
		time.Sleep(idle)
		p := w.start()
		time.Sleep(time.Duration(pages)*250*time.Millisecond + 2*time.Minute)
		for _, shard := range w.open {
			if n := w.reads(shard); n < pages {
				t.Fatalf("%s took %d reads: there was nothing to walk through", shard, n)
			}
		}
		for _, end := range []func(*proc){(*proc).end, (*proc).kill} {
			end(p)
			time.Sleep(3 * time.Minute)
			w.putAll("new")
			before := map[gs.ShardID]int{s0: w.reads(s0), s1: w.reads(s1)}
			p = w.start()
			w.soon(20*time.Minute, "everything is queued", w.queuedAll)
			for shard, n := range before {
				if n = w.reads(shard) - n; n > 25 {
					t.Errorf("%s took %d reads", shard, n)
				}
			}
			time.Sleep(2 * time.Minute)
		}
		w.check(kept)
		if lost := w.reported(); len(lost) > 0 {
			t.Errorf("reported as lost: %+v", lost)
		}
	})
}

// stuckSink takes nothing until it is let go.
type stuckSink struct{ free chan struct{} }

func (s *stuckSink) Name() string { return "stuck" }

func (s *stuckSink) Deliver(ctx context.Context, _ []gs.Entry) error {
	select {
	case <-s.free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// holdUps are the ways in which reading stands still while a process runs, or
// while none does. Each starts the processes that it takes, and returns what
// ends it.
var holdUps = map[string]func(*travel) (release func()){
	"no process": func(w *travel) func() {
		return func() { w.start() }
	},
	"a sink takes nothing": func(w *travel) func() {
		sink := &stuckSink{make(chan struct{})}
		w.start(func(c *consumer.Config) { c.Sinks = []gs.Sink{sink} })
		return func() { close(sink.free) }
	},
	"the queue is full": func(w *travel) func() {
		w.memory.SetHook(func(write storetest.Write) storetest.Fault {
			if write.Commit != nil && len(write.Commit.Entries) > 0 {
				return storetest.RetryLater
			}
			return storetest.NoFault
		})
		w.start()
		return func() { w.memory.SetHook(nil) }
	},
	"memory is used up": func(w *travel) func() {
		w.start()
		time.Sleep(10 * time.Second) // it has an iterator
		room, err := w.budget.Reserve(w.t.Context(), kinesis.DefaultBudget)
		w.must(err)
		return room.Release
	},
}

// The retention passes a reader that stands still, for whichever reason: what
// was trimmed before it could be read is reported, once, with its interval; all
// the rest is queued, and reading goes on at the right place.
func TestRetentionPassesAPausedReader(t *testing.T) {
	const retention, every = time.Hour, 5 * time.Minute // the service tells whole hours
	for name, holdUp := range holdUps {
		t.Run(name, func(t *testing.T) {
			inTravel(t, kinesistest.Options{ScanSpan: 2 * time.Minute}, 1, func(t *testing.T, w *travel) {
				w.must(w.srv.SetRetention(streamName, retention))
				p := w.start()
				w.putAll("before")
				time.Sleep(2 * time.Minute)
				p.end()
				handled := w.handledUntil()
				release := holdUp(w)
				for paused := time.Now(); time.Since(paused) < 80*time.Minute; time.Sleep(every) {
					if at := time.Since(paused).Round(every); at < 15*time.Minute || at > 30*time.Minute {
						w.putAll("meanwhile") // at what will be the horizon there is nothing, and a few empty pages
					}
				}
				passed := time.Now().Add(-retention)
				release()
				for range 5 { // for longer than an arrival may be wrong by
					w.putAll("after")
					time.Sleep(every)
				}
				w.procs[len(w.procs)-1].end()
				w.start()
				time.Sleep(time.Minute)

				queued := map[gs.SequenceNumber]bool{}
				for _, e := range w.memory.Entries() {
					queued[e.Seq] = true
				}
				// One page or two were in memory already: they are not lost.
				w.check(func(s sent) bool { return s.at.Before(passed) && !queued[s.seq] })
				got := w.reported()
				if len(got) != 1 || got[0].Why != "trimmed" || got[0].From.Before(handled.Add(-time.Minute)) ||
					got[0].Until.Before(passed.Add(-time.Minute)) || got[0].Until.After(passed.Add(2*every)) {
					t.Errorf("reported %+v; handled until %s, and trimmed until %s", got, handled, passed)
				}
				if kept := w.position(s0).Lost; len(kept) != 1 {
					t.Errorf("the position keeps %+v", kept)
				}
			})
		})
	}
}

// An iterator lives for five minutes. A reader that is held up for longer goes
// on without a loss, a duplicate, or a jump that is reported.
func TestAReaderHeldUpForLongerThanAnIteratorGoesOn(t *testing.T) {
	for name, holdUp := range holdUps {
		t.Run(name, func(t *testing.T) {
			inTravel(t, kinesistest.Options{ScanSpan: time.Minute}, 2, func(t *testing.T, w *travel) {
				w.poll = 10 * time.Second
				p := w.start()
				w.putAll("before")
				time.Sleep(time.Minute)
				p.end()
				release := holdUp(w)
				for range 9 {
					w.putAll("meanwhile")
					time.Sleep(time.Minute)
				}
				queued := len(w.memory.Entries())
				release()
				w.putAll("after")
				w.soon(time.Minute, "everything is queued", w.queuedAll)
				time.Sleep(time.Minute)
				w.check(kept)
				if queued > 4 {
					t.Errorf("%d records were queued while it was held up", queued)
				}
				if name != "no process" && w.asked["expired"] == 0 {
					t.Error("no iterator expired")
				}
				log := w.procs[len(w.procs)-1].log.String()
				if lost := w.reported(); len(lost) > 0 || strings.Contains(log, "level=ERROR") || strings.Contains(log, "lost") {
					t.Errorf("reported as lost: %+v\n%s", lost, log)
				}
				for _, shard := range w.open {
					if pos := w.position(shard); len(pos.Lost) > 0 {
						t.Errorf("%s: %+v", shard, pos.Lost)
					}
				}
			})
		})
	}
}

// While all processes were away the stream was deleted and made anew under its
// name: a new epoch begins, with all that the new stream keeps. Nothing of the
// old positions is used or touched, and what the old stream may have held
// unread is reported, once.
func TestAStreamRecreatedWhileAllWereAway(t *testing.T) {
	inTravel(t, kinesistest.Options{}, 2, func(t *testing.T, w *travel) {
		for range 2 {
			w.start()
		}
		w.putAll("old")
		time.Sleep(5 * time.Minute)
		for _, p := range w.procs {
			p.end()
		}
		w.check(kept)
		old, handled := map[gs.ShardID]string{}, w.handledUntil()
		for _, s := range w.open {
			old[s] = string(storekit.EncodePosition(w.position(s), gs.Stamp{}))
		}
		unread := sent{data: "good unread"}
		w.put(s0, unread.data)
		unread.seq = w.sent[len(w.sent)-1].seq
		time.Sleep(time.Hour)
		w.must(w.srv.DeleteStream(streamName))
		time.Sleep(time.Hour)
		w.create(3) // the first two have the same ids as before
		created, err := w.srv.Created(streamName)
		w.must(err)
		w.putAll("new")
		time.Sleep(time.Hour)
		used := map[string]bool{}
		for _, s := range w.sent[:len(w.sent)-len(w.open)] {
			used[string(s.seq)] = true
		}
		w.seeks = nil
		for range 2 {
			w.start()
		}
		time.Sleep(10 * time.Minute)
		w.putAll("newer")
		time.Sleep(10 * time.Minute)

		w.check(func(s sent) bool { return s.seq == unread.seq })
		for _, s := range w.seeks {
			if s.ShardIteratorType == "AT_TIMESTAMP" || used[s.StartingSequenceNumber] {
				t.Errorf("the new stream was read from %+v", s)
			}
		}
		for s, was := range old {
			if now := string(storekit.EncodePosition(w.position(s), gs.Stamp{})); now != was {
				t.Errorf("the old position of %s was %s and is %s", s, was, now)
			}
		}
		in, _ := w.memory.Inspect()
		lost := w.reported()
		if in.Origin.Epoch != 1 || !in.Origin.Stream.Created.Equal(created) || len(in.Origin.Lost) != 1 || len(lost) != 1 {
			t.Fatalf("start record %+v, reported %+v", in.Origin, lost)
		}
		if want := (gs.Interval{From: handled, Until: created, Why: "recreated"}); in.Origin.Lost[0] != want || lost[0] != want {
			t.Errorf("reported %+v, kept %+v, want %+v", lost, in.Origin.Lost, want)
		}
	})
}

// handledUntil is until when the shard that is least far was handled.
func (w *travel) handledUntil() (earliest time.Time) {
	for _, s := range w.open {
		pos := w.position(s)
		if until := pos.HandledUntil(); earliest.IsZero() || until.Before(earliest) {
			earliest = until
		}
	}
	return earliest
}
