package storekit

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// What is pending is counted every ten seconds for the metrics, in a queue that
// may hold millions of events. A filter needs their rows, whose payloads are
// most of what is read: only those of the newest events are read, once for all
// consumers, and those before them are counted as if every filter kept them.
// Where no filter counts, far from the end of the queue, the store counts with
// an index.
const filterWindow = 100_000 // numbers

// NearWindow is how many numbers lie so near together that their events are
// counted one by one.
const NearWindow = 5_000

// Backlog is a queue at one moment, in which events are counted. Times are
// milliseconds since 1970.
type Backlog interface {
	// CountAfter counts the events after each of ascending numbers.
	CountAfter(ctx context.Context, numbers []int64) ([]int64, error)

	// CountIn counts, for each list of ranges, the events within them. No range
	// is longer than NearWindow.
	CountIn(ctx context.Context, lists [][]queue.Range) ([]int64, error)

	// EachAfter passes on the events after a number, in their order.
	EachAfter(ctx context.Context, after int64, see See) error

	// CountAdditions counts what was appended for each consumer.
	CountAdditions(ctx context.Context) (map[string]int64, error)

	// EachAddition passes on what was appended for some consumers.
	EachAddition(ctx context.Context, consumers []string, see func(consumer string) See) error

	// FirstAfter returns the first event after each place, its consumer's
	// additions among them.
	FirstAfter(ctx context.Context, places []Place) ([]Waiting, error)
}

// See takes an event: its number, when it was queued, and what filters look at.
type See func(n, queued int64, e *gerritstream.Event)

// Place is a place in the queue of a consumer.
type Place struct {
	Consumer string
	After    int64
}

// Waiting is an event that waits; the zero value is none.
type Waiting struct {
	Number int64
	Queued int64
}

// pending counts what consumers have not acknowledged.
type pending struct {
	in       Backlog
	newest   int64           // number
	window   int64           // number: filters count for the events after it
	counters []*counter      // one a consumer
	after    map[int64]int64 // by number: how many events there are after it
}

// counter counts for a consumer.
type counter struct {
	info   *queue.Info
	done   queue.Set
	filter *sharedFilter // nil: it keeps all
	seen   bool          // oldest is known, if there is one
	oldest Waiting
}

// sharedFilter is a filter, of all consumers that have the same one.
type sharedFilter struct {
	matcher queue.Matcher
	n       int64 // of the event that it was asked for last
	kept    bool  // what it said
}

// keeps reports whether the filter keeps an event.
func (f *sharedFilter) keeps(n int64, e *gerritstream.Event) bool {
	if n != f.n {
		f.n, f.kept = n, f.matcher.Keeps(e)
	}
	return f.kept
}

// CountPending sets how many events consumers have not acknowledged, and since
// when the oldest of them waits. newest is the number of the newest event held.
func CountPending(ctx context.Context, in Backlog, newest int64, infos []queue.Info) error {
	p := &pending{in: in, newest: newest, window: max(newest-filterWindow, 0), after: map[int64]int64{}}
	filters := map[string]*sharedFilter{"": nil}
	for i := range infos {
		c := &counter{info: &infos[i], done: infos[i].Done()}
		text := queue.EncodeFilter(c.info.Filter)
		if _, known := filters[text]; !known {
			m, _ := c.info.Filter.Matcher() // one that cannot be read keeps all; Fault says so
			filters[text] = &sharedFilter{matcher: m}
		}
		c.filter = filters[text]
		c.seen = c.filter != nil && c.done.UpTo >= p.window
		p.counters = append(p.counters, c)
	}
	for _, count := range []func(context.Context) error{
		p.countPlaces, p.countUnfiltered, p.countFiltered, p.countAdditions, p.findOldest,
	} {
		if err := count(ctx); err != nil {
			return err
		}
	}
	return nil
}

// places are the numbers between which events count without a filter: after
// the first, up to the second, less those of the ranges that are done. Narrow
// ranges are counted one by one.
type places struct {
	after, upTo  int64
	wide, narrow []queue.Range
}

func (p *pending) places(c *counter) places {
	l := places{after: c.done.UpTo, upTo: max(p.newest, c.done.UpTo)}
	if c.filter != nil {
		l.upTo = max(p.window, l.after)
	}
	for _, r := range c.done.Beyond {
		if r.Last = min(r.Last, l.upTo); r.Last-r.First > NearWindow {
			l.wide = append(l.wide, r)
		} else if r.First <= r.Last {
			l.narrow = append(l.narrow, r)
		}
	}
	return l
}

