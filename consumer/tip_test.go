package consumer_test

import (
	"context"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
)

// WaitCaughtUp returns soon after the last record that was there is queued, and
// the process goes on. It returns at once from then on.
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

// What another process leads counts when that one says that it is at the tip.
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

// While something is not read nobody is told that all is.
func TestWaitCaughtUpWaits(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.stream.change(func() {
			cl.stream.behindBy = func(shard gs.ShardID) (time.Duration, bool) { return time.Minute, shard == s1 }
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

// A process that says nothing of itself can be told from others all the same,
// and what it says is left as it is.
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
				t.Errorf("it says %+v", a)
			}
		}
	})
}

// The classifier is given the shard and the record as the Source made it, and
// what it adds to an event goes into the store.
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
