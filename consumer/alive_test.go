package consumer_test

import (
	"context"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/storetest"
)

// deafStore is a Store some of whose calls do not return, whatever happens to
// their contexts, while it is deaf.
type deafStore struct {
	gs.Store
	positions, reports *atomic.Bool
	heard              <-chan struct{}
}

func (s deafStore) Positions(ctx context.Context, epoch int) (map[gs.ShardID]gs.Position, error) {
	if s.positions.Load() {
		<-s.heard
	}
	return s.Store.Positions(ctx, epoch)
}

func (s deafStore) Report(ctx context.Context, status gs.Status) error {
	if s.reports.Load() {
		<-s.heard
	}
	return s.Store.Report(ctx, status)
}

// mute is a Source that can fall silent: no page, no trouble.
type mute struct {
	gs.Source
	on *atomic.Bool
}

func (m mute) Read(ctx context.Context, shard gs.ShardID, from gs.Position) iter.Seq2[gs.Page, error] {
	return func(yield func(gs.Page, error) bool) {
		for batch, err := range m.Source.Read(ctx, shard, from) {
			if m.on.Load() {
				<-ctx.Done()
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

func (m mute) Peek(ctx context.Context, shard gs.ShardID, from gs.Position) iter.Seq2[gs.Page, error] {
	return m.Read(ctx, shard, from)
}

// What is stuck for good is told from what waits: planning, reports and reading
// each show their progress.
func TestAliveReportsWhatIsStuck(t *testing.T) {
	for _, says := range []string{"planning has made no progress", "reporting to the store has made no progress",
		"reading shardId-000000000000 has made no progress"} {
		t.Run(says, func(t *testing.T) {
			inCluster(t, 1, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				var positions, reports, silent atomic.Bool
				heard := make(chan struct{})
				p := cl.start(func(c *consumer.Config) {
					c.Store, c.Source = deafStore{c.Store, &positions, &reports, heard}, mute{c.Source, &silent}
				})
				time.Sleep(10 * time.Minute)
				if err := p.Alive(); err != nil {
					t.Errorf("where all goes on: %v", err)
				}
				switch strings.Fields(says)[0] {
				case "planning":
					positions.Store(true)
				case "reporting":
					reports.Store(true)
				default:
					silent.Store(true)
				}
				time.Sleep(time.Minute)
				if err := p.Alive(); err != nil {
					t.Errorf("after a minute: %v", err)
				}
				time.Sleep(6 * time.Minute)
				if err := p.Alive(); err == nil || !strings.HasPrefix(err.Error(), says) ||
					strings.Contains(err.Error(), "\n") {
					t.Errorf("after seven minutes: %v", err)
				}
				positions.Store(false)
				reports.Store(false)
				close(heard)
				p.end()
				if err := p.Alive(); err != nil {
					t.Errorf("after the end: %v", err)
				}
			})
		})
	}
}

// Back-pressure, trouble and standing by are not death: a restart would not
// help.
func TestWaitingIsNotBeingStuck(t *testing.T) {
	for name, hinder := range map[string]func(cl *cluster, sink *gate) (end func()){
		"a sink that does not return": func(_ *cluster, sink *gate) func() { return sink.close() },
		"a commit that does not return": func(cl *cluster, _ *gate) func() {
			on := make(chan struct{})
			cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
				if w.Point == storetest.PointCommit {
					<-on
				}
				return storetest.NoFault
			})
			return func() { close(on) }
		},
		"a queue at its limit": func(cl *cluster, _ *gate) func() {
			cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
				if w.Point == storetest.PointCommit {
					return storetest.RetryLater
				}
				return storetest.NoFault
			})
			return func() { cl.memory.SetHook(nil) }
		},
		// shard 1 gets no page, and a sink takes none of shard 0
		"memory that others wait with": func(cl *cluster, sink *gate) func() {
			open := sink.close()
			cl.stream.put(s0, "good")
			time.Sleep(time.Minute)
			cl.stream.change(func() { cl.stream.pollEvery = time.Hour })
			return func() {
				cl.stream.change(func() { cl.stream.pollEvery = time.Second })
				open()
			}
		},
		"a service that fails": func(cl *cluster, _ *gate) func() {
			cl.stream.fail(func(int, gs.ShardID) bool { return true })
			cl.stream.change(func() { cl.stream.listErr = func() error { return errNoRoute } })
			return func() { cl.stream.change(func() { cl.stream.readErr, cl.stream.listErr = nil, nil }) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 2, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelInfo
				sink := &gate{}
				cl.start(withSinks(sink))
				if !strings.Contains(name, "memory") { // each process has its own
					cl.start(withSinks(sink))
				}
				time.Sleep(time.Minute)
				end := hinder(cl, sink)
				defer end()
				cl.traffic(s0, 20)
				cl.traffic(s1, 20)
				for range 40 {
					time.Sleep(time.Minute)
					for _, p := range cl.processes {
						if err := p.Alive(); err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
		})
	}
}

// Whatever stalls a shard shows in status, lag and log, from half a minute on
// and not before, and no longer than it lasts.
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
					t.Errorf("its end is not logged:\n%s", p.log)
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

// Progress on an idle shard is committed although the source has begun to fail
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
			t.Errorf("readable until %v, committed until %v; before until %v", failed, pos.CaughtUp,
				began)
		}
	})
}
