package storetest

import (
	"context"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// arrivalTests are those of the frontier, and of consumers by arrival.
var arrivalTests = []test{
	{"queue: the frontier is what all processes together know", func(f *fixture) {
		_, q := f.producer(0)
		if t, err := q.Frontier(f.soon()); err != nil || !t.IsZero() {
			f.t.Errorf("the frontier is %v, %v before anybody shared one", t, err)
		}
		at := func(seconds int) time.Time { return arrival(0).Add(time.Duration(seconds) * time.Second) }
		one, two := f.sharer(queueOf(f.state.Open())), f.sharer(q)
		one.know(1, shardA, at(40), shardB, time.Time{})
		two.know(1, shardA, at(10), shardB, at(20))
		f.frontier(q, at(20))
		two.know(1, shardA, at(10)) // B has ended, and its children have not begun: the other's list is as good
		f.frontier(q, at(40))
		one.know(1, shardA, at(50), shardB, at(30), "shard-c", time.Time{})
		f.frontier(q, at(50))
		two.know(1, shardA, at(60), "shard-c", at(45))
		f.frontier(q, at(45))
		one.know(2, shardA, at(5)) // of a stream that was recreated
		f.frontier(q, at(5))
	}},
	{"queue: by arrival, over shards", func(f *fixture) {
		term, q := f.producer(0)
		other := f.elect(queueOf(f.state.Open()).(gerritstream.Store), shardB) //nolint:errcheck // it is one
		known := f.sharer(q)
		at := func(ms int) time.Time { return arrival(0).Add(time.Duration(ms) * time.Millisecond) }
		put := func(term gerritstream.Term, shard gerritstream.ShardID, seq, ms int) {
			s := step(shard, seq, seq)
			s.Entries[0].Arrived = at(ms)
			f.commit(term, s)
		}
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		c, err := queue.Open(f.soon(), q, "a", queue.ByArrival(time.Hour))
		f.must(err)
		put(term, shardA, 1, 3000)
		put(term, shardA, 2, 2000) // counts as arrived with the one before
		put(other, shardB, 1, 1000)
		known.know(1, shardA, at(2500), shardB, at(2500))
		f.given(c, 3)
		put(other, shardB, 2, 2700)
		known.know(1, shardA, at(3500), shardB, at(4000))
		f.given(c, 4, 1, 2)
		f.must(c.Ack(f.soon(), 1)) // and what was handed out before it
		f.acked(q, queue.Set{UpTo: 1, Beyond: []queue.Range{{First: 3, Last: 4}}}, 1)
		f.must(c.Close(f.soon()))
		c, err = queue.Open(f.soon(), q, "a", queue.ByArrival(time.Hour))
		f.must(err)
		put(other, shardB, 3, 2900) // the frontier was not true of it
		events := f.given(c, 5, 2)
		if !events[0].Late || events[1].Late || events[0].Redelivered || !events[1].Redelivered {
			f.t.Errorf("late %v, %v; redelivered %v, %v", events[0].Late, events[1].Late,
				events[0].Redelivered, events[1].Redelivered)
		}
		f.must(c.Done(f.soon(), 5, 2))
		f.acked(q, queue.Set{UpTo: 5}, 0)
	}},
}

// sharer shares what a test says it knows.
type sharer struct {
	f     *fixture
	knows chan queue.Frontier
}

func (f *fixture) sharer(q queue.Store) *sharer {
	s := &sharer{f: f, knows: make(chan queue.Frontier, 1)}
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		q.ShareFrontier(ctx, func() queue.Frontier {
			known := <-s.knows
			s.knows <- known
			return known
		})
	}()
	s.knows <- queue.Frontier{}
	f.t.Cleanup(func() { cancel(); <-done })
	return s
}

// know has shards and times, in turn.
func (s *sharer) know(epoch int, shardsAndTimes ...any) {
	known := queue.Frontier{Epoch: epoch, Until: map[gerritstream.ShardID]time.Time{}}
	for i := 0; i < len(shardsAndTimes); i += 2 {
		var shard gerritstream.ShardID
		switch id := shardsAndTimes[i].(type) {
		case gerritstream.ShardID:
			shard = id
		case string:
			shard = gerritstream.ShardID(id)
		}
		known.Until[shard], _ = shardsAndTimes[i+1].(time.Time)
	}
	<-s.knows
	s.knows <- known
}

// frontier waits until the store has a frontier.
func (f *fixture) frontier(q queue.Store, want time.Time) {
	f.t.Helper()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for ctx := f.soon(); ; {
		t, err := q.Frontier(f.soon())
		f.must(err)
		if t.Equal(want) {
			return
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			f.t.Fatalf("the frontier is %v, want %v", t, want)
		}
	}
}

// given checks the numbers of the next events.
func (f *fixture) given(c *queue.Consumer, want ...int64) (events []queue.Event) {
	f.t.Helper()
	for len(events) < len(want) {
		more, err := c.Next(f.soon(), len(want)-len(events))
		f.must(err)
		events = append(events, more...)
	}
	for i := range events {
		if events[i].Number != want[i] {
			f.t.Fatalf("event %d came, want %v", events[i].Number, want)
		}
	}
	return events
}
