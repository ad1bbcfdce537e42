package replay

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// merge reads the shards of a stream, and merges them by arrival. A shard is
// read by a goroutine of its own, once its parents are done. The methods belong
// to one goroutine.
type merge struct {
	ctx      context.Context // of newMerge: it ends the goroutines
	config   *Config
	interval Interval
	part     int // bytes of a batch
	reading  sync.WaitGroup

	waiting map[gerritstream.ShardID]*shard // their parents are not done
	open    []*shard                        // whose next batch is to be waited for
	heads   heads
	passed  time.Time // no event that is still to come arrived earlier, as far as shards are in order

	bad, filtered atomic.Int64

	mu   sync.Mutex
	gone Interval // under mu: what the stream may have removed before it was read
}

// shard is a shard that is read.
type shard struct {
	gerritstream.Shard
	parents int // that are not done
	batches chan batch
	head    []queue.Event // the rest of a batch

	// seen: what arrived by then was read, or counts as gone. It belongs to the
	// goroutine that reads the shard, and to that of merge before and after.
	seen time.Time
}

// batch is a part of a shard; the channel is closed after the last one.
type batch struct {
	events []queue.Event
	err    error
}

// newMerge begins to read. The end of ctx ends that.
func newMerge(ctx context.Context, config *Config, interval Interval) *merge {
	m := &merge{
		ctx: ctx, config: config, interval: interval, passed: interval.From,
		waiting: map[gerritstream.ShardID]*shard{},
		part:    max(1, int(config.Memory)/(2*max(1, len(config.Listing.Shards)))),
	}
	for _, s := range config.Listing.Shards {
		m.waiting[s.ID] = &shard{
			Shard: s, batches: make(chan batch), seen: interval.From.Add(gerritstream.ArrivalError),
		}
	}
	for _, s := range m.waiting {
		for _, id := range s.Parents {
			if m.waiting[id] != nil {
				s.parents++
			}
		}
	}
	m.begin()
	return m
}

// begin begins to read the shards whose parents are done.
func (m *merge) begin() {
	for id, s := range m.waiting {
		if s.parents == 0 {
			delete(m.waiting, id)
			m.open = append(m.open, s)
			m.reading.Go(func() { m.read(s) })
		}
	}
}

// wait waits for the goroutines, whose context has ended.
func (m *merge) wait() { m.reading.Wait() }

// next returns the next event. ok is false after the last one.
func (m *merge) next() (e queue.Event, ok bool, err error) {
	for len(m.open) > 0 {
		s := m.open[len(m.open)-1]
		select {
		case b, more := <-s.batches:
			switch {
			case b.err != nil:
				return e, false, b.err
			case more:
				m.open = m.open[:len(m.open)-1]
				s.head = b.events
				heap.Push(&m.heads, s)
			default:
				m.open = m.open[:len(m.open)-1]
				m.done(s)
			}
		case <-m.ctx.Done():
			return e, false, context.Cause(m.ctx)
		}
	}
	if len(m.heads) == 0 {
		return e, false, nil
	}
	s := m.heads[0]
	e, s.head = s.head[0], s.head[1:]
	if e.Entry.Arrived.After(m.passed) {
		m.passed = e.Entry.Arrived
	}
	if len(s.head) > 0 {
		heap.Fix(&m.heads, 0)
	} else {
		heap.Pop(&m.heads)
		m.open = append(m.open, s)
	}
	return e, true, nil
}

// done notes that a shard was read to its end, and begins with its children.
func (m *merge) done(s *shard) {
	for _, child := range m.waiting {
		if slices.Contains(child.Parents, s.ID) {
			child.parents--
			child.sees(s.seen)
		}
	}
	m.begin()
}

// read reads a shard.
func (m *merge) read(s *shard) {
	defer close(s.batches)
	cursor := gerritstream.Position{From: gerritstream.StartingPosition{Time: m.interval.From}}
	for {
		end, err := m.readPages(s, &cursor)
		if err != nil && m.ctx.Err() == nil {
			m.send(s, batch{err: fmt.Errorf("read %s: %w", s.ID, err)})
		}
		if end || err != nil {
			return
		}
	}
}

