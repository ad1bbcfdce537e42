package consumer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
)

// byArrival is a stream that two processes read into a SQLite file, and a
// consumer of that by arrival.
type byArrival struct {
	*kinesisCluster
	path   string
	put    int
	mu     sync.Mutex
	events []queue.Event // under mu: as they came
	waited time.Duration // under mu: the longest from arrival to hand-over of one that is not late
}

func newByArrival(t *testing.T, k *kinesisCluster) *byArrival {
	t.Helper()
	b := &byArrival{kinesisCluster: k, path: filepath.Join(t.TempDir(), "store.db")}
	k.poll, k.startAt = 250*time.Millisecond, gs.StartingPosition{}
	for range 2 {
		store, err := sqlite.Open(t.Context(), sqlite.Config{Path: b.path, PollOnly: true})
		k.must(err)
		p := k.start(func(c *consumer.Config) { c.Store = store })
		ctx, cancel := context.WithCancel(t.Context())
		sharing := make(chan struct{})
		go func() {
			defer close(sharing)
			store.ShareFrontier(ctx, func() queue.Frontier {
				epoch, until := p.Frontier()
				return queue.Frontier{Epoch: epoch, Until: until}
			})
		}()
		t.Cleanup(func() {
			cancel()
			<-sharing
			p.end()
			if err := store.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	return b
}

// consume reads until the test has ended.
func (b *byArrival) consume(hold time.Duration) {
	b.t.Helper()
	store, err := sqlite.OpenQueue(b.t.Context(), sqlite.Config{Path: b.path, PollOnly: true})
	b.must(err)
	b.must(store.Register(b.t.Context(), "c", queue.Filter{}, 0))
	c, err := queue.Open(b.t.Context(), store, "c", queue.ByArrival(hold))
	b.must(err)
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			events, err := c.Next(ctx, 10)
			if err != nil {
				return
			}
			b.mu.Lock()
			b.events = append(b.events, events...)
			for i := range events {
				if e := &events[i]; !e.Late {
					b.waited = max(b.waited, time.Since(e.Entry.Arrived))
				}
			}
			b.mu.Unlock()
			if err := c.Ack(context.Background(), events[len(events)-1].Number); err != nil {
				b.t.Error(err)
			}
		}
	}()
	b.t.Cleanup(func() {
		cancel()
		<-done
		b.must(c.Close(context.Background()))
		b.must(store.Close(context.Background()))
	})
}

// traffic puts records on all shards for a time.
func (b *byArrival) traffic(random *rand.Rand, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Duration(20+random.IntN(180)) * time.Millisecond)
		b.kinesisCluster.put(b.open[random.IntN(len(b.open))], fmt.Sprint("good ", b.put))
		b.put++
	}
}

// come waits until everything that was put has come, and returns it.
func (b *byArrival) come() []queue.Event {
	b.t.Helper()
	var events []queue.Event
	b.soon(time.Minute, "everything has come", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		events = slices.Clone(b.events)
		return len(events) == b.put
	})
	return events
}

// delay holds back what is read of a shard.
func (b *byArrival) delay(shard gs.ShardID, d time.Duration) (remove func()) {
	return b.server.On(kinesistest.Hook{
		Operation: "GetRecords", Do: kinesistest.Delay(d),
		Match: func(r *kinesistest.Request) bool { return r.Shard == string(shard) },
	})
}

// Over four shards, one of which is held back for 3 s, and while another is
// split, events come in the order of their arrival. What a shard that stalls
// for longer than events are held back brings, is marked as late, and nothing
// else is.
func TestByArrivalOverShards(t *testing.T) {
	inKinesisCluster(t, kinesistest.Options{}, 4, func(t *testing.T, k *kinesisCluster) {
		b := newByArrival(t, k)
		time.Sleep(10 * time.Second)
		b.consume(queue.DefaultHold)
		random := rand.New(rand.NewPCG(1, 1))
		b.traffic(random, 5*time.Second)
		b.come()
		t.Logf("where shards are idle, an event came %v after its arrival at the latest", b.waited)

		remove := b.delay(s1, 3*time.Second)
		b.traffic(random, 7*time.Second)
		a, _ := k.split(k.open[2])
		b.traffic(random, 7*time.Second)
		k.split(a)
		b.traffic(random, 7*time.Second)
		remove()
		events := b.come()
		for i := range events {
			if i > 0 && events[i].Entry.Arrived.Before(events[i-1].Entry.Arrived) || events[i].Late {
				t.Errorf("event %d, %v after the one before; late: %v", events[i].Number,
					events[i].Entry.Arrived.Sub(events[i-1].Entry.Arrived), events[i].Late)
			}
		}
		ordered := len(events)

		remove = b.delay(s1, 12*time.Second)
		b.traffic(random, 15*time.Second)
		remove()
		b.traffic(random, 7*time.Second)
		events = b.come()
		var passed time.Time
		late := 0
		for i := range events {
			e := &events[i]
			if e.Late != e.Entry.Arrived.Before(passed) || e.Late && (e.Entry.Shard != s1 || i < ordered) {
				t.Errorf("event %d of %s is late: %v; it came %v before another", e.Number, e.Entry.Shard, e.Late,
					passed.Sub(e.Entry.Arrived))
			}
			if e.Late {
				late++
			} else {
				passed = e.Entry.Arrived
			}
		}
		if late == 0 {
			t.Error("nothing was late")
		}
		t.Logf("%d events in order, then %d of %d late", ordered, late, len(events)-ordered)
	})
}
