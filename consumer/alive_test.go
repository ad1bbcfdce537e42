package consumer_test

import (
	"context"
	"iter"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/storetest"
)

// deafStore is a Store whose calls of a sort never return, whatever becomes of
// their contexts, until it hears again.
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

// mute is a Source that falls silent: no page, no trouble.
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

// What stands still for good is told from what waits: planning, reports and
// reading each show that they go on.
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

// Back-pressure, trouble and standing by are no death: a new start would not
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
		// of shard 1 no page comes, of shard 0 a sink takes none
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
				if !strings.Contains(name, "memory") { // which is each process' own
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
