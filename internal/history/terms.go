package history

import (
	"cmp"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// term is one leadership of a shard.
type term struct {
	number  uint64
	process string
	from    gerritstream.Position
	commits []*Event
}

// judgeTerms checks, shard by shard, that each term began where the one before
// had come to, that no term committed after the next one began, and that no
// position goes back, unless an operator set one. Another program's checkpoint
// takes ours forward, never back.
func (c *checker) judgeTerms(events []Event) {
	shards := map[gerritstream.ShardID][]*term{}
	set := map[gerritstream.ShardID]bool{} // by an operator: positions may go anywhere
	for i := range events {
		switch e := &events[i]; e.Kind {
		case KindElected:
			t := &term{number: e.Term, process: e.Process}
			if e.Position != nil {
				t.from = *e.Position
			}
			shards[e.Shard] = append(shards[e.Shard], t)
		case KindSet:
			set[e.Shard] = true
		}
	}
	for i := range events {
		e := &events[i]
		if e.Kind != KindCommitted {
			continue
		}
		terms := shards[e.Shard]
		n := slices.IndexFunc(terms, func(t *term) bool { return t.number == e.Term && t.process == e.Process })
		if n < 0 {
			c.broken("%s committed to %s in term %d, which never began", e.Process, e.Shard, e.Term)
			continue
		}
		terms[n].commits = append(terms[n].commits, e)
	}
	for shard, terms := range shards {
		slices.SortStableFunc(terms, func(a, b *term) int { return cmp.Compare(a.number, b.number) })
		for i, t := range terms[1:] {
			if t.number == terms[i].number {
				c.broken("shard %s has term %d twice, of %s and %s", shard, t.number, terms[i].process, t.process)
			}
		}
		if !set[shard] {
			c.judgeChain(shard, terms)
		}
	}
}

// judgeChain follows a shard from term to term.
func (c *checker) judgeChain(shard gerritstream.ShardID, terms []*term) {
	reached := &gerritstream.Position{}
	for _, t := range terms {
		if before(&t.from, reached) {
			c.broken("term %d of %s began at %q, before what was committed: %q", t.number, shard, &t.from, reached)
		}
		reached = &t.from
		for _, e := range t.commits {
			if before(e.Position, reached) {
				c.broken("term %d of %s went back from %q to %q", t.number, shard, reached, e.Position)
			}
			if reached.Ended && len(e.Items) > 0 {
				c.broken("term %d of %s committed records after the shard's end", t.number, shard)
			}
			for i := range e.Items {
				if item := &e.Items[i]; t.from.Covers(item.Seq, item.Sub) {
					c.broken("term %d committed %s, which was handled when it began", t.number, e.place(item))
				}
			}
			reached = e.Position
		}
	}
}

// before reports whether less of the shard is handled at position a than at b.
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
	return cmp.Or(a.Partial.Seq.Compare(b.Partial.Seq), cmp.Compare(a.Partial.Sub, b.Partial.Sub)) < 0
}

// judgePauses finds the longest time in which a shard had records waiting and
// neither we nor another program committed any.
func (c *checker) judgePauses(events []Event) {
	type waiter struct {
		seq   gerritstream.SequenceNumber
		since time.Time
	}
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
		if e.Kind != KindCommitted && e.Kind != KindForeignWrote || e.after() == "" {
			continue
		}
		list := waiting[e.Shard]
		if len(list) > 0 && list[0].seq.Compare(e.after()) <= 0 {
			since := list[0].since
			if last[e.Shard].After(since) {
				since = last[e.Shard]
			}
			c.report.LongestPause = max(c.report.LongestPause, e.At.Sub(since))
		}
		for len(list) > 0 && list[0].seq.Compare(e.after()) <= 0 {
			list = list[1:]
		}
		waiting[e.Shard], last[e.Shard] = list, e.At
	}
}
