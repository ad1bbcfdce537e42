package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/history"
)

// flow puts a record on a shard every 25 ms until ctx ends.
func (cl *cluster) flow(ctx context.Context, shard gs.ShardID) {
	for i := 0; ctx.Err() == nil; i++ {
		cl.stream.put(shard, fmt.Sprintf("%s %d", []string{"good", "good", "drop"}[i%3], i))
		time.Sleep(25 * time.Millisecond)
	}
}

// flowing lets records flow on a shard, 40 a second, until end is called; a
// page takes more than come between two reads.
func (cl *cluster) flowing(shard gs.ShardID) (end func()) {
	cl.stream.pageSize = 100
	ctx, cancel := context.WithCancel(cl.t.Context())
	var flow sync.WaitGroup
	flow.Go(func() { cl.flow(ctx, shard) })
	return func() {
		cancel()
		flow.Wait()
	}
}

// missing returns how many records of a history are wanted in the queue and not
// there.
func (cl *cluster) missing(put []history.Event) (missing int) {
	queued := map[history.Item]bool{}
	for _, e := range cl.memory.Entries() {
		item := history.EntryItem(&e)
		item.ID = ""
		queued[item] = true
	}
	for _, e := range put {
		for _, item := range e.Items {
			if item.Outcome == history.Queued && !queued[item] {
				missing++
			}
		}
	}
	return missing
}

// Where records come all the time no page is empty. The run ends all the same,
// once all that had arrived before it began is committed: read here, or by
// another process that leads.
func TestUntilCaughtUpEndsOnSteadyTraffic(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprintf("elsewhere %v", elsewhere), func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				cl.traffic(s0, 300) // and a backlog
				defer cl.flowing(s0)()
				limit := 30 * time.Second
				if elsewhere {
					cl.start()
					limit = 6 * time.Minute
				}
				time.Sleep(time.Second)
				before := cl.stream.history()
				p := cl.start(untilCaughtUp)
				select {
				case <-p.done:
				case <-time.After(limit):
					t.Errorf("still running after %s:\n%s", limit, p.log)
				}
				if n := cl.missing(before); n > 0 || p.err != nil {
					t.Errorf("%d of %d records that had arrived before are not queued, %v", n, len(before), p.err)
				}
			})
		})
	}
}

// A Source that reports every page as reaching the tip, as one emulator does,
// does not end the run too soon.
func TestUntilCaughtUpIsNotFooledByADistanceOfZero(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level, cl.stream.alwaysAtTip = slog.LevelInfo, true
		for i := range 2000 {
			cl.stream.put(s0, fmt.Sprintf("good %d", i))
		}
		defer cl.flowing(s0)()
		before := cl.stream.history()
		cl.start(untilCaughtUp).wait(t)
		if n := cl.missing(before); n > 0 {
			t.Errorf("%d of %d records that had arrived before are not queued", n, len(before))
		}
	})
}

// Meanwhile the log shows, now and then, what the run waits for: here a parent
// that the service never closes.
func TestUntilCaughtUpLogsWhatItWaitsFor(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		a, _ := cl.stream.split(s0)
		cl.stream.change(func() {
			cl.stream.shards[s0].closed = false // it is listed as closed, and its end never comes
			cl.stream.lagsBy = func(shard gs.ShardID) (time.Duration, bool) { return 2 * time.Hour, shard == s1 }
		})
		cl.stream.put(a, "good")
		p := cl.start(untilCaughtUp)
		time.Sleep(10 * time.Minute)
		lines := p.logged("not caught up yet")
		if len(lines) < 9 || len(lines) > 11 {
			t.Fatalf("%d lines in ten minutes:\n%s", len(lines), p.log)
		}
		for _, want := range []string{
			"shardId-000000000002, shardId-000000000003: its parent shardId-000000000000 is not read to its end yet",
			"shardId-000000000001: it is read here, lagging by 2h0m0s"} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("%q is missing in %s", want, lines[0])
			}
		}
	})
}

// A shard where records come all the time is at its tip, and does not lag.
func TestASteadyShardDoesNotLag(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		defer cl.flowing(s0)()
		p := cl.start()
		time.Sleep(time.Minute)
		if s := p.Status(); s.Lagging != 0 || !s.Shards[0].AtTip || s.Shards[0].Position.CaughtUp.After(s.Began) {
			t.Errorf("%d lag, at its tip %v, caught up %s", s.Lagging, s.Shards[0].AtTip,
				s.Shards[0].Position.CaughtUp)
		}
	})
}

