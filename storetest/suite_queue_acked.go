package storetest

import (
	"errors"
	"slices"

	"github.com/gerritstream/gerritstream/queue"
)

// acknowledgingTests are those of the set of events that are acknowledged.
var acknowledgingTests = []test{
	{"queue: single events are acknowledged in any order", func(f *fixture) {
		_, q := f.producer(8)
		c := f.consumer(q, "a", queue.Filter{})
		f.reads(c, 1, 8)
		f.must(c.Done(f.soon(), 3))
		f.must(c.Done(f.soon(), 6, 5))
		f.acked(q, queue.Set{Beyond: []queue.Range{{First: 3, Last: 3}, {First: 5, Last: 6}}}, 5)
		f.must(c.Close(f.soon()))
		c = f.open(q, "a")
		events, err := c.Next(f.soon(), 10)
		f.must(err)
		var got []int64
		for i := range events {
			got = append(got, events[i].Number)
			if !events[i].Redelivered {
				f.t.Errorf("event %d is not redelivered", events[i].Number)
			}
		}
		if !slices.Equal(got, []int64{1, 2, 4, 7, 8}) {
			f.t.Errorf("the events %v come again", got)
		}
		f.must(c.Done(f.soon(), 7, 1, 2))
		f.acked(q, queue.Set{UpTo: 3, Beyond: []queue.Range{{First: 5, Last: 7}}}, 2)
		f.must(c.Done(f.soon(), 4))
		f.must(c.Done(f.soon(), 4, 3))
		f.acked(q, queue.Set{UpTo: 7}, 1)
		if c.Done(f.soon(), 8, 9) == nil {
			f.t.Error("acknowledged what was not handed out")
		}
		f.acked(q, queue.Set{UpTo: 7}, 1)
		f.must(c.Ack(f.soon(), 8))
		f.acked(q, queue.Set{UpTo: 8}, 0)
	}},
	{"queue: what is acknowledged is added to what was", func(f *fixture) {
		_, q := f.producer(9)
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		l, err := q.Lease(f.soon(), "a")
		f.must(err)
		f.must(l.Ack(f.soon(), queue.Set{UpTo: 1, Beyond: []queue.Range{{First: 3, Last: 4}, {First: 7, Last: 7}}}))
		f.must(l.Ack(f.soon(), queue.Set{UpTo: 2, Beyond: []queue.Range{{First: 8, Last: 8}}}))
		f.acked(q, queue.Set{UpTo: 4, Beyond: []queue.Range{{First: 7, Last: 8}}}, 3)
		for _, bad := range [][]queue.Range{
			{{First: 7, Last: 6}}, {{First: 5, Last: 5}}, {{First: 8, Last: 8}, {First: 7, Last: 7}},
		} {
			if l.Ack(f.soon(), queue.Set{UpTo: 4, Beyond: bad}) == nil {
				f.t.Errorf("acknowledged %v", bad)
			}
		}
		many := queue.Set{UpTo: 4}
		for n := range int64(queue.MaxRanges + 1) {
			many.Beyond = append(many.Beyond, queue.Range{First: 6 + 2*n, Last: 6 + 2*n})
		}
		if err := l.Ack(f.soon(), many); !errors.Is(err, queue.ErrScattered) {
			f.t.Errorf("acknowledged %d ranges: %v", len(many.Beyond), err)
		}
		f.acked(q, queue.Set{UpTo: 4, Beyond: []queue.Range{{First: 7, Last: 8}}}, 3)
		f.must(l.Release(f.soon()))
		if info := f.consumers(q)[0]; info.Handed != 4 || info.Ahead != 8 {
			f.t.Errorf("handed out up to %d and %d, want 4 and 8", info.Handed, info.Ahead)
		}
		f.must(q.Seek(f.soon(), "a", 5))
		f.acked(q, queue.Set{UpTo: 5}, 4)
	}},
	{"queue: what is acknowledged alone may be appended again", func(f *fixture) {
		_, q := f.producer(3)
		c := f.consumer(q, "a", queue.Filter{})
		f.reads(c, 1, 3)
		f.must(c.Done(f.soon(), 2))
		entries := step(shardA, 1, 2).Entries
		for _, want := range []int{1, 0, 1} { // the first of them still waits
			n, err := q.Append(f.soon(), "a", entries)
			f.must(err)
			if n != want {
				f.t.Errorf("%d were appended, want %d", n, want)
			}
			events, err := c.Poll(f.soon(), 10)
			f.must(err)
			if len(events) != want {
				f.t.Fatalf("%d events came, want %d", len(events), want)
			}
			if n == 0 {
				f.must(c.Done(f.soon(), 4))
			}
		}
		f.acked(q, queue.Set{Beyond: []queue.Range{{First: 2, Last: 2}, {First: 4, Last: 4}}}, 3)
	}},
	{"queue: what is handed out ahead does not let more be acknowledged", func(f *fixture) {
		_, q := f.producer(9)
		f.must(q.Register(f.soon(), "a", queue.Filter{}, 0))
		l, err := q.Lease(f.soon(), "a")
		f.must(err)
		f.must(l.Deliver(f.soon(), 2, 7))
		f.must(l.Release(f.soon()))
		if err := queue.Acknowledge(f.soon(), q, "a", 3); err == nil {
			f.t.Error("acknowledged what was not handed out")
		}
		f.must(queue.Acknowledge(f.soon(), q, "a", 2))
		events, err := f.open(q, "a").Next(f.soon(), 10)
		f.must(err)
		for i := range events {
			if e := &events[i]; e.Redelivered != (e.Number <= 7) {
				f.t.Errorf("event %d is redelivered: %v", e.Number, e.Redelivered)
			}
		}
	}},
	{"queue: what is not its own lies in the ranges of a filtered consumer", func(f *fixture) {
		term, q := f.producer(0)
		c := f.consumer(q, "a", queue.Filter{Types: []string{"comment-*"}})
		s := step(shardA, 1, 9)
		for i := range s.Entries {
			s.Entries[i].Event.Type = []string{"ref-updated", "comment-added"}[i%2]
		}
		f.commit(term, s)
		events, err := c.Next(f.soon(), 10)
		f.must(err)
		if len(events) != 4 {
			f.t.Fatalf("%d events", len(events))
		}
		f.must(c.Done(f.soon(), 4))
		f.acked(q, queue.Set{UpTo: 1, Beyond: []queue.Range{{First: 3, Last: 5}}}, 3)
		f.must(c.Done(f.soon(), 8))
		f.acked(q, queue.Set{UpTo: 1, Beyond: []queue.Range{{First: 3, Last: 5}, {First: 7, Last: 9}}}, 2)
		f.must(c.Done(f.soon(), 2, 6))
		f.acked(q, queue.Set{UpTo: 9}, 0)
	}},
}

// acked checks what the only consumer has acknowledged, and how many events
// wait for it.
func (f *fixture) acked(q queue.Store, want queue.Set, pending int64) {
	f.t.Helper()
	info := f.consumers(q)[0]
	if done := info.Done(); done.UpTo != want.UpTo || !slices.Equal(done.Beyond, want.Beyond) {
		f.t.Errorf("acknowledged are %v, want %v", done, want)
	}
	if info.Pending != pending || (pending > 0) == info.Oldest.IsZero() {
		f.t.Errorf("%d are pending since %v, want %d", info.Pending, info.Oldest, pending)
	}
}
