package consumer_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/storetest"
)

// Whatever holds up what was read shows in status, lag and log, from half a
// minute on and not before, and no longer than it lasts.
func TestWhatStallsAShardShows(t *testing.T) {
	for name, tc := range map[string]struct {
		block func(cl *cluster, sink *gate) (open func())
		says  string
		soon  time.Duration // by when it shows
	}{
		"a sink that does not return": {
			func(_ *cluster, sink *gate) func() { return sink.close() }, "waiting for the sink gate", 40 * time.Second,
		},
		"a commit that does not return": {
			func(cl *cluster, _ *gate) func() {
				cl.processes[0].store.Freeze()
				return cl.processes[0].store.Thaw
			}, "waiting for the store to commit", 40 * time.Second,
		},
		"a queue at its limit": {
			func(cl *cluster, _ *gate) func() {
				cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
					if w.Point == storetest.PointCommit {
						return storetest.RetryLater
					}
					return storetest.NoFault
				})
				return func() { cl.memory.SetHook(nil) }
			}, "", 40 * time.Second,
		},
		"no memory for a page": {
			func(cl *cluster, _ *gate) func() {
				cl.stream.change(func() { cl.stream.pollEvery = 10 * time.Minute })
				return func() { cl.stream.change(func() { cl.stream.pollEvery = time.Second }) }
			}, "waiting for a page", 100 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				sink := &gate{}
				p := cl.start(withSinks(sink))
				time.Sleep(time.Minute)
				open := tc.block(cl, sink)
				cl.stream.put(s0, "good")
				time.Sleep(20 * time.Second)
				if s := p.shardOf(t, s0); s.Trouble != "" || s.Lag != 0 || strings.Contains(p.log.String(), "WARN") {
					t.Errorf("after 20 s: %+v\n%s", s, p.log)
				}
				time.Sleep(tc.soon - 20*time.Second)
				if s := p.shardOf(t, s0); s.Trouble == "" || !strings.HasPrefix(s.Trouble, tc.says) ||
					s.Lag < 30*time.Second || s.AtTip {
					t.Errorf("after %v: %+v", tc.soon, s)
				}
				time.Sleep(time.Minute)
				if !strings.Contains(p.log.String(), "level=WARN") && tc.says != "" ||
					!strings.Contains(p.log.String(), "shard stalled") {
					t.Errorf("it is not logged:\n%s", p.log)
				}
				open()
				time.Sleep(12 * time.Minute)
				if s := p.shardOf(t, s0); s.Trouble != "" || s.Lag != 0 || !s.AtTip {
					t.Errorf("afterwards: %+v", s)
				}
				if !strings.Contains(p.log.String(), "shard resumed") {
					t.Errorf("that it is over is not logged:\n%s", p.log)
				}
				cl.check()
			})
		})
	}
}

// gate is a sink that lets nothing pass while it is closed.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // under mu: nil while it is open
}

func (*gate) Name() string { return "gate" }

func (g *gate) Deliver(ctx context.Context, _ []gs.Entry) error {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed == nil {
		return nil
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) close() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	closed := make(chan struct{})
	g.closed = closed
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.closed = nil
		close(closed)
	}
}

// Progress on an idle shard is committed though the source has begun to fail
// before it was due.
func TestIdleProgressIsCommittedWhileTheSourceRetries(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.start()
		time.Sleep(10*time.Minute + 20*time.Second) // somewhere between two commits
		began := cl.position(s0).CaughtUp
		cl.stream.change(func() { cl.stream.readErr = func(gs.ShardID, gs.Position) error { return errNoRoute } })
		failed := time.Now()
		time.Sleep(40 * time.Second)
		if pos := cl.position(s0); failed.Sub(pos.CaughtUp) > time.Second {
			t.Errorf("it could be read until %v, and is committed until %v; before until %v", failed, pos.CaughtUp,
				began)
		}
	})
}
