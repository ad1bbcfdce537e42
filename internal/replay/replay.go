package replay

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// Queue is a store's queue as far as a replay reads it.
type Queue interface {
	Extent(ctx context.Context) (queue.Extent, error)

	// Since returns the number of the oldest event held from a time on.
	Since(ctx context.Context, t time.Time) (int64, error)

	// Events yields the events after a number in their order.
	Events(ctx context.Context, after int64) iter.Seq2[queue.Event, error]

	// Number returns the number of an event; 0: it is not held.
	Number(ctx context.Context, id gerritstream.EventID) (int64, error)

	// FirstArrival returns when the first of the events after a number, up to
	// another, arrived that arrived at a time or later; zero: there is none.
	FirstArrival(ctx context.Context, after, upTo int64, from time.Time) (time.Time, error)
}

// Interval is a span of arrival times: From is in it, Until is not.
type Interval struct{ From, Until time.Time }

// IsEmpty reports whether there is nothing in it.
func (i Interval) IsEmpty() bool { return !i.From.Before(i.Until) }

// Has reports whether a time is in it.
func (i Interval) Has(t time.Time) bool { return !t.Before(i.From) && t.Before(i.Until) }

// until returns the part of the interval before a time.
func (i Interval) until(t time.Time) Interval {
	if t.Before(i.Until) {
		i.Until = t
	}
	return i
}

// Config is what a Replay needs.
type Config struct {
	Interval Interval
	Queue    Queue                   // nil: the stream alone is read
	Origin   *gerritstream.Origin    // of the queue; nil: unknown
	Lost     []gerritstream.Interval // of the queue: what may never have come to it
	Source   gerritstream.Source     // nil: the queue alone is read
	Whole    bool                    // the stream is read for the whole interval, whatever the queue has
	Listing  gerritstream.Listing    // of Source
	Classify gerritstream.Classifier
	Keep     func(*gerritstream.Event) bool // what is replayed of it
	Memory   int64                          // bytes; 0: 64 MiB
	Trouble  func(error)                    // called with what is retried, by several goroutines
}

// Replay hands on the events of an interval, once.
type Replay struct {
	config Config

	// Stream is what is read from the stream, before the queue.
	Stream Interval

	// WantsStream: a Source may have what the queue has not.
	WantsStream bool

	// Missing is what nobody holds: it is not in the queue, and the stream does
	// not keep it any more or is not there to be read. Single events of it may
	// be in the queue.
	Missing Interval

	// Lost is what of Config.Lost is in the interval and not read from the
	// stream.
	Lost []gerritstream.Interval

	after, upTo int64     // numbers: what is read of the queue
	taken       queue.Set // numbers of the queue's events that came from the stream
	merge       *merge    // nil: the stream is not being read
	queued      int64     // number of the last event read of the queue; 0: none
	counts      Counts
}

// Counts is what has become of what was read.
type Counts struct {
	Stream   int64 // events handed on from the stream
	Queue    int64 // events handed on from the queue
	Bad      int64 // records of the stream that are no events
	Filtered int64 // records that the filter for the queue drops

	// Gone is what the stream may have removed before it was read: the replay
	// was slower than its retention.
	Gone Interval
}

// New decides what is read from where. It reads the queue's extent.
func New(ctx context.Context, config Config) (*Replay, error) {
	if config.Memory == 0 {
		config.Memory = 64 << 20
	}
	r := &Replay{config: config, Stream: config.Interval, Missing: config.Interval}
	if config.Queue != nil {
		boundary, err := r.boundary(ctx)
		if err != nil {
			return nil, err
		}
		r.Missing, r.Stream = r.Missing.until(boundary), r.Stream.until(r.widen(boundary))
	}
	r.WantsStream = !r.Stream.IsEmpty()
	if config.Source == nil {
		r.Stream.From = r.Stream.Until
	} else {
		r.Stream.From = r.keptFrom()
		r.Missing = r.Missing.until(r.Stream.From)
		if created := config.Listing.Stream.Created; created.After(r.Missing.From) {
			r.Missing.From = created // of a stream before that nobody knows
		}
	}
	for _, i := range config.Lost {
		part := Interval{i.From, i.Until}.until(config.Interval.Until).until(r.Stream.From)
		if config.Interval.From.After(part.From) {
			part.From = config.Interval.From
		}
		if !part.IsEmpty() {
			r.Lost = append(r.Lost, gerritstream.Interval{From: part.From, Until: part.Until, Why: i.Why})
		}
	}
	return r, nil
}

// widen returns until when the stream is read so that it can fill the gaps of
// the queue, if that has everything from a time on.
func (r *Replay) widen(boundary time.Time) time.Time {
	if r.config.Whole {
		return r.config.Interval.Until
	}
	for _, i := range r.config.Lost {
		until := i.Until.Add(gerritstream.ArrivalError)
		if until.After(boundary) && i.Until.After(r.config.Interval.From) && i.From.Before(r.config.Interval.Until) {
			boundary = until
		}
	}
	return boundary
}

