package history

import (
	"cmp"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// term is what is known of one leadership.
type term struct {
	number  uint64
	process string
	from    *gerritstream.Position // nil: none
	commits []*Event
}

// judgeTerms checks, shard by shard, that each term began where the one before
// had come to, that what a term saw succeed is behind where the next one began
// (else a dead term committed, or a commit was forgotten), and that no position
// ever goes back. An operator's set position begins a new account. Another
// program's checkpoint takes ours forward, and never back.
func (c *checker) judgeTerms(events []Event) {
	fresh := map[gerritstream.ShardID][]time.Time{} // when somebody else set the position
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case KindElected:
			c.terms[e.Shard] = append(c.terms[e.Shard], &term{number: e.Term, process: e.Process, from: e.Position})
		case KindSet:
			fresh[e.Shard] = append(fresh[e.Shard], e.At)
		}
	}
	for shard, terms := range c.terms {
		slices.SortStableFunc(terms, func(a, b *term) int { return cmp.Compare(a.number, b.number) })
		for i, t := range terms[1:] {
			if t.number == terms[i].number {
				c.broken("shard %s has term %d twice, of %s and %s", shard, t.number, terms[i].process, t.process)
			}
		}
	}
	for i := range events {
		e := &events[i]
		if e.Kind != KindCommitted {
			continue
		}
		t := c.termOf(e)
		if t == nil {
			c.broken("%s committed to %s in term %d, which never began", e.Process, e.Shard, e.Term)
			continue
		}
		t.commits = append(t.commits, e)
	}
	for shard, terms := range c.terms {
		if len(fresh[shard]) > 0 {
			continue // positions may go where they like, within that shard
		}
		c.judgeChain(shard, terms)
	}
}

func (c *checker) termOf(e *Event) *term {
	for _, t := range c.terms[e.Shard] {
		if t.number == e.Term && t.process == e.Process {
			return t
		}
	}
	return nil
}

// judgeChain follows a shard from term to term.
func (c *checker) judgeChain(shard gerritstream.ShardID, terms []*term) {
	reached := &gerritstream.Position{}
	for _, t := range terms {
		begin := t.from
		if begin == nil {
			begin = &gerritstream.Position{}
		}
		if before(begin, reached) {
			c.broken("term %d of %s began at %q, behind what was committed: %q", t.number, shard, begin, reached)
		}
		reached = begin
		for _, e := range t.commits {
			if before(e.Position, reached) {
				c.broken("term %d of %s went back from %q to %q", t.number, shard, reached, e.Position)
			}
			if ended(reached) && len(e.Items) > 0 {
				c.broken("term %d of %s committed records behind the shard's end", t.number, shard)
			}
			for i := range e.Items {
				if item := &e.Items[i]; begin.Covers(item.Seq, item.Sub) {
					c.broken("term %d of %s committed %s/%d, which it began behind", t.number, shard, item.Seq, item.Sub)
				}
			}
			reached = e.Position
		}
	}
}

func ended(p *gerritstream.Position) bool { return p.Ended }

// before reports whether position a is before b: less of the shard is handled.
func before(a, b *gerritstream.Position) bool {
	if c := a.After.Compare(b.After); c != 0 {
		return c < 0
	}
	if b.Ended && !a.Ended {
		return true
	}
	switch {
	case b.Partial == nil:
		return false
	case a.Partial == nil:
		return true
	}
	if c := a.Partial.Seq.Compare(b.Partial.Seq); c != 0 {
		return c < 0
	}
	return a.Partial.Sub < b.Partial.Sub
}

// judgePauses finds the longest time in which a shard had records waiting and
// nobody, another program included, went on.
func (c *checker) judgePauses(events []Event) {
	waiting := map[gerritstream.ShardID][]waiter{}
	for at, p := range c.puts {
		waiting[at.shard] = append(waiting[at.shard], waiter{at.seq, p.at})
	}
	for _, list := range waiting {
		slices.SortFunc(list, func(a, b waiter) int { return a.seq.Compare(b.seq) })
	}
	last := map[gerritstream.ShardID]time.Time{}
	for i := range events {
		e := &events[i]
		if e.Kind != KindCommitted && e.Kind != KindForeignWrote || sequenceOf(e) == "" {
			continue
		}
		list := waiting[e.Shard]
		if len(list) > 0 && list[0].seq.Compare(e.Position.After) <= 0 {
			since := list[0].since
			if last[e.Shard].After(since) {
				since = last[e.Shard]
			}
			c.report.LongestPause = max(c.report.LongestPause, e.At.Sub(since))
		}
		for len(list) > 0 && list[0].seq.Compare(e.Position.After) <= 0 {
			list = list[1:]
		}
		waiting[e.Shard], last[e.Shard] = list, e.At
	}
}

// waiter is a record that waits to be committed.
type waiter struct {
	seq   gerritstream.SequenceNumber
	since time.Time
}
