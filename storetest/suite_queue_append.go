package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// appendTests are the part of RunQueue about what is appended for one consumer.
var appendTests = []test{
	{"queue: what is appended for a consumer is its alone, and in its order", func(f *fixture) {
		term, q := f.producer(3)
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		f.must(q.Register(f.soon(), "b", queue.Filter{}, 0))
		f.appends(q, "a", 2, events(shardB, 1, 2))
		f.commit(term, step(shardA, 4, 5))
		f.appends(q, "a", 1, events(shardB, 3, 3))
		for _, info := range f.consumers(q) {
			if want := map[string]int64{"a": 8, "b": 5}[info.Name]; info.Pending != want || info.Oldest.IsZero() {
				f.t.Errorf("%s has %d pending since %v, want %d", info.Name, info.Pending, info.Oldest, want)
			}
		}
		f.handsOut(f.open(q, "a"), "A1", "A2", "A3", "B1+", "B2+", "A4", "A5", "B3+")
		f.handsOut(f.open(q, "b"), "A1", "A2", "A3", "A4", "A5")
	}},
	{"queue: a consumer that waits gets what is appended for it", func(f *fixture) {
		_, q := f.producer(1)
		c := f.consumer(q, "a", queue.Filter{})
		f.reads(c, 1, 1)
		done, _ := begin(f, func(ctx context.Context) (err error) {
			_, err = c.Next(ctx, 10)
			return err
		})
		<-time.After(f.harness.Settle)
		f.appends(queueOf(f.state.Open()), "a", 1, events(shardB, 1, 1))
		queued := time.Now()
		f.must(receive(f, done))
		if late := time.Since(queued); f.harness.Bubble && late > 150*time.Millisecond {
			f.t.Errorf("it came %v late", late)
		}
	}},
	{"queue: to an empty queue, and to a place that is not there yet", func(f *fixture) {
		_, q := f.producer(0)
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 7))
		f.appends(q, "a", 1, events(shardB, 1, 1))
		oldest, newest, err := q.Bounds(f.soon())
		f.must(err)
		if oldest < 8 || newest != oldest {
			f.t.Errorf("the bounds are %d and %d, want the place of one event", oldest, newest)
		}
		f.handsOut(f.open(q, "a"), "B1+")
	}},
	{"queue: what waits already is not appended", func(f *fixture) {
		_, q := f.producer(4)
		c := f.consumer(q, "a", queue.Filter{})
		held, err := c.Next(f.soon(), 2)
		f.must(err)
		f.must(c.Ack(f.soon(), held[1].Number))
		f.appends(q, "a", 2, events(shardA, 1, 4))
		f.appends(q, "a", 0, events(shardA, 1, 4))
		f.handsOut(c, "A3", "A4", "A1+", "A2+")
	}},
	{"queue: what was appended comes until it is acknowledged", func(f *fixture) {
		_, q := f.producer(1)
		c := f.consumer(q, "a", queue.Filter{})
		f.reads(c, 1, 1)
		f.appends(q, "a", 3, events(shardB, 1, 3))
		got, err := c.Next(f.soon(), 10)
		f.must(err)
		f.must(c.Ack(f.soon(), got[0].Number))
		f.must(c.Close(f.soon()))
		c = f.open(q, "a")
		again, err := c.Next(f.soon(), 10)
		f.must(err)
		if len(again) != 2 || !again[0].Replayed || !again[0].Redelivered || again[0].Number != got[1].Number {
			f.t.Fatalf("what was not acknowledged came as %d events", len(again))
		}
		f.must(c.Ack(f.soon(), again[1].Number))
		f.must(c.Close(f.soon()))
		f.must(q.Seek(f.soon(), "a", 0))
		f.handsOut(f.open(q, "a"), "A1")
		if info := f.consumers(q)[0]; info.Pending != 1 {
			f.t.Errorf("%d are pending, want 1", info.Pending)
		}
	}},
	{"queue: what is appended is filtered", func(f *fixture) {
		_, q := f.producer(0)
		c := f.consumer(q, "a", queue.Filter{Types: []string{"comment-*"}})
		entries := events(shardB, 1, 4)
		entries[2].Event.Type = "comment-added"
		f.appends(q, "a", 4, entries)
		if info := f.consumers(q)[0]; info.Pending != 1 {
			f.t.Errorf("%d are pending, want 1", info.Pending)
		}
		f.handsOut(c, "B3+")
	}},
	{"queue: what was appended goes with its consumer", func(f *fixture) {
		_, q := f.producer(0)
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		f.appends(q, "a", 3, events(shardB, 1, 3))
		f.must(q.Remove(f.soon(), "a"))
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		if info := f.consumers(q)[0]; info.Pending != 0 {
			f.t.Errorf("%d are pending for a new consumer", info.Pending)
		}
		if _, err := q.Append(f.soon(), "b", events(shardB, 1, 1)); !errors.Is(err, queue.ErrNoConsumer) {
			f.t.Errorf("appended to what is not there: %v", err)
		}
	}},
	{"queue: fault: appending", func(f *fixture) {
		_, q := f.producer(0)
		for i, fault := range everyFault {
			name := fmt.Sprint("c", i)
			f.must(q.Register(f.soon(), name, queue.Filter{}, 0))
			victim := queueOf(f.state.Open())
			f.state.FailNext(PointConsumers, fault)
			_, err := victim.Append(f.soon(), name, events(shardB, 1, 3))
			f.fails(err)
			want := 3
			if fault.applied() {
				want = 0
			}
			f.appends(q, name, want, events(shardB, 1, 3))
			f.handsOut(f.open(q, name), "B1+", "B2+", "B3+")
		}
	}},
}

// appends appends events, of which so many must not wait there already.
func (f *fixture) appends(q queue.Store, name string, want int, entries []gerritstream.Entry) {
	f.t.Helper()
	n, err := q.Append(f.soon(), name, entries)
	f.must(err)
	if n != want {
		f.t.Errorf("%d events were appended for %s, want %d", n, name, want)
	}
}

// handsOut checks that a consumer gets these events and no others: "B3+" is
// number 3 of shard B, replayed. They come in pages that end anywhere.
func (f *fixture) handsOut(c *queue.Consumer, want ...string) {
	f.t.Helper()
	names := map[gerritstream.EventID]string{}
	for n := 1; n < 10; n++ {
		names[event(shardA, n).ID], names[event(shardB, n).ID] = fmt.Sprint("A", n), fmt.Sprint("B", n)
	}
	var got []string
	var last int64
	for {
		page, err := c.Poll(f.soon(), 3)
		f.must(err)
		for _, e := range page {
			name := names[e.Entry.ID]
			if e.Replayed {
				name += "+"
			}
			if e.Number <= last || len(e.Entry.Payload) == 0 {
				f.t.Errorf("event %s has number %d after %d", name, e.Number, last)
			}
			got, last = append(got, name), e.Number
		}
		if len(page) == 0 {
			break
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.t.Errorf("got %v, want %v", got, want)
	}
}
