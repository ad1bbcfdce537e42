package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Report is the verdict on a history.
type Report struct {
	Put          int `json:"put"`           // records that the stream acknowledged, parts of aggregates each
	Queued       int `json:"queued"`        // rows of the queue
	Filtered     int `json:"filtered"`      // records that were to be dropped, and are nowhere
	DeadLettered int `json:"dead_lettered"` // dead letters held and discarded
	Lost         int `json:"lost"`          // records that are not where they must be
	Duplicated   int `json:"duplicated"`    // rows of the queue beyond the first of a record
	Disordered   int `json:"disordered"`    // rows of the queue that a later record of their shard, or a child's, came before
	Broken       int `json:"broken"`        // other promises that were not kept
	Terms        int `json:"terms"`
	Commits      int `json:"commits"`

	// Foreign is what another program did; nil: none took part. Nothing of it
	// is in the counts above but in Put and Queued.
	Foreign *Foreign `json:"python,omitempty"`

	// LongestPause is the longest time in which a shard had records waiting and
	// committed nothing.
	LongestPause time.Duration `json:"longest_pause_ns"`

	// Problems says what is wrong, a line each, the first maxProblems of them.
	Problems []string `json:"problems,omitempty"`
}

// maxProblems bounds Report.Problems. The counts are complete.
const maxProblems = 50

// Good reports whether every promise was kept.
func (r *Report) Good() bool { return r.Lost+r.Duplicated+r.Disordered+r.Broken == 0 }

// Check judges a history whose events are in the order of their times. Each
// stream of those that had the name one after the other is judged alone, for
// their shards have the same ids; everything put on one must have come through
// before the next is created. The counts are those of all of them.
func Check(events []Event) Report {
	var total Report
	for _, stream := range perStream(events) {
		total.add(checkStream(stream))
	}
	return total
}

// perStream returns the events of each stream. A record belongs to the stream
// on which it was put, wherever it lies; a term to the one that its position is
// of, for a leadership may outlive its stream by a moment; everything else to
// the stream of its time.
func perStream(events []Event) [][]Event {
	s := sorter{home: map[place]int{}, terms: map[termKey]int{}}
	for i := range events {
		if e := &events[i]; e.Kind == KindCreated {
			s.starts = append(s.starts, e.At)
		}
	}
	streams := make([][]Event, max(1, len(s.starts)))
	for i := range events {
		if e := &events[i]; e.Kind == KindPut {
			for j := range e.Items {
				s.home[e.place(&e.Items[j])] = s.at(e.At)
				s.home[e.place(&Item{Shard: e.Items[j].Shard, Seq: e.Items[j].Seq})] = s.at(e.At) // as positions have it
			}
		}
	}
	for i := range events {
		e := &events[i]
		if e.Kind == KindQueue || e.Kind == KindLetters {
			s.deal(e, streams)
			continue
		}
		of := s.of(e)
		streams[of] = append(streams[of], *e)
	}
	return streams
}

// sorter tells which stream an event belongs to.
type sorter struct {
	starts []time.Time // when each stream was created
	home   map[place]int
	terms  map[termKey]int
}

type termKey struct {
	process string
	shard   gerritstream.ShardID
	number  uint64
}

// at returns the stream of a time.
func (s *sorter) at(t time.Time) int {
	n := len(s.starts)
	for n > 1 && t.Before(s.starts[n-1]) {
		n--
	}
	return max(0, n-1)
}

func (s *sorter) of(e *Event) int {
	key := termKey{e.Process, e.Shard, e.Term}
	switch e.Kind {
	case KindElected:
		s.terms[key] = s.at(e.At)
		if e.Position == nil {
			break
		}
		if of, ok := s.home[e.place(&Item{Seq: e.Position.After})]; ok {
			s.terms[key] = of
		}
	case KindCommitted, KindTermEnded:
	default:
		return s.at(e.At)
	}
	if of, ok := s.terms[key]; ok {
		return of
	}
	return s.at(e.At)
}

// deal gives each stream those of the event's items that were put on it, and
// the last one what was put on none.
func (s *sorter) deal(e *Event, streams [][]Event) {
	parts := make([][]Item, len(streams))
	for j := range e.Items {
		at, ok := s.home[e.place(&e.Items[j])]
		if !ok {
			at = len(streams) - 1
		}
		parts[at] = append(parts[at], e.Items[j])
	}
	for at, items := range parts {
		part := *e
		part.Items = items
		streams[at] = append(streams[at], part)
	}
}

