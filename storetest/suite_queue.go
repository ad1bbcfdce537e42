package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// RunQueue holds a Store whose queue can be read to the contract of
// queue.Store. What Backend.Open returns must implement it, and Backend must
// have ExpireLease.
func RunQueue(t *testing.T, h Harness) {
	runEach(t, h, slices.Concat(queueTests, appendTests, acknowledgingTests, arrivalTests))
}

var queueTests = []test{
	{"queue: what is there and what comes is handed out in order", func(f *fixture) {
		term, q := f.producer(4)
		c := f.consumer(q, "a", queue.Filter{})
		f.reads(c, 1, 4)
		done := make(chan []queue.Event)
		go func() {
			events, err := c.Next(f.soon(), 10)
			if err != nil {
				f.t.Error(err)
			}
			done <- events
		}()
		<-time.After(f.harness.Settle) // it has begun to wait
		f.commit(term, step(shardA, 5, 6))
		queued := time.Now()
		f.numbered(<-done, 5, 6)
		if late := time.Since(queued); f.harness.Bubble && late > 150*time.Millisecond {
			f.t.Errorf("they came %v late", late)
		}
	}},
	{"queue: no more than asked for", func(f *fixture) {
		_, q := f.producer(7)
		c := f.consumer(q, "a", queue.Filter{})
		for _, want := range [][2]int{{1, 3}, {4, 6}, {7, 7}} {
			events, err := c.Next(f.soon(), 3)
			f.must(err)
			f.numbered(events, want[0], want[1])
		}
	}},
	{"queue: what was acknowledged does not come again, the rest does", func(f *fixture) {
		_, q := f.producer(6)
		c := f.consumer(q, "a", queue.Filter{})
		events, err := c.Next(f.soon(), 4)
		f.must(err)
		f.must(c.Ack(f.soon(), events[1].Number))
		f.must(c.Close(f.soon()))
		c = f.open(q, "a")
		events, err = c.Next(f.soon(), 10)
		f.must(err)
		f.numbered(events, 3, 6)
		for i, want := range []bool{true, true, false, false} {
			if events[i].Redelivered != want {
				f.t.Errorf("event %d is redelivered: %v", i+3, events[i].Redelivered)
			}
		}
	}},
	{"queue: a killed reader leaves its work to the next", func(f *fixture) {
		_, q := f.producer(6)
		victim := f.state.Open()
		c := f.consumer(queueOf(victim), "a", queue.Filter{})
		events, err := c.Next(f.soon(), 4)
		f.must(err)
		f.must(c.Ack(f.soon(), events[0].Number))
		f.state.Kill(victim)
		f.reads(f.open(q, "a"), 2, 6)
	}},
	{"queue: what is handed out is not acknowledged", func(f *fixture) {
		_, q := f.producer(2)
		c := f.consumer(q, "a", queue.Filter{})
		before := f.consumers(q)[0].AckedAt
		<-time.After(10 * time.Millisecond)
		f.reads(c, 1, 2)
		if info := f.consumers(q)[0]; !info.AckedAt.Equal(before) || info.Handed != 2 || info.Acked != 0 {
			f.t.Errorf("the consumer is %+v, and was last acknowledged at %v", info, before)
		}
		if _, err := c.Next(f.soon(), 0); err == nil {
			f.t.Error("none are asked for, and that is no mistake")
		}
	}},
	{"queue: one process reads as a name", func(f *fixture) {
		_, q := f.producer(2)
		c := f.consumer(q, "a", queue.Filter{})
		other := queueOf(f.state.Open())
		ctx, cancel := context.WithTimeout(f.t.Context(), f.harness.Settle)
		defer cancel()
		if _, err := queue.Open(ctx, other, "a"); !errors.Is(err, context.DeadlineExceeded) {
			f.t.Fatalf("a second reader got %v", err)
		}
		if infos := f.consumers(other); len(infos) != 1 || infos[0].Reader == "" {
			f.t.Errorf("the consumers are %+v, want one with its reader", infos)
		}
		f.must(c.Close(f.soon()))
		f.reads(f.open(other, "a"), 1, 2)
	}},
	{"queue: a lost lease acknowledges nothing", func(f *fixture) {
		_, q := f.producer(4)
		c := f.consumer(q, "a", queue.Filter{})
		events, err := c.Next(f.soon(), 4)
		f.must(err)
		f.state.ExpireLease("a")
		if err := c.Ack(f.soon(), events[3].Number); !errors.Is(err, queue.ErrLeaseLost) {
			f.t.Errorf("a lost lease acknowledged: %v", err)
		}
		if err := c.Done(f.soon(), events[1].Number); !errors.Is(err, queue.ErrLeaseLost) {
			f.t.Errorf("a lost lease acknowledged an event: %v", err)
		}
		f.over(c.Context())
		if cause := context.Cause(c.Context()); !errors.Is(cause, queue.ErrLeaseLost) {
			f.t.Errorf("the lease ended with %v", cause)
		}
		if _, err := c.Next(f.soon(), 1); !errors.Is(err, queue.ErrLeaseLost) {
			f.t.Errorf("a lost lease read: %v", err)
		}
		f.reads(f.open(queueOf(f.state.Open()), "a"), 1, 4)
	}},
	{"queue: only what was handed out, and forward", func(f *fixture) {
		_, q := f.producer(4)
		c := f.consumer(q, "a", queue.Filter{})
		if c.Ack(f.soon(), 1) == nil {
			f.t.Error("acknowledged what was not handed out")
		}
		events, err := c.Next(f.soon(), 2)
		f.must(err)
		if c.Ack(f.soon(), events[1].Number+1) == nil {
			f.t.Error("acknowledged what was not handed out")
		}
		f.must(c.Ack(f.soon(), events[1].Number))
		f.must(c.Ack(f.soon(), events[1].Number))
		if c.Ack(f.soon(), events[0].Number) == nil {
			f.t.Error("acknowledged backwards")
		}
	}},
	{"queue: an older acknowledgement moves nothing backwards", func(f *fixture) {
		_, q := f.producer(4)
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		l, err := q.Lease(f.soon(), "a")
		f.must(err)
		f.must(l.Ack(f.soon(), queue.Set{UpTo: 3}))
		f.must(l.Ack(f.soon(), queue.Set{UpTo: 2}))
		f.must(l.Deliver(f.soon(), 1, 1))
		f.must(l.Release(f.soon()))
		if info := f.consumers(q)[0]; info.Acked != 3 || info.Handed != 3 || info.Pending != 1 {
			f.t.Errorf("the consumer is %+v, want 3 acknowledged and 1 pending", info)
		}
	}},
	{"queue: a filtered consumer moves on over what is not its", func(f *fixture) {
		term, q := f.producer(0)
		c := f.consumer(q, "a", queue.Filter{Types: []string{"comment-*"}})
		put := func(first, last int, kind string) {
			s := step(shardA, first, last)
			for i := range s.Entries {
				s.Entries[i].Event.Type = kind
			}
			f.commit(term, s)
		}
		put(1, 3, "ref-updated")
		put(4, 5, "comment-added")
		put(6, 8, "ref-updated")
		events, err := c.Next(f.soon(), 10)
		f.must(err)
		f.numbered(events, 4, 5)
		nothing := func() {
			f.t.Helper()
			ctx, cancel := context.WithTimeout(f.t.Context(), f.harness.Settle)
			defer cancel()
			if _, err := c.Next(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
				f.t.Errorf("an event that is not its own: %v", err)
			}
		}
		nothing()
		if info := f.consumers(q)[0]; info.Acked != 0 || info.Pending != 2 {
			f.t.Errorf("the consumer is %+v before it acknowledged", info)
		}
		f.must(c.Ack(f.soon(), events[1].Number))
		if info := f.consumers(q)[0]; info.Acked != events[1].Number+3 || info.Pending != 0 {
			f.t.Errorf("the consumer is %+v, want it behind all that was read", info)
		}
		put(9, 9, "ref-updated")
		nothing()
		if info := f.consumers(q)[0]; info.Acked != events[1].Number+4 {
			f.t.Errorf("the consumer is %+v, want it behind what is not its own", info)
		}
	}},
	{"queue: seek and remove", func(f *fixture) {
		_, q := f.producer(4)
		c := f.consumer(q, "a", queue.Filter{})
		f.reads(c, 1, 4)
		for what, err := range map[string]error{
			"seek": q.Seek(f.soon(), "a", 0), "remove": q.Remove(f.soon(), "a"),
		} {
			if !errors.Is(err, queue.ErrHeld) {
				f.t.Errorf("%s while it is read: %v", what, err)
			}
		}
		f.must(c.Close(f.soon()))
		f.must(q.Seek(f.soon(), "a", 1))
		c = f.open(q, "a")
		events, err := c.Next(f.soon(), 10)
		f.must(err)
		f.numbered(events, 2, 4)
		if events[0].Redelivered {
			f.t.Error("what was sought is redelivered")
		}
		f.must(c.Close(f.soon()))
		f.must(q.Remove(f.soon(), "a"))
		_, err = queue.Open(f.soon(), q, "a")
		for what, err := range map[string]error{
			"open": err, "seek": q.Seek(f.soon(), "a", 0), "remove": q.Remove(f.soon(), "a"),
		} {
			if !errors.Is(err, queue.ErrNoConsumer) {
				f.t.Errorf("%s what is not there: %v", what, err)
			}
		}
	}},
	{"queue: a frozen reader cannot undo a seek", func(f *fixture) {
		_, q := f.producer(4)
		victim := f.state.Open()
		c := f.consumer(queueOf(victim), "a", queue.Filter{})
		f.reads(c, 1, 4)
		f.state.ExpireLease("a")
		f.must(q.Seek(f.soon(), "a", 0))
		if err := c.Ack(f.soon(), 4); !errors.Is(err, queue.ErrLeaseLost) {
			f.t.Errorf("a frozen reader acknowledged: %v", err)
		}
		f.reads(f.open(q, "a"), 1, 4)
	}},
	{"queue: a frozen reader acknowledges nothing as a name that was made again", func(f *fixture) {
		_, q := f.producer(4)
		victim := f.state.Open()
		c := f.consumer(queueOf(victim), "a", queue.Filter{})
		f.reads(c, 1, 4)
		f.state.ExpireLease("a")
		f.must(q.Remove(f.soon(), "a"))
		next := f.consumer(q, "a", queue.Filter{})
		f.reads(next, 1, 2)
		if err := c.Ack(f.soon(), 4); !errors.Is(err, queue.ErrLeaseLost) {
			f.t.Errorf("a frozen reader acknowledged: %v", err)
		}
		f.must(next.Close(f.soon()))
		f.reads(f.open(queueOf(victim), "a"), 1, 4)
	}},
	{"queue: names", func(f *fixture) {
		_, q := f.producer(0)
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		if err := q.Register(f.soon(), "a", queue.Filter{}, 0); !errors.Is(err, queue.ErrExists) {
			f.t.Errorf("registered twice: %v", err)
		}
		for _, name := range []string{"", "A", "a b", "a:b", "-a", "é", "webhook:", "webhook:A"} {
			if q.Register(f.soon(), name, queue.Filter{}, 0) == nil {
				f.t.Errorf("registered %q", name)
			}
		}
		if q.Register(f.soon(), "b", queue.Filter{Types: []string{"^("}}, 0) == nil {
			f.t.Error("registered with a filter that cannot be read")
		}
		f.must(q.Register(f.soon(), "b", queue.Filter{Refs: []string{"refs/heads/*"}}, 7))
		hook := queue.WebhookConsumer("a")
		f.must(q.Register(f.soon(), hook, queue.Filter{}, 0))
		if queue.CheckName(hook) == nil || queue.Acknowledge(f.soon(), q, hook, 0) == nil {
			f.t.Errorf("%s is anybody's", hook)
		}
		f.must(q.Remove(f.soon(), hook))
		infos := f.consumers(q)
		if len(infos) != 2 || infos[1].Name != "b" || infos[1].Acked != 7 || len(infos[1].Filter.Refs) != 1 {
			f.t.Errorf("the consumers are %+v", infos)
		}
	}},
	{"queue: bounds and times", func(f *fixture) {
		began := time.Now().Add(-time.Hour)
		term, q := f.producer(0)
		bounds := func(oldest, newest, since int64) {
			f.t.Helper()
			o, n, err := q.Bounds(f.soon())
			f.must(err)
			s, err := q.Since(f.soon(), began)
			f.must(err)
			if o != oldest || n != newest || s != since {
				f.t.Errorf("bounds %d, %d, since %d, want %d, %d, %d", o, n, s, oldest, newest, since)
			}
		}
		bounds(1, 0, 1)
		f.commit(term, step(shardA, 1, 3))
		bounds(1, 3, 1)
		if n, err := q.Since(f.soon(), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil || n != 4 {
			f.t.Errorf("since 2200: %d, %v", n, err)
		}
	}},
	{"queue: consumers are no shards", func(f *fixture) {
		_, q := f.producer(1)
		c := f.consumer(q, "a", queue.Filter{})
		defer func() { f.must(c.Close(f.soon())) }()
		if in := f.inspect(f.state.Open()); len(in.Shards) != 1 {
			f.t.Errorf("the shards are %v", in.Shards)
		}
	}},
	{"queue: fault: acknowledging", func(f *fixture) {
		for i, fault := range everyFault {
			f.faultyAck(fmt.Sprint("c", i), fault)
		}
	}},
}

// faultyAck has an acknowledgement suffer a fault. Nothing is skipped whatever
// became of it, and what was acknowledged does not come again.
func (f *fixture) faultyAck(name string, fault Fault) {
	f.t.Helper()
	_, q := f.producerOf(gerritstream.ShardID("shard-"+name), 4)
	victim := f.state.Open()
	_, newest, err := q.Bounds(f.soon())
	f.must(err)
	f.must(q.Register(f.soon(), name, queue.Filter{}, newest-4))
	c := f.open(queueOf(victim), name)
	events, err := c.Next(f.soon(), 2)
	f.must(err)
	f.state.FailNext(PointConsumers, fault)
	f.fails(c.Ack(f.soon(), events[1].Number))
	if !fault.crashes() {
		f.must(c.Close(f.soon()))
	}
	events, err = f.open(q, name).Next(f.soon(), 10)
	f.must(err)
	want := 4
	if fault.applied() {
		want = 2
	}
	if len(events) != want {
		f.t.Errorf("%s: %d events come again, want %d", fault, len(events), want)
	}
}

// producer returns a leader that has queued n events, and a store to read them.
func (f *fixture) producer(n int) (gerritstream.Term, queue.Store) {
	f.t.Helper()
	return f.producerOf(shardA, n)
}

func (f *fixture) producerOf(shard gerritstream.ShardID, n int) (gerritstream.Term, queue.Store) {
	f.t.Helper()
	store := f.state.Open()
	term := f.elect(store, shard)
	if n > 0 {
		f.commit(term, step(shard, 1, n))
	}
	return term, queueOf(store)
}

// queueOf returns the queue of a store, which must have one to be read.
func queueOf(store gerritstream.Store) queue.Store {
	return store.(queue.Store) //nolint:errcheck // RunQueue is for such stores
}

// consumer registers a consumer at the beginning of the queue, and opens it.
func (f *fixture) consumer(q queue.Store, name string, filter queue.Filter) *queue.Consumer {
	f.t.Helper()
	f.must(q.Register(f.soon(), name, filter, 0))
	return f.open(q, name)
}

func (f *fixture) open(q queue.Store, name string) *queue.Consumer {
	f.t.Helper()
	c, err := queue.Open(f.soon(), q, name)
	f.must(err)
	return c
}

func (f *fixture) consumers(q queue.Store) []queue.Info {
	f.t.Helper()
	infos, err := q.Consumers(f.soon())
	f.must(err)
	return infos
}

// reads checks that a consumer gets the events of shard A from first to last,
// and no others before them.
func (f *fixture) reads(c *queue.Consumer, first, last int) {
	f.t.Helper()
	var all []queue.Event
	for len(all) < last-first+1 {
		events, err := c.Next(f.soon(), 2)
		f.must(err)
		all = append(all, events...)
	}
	f.numbered(all, first, last)
}

// numbered checks that events are those of shard A from first to last, and that
// their numbers grow.
func (f *fixture) numbered(got []queue.Event, first, last int) {
	f.t.Helper()
	want := step(shardA, first, last).Entries
	if !slices.EqualFunc(got, want, func(e queue.Event, w gerritstream.Entry) bool {
		return e.Entry.ID == w.ID && string(e.Entry.Payload) == string(w.Payload)
	}) {
		f.t.Errorf("got %d events, want those of %d to %d", len(got), first, last)
	}
	if !slices.IsSortedFunc(got, func(a, b queue.Event) int { return int(a.Number - b.Number) }) {
		f.t.Error("the numbers do not grow")
	}
}

// must checks a call that must succeed.
func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// over waits for the end of a context.
func (f *fixture) over(ctx context.Context) {
	f.t.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(f.harness.Patience):
		f.t.Fatalf("not within %v", f.harness.Patience)
	}
}
