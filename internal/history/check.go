package history

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Report is the verdict on a history.
type Report struct {
	Put          int `json:"put"`           // records that the stream acknowledged, each part of an aggregate
	Queued       int `json:"queued"`        // rows of the queue
	Filtered     int `json:"filtered"`      // records that were filtered as wanted
	DeadLettered int `json:"dead_lettered"` // dead letters held and discarded
	Lost         int `json:"lost"`          // records that were found nowhere, events that a consumer never handled
	Duplicated   int `json:"duplicated"`    // finds of a record beyond the first
	Misjudged    int `json:"misjudged"`     // records found once, with another outcome, detail or bytes than wanted
	Unexpected   int `json:"unexpected"`    // finds of what was never put
	Disordered   int `json:"disordered"`    // rows after a later record of their shard, or after one of a child
	Broken       int `json:"broken"`        // other promises that were broken
	Terms        int `json:"terms"`
	Commits      int `json:"commits"`

	// Consumers counts, by name, what consumers of the queue did; nil: there
	// was none.
	Consumers map[string]*Handled `json:"consumers,omitempty"`

	// Foreign is what another program did; nil: none took part. The other
	// counts include it in Put and Queued only.
	Foreign *Foreign `json:"python,omitempty"`

	// LongestPause is the longest time in which a shard had records waiting and
	// nothing was committed.
	LongestPause time.Duration `json:"longest_pause_ns"`

	// Problems describes what is wrong, one line each, up to maxProblems.
	Problems []string `json:"problems,omitempty"`
}

const (
	maxProblems = 50
	maxExamples = 5 // problems in Report.Err
)

// Good reports whether every promise was kept.
func (r *Report) Good() bool {
	return r.Lost+r.Duplicated+r.Misjudged+r.Unexpected+r.Disordered+r.Broken == 0
}

// Err returns nil if every promise was kept; otherwise the counts, and the
// first problems on a line each.
func (r *Report) Err() error {
	if r.Good() {
		return nil
	}
	err := fmt.Errorf("%d lost, %d duplicated, %d misjudged, %d unexpected, %d disordered",
		r.Lost, r.Duplicated, r.Misjudged, r.Unexpected, r.Disordered)
	if r.Broken > 0 {
		err = fmt.Errorf("%w, %d other promises broken", err, r.Broken)
	}
	for _, problem := range r.Problems[:min(len(r.Problems), maxExamples)] {
		err = errors.Join(err, errors.New("for example: "+problem))
	}
	return err
}

// Compare judges what was put on one stream by what the queue, in its order,
// and the dead letters hold. Each put has the Outcome it wants.
func Compare(put, queue, deadLetters []Item) Report {
	return Check([]Event{
		{Kind: KindPut, Items: put}, {Kind: KindQueue, Items: queue}, {Kind: KindDeadLetters, Items: deadLetters},
	})
}

// CompareEntries judges the rows of a queue, of which only ID and Payload
// count, by the entries that it must hold, each of a shard in order.
// Repetitions of an entry are wanted as often as they are given, in an order of
// their own.
func CompareEntries(want, rows []gerritstream.Entry) Report {
	type occurrence struct {
		id gerritstream.EventID
		n  int
	}
	known, count := map[occurrence]Item{}, map[gerritstream.EventID]int{}
	var put, queue []Item
	for i := range want {
		item, o := EntryItem(&want[i]), occurrence{want[i].ID, count[want[i].ID]}
		if count[o.id]++; o.n > 0 {
			item.Shard += gerritstream.ShardID(fmt.Sprintf(", repetition %d", o.n))
		}
		known[o] = item
		put = append(put, item)
	}
	clear(count)
	for i := range rows {
		o := occurrence{rows[i].ID, count[rows[i].ID]}
		count[o.id]++
		item, ok := known[o]
		if !ok {
			item = known[occurrence{o.id, 0}]
		}
		item.ID, item.Sum = o.id.String(), Sum(rows[i].Payload)
		queue = append(queue, item)
	}
	return Compare(put, queue, nil)
}