// countPlaces counts the events after each place that matters.
func (p *pending) countPlaces(ctx context.Context) error {
	for _, c := range p.counters {
		l := p.places(c)
		if l.after == l.upTo {
			continue
		}
		p.after[l.after], p.after[l.upTo] = 0, 0
		for _, r := range l.wide {
			p.after[r.First-1], p.after[r.Last] = 0, 0
		}
	}
	if len(p.after) == 0 {
		return nil
	}
	numbers := slices.Sorted(maps.Keys(p.after))
	counts, err := p.in.CountAfter(ctx, numbers)
	for i := range counts {
		p.after[numbers[i]] = counts[i]
	}
	return err
}

// countUnfiltered counts the events that wait where no filter counts.
func (p *pending) countUnfiltered(ctx context.Context) error {
	var scattered []*counter
	var lists [][]queue.Range
	for _, c := range p.counters {
		l := p.places(c)
		n := p.after[l.after] - p.after[l.upTo]
		for _, r := range l.wide {
			n -= p.after[r.First-1] - p.after[r.Last]
		}
		if len(l.narrow) > 0 {
			scattered, lists = append(scattered, c), append(lists, l.narrow)
		}
		c.info.Pending = n
	}
	if len(lists) == 0 {
		return nil
	}
	done, err := p.in.CountIn(ctx, lists)
	for i := range done {
		scattered[i].info.Pending -= done[i]
	}
	return err
}

// countFiltered reads the newest events, and counts those that wait for the
// consumers with a filter.
func (p *pending) countFiltered(ctx context.Context) error {
	var waiting []*counter // by where they begin
	for _, c := range p.counters {
		if c.filter != nil && c.done.UpTo < p.newest {
			waiting = append(waiting, c)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	slices.SortFunc(waiting, func(a, b *counter) int { return cmp.Compare(a.done.UpTo, b.done.UpTo) })
	return p.in.EachAfter(ctx, max(p.window, waiting[0].done.UpTo), func(n, queued int64, e *gerritstream.Event) {
		for i := 0; i < len(waiting) && waiting[i].done.UpTo < n; i++ {
			waiting[i].see(n, queued, e)
		}
	})
}

// see counts an event, if the consumer waits for it.
func (c *counter) see(n, queued int64, e *gerritstream.Event) {
	if c.done.Has(n) || !c.filter.keeps(n, e) {
		return
	}
	c.info.Pending++
	if c.oldest.Number == 0 || n < c.oldest.Number {
		c.oldest = Waiting{n, queued}
	}
}

// countAdditions counts what was appended for single consumers. What they have
// acknowledged of that is not there any more.
func (p *pending) countAdditions(ctx context.Context) error {
	counts, err := p.in.CountAdditions(ctx)
	if err != nil {
		return err
	}
	filtering := map[string]*counter{}
	for _, c := range p.counters {
		switch n := counts[c.info.Name]; {
		case n == 0:
		case c.filter == nil:
			c.info.Pending += n
		default:
			filtering[c.info.Name] = c
		}
	}
	if len(filtering) == 0 {
		return nil
	}
	return p.in.EachAddition(ctx, slices.Sorted(maps.Keys(filtering)), func(consumer string) See {
		return filtering[consumer].see
	})
}

// findOldest finds since when the oldest event waits for each consumer, kept by
// the filter or not where that is not known.
func (p *pending) findOldest(ctx context.Context) error {
	var waiting []*counter
	var places []Place
	for _, c := range p.counters {
		if c.info.Pending > 0 && !c.seen {
			waiting, places = append(waiting, c), append(places, Place{c.info.Name, c.done.UpTo})
		}
	}
	for len(places) > 0 { // until none lies in a range that is done
		found, err := p.in.FirstAfter(ctx, places)
		if err != nil {
			return err
		}
		var again []*counter
		places = places[:0]
		for i, c := range waiting {
			c.oldest = found[i]
			if n := found[i].Number; n != 0 && c.done.Has(n) {
				in := slices.IndexFunc(c.done.Beyond, func(r queue.Range) bool { return n <= r.Last })
				again, places = append(again, c), append(places, Place{c.info.Name, c.done.Beyond[in].Last})
			}
		}
		waiting = again
	}
	for _, c := range p.counters {
		if c.info.Pending > 0 && c.oldest.Number != 0 {
			c.info.Oldest = FromMillis(c.oldest.Queued)
		}
	}
	return nil
}