// add takes in the report on another stream.
func (r *Report) add(o Report) {
	r.Put += o.Put
	r.Queued += o.Queued
	r.Filtered += o.Filtered
	r.DeadLettered += o.DeadLettered
	r.Lost += o.Lost
	r.Duplicated += o.Duplicated
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

// checkStream judges what happened on one stream.
func checkStream(events []Event) Report {
	c := checker{
		puts: map[place]*put{}, ids: map[place]string{}, letters: map[place]bool{},
		parents: map[gerritstream.ShardID][]gerritstream.ShardID{}, terms: map[gerritstream.ShardID][]*term{},
		foreign: newForeigners(),
	}
	for i := range events {
		c.take(&events[i])
	}
	c.foreign.settle(events)
	c.resolveQueue()
	c.judgeFates()
	c.judgeQueue()
	c.judgeTerms(events)
	c.judgeForeign(events)
	c.judgePauses(events)
	return c.report
}

// place is where a record stands in the stream.
type place struct {
	shard gerritstream.ShardID
	seq   gerritstream.SequenceNumber
	sub   int
}

func (p place) String() string { return fmt.Sprintf("%s %s/%d", p.shard, p.seq, p.sub) }

// put is a record that was put.
type put struct {
	at   time.Time
	fate Fate
	sum  string

	// Of the rows of the queue, by their number.
	ours, theirs []int
}

// row is a row of the queue.
type row struct {
	place
	id, sum string
	foreign bool // another program queued it
}

type checker struct {
	report    Report
	puts      map[place]*put
	ids       map[place]string // the first id that each record was seen under
	queue     []row
	letters   map[place]bool
	discarded int
	foreign   *foreigners
	parents   map[gerritstream.ShardID][]gerritstream.ShardID
	terms     map[gerritstream.ShardID][]*term
}

func (c *checker) problem(format string, args ...any) {
	if len(c.report.Problems) < maxProblems {
		c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
	}
}

// broken notes a promise that was not kept and has no count of its own.
func (c *checker) broken(format string, args ...any) {
	c.report.Broken++
	c.problem(format, args...)
}

// take files one event.
func (c *checker) take(e *Event) {
	switch e.Kind {
	case KindShard:
		c.parents[e.Shard] = e.Parents
	case KindPut:
		for i := range e.Items {
			item := &e.Items[i]
			c.puts[e.place(item)] = &put{at: e.At, fate: item.Fate, sum: item.Sum}
			c.report.Put++
		}
	case KindElected:
		c.report.Terms++
	case KindCommitted:
		c.report.Commits++
		c.sameIDs(e)
	case KindForeignElected, KindForeignQueues, KindForeignWrites, KindForeignWrote, KindForeignRefused, KindForeignEnded:
		c.foreign.take(e)
	case KindQueue:
		for i := range e.Items {
			item := &e.Items[i]
			c.queue = append(c.queue, row{place: e.place(item), id: item.ID, sum: item.Sum})
		}
		c.sameIDs(e)
	case KindLetters:
		for i := range e.Items {
			c.letters[e.place(&e.Items[i])] = true
		}
		c.sameIDs(e)
	case KindDiscarded:
		c.discarded += e.Count
	}
}

// place returns where an item of the event stands.
func (e *Event) place(item *Item) place {
	return place{cmp.Or(item.Shard, e.Shard), item.Seq, item.Sub}
}

// sameIDs checks that each record goes under one identity, whoever names it,
// and two records under two.
func (c *checker) sameIDs(e *Event) {
	for i := range e.Items {
		item := &e.Items[i]
		if item.ID == "" || item.Seq == "" {
			continue
		}
		at := e.place(item)
		if known, ok := c.ids[at]; ok && known != item.ID {
			c.broken("record %s goes under the ids %s and %s", at, known, item.ID)
		}
		c.ids[at] = item.ID
	}
}

// resolveQueue finds out which record a row of another program's is: it has
// nothing but an id of that one's.
func (c *checker) resolveQueue() {
	for i := range c.queue {
		if r := &c.queue[i]; r.seq == "" {
			r.place, r.foreign = c.foreign.ids[r.id]
		}
	}
}

// judgeFates compares what was put with what came of it.
func (c *checker) judgeFates() {
	for i, r := range c.queue {
		p := c.puts[r.place]
		switch {
		case p == nil && r.seq == "":
			c.broken("the queue holds an event %q that nobody queued", r.id)
		case p == nil:
			c.broken("the queue holds %s, which was never put", r.place)
		case r.foreign:
			p.theirs = append(p.theirs, i)
		default:
			if p.sum != r.sum {
				c.broken("the queue holds other bytes for %s than were put", r.place)
			}
			p.ours = append(p.ours, i)
		}
	}
	c.report.Queued = len(c.queue)
	c.foreign.Queued = 0
	for i := range c.queue {
		if c.queue[i].foreign {
			c.foreign.Queued++
		}
	}
	missing := 0 // dead letters
	for _, at := range sortedPlaces(c.puts) {
		p := c.puts[at]
		c.judgeDoubles(at, p)
		switch {
		case p.fate == Queued && c.letters[at]:
			c.broken("the good record %s is a dead letter", at)
		case p.fate != Queued && len(p.ours) > 0:
			c.broken("record %s is in the queue and was to be: %s", at, p.fate)
		case p.fate == Filtered && c.letters[at]:
			c.broken("record %s is a dead letter and was to be filtered", at)
		case len(p.ours)+len(p.theirs) > 0 || c.letters[at]:
		case p.fate == Filtered:
			c.report.Filtered++
		case c.foreign.lost(at):
		case p.fate == DeadLetter:
			missing++
		default:
			c.report.Lost++
			c.problem("record %s is lost", at)
		}
	}
	for at := range c.letters {
		if c.puts[at] == nil {
			c.broken("there is a dead letter for %s, which was never put", at)
		}
	}
	c.report.DeadLettered = len(c.letters) + c.discarded
	if missing > c.discarded {
		c.report.Lost += missing - c.discarded
		c.problem("%d bad records are no dead letters, and %d were discarded", missing, c.discarded)
	}
	if c.foreign.Terms > 0 {
		c.report.Foreign = &c.foreign.Foreign
	}
}

// judgeDoubles charges the rows of a record beyond the first to whom they are
// owed.
func (c *checker) judgeDoubles(at place, p *put) {
	if n := len(p.ours); n > 1 {
		c.report.Duplicated += n - 1
		c.problem("the queue holds %s %d times", at, n)
	}
	if len(p.theirs) == 0 {
		return
	}
	extra := len(p.theirs) - 1
	switch {
	case len(p.ours) == 0:
	case p.ours[0] > p.theirs[0] && c.foreign.ignored(at):
		c.report.Duplicated++
		c.problem("%s was queued again, behind another program's checkpoint", at)
	default:
		extra++
	}
	c.foreign.Doubled += extra
}

// judgeQueue checks the order of the queue: within a shard by sequence number,
// and nothing of a parent behind anything of its children. A row that is there
// again is not judged twice, and one of another program's not at all: that one
// waits for no parents.
func (c *checker) judgeQueue() {
	last := map[gerritstream.ShardID]place{}
	began := map[gerritstream.ShardID]bool{}
	children := map[gerritstream.ShardID][]gerritstream.ShardID{}
	for child, parents := range c.parents {
		for _, parent := range parents {
			children[parent] = append(children[parent], child)
		}
	}
	seen := map[place]bool{}
	for _, r := range c.queue {
		if seen[r.place] || r.foreign {
			continue
		}
		seen[r.place] = true
		if before, ok := last[r.shard]; ok && comparePlaces(r.place, before) < 0 {
			c.report.Disordered++
			c.problem("%s is queued behind %s", r.place, before)
		} else {
			last[r.shard] = r.place
		}
		began[r.shard] = true
		for _, child := range children[r.shard] {
			if began[child] {
				c.report.Disordered++
				c.problem("%s is queued behind records of its shard's child %s", r.place, child)
			}
		}
	}
}

func comparePlaces(a, b place) int {
	if c := cmp.Compare(a.shard, b.shard); c != 0 {
		return c
	}
	if c := a.seq.Compare(b.seq); c != 0 {
		return c
	}
	return cmp.Compare(a.sub, b.sub)
}

func sortedPlaces[V any](m map[place]V) []place {
	return slices.SortedFunc(maps.Keys(m), comparePlaces)
}