// Check judges a history whose events are in the order of their times. Streams
// that had the same name one after the other are judged one by one, because
// their shards have the same ids; the counts are the sums. Everything put on
// one must have come through before the next is created.
func Check(events []Event) Report {
	var total Report
	for _, stream := range perStream(events) {
		c := checker{
			puts: map[place]*put{}, ids: map[place]string{}, parents: map[gerritstream.ShardID][]gerritstream.ShardID{},
			foreign: newForeigners(),
		}
		for i := range stream {
			c.take(&stream[i])
		}
		c.foreign.settle(stream)
		c.judgeRecords()
		c.judgeOrder()
		c.judgeTerms(stream)
		c.judgeForeign(stream)
		c.judgePauses(stream)
		total.add(&c.report)
	}
	judgeConsumers(events, &total)
	return total
}

// add adds the report on another stream.
func (r *Report) add(o *Report) {
	r.Put += o.Put
	r.Queued += o.Queued
	r.Filtered += o.Filtered
	r.DeadLettered += o.DeadLettered
	r.Lost += o.Lost
	r.Duplicated += o.Duplicated
	r.Misjudged += o.Misjudged
	r.Unexpected += o.Unexpected
	r.Disordered += o.Disordered
	r.Broken += o.Broken
	r.Terms += o.Terms
	r.Commits += o.Commits
	r.LongestPause = max(r.LongestPause, o.LongestPause)
	r.Problems = append(r.Problems, o.Problems...)
	r.Problems = r.Problems[:min(len(r.Problems), maxProblems)]
	if r.Foreign == nil {
		r.Foreign = o.Foreign
	}
}

// checker judges what happened on one stream.
type checker struct {
	report    Report
	puts      map[place]*put
	finds     []find           // the queue in its order, dead letters, what was filtered
	ids       map[place]string // the first id that each record was seen under
	discarded int              // dead letters that may be nowhere
	filters   bool             // what was filtered is among finds
	foreign   *foreigners
	parents   map[gerritstream.ShardID][]gerritstream.ShardID
}

// put is a record that was put.
type put struct {
	at           time.Time
	want         *Item
	ours, theirs []int // indexes of what was found of it, theirs by another program
}

// find is a record found in the queue or elsewhere.
type find struct {
	at      place
	item    Item
	foreign bool // another program queued it
}