// keptFrom returns from when on the stream keeps what is to be read.
func (r *Replay) keptFrom() time.Time {
	l, from := &r.config.Listing, r.config.Interval.From
	times := []time.Time{l.Stream.Created, l.Now.Add(-l.Retention)}
	if o := r.config.Origin; o != nil && o.Stream.ARN == l.Stream.ARN &&
		o.Stream.Created.UnixMilli() == l.Stream.Created.UnixMilli() {
		times = append(times, o.Trimmed)
	}
	for _, t := range times {
		if t.After(from) {
			from = t
		}
	}
	return from
}

// boundary returns from when on the queue has everything that it ever had: it
// lost nothing that arrived later. It notes which numbers are to be read.
func (r *Replay) boundary(ctx context.Context) (time.Time, error) {
	extent, err := r.config.Queue.Extent(ctx)
	if err != nil {
		return time.Time{}, err
	}
	first, err := r.config.Queue.Since(ctx, r.config.Interval.From)
	if err != nil {
		return time.Time{}, err
	}
	r.after, r.upTo = first-1, extent.Newest
	var began time.Time
	if o := r.config.Origin; o != nil && !o.From.TrimHorizon {
		began = o.From.Time
	}
	switch {
	case extent.Expired == 0:
		return began, nil
	case extent.Oldest.IsZero():
		return r.config.Interval.Until, nil
	}
	// Events expire in the order in which they began to be held, which is no
	// earlier than their arrival; processes' clocks differ by less than that.
	if from := extent.Oldest.Add(gerritstream.ArrivalError); from.After(began) {
		return from, nil
	}
	return began, nil
}

// Counts returns what has become of what was read so far. It is called by the
// goroutine that ranges over Events.
func (r *Replay) Counts() Counts { return r.counts }

// Events yields the events. Those of the stream have no number, and were not
// queued. Their bytes are the caller's. An error is the last pair. It is called
// once.
func (r *Replay) Events(ctx context.Context) iter.Seq2[queue.Event, error] {
	return func(yield func(queue.Event, error) bool) {
		if !r.Stream.IsEmpty() && !r.fromStream(ctx, yield) {
			return
		}
		if r.config.Queue != nil {
			r.fromQueue(ctx, yield)
		}
	}
}

// fromStream yields what the stream has, and reports whether to go on.
func (r *Replay) fromStream(ctx context.Context, yield func(queue.Event, error) bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	m := newMerge(ctx, &r.config, r.Stream)
	r.merge = m
	defer m.wait()
	defer cancel()
	for {
		e, ok, err := m.next()
		r.count(m)
		if err == nil && !ok {
			r.merge = nil
			return true
		}
		if err == nil && r.config.Queue != nil {
			var n int64
			if n, err = r.config.Queue.Number(ctx, e.Entry.ID); n > 0 {
				r.taken = r.taken.With(n, n)
			}
		}
		if err != nil {
			yield(queue.Event{}, err)
			return false
		}
		r.counts.Stream++
		if !yield(e, nil) {
			return false
		}
	}
}

// count takes over what the shards' goroutines have counted.
func (r *Replay) count(m *merge) {
	r.counts.Bad, r.counts.Filtered = m.bad.Load(), m.filtered.Load()
	m.mu.Lock()
	defer m.mu.Unlock()
	r.counts.Gone = m.gone
}

// fromQueue yields what the queue has and the stream had not.
func (r *Replay) fromQueue(ctx context.Context, yield func(queue.Event, error) bool) {
	r.queued = r.after
	for e, err := range r.config.Queue.Events(ctx, r.after) {
		switch {
		case err != nil:
			yield(queue.Event{}, err)
			return
		case e.Number > r.upTo:
			return
		}
		r.queued = e.Number
		if !r.config.Interval.Has(e.Entry.Arrived) || r.taken.Has(e.Number) || !r.config.Keep(&e.Entry.Event) {
			continue
		}
		e.Replayed = true
		r.counts.Queue++
		if !yield(e, nil) {
			return
		}
	}
}

// Resume returns from which arrival on a replay must begin to hand on
// everything that this one, which was broken off, did not: undone is the event
// that it yielded first of those that were not handed on, nil: none. It may
// hand on again what this one did.
func (r *Replay) Resume(ctx context.Context, undone *queue.Event) (from time.Time, err error) {
	from = r.config.Interval.Until
	if r.merge != nil {
		from = r.merge.passed.Add(-gerritstream.ArrivalError)
	}
	if r.config.Queue != nil {
		after := max(r.after, r.queued)
		if undone != nil {
			after = max(r.after, undone.Number)
		}
		first, err := r.config.Queue.FirstArrival(ctx, after, r.upTo, r.config.Interval.From)
		if err != nil {
			return r.config.Interval.From, fmt.Errorf("see where to go on: %w", err)
		}
		if !first.IsZero() && first.Before(from) {
			from = first
		}
	}
	if undone != nil && undone.Entry.Arrived.Before(from) {
		from = undone.Entry.Arrived
	}
	if from.Before(r.config.Interval.From) {
		from = r.config.Interval.From
	}
	return from, nil
}
