package queue

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gerritstream/gerritstream"
)

// Whatever is acknowledged in whatever order, over failures and restarts:
// what was acknowledged does not come again, what was not does, in the order of
// the queue, and the store never has what was not acknowledged.
func TestAcknowledgingInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, rt, 40)
		if rapid.Bool().Draw(rt, "by arrival") {
			m.options = []Option{ByArrival(0)}
			m.open()
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": m.check,
			"queue": func(rt *rapid.T) {
				m.add(rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "type"))
			},
			"next": func(rt *rapid.T) { m.next(rt, rapid.IntRange(1, 7).Draw(rt, "most")) },
			"ack":  func(rt *rapid.T) { m.ack(m.choose(rt)) },
			"done": func(rt *rapid.T) { m.finish(rt, m.choose(rt), m.choose(rt)) },
			"fail": func(*rapid.T) { m.store.fail = errTest },
			"open": func(*rapid.T) { m.open() },
		})
		for m.open(); m.next(rt, 3); {
		}
		m.check(rt)
		for _, e := range m.store.events {
			if e.Entry.Event.Type == "a" && !m.handed[e.Number] && !m.acked[e.Number] {
				rt.Fatalf("event %d was skipped", e.Number)
			}
		}
	})
}

var errTest = errors.New("a failure of the test's")

// model is a consumer of the events of type "a", and what must be true of it.
type model struct {
	store   *fakeStore
	c       *Consumer
	handed  map[int64]bool // in this lease
	ever    map[int64]bool // in any
	acked   map[int64]bool
	unsaved bool // something was acknowledged, and that failed
	options []Option
	order   []int64 // handed out in this lease
	passed  time.Time
	rt      *rapid.T
}

func newModel(t *testing.T, rt *rapid.T, events int) *model {
	m := &model{
		store: &fakeStore{t: t, filter: Filter{Types: []string{"a"}}},
		acked: map[int64]bool{}, ever: map[int64]bool{}, rt: rt,
	}
	for range events {
		m.add(rapid.SampledFrom([]string{"a", "a", "b"}).Draw(rt, "type"))
	}
	m.open()
	return m
}

func (m *model) add(kind string) {
	n := rapid.IntRange(1, 20).Draw(m.rt, "arrival")
	m.store.add(kind, time.UnixMilli(int64(n)))
	m.store.events[len(m.store.events)-1].Entry.Shard = gerritstream.ShardID(fmt.Sprint(n)) // sorted as it arrived
}

func (m *model) open() {
	var err error
	if m.c, err = Open(m.store.t.Context(), m.store, "c", m.options...); err != nil {
		m.rt.Fatal(err)
	}
	if m.unsaved { // what the store does not have is not acknowledged
		maps.DeleteFunc(m.acked, func(n int64, _ bool) bool { return !m.store.done.Has(n) })
	}
	m.handed, m.order, m.passed, m.unsaved = map[int64]bool{}, nil, time.Time{}, false
}

// next reports whether there was something.
func (m *model) next(rt *rapid.T, most int) bool {
	events, err := m.c.Poll(m.store.t.Context(), most)
	if errors.Is(err, errTest) {
		return true
	}
	if err != nil {
		rt.Fatal(err)
	}
	for _, e := range events {
		if m.acked[e.Number] || m.handed[e.Number] || e.Entry.Event.Type != "a" {
			rt.Fatalf("event %d of type %s came; acknowledged: %v; handed out: %v",
				e.Number, e.Entry.Event.Type, m.acked[e.Number], m.handed[e.Number])
		}
		if n := len(m.order); n > 0 && m.options == nil && m.order[n-1] > e.Number {
			rt.Fatalf("event %d came after %d", e.Number, m.order[n-1])
		}
		if m.options != nil && e.Entry.Arrived.Before(m.passed) && !e.Late {
			rt.Fatalf("event %d is late and not marked", e.Number)
		}
		if e.Entry.Arrived.After(m.passed) {
			m.passed = e.Entry.Arrived
		}
		m.ever[e.Number] = true
		m.handed[e.Number], m.order = true, append(m.order, e.Number)
	}
	return len(events) > 0
}

// choose returns an event handed out; 0: there is none.
func (m *model) choose(rt *rapid.T) int64 {
	if len(m.handed) == 0 {
		return 0
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(m.handed))).Draw(rt, "event")
}

func (m *model) ack(n int64) {
	err := m.c.Ack(m.store.t.Context(), n)
	if err != nil && !errors.Is(err, errTest) {
		return // backwards, or nothing was handed out: nothing is to change
	}
	place := slices.Index(m.order, n)
	if m.acked[n] {
		place = -1 // by arrival that changes nothing
	}
	for i, h := range m.order {
		if h <= n && m.options == nil || i <= place && m.options != nil {
			m.acked[h] = true
		}
	}
	m.unsaved = err != nil
}

func (m *model) finish(rt *rapid.T, numbers ...int64) {
	if numbers[0] == 0 {
		return
	}
	err := m.c.Done(m.store.t.Context(), numbers...)
	if err != nil && !errors.Is(err, errTest) {
		rt.Fatal(err)
	}
	for _, n := range numbers {
		m.acked[n] = true
	}
	m.unsaved = err != nil
}

func (m *model) check(rt *rapid.T) {
	done := m.store.done
	if err := done.Check(); err != nil {
		rt.Fatal(err)
	}
	for _, e := range m.store.events {
		switch n := e.Number; {
		case n <= m.store.handed && e.Entry.Event.Type == "a" && !m.ever[n]:
			rt.Fatalf("event %d was not handed out, and the store has %d", n, m.store.handed)
		case m.acked[n] && !m.unsaved && !done.Has(n):
			rt.Fatalf("event %d was acknowledged, and the store has %v", n, done)
		case !m.acked[n] && e.Entry.Event.Type == "a" && done.Has(n):
			rt.Fatalf("event %d was not acknowledged, and the store has %v", n, done)
		}
	}
}

// Sets are what a plain set of numbers is.
func TestSet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string) (Set, map[int64]bool) {
			s, plain := Set{UpTo: rapid.Int64Range(0, 10).Draw(rt, name)}, map[int64]bool{}
			for n := range s.UpTo {
				plain[n+1] = true
			}
			for range rapid.IntRange(0, 8).Draw(rt, "ranges") {
				first := rapid.Int64Range(1, 60).Draw(rt, "first")
				last := first + rapid.Int64Range(0, 5).Draw(rt, "length")
				s = s.With(first, last)
				for n := first; n <= last; n++ {
					plain[n] = true
				}
			}
			return s, plain
		}
		compare := func(what string, s Set, plain map[int64]bool) {
			if err := s.Check(); err != nil {
				rt.Fatalf("%s: %v: %v", what, s, err)
			}
			for n := int64(1); n < 80; n++ {
				if s.Has(n) != plain[n] {
					rt.Fatalf("%s: %v has %d: %v", what, s, n, s.Has(n))
				}
			}
		}
		a, inA := draw("a")
		b, inB := draw("b")
		compare("With", a, inA)
		again, err := DecodeRanges(EncodeRanges(a.Beyond))
		if err != nil || !slices.Equal(again, a.Beyond) {
			rt.Fatalf("%v was read back as %v: %v", a.Beyond, again, err)
		}
		union := a.Union(b)
		maps.Copy(inA, inB)
		compare("Union", union, inA)
	})
}