// With a foreign leader the run ends once a look past its checkpoint finds
// nothing, and not before.
func TestUntilCaughtUpEndsWithAForeignLeader(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		cl.stream.put(s0, "good 1")
		cl.memory.WriteCheckpoint(s0, cl.lastOf(s0))
		leave := cl.memory.Foreign("zuul", s0)
		defer leave()
		cl.stream.put(s0, "good 2")
		time.Sleep(time.Minute)
		p := cl.start(untilCaughtUp, func(c *consumer.Config) { c.StartAt = gs.StartingPosition{} })
		time.Sleep(10 * time.Minute)
		select {
		case <-p.done:
			t.Fatal("it has ended with a record after the leader's checkpoint")
		default:
		}
		if lines := p.logged("zuul leads it, and may not have read everything yet"); len(lines) < 9 {
			t.Errorf("%d lines say what it waits for:\n%s", len(lines), p.log)
		}
		cl.memory.WriteCheckpoint(s0, cl.lastOf(s0))
		select {
		case <-p.done:
		case <-time.After(4 * time.Minute):
			t.Errorf("still running:\n%s", p.log)
		}
	})
}

// WaitCaughtUp returns soon after the last record that had arrived is queued,
// and at once from then on; the process goes on.
func TestWaitCaughtUp(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, cl *cluster) {
		cl.traffic(s0, 200)
		cl.traffic(s1, 30)
		p := cl.start()
		began := time.Now()
		for range 2 {
			if err := p.WaitCaughtUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			cl.check()
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		cl.traffic(s0, 5)
		time.Sleep(time.Second)
		cl.check()
	})
}

// A shard that another process leads counts once its position shows that it is
// at the tip.
func TestWaitCaughtUpWithShardsLedElsewhere(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.start()
		time.Sleep(time.Second)
		cl.traffic(s0, 30)
		cl.traffic(s1, 30)
		p := cl.start()
		began := time.Now()
		if err := p.WaitCaughtUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		cl.check()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

// WaitCaughtUp does not return while something is unread.
func TestWaitCaughtUpWaits(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.stream.change(func() {
			cl.stream.lagsBy = func(shard gs.ShardID) (time.Duration, bool) { return time.Minute, shard == s1 }
		})
		p := cl.start()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errNoRoute)
		defer cancel()
		if err := p.WaitCaughtUp(ctx); !errors.Is(err, errNoRoute) {
			t.Errorf("got %v", err)
		}
		ended := make(chan error)
		go func() { ended <- p.WaitCaughtUp(t.Context()) }()
		time.Sleep(time.Second)
		p.stop()
		if err := <-ended; !errors.Is(err, consumer.ErrEnded) {
			t.Errorf("after the end got %v", err)
		}
	})
}

// A Consumer runs once.
func TestRunTwice(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		p := cl.start(untilCaughtUp)
		p.wait(t)
		if err := p.Run(t.Context()); !errors.Is(err, consumer.ErrAlreadyRun) {
			t.Errorf("got %v", err)
		}
		if err := p.WaitCaughtUp(t.Context()); err != nil {
			t.Errorf("it was caught up: %v", err)
		}
	})
}

// A process without a configured identity still gets a distinct one, and a
// configured identity is kept.
func TestWhoAProcessIs(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.start(func(c *consumer.Config) { c.Process = "" })
		cl.start(func(c *consumer.Config) { c.Self = gs.MemberInfo{Host: "h", PID: 7, Version: "v1"} })
		time.Sleep(2 * time.Second)
		m, err := cl.memory.Process("another").GroupState(t.Context(), nil)
		if err != nil || len(m.Members) != 2 {
			t.Fatalf("%d members, %v", len(m.Members), err)
		}
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		for _, member := range m.Members {
			a := member.Info
			if a.Process == "process-1" {
				if a.Host != "h" || a.PID != 7 || a.Version != "v1" {
					t.Errorf("it became %+v", a)
				}
			} else if a.Host != host || a.PID != os.Getpid() || a.Process == "" {
				t.Errorf("it is %+v", a)
			}
		}
	})
}

// The classifier gets the shard and the record as the Source yielded it, and
// the attributes it adds to an event reach the store.
func TestClassifierSeesTheRecord(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.stream.put(s0, "good one")
		p := cl.start(untilCaughtUp, func(c *consumer.Config) {
			c.Classify = func(shard gs.ShardID, r *gs.Record) gs.Verdict {
				return gs.Verdict{Event: gs.Event{Attributes: map[string]string{
					"shard": string(shard), "seq": string(r.Seq), "arrived": r.Arrived.UTC().Format(time.RFC3339Nano),
					"data": string(r.Data),
				}}}
			}
		})
		p.wait(t)
		entries := cl.memory.Entries()
		if len(entries) != 1 {
			t.Fatalf("%d entries", len(entries))
		}
		e := entries[0]
		want := map[string]string{
			"shard": string(s0), "seq": string(e.Seq), "arrived": e.Arrived.UTC().Format(time.RFC3339Nano),
			"data": "good one",
		}
		if !reflect.DeepEqual(e.Event.Attributes, want) {
			t.Errorf("got %v, want %v", e.Event.Attributes, want)
		}
	})
}
