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

// A shard that was idle for days has thousands of empty pages: the first to
// read it walks through them. The next leader, after a stop or a death, is at
// new records within 25 reads, on a shard that had records once and on one that
// never had any.
func TestAShardIdleForDaysResumesInAFewReads(t *testing.T) {
	const span, idle = 2 * time.Minute, 3 * 24 * time.Hour
	const pages = int(idle / span) // 2,160
	inKinesisCluster(t, kinesistest.Options{ScanSpan: span}, 2, func(t *testing.T, k *kinesisCluster) {
		k.must(k.server.SetRetention(streamName, 7*24*time.Hour))
		k.put(s0, "good 1")
		time.Sleep(idle)
		p := k.start()
		time.Sleep(time.Duration(pages)*250*time.Millisecond + 2*time.Minute)
		for _, shard := range k.open {
			if n := k.reads(shard); n < pages {
				t.Fatalf("%s took %d reads: there was nothing to walk through", shard, n)
			}
		}
		for _, end := range []func(*process){(*process).end, (*process).kill} {
			end(p)
			time.Sleep(3 * time.Minute)
			k.putAll("new")
			before := map[gs.ShardID]int{s0: k.reads(s0), s1: k.reads(s1)}
			p = k.start()
			k.soon(20*time.Minute, "everything is queued", k.queuedAll)
			for shard, n := range before {
				if n = k.reads(shard) - n; n > 25 {
					t.Errorf("%s took %d reads", shard, n)
				}
			}
			time.Sleep(2 * time.Minute)
		}
		k.check(kept)
		if lost := k.reported(); len(lost) > 0 {
			t.Errorf("reported as lost: %+v", lost)
		}
	})
}

// stuckSink takes nothing until it is freed.
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

// stalls are the ways in which reading stalls while a process runs, or while
// none does. Each starts the processes it needs, and returns what ends it.
var stalls = map[string]func(*kinesisCluster) (release func()){
	"no process": func(k *kinesisCluster) func() {
		return func() { k.start() }
	},
	"a sink takes nothing": func(k *kinesisCluster) func() {
		sink := &stuckSink{make(chan struct{})}
		k.start(func(c *consumer.Config) { c.Sinks = []gs.Sink{sink} })
		return func() { close(sink.free) }
	},
	"the queue is full": func(k *kinesisCluster) func() {
		k.memory.SetHook(func(write storetest.Write) storetest.Fault {
			if write.Commit != nil && len(write.Commit.Entries) > 0 {
				return storetest.RetryLater
			}
			return storetest.NoFault
		})
		k.start()
		return func() { k.memory.SetHook(nil) }
	},
	"memory is used up": func(k *kinesisCluster) func() {
		k.start()
		time.Sleep(10 * time.Second) // it has an iterator
		room, err := k.budget.Reserve(k.t.Context(), kinesis.DefaultBudget)
		k.must(err)
		return room.Release
	},
}

// The retention passes a stalled reader, for whichever reason: what was trimmed
// before it could be read is reported, once, with its interval; the rest is
// queued, and reading goes on at the right place.
func TestRetentionPassesAPausedReader(t *testing.T) {
	const retention, every = time.Hour, 5 * time.Minute // the service takes whole hours
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			opts := kinesistest.Options{ScanSpan: 2 * time.Minute}
			inKinesisCluster(t, opts, 1, func(t *testing.T, k *kinesisCluster) {
				k.must(k.server.SetRetention(streamName, retention))
				p := k.start()
				k.putAll("before")
				time.Sleep(2 * time.Minute)
				p.end()
				handled := k.handledUntil()
				release := stall(k)
				for paused := time.Now(); time.Since(paused) < 80*time.Minute; time.Sleep(every) {
					if at := time.Since(paused).Round(every); at < 15*time.Minute || at > 30*time.Minute {
						k.putAll("meanwhile") // around the later horizon there are only empty pages
					}
				}
				passed := time.Now().Add(-retention)
				release()
				for range 5 { // for longer than the error of arrival times
					k.putAll("after")
					time.Sleep(every)
				}
				k.processes[len(k.processes)-1].end()
				k.start()
				time.Sleep(time.Minute)

				queued := map[gs.SequenceNumber]bool{}
				for _, e := range k.memory.Entries() {
					queued[e.Seq] = true
				}
				// One page or two were in memory already: they are not lost.
				k.check(func(s sent) bool { return s.at.Before(passed) && !queued[s.seq] })
				got := k.reported()
				if len(got) != 1 || got[0].Why != "trimmed" || got[0].From.Before(handled.Add(-time.Minute)) ||
					got[0].Until.Before(passed.Add(-time.Minute)) || got[0].Until.After(passed.Add(2*every)) {
					t.Errorf("reported %+v; handled until %s, and trimmed until %s", got, handled, passed)
				}
				if kept := k.position(s0).Lost; len(kept) != 1 {
					t.Errorf("the position keeps %+v", kept)
				}
			})
		})
	}
}

