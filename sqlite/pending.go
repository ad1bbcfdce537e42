package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"strings"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

// What is pending is counted every ten seconds for the metrics, in a queue that
// may hold millions of events. A filter needs their rows, whose payloads fill
// the pages: only those of the newest events are read, once for all consumers,
// and those before them are counted as if every filter kept them. Where no
// filter counts, far from the end of the queue, an index is read, a hundredth
// of the table.
const (
	filterWindow = 100_000 // numbers
	nearWindow   = 5_000   // numbers: so few rows are counted in the table itself
	sumsAtOnce   = 16      // places that one reading of the index counts for
)

// pending counts what consumers have not acknowledged, at one moment.
type pending struct {
	tx       *sql.Tx
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
	oldest int64         // number of the oldest event that waits; 0: none
	at     int64         // when that was queued
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

// countPending counts what consumers have not acknowledged.
func countPending(ctx context.Context, tx *sql.Tx, infos []queue.Info) error {
	p := &pending{tx: tx, after: map[int64]int64{}}
	if _, err := get(ctx, tx, []any{&p.newest}, `SELECT coalesce(max(n), 0) FROM events`); err != nil {
		return err
	}
	p.window = max(p.newest-filterWindow, 0)
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
// ranges are counted in the table.
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
		if r.Last = min(r.Last, l.upTo); r.Last-r.First > nearWindow {
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
	var far []int64
	for _, n := range slices.Sorted(maps.Keys(p.after)) {
		if n < p.newest-nearWindow {
			far = append(far, n)
			continue
		}
		var count int64
		if _, err := get(ctx, p.tx, []any{&count}, `SELECT count(*) FROM events WHERE n > ?`, n); err != nil {
			return err
		}
		p.after[n] = count
	}
	for some := range slices.Chunk(far, sumsAtOnce) {
		counts, places, dest := make([]int64, len(some)), make([]any, len(some)), make([]any, len(some))
		for i, n := range some {
			places[i], dest[i] = n, &counts[i]
		}
		query := `SELECT ` + strings.TrimSuffix(strings.Repeat(`coalesce(sum(n > ?), 0), `, len(some)), `, `) +
			` FROM events INDEXED BY events_held_from`
		if err := p.tx.QueryRowContext(ctx, query, places...).Scan(dest...); err != nil {
			return err
		}
		for i, n := range some {
			p.after[n] = counts[i]
		}
	}
	return nil
}

// countUnfiltered counts the events that wait where no filter counts.
func (p *pending) countUnfiltered(ctx context.Context) error {
	for _, c := range p.counters {
		l := p.places(c)
		n := p.after[l.after] - p.after[l.upTo]
		for _, r := range l.wide {
			n -= p.after[r.First-1] - p.after[r.Last]
		}
		if len(l.narrow) > 0 {
			var done int64
			_, err := get(ctx, p.tx, []any{&done},
				`SELECT sum((SELECT count(*) FROM events WHERE n BETWEEN value->>0 AND value->>1)) FROM json_each(?)`,
				queue.EncodeRanges(l.narrow))
			if err != nil {
				return err
			}
			n -= done
		}
		c.info.Pending = n
	}
	return nil
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
	return each(ctx, p.tx, func(rows *sql.Rows) error {
		var e gerritstream.Event
		var n, at int64
		err := rows.Scan(&n, &e.Type, &e.Project, &e.Ref, &at)
		for i := 0; err == nil && i < len(waiting) && waiting[i].done.UpTo < n; i++ {
			waiting[i].see(n, at, &e)
		}
		return err
	}, `SELECT n, type, project, ref, queued_at FROM events WHERE n > ? ORDER BY n`,
		max(p.window, waiting[0].done.UpTo))
}

// see counts an event, if the consumer waits for it.
func (c *counter) see(n, at int64, e *gerritstream.Event) {
	if c.done.Has(n) || !c.filter.keeps(n, e) {
		return
	}
	c.info.Pending++
	if c.oldest == 0 || n < c.oldest {
		c.oldest, c.at = n, at
	}
}

// countAdditions counts what was appended for single consumers. What they have
// acknowledged of that is not there any more.
func (p *pending) countAdditions(ctx context.Context) error {
	counts := map[string]int64{}
	err := each(ctx, p.tx, func(rows *sql.Rows) error {
		var name string
		var n int64
		err := rows.Scan(&name, &n)
		counts[name] = n
		return err
	}, `SELECT consumer, count(*) FROM additions GROUP BY consumer`)
	for _, c := range p.counters {
		switch n := counts[c.info.Name]; {
		case err != nil:
			return err
		case n == 0:
		case c.filter == nil:
			c.info.Pending += n
		default:
			err = each(ctx, p.tx, func(rows *sql.Rows) error {
				var e gerritstream.Event
				var n, at int64
				err := rows.Scan(&n, &e.Type, &e.Project, &e.Ref, &at)
				if err == nil {
					c.see(n, at, &e)
				}
				return err
			}, `SELECT n, type, project, ref, queued_at FROM additions WHERE consumer = ?`, c.info.Name)
		}
	}
	return err
}

// findOldest finds since when the oldest event waits for each consumer.
func (p *pending) findOldest(ctx context.Context) error {
	for _, c := range p.counters {
		if c.info.Pending == 0 {
			continue
		}
		if !c.seen {
			if err := c.findOldest(ctx, p.tx); err != nil {
				return err
			}
		}
		if c.oldest != 0 {
			c.info.Oldest = storekit.FromMillis(c.at)
		}
	}
	return nil
}

// findOldest finds the oldest event that is not done, kept by the filter or
// not.
func (c *counter) findOldest(ctx context.Context, q querier) error {
	after := c.done.UpTo
	for i := 0; ; i++ { // until it does not lie in a range
		there, err := get(ctx, q, []any{&c.oldest, &c.at},
			`SELECT * FROM (SELECT n, queued_at FROM events WHERE n > ?1 ORDER BY n LIMIT 1)
			UNION ALL SELECT * FROM
				(SELECT n, queued_at FROM additions WHERE consumer = ?2 AND n > ?1 ORDER BY n LIMIT 1)
			ORDER BY 1 LIMIT 1`, after, c.info.Name)
		if err != nil || !there || !c.done.Has(c.oldest) {
			return err
		}
		after = c.done.Beyond[i].Last
	}
}
