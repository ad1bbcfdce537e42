package consumer_test

import (
	"context"
	"fmt"
	"log/slog"
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

// flowing lets records flow on a shard until end is called, 40 a second, in
// pages that take more.
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
// once what had arrived before it began is committed: read here, or by another
// process that leads.
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

// A Source that says of every page that it reaches the tip, as one emulator
// does, does not end the run too soon.
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

// Meanwhile the log says, now and then, what the run waits for: here a parent
// that the service never closes.
func TestUntilCaughtUpLogsWhatItWaitsFor(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		a, _ := cl.stream.split(s0)
		cl.stream.change(func() {
			cl.stream.shards[s0].closed = false // it is listed as closed, and its end never comes
			cl.stream.behindBy = func(shard gs.ShardID) (time.Duration, bool) { return 2 * time.Hour, shard == s1 }
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

// A shard where records come all the time is at its tip, and is not called
// behind.
func TestASteadyShardDoesNotLag(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		defer cl.flowing(s0)()
		p := cl.start()
		time.Sleep(time.Minute)
		if s := p.Status(); s.Lagging != 0 || !s.Shards[0].AtTip || s.Shards[0].Position.CaughtUp.After(s.Began) {
			t.Errorf("%d behind, at its tip %v, caught up %s", s.Lagging, s.Shards[0].AtTip,
				s.Shards[0].Position.CaughtUp)
		}
	})
}

// Behind another program that leads the run ends once a look behind that one's
// checkpoint finds nothing, and not before.
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
			t.Fatal("it has ended with a record behind the leader's checkpoint")
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
