package consumer_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/storetest"
)

// counts are the calls of several processes to a store, and what is read and
// written with them.
type counts struct {
	mu sync.Mutex
	of map[string]int // under mu
}

func (c *counts) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[what] += n
}

// take returns the counts so far, and begins again.
func (c *counts) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.of
	c.of = map[string]int{}
	return was
}

// meteredStore is a store whose calls are counted.
type meteredStore struct {
	gs.Store
	*counts
}

func (s meteredStore) Positions(ctx context.Context, epoch int) (map[gs.ShardID]gs.Position, error) {
	p, err := s.Store.Positions(ctx, epoch)
	s.add("positions", len(p))
	return p, err
}

func (s meteredStore) GroupState(ctx context.Context, shards []gs.ShardID) (gs.GroupState, error) {
	s.add("candidates", len(shards))
	return s.Store.GroupState(ctx, shards)
}

func (s meteredStore) Advertise(ctx context.Context, info gs.MemberInfo) error {
	s.add("advertised shards", len(info.Leads))
	return s.Store.Advertise(ctx, info)
}

func (s meteredStore) Report(ctx context.Context, status gs.Status) error {
	s.add("reports", 1)
	s.add("reported shards", len(status.Shards))
	return s.Store.Report(ctx, status)
}

func (s meteredStore) Campaign(ctx context.Context, epoch int, shard gs.ShardID) (gs.Term, error) {
	s.add("campaigns", 1)
	return s.Store.Campaign(ctx, epoch, shard)
}

// withManyShards runs processes on a stream of so many shards. Each write to
// the store takes a while.
func withManyShards(t *testing.T, shards, processes int, test func(t *testing.T, cl *cluster, counted *counts)) {
	t.Helper()
	inCluster(t, shards, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelError
		counted := &counts{of: map[string]int{}}
		cl.memory.SetHook(func(storetest.Write) storetest.Fault {
			time.Sleep(time.Millisecond)
			return storetest.NoFault
		})
		for range processes {
			cl.start(func(c *consumer.Config) { c.Store = meteredStore{c.Store, counted} })
		}
		test(t, cl, counted)
	})
}

// led returns how many of these shards are led and at their tips.
func (cl *cluster) led(shards []gs.ShardID) (led int) {
	leads := map[gs.ShardID]bool{}
	for _, p := range cl.processes {
		for _, s := range p.Status().Shards {
			leads[s.Shard] = leads[s.Shard] || s.Term != 0 && s.AtTip
		}
	}
	for _, id := range shards {
		if leads[id] {
			led++
		}
	}
	return led
}

// untilLed waits until all of these shards are led.
func (cl *cluster) untilLed(shards []gs.ShardID) {
	cl.t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if cl.led(shards) == len(shards) {
			return
		}
		if time.Since(began) > 10*time.Minute {
			cl.t.Fatalf("%d of %d shards are led", cl.led(shards), len(shards))
		}
	}
}

// A report has a part about each shard: those of many shards are published less
// often.
func TestReportsOfManyShards(t *testing.T) {
	for shards, want := range map[int]int{10: 12, 400: 4} {
		withManyShards(t, shards, 1, func(t *testing.T, cl *cluster, counted *counts) {
			cl.untilLed(shardIDs(shards))
			counted.take()
			time.Sleep(time.Minute)
			if n := counted.take()["reports"]; n < want-1 || n > want+1 {
				t.Errorf("%d reports of %d shards in a minute, want about %d", n, shards, want)
			}
		})
	}
}

// Whatever happens to a stream of many shards, it costs each of them the same,
// however many there are: nothing is read or written for each shard about every
// other one.
func TestManyShards(t *testing.T) {
	for _, shards := range []int{50, 400} {
		withManyShards(t, shards, 2, func(t *testing.T, cl *cluster, counted *counts) {
			check := func(what string, most map[string]int) {
				n := counted.take()
				t.Logf("%d shards: %s: %v", shards, what, n)
				for name, count := range n {
					if each, ok := most[name]; ok && count > each*shards+20 {
						t.Errorf("%d shards: %s: %d %s, want at most %d for each", shards, what, count, name, each)
					}
				}
			}
			cl.untilLed(shardIDs(shards))
			check("the first start", map[string]int{"campaigns": 2, "candidates": 4, "positions": 4})
			time.Sleep(time.Minute)
			check("a minute of rest", map[string]int{
				"campaigns": 1, "candidates": 32, "positions": 32, "advertised shards": 3, "reported shards": 14,
			})
			var children []gs.ShardID
			for _, id := range shardIDs(shards) {
				a, b := cl.stream.split(id)
				children = append(children, a, b)
			}
			cl.untilLed(children)
			check("the doubling", map[string]int{"campaigns": 4, "candidates": 16, "positions": 20})
			cl.processes[0].kill()
			cl.untilLed(children)
			check("the kill", map[string]int{"campaigns": 3, "candidates": 12, "positions": 20})
		})
	}
}