// readPages reads pages until one had to be cut. end: there is nothing more to
// read.
func (m *merge) readPages(s *shard, cursor *gerritstream.Position) (end bool, err error) {
	for page, err := range m.config.Source.Peek(m.ctx, s.ID, *cursor) {
		switch {
		case errors.Is(err, gerritstream.ErrShardNotFound): // it went since it was listed
			m.loses(s, m.interval.Until)
			return true, nil
		case errors.Is(err, gerritstream.ErrRetrying) && !errors.Is(err, gerritstream.ErrDenied):
			m.config.Trouble(err)
			continue
		case err != nil:
			return false, err
		}
		if kept := m.config.Listing.Retention; kept > 0 {
			m.loses(s, page.Now.Add(-kept))
		}
		b, end, cut := m.take(s, &page, cursor)
		if cut {
			s.sees(cursor.Arrived.Add(-gerritstream.ArrivalError))
		} else {
			s.sees(page.Now.Add(-page.Lag - gerritstream.ArrivalError))
		}
		if page.Done != nil {
			page.Done()
		}
		if len(b.events) > 0 && !m.send(s, b) {
			return true, nil
		}
		if end || cut {
			return end, nil
		}
	}
	return true, context.Cause(m.ctx)
}

// sees notes that what arrived by a time was read.
func (s *shard) sees(t time.Time) {
	if t.After(s.seen) {
		s.seen = t
	}
}

// loses notes that the stream keeps nothing of a shard that arrived before a
// time: where the reading is not as far, records may be gone.
func (m *merge) loses(s *shard, before time.Time) {
	i := Interval{s.seen, before}.until(m.interval.Until)
	if i.IsEmpty() {
		return
	}
	s.sees(before.Add(gerritstream.ArrivalError)) // once is enough while the reading gets away
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone.IsEmpty() || i.From.Before(m.gone.From) {
		m.gone.From = i.From
	}
	if i.Until.After(m.gone.Until) {
		m.gone.Until = i.Until
	}
}

// send hands a batch over, unless the reading ends.
func (m *merge) send(s *shard, b batch) bool {
	select {
	case s.batches <- b:
		return true
	case <-m.ctx.Done():
		return false
	}
}

// take copies what is replayed of a page. end: nothing that follows is in the
// interval. cut: the page has more, and the rest must be read again.
func (m *merge) take(s *shard, page *gerritstream.Page, cursor *gerritstream.Position) (b batch, end, cut bool) {
	over, size := m.interval.Until.Add(gerritstream.ArrivalError), 0
	for i := range page.Records {
		r := &page.Records[i]
		switch {
		case cursor.Covers(r.Seq, r.Sub), cursor.Partial != nil && r.Seq.Compare(cursor.Partial.Seq) < 0:
			continue
		case r.Arrived.After(over):
			return b, true, false
		case size >= m.part:
			return b, false, true
		}
		if e, ok := m.judge(s, r); ok {
			b.events = append(b.events, e)
			size += e.Entry.Weight()
		}
		if !r.Last {
			cursor.Partial = &gerritstream.Partial{Seq: r.Seq, Sub: r.Sub}
			continue
		}
		cursor.After, cursor.Arrived, cursor.Partial = r.Seq, r.Arrived, nil
		cursor.From = gerritstream.StartingPosition{}
	}
	return b, page.End || page.Lag == 0 || page.Now.Add(-page.Lag).After(over), false
}

// judge returns a record as an event, if it is replayed.
func (m *merge) judge(s *shard, r *gerritstream.Record) (e queue.Event, ok bool) {
	if !m.interval.Has(r.Arrived) {
		return e, false
	}
	verdict := gerritstream.Verdict{Bad: r.Bad}
	if r.Bad == "" {
		verdict = m.config.Classify(s.ID, r)
	}
	switch {
	case verdict.Bad != "":
		m.bad.Add(1)
		return e, false
	case verdict.Filter != "":
		m.filtered.Add(1)
		return e, false
	case !m.config.Keep(&verdict.Event):
		return e, false
	}
	return queue.Event{Replayed: true, Entry: gerritstream.Entry{
		ID:    gerritstream.NewEventID(m.config.Listing.Stream, s.ID, r.Seq, r.Sub),
		Shard: s.ID, Seq: r.Seq, Sub: r.Sub, Arrived: r.Arrived, Event: verdict.Event, Payload: slices.Clone(r.Data),
	}}, true
}

// heads are the shards that have events, that with the earliest one first.
type heads []*shard

func (h heads) Len() int { return len(h) }

func (h heads) Less(i, j int) bool {
	a, b := &h[i].head[0].Entry, &h[j].head[0].Entry
	if !a.Arrived.Equal(b.Arrived) {
		return a.Arrived.Before(b.Arrived)
	}
	return a.Shard < b.Shard
}

func (h heads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *heads) Push(x any) { *h = append(*h, x.(*shard)) } //nolint:errcheck,forcetypeassert // only shards are pushed

func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