func (r *Report) problem(format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

func (c *checker) problem(format string, args ...any) { c.report.problem(format, args...) }

// broken notes a broken promise that has no count of its own.
func (c *checker) broken(format string, args ...any) {
	c.report.Broken++
	c.problem(format, args...)
}

// finds of records are in events of these kinds.
var outcomes = map[Kind]Outcome{KindQueue: Queued, KindDeadLetters: DeadLetter, KindFiltered: Filtered}

// take files one event.
func (c *checker) take(e *Event) {
	switch e.Kind {
	case KindShard:
		c.parents[e.Shard] = e.Parents
	case KindPut:
		for i := range e.Items {
			at := e.place(&e.Items[i])
			if c.puts[at] != nil { // two records cannot be at one place
				c.report.Lost++
				c.problem("%s: acknowledged twice", at)
			}
			c.puts[at] = &put{at: e.At, want: &e.Items[i]}
			c.report.Put++
		}
	case KindElected:
		c.report.Terms++
	case KindCommitted:
		c.report.Commits++
		c.checkIDs(e)
	case KindForeignElected, KindForeignQueues, KindForeignWrites, KindForeignWrote, KindForeignRefused:
		c.foreign.take(e)
	case KindQueue, KindDeadLetters, KindFiltered:
		c.filters = c.filters || e.Kind == KindFiltered
		for i := range e.Items {
			f := find{at: e.place(&e.Items[i]), item: e.Items[i]}
			f.item.Outcome = outcomes[e.Kind]
			c.finds = append(c.finds, f)
		}
		c.checkIDs(e)
	case KindDiscarded:
		c.discarded += e.Count
		c.report.DeadLettered += e.Count
	}
}

// checkIDs checks that every process names a record by the same identity.
func (c *checker) checkIDs(e *Event) {
	for i := range e.Items {
		item := &e.Items[i]
		if item.ID == "" || item.Seq == "" {
			continue
		}
		at := e.place(item)
		if known, ok := c.ids[at]; ok && known != item.ID {
			c.broken("%s has the ids %s and %s", at, known, item.ID)
		}
		c.ids[at] = item.ID
	}
}

// judgeRecords compares what was put with what was found of it.
func (c *checker) judgeRecords() {
	for i := range c.finds {
		f := &c.finds[i]
		if f.item.Seq == "" { // of a row of another program's only its own id is known
			f.at, f.foreign = c.foreign.ids[f.item.ID]
		}
		switch f.item.Outcome {
		case Queued:
			c.report.Queued++
		case DeadLetter:
			c.report.DeadLettered++
		}
		if f.foreign {
			c.foreign.report.Queued++
		}
		switch p := c.puts[f.at]; {
		case p == nil && f.at.seq == "":
			c.report.Unexpected++
			c.problem("the queue holds an event %q that nobody queued", f.item.ID)
		case p == nil:
			c.report.Unexpected++
			c.problem("%s: %v, never put", f.at, &f.item)
		case f.foreign:
			p.theirs = append(p.theirs, i)
		default:
			p.ours = append(p.ours, i)
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(c.puts), comparePlaces) {
		p := c.puts[at]
		c.judgeRecord(at, p)
		c.judgeForeignRows(at, p)
	}
	if c.foreign.report.Terms > 0 {
		c.report.Foreign = &c.foreign.report
	}
}

func (c *checker) judgeRecord(at place, p *put) {
	if n := len(p.ours); n > 1 {
		c.report.Duplicated += n - 1
		all := make([]string, n)
		for i, found := range p.ours {
			all[i] = c.finds[found].item.String()
		}
		c.problem("%s: found %d times (%s), want %v once", at, n, strings.Join(all, ", "), p.want)
		return
	}
	if len(p.ours) == 1 {
		got := &c.finds[p.ours[0]].item
		switch {
		case got.Outcome != p.want.Outcome || got.Detail != p.want.Detail:
			c.report.Misjudged++
			c.problem("%s: %v, want %v", at, got, p.want)
		case got.Sum != p.want.Sum && (got.Sum != "" || got.Outcome == Queued):
			c.report.Misjudged++
			c.problem("%s: %v with other bytes than were put", at, got)
		case got.Outcome == Filtered:
			c.report.Filtered++
		}
		return
	}
	switch want := p.want.Outcome; {
	case len(p.theirs) > 0:
	case want == Filtered && !c.filters:
		c.report.Filtered++
	case c.foreign.lost(at):
	case want == DeadLetter && c.discarded > 0:
		c.discarded--
	default:
		c.report.Lost++
		c.problem("%s: lost, want %v", at, p.want)
	}
}

// judgeOrder checks the order of the queue: by sequence number within a shard,
// and nothing of a parent after anything of a child. It skips rows that other
// faults count, and those of other programs, which do not wait for parents.
func (c *checker) judgeOrder() {
	children := map[gerritstream.ShardID][]gerritstream.ShardID{}
	for child, parents := range c.parents {
		for _, parent := range parents {
			children[parent] = append(children[parent], child)
		}
	}
	last := map[gerritstream.ShardID]place{}
	for i := range c.finds {
		f := &c.finds[i]
		p := c.puts[f.at]
		if f.item.Outcome != Queued || f.foreign || p == nil || p.ours[0] != i {
			continue
		}
		if before, ok := last[f.at.shard]; ok && comparePlaces(f.at, before) < 0 {
			c.report.Disordered++
			c.problem("%s: queued after %s", f.at, before)
		} else {
			last[f.at.shard] = f.at
		}
		for _, child := range children[f.at.shard] {
			if _, began := last[child]; began {
				c.report.Disordered++
				c.problem("%s: queued after records of its shard's child %s", f.at, child)
			}
		}
	}
}