// An iterator lives for five minutes. A reader that is stalled for longer goes
// on without a loss, a duplicate, or a reported jump.
func TestAReaderStalledForLongerThanAnIteratorGoesOn(t *testing.T) {
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			inKinesisCluster(t, kinesistest.Options{ScanSpan: time.Minute}, 2, func(t *testing.T, k *kinesisCluster) {
				k.poll = 10 * time.Second
				p := k.start()
				k.putAll("before")
				time.Sleep(time.Minute)
				p.end()
				release := stall(k)
				for range 9 {
					k.putAll("meanwhile")
					time.Sleep(time.Minute)
				}
				queued := len(k.memory.Entries())
				release()
				k.putAll("after")
				k.soon(time.Minute, "everything is queued", k.queuedAll)
				time.Sleep(time.Minute)
				k.check(kept)
				if queued > 4 {
					t.Errorf("%d records were queued while it was stalled", queued)
				}
				k.mu.Lock()
				expired := k.asked["expired"]
				k.mu.Unlock()
				if name != "no process" && expired == 0 {
					t.Error("no iterator expired")
				}
				log := k.processes[len(k.processes)-1].log.String()
				lost := k.reported()
				if len(lost) > 0 || strings.Contains(log, "level=ERROR") || strings.Contains(log, "lost") {
					t.Errorf("reported as lost: %+v\n%s", lost, log)
				}
				for _, shard := range k.open {
					if pos := k.position(shard); len(pos.Lost) > 0 {
						t.Errorf("%s: %+v", shard, pos.Lost)
					}
				}
			})
		})
	}
}

// While all processes were away the stream was deleted and recreated under its
// name: a new epoch begins, with everything that the new stream keeps. Nothing
// of the old positions is used or touched, and what the old stream may have
// held unread is reported, once.
func TestAStreamRecreatedWhileAllWereAway(t *testing.T) {
	inKinesisCluster(t, kinesistest.Options{}, 2, func(t *testing.T, k *kinesisCluster) {
		for range 2 {
			k.start()
		}
		k.putAll("old")
		time.Sleep(5 * time.Minute)
		for _, p := range k.processes {
			p.end()
		}
		k.check(kept)
		old, handled := map[gs.ShardID]string{}, k.handledUntil()
		for _, s := range k.open {
			old[s] = string(storekit.EncodePosition(k.position(s), gs.Stamp{}))
		}
		unread := sent{data: "good unread"}
		k.put(s0, unread.data)
		unread.seq = k.sent[len(k.sent)-1].seq
		time.Sleep(time.Hour)
		k.must(k.server.DeleteStream(streamName))
		time.Sleep(time.Hour)
		k.create(3) // the first two have the same ids as before
		created, err := k.server.Created(streamName)
		k.must(err)
		k.putAll("new")
		time.Sleep(time.Hour)
		used := map[string]bool{}
		for _, s := range k.sent[:len(k.sent)-len(k.open)] {
			used[string(s.seq)] = true
		}
		k.seeks = nil
		for range 2 {
			k.start()
		}
		time.Sleep(10 * time.Minute)
		k.putAll("newer")
		time.Sleep(10 * time.Minute)

		k.check(func(s sent) bool { return s.seq == unread.seq })
		for _, s := range k.seeks {
			if s.ShardIteratorType == "AT_TIMESTAMP" || used[s.StartingSequenceNumber] {
				t.Errorf("the new stream was read from %+v", s)
			}
		}
		for s, was := range old {
			if now := string(storekit.EncodePosition(k.position(s), gs.Stamp{})); now != was {
				t.Errorf("the old position of %s was %s and is %s", s, was, now)
			}
		}
		in, _ := k.memory.Inspect()
		lost := k.reported()
		if o := in.Origin; o.Epoch != 1 || !o.Stream.Created.Equal(created) || len(o.Lost) != 1 || len(lost) != 1 {
			t.Fatalf("origin %+v, reported %+v", in.Origin, lost)
		}
		want := gs.Interval{From: handled, Until: created, Why: "recreated"}
		if in.Origin.Lost[0] != want || lost[0] != want {
			t.Errorf("reported %+v, kept %+v, want %+v", lost, in.Origin.Lost, want)
		}
	})
}

// handledUntil returns until when the least advanced shard was handled.
func (k *kinesisCluster) handledUntil() (earliest time.Time) {
	for _, s := range k.open {
		pos := k.position(s)
		if until := pos.HandledUntil(); earliest.IsZero() || until.Before(earliest) {
			earliest = until
		}
	}
	return earliest
}
