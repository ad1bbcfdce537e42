package history

import (
	"time"

	"github.com/gerritstream/gerritstream"
)

// Foreign is what another program did that took turns with ours, and what it
// lost and doubled. It reads from a checkpoint that it shares with ours, queues
// first, moves the checkpoint afterwards, and begins at the tip when it has
// none.
//
//   - A record found nowhere is lost by the program that moved the checkpoint
//     over it: the other program if its checkpoint moved, and was written, from
//     before the record to the record or beyond. A record that we reported as
//     committed is lost by us, even if the other program led; so is one after
//     the checkpoint where the other program ended.
//   - A row too many is doubled by the other program, which may queue what it
//     never checkpoints, or what was queued after it lost its leadership
//     unnoticed. But if its checkpoint had reached the record before we
//     committed it, we should have seen that, and doubled the record ourselves.
//     So do two rows of our own.
//   - Where it begins is our promise: a checkpoint before what we had committed
//     counts as broken.
type Foreign struct {
	Terms   int `json:"terms"`
	Queued  int `json:"queued"`  // rows of the queue
	Lost    int `json:"lost"`    // records that it passed over, bad ones included
	Doubled int `json:"doubled"` // rows of the queue that it owes, beyond the first of a record
}

// foreigners is what is known of what other programs did.
type foreigners struct {
	report Foreign
	ids    map[string]place // of the events that they were about to queue
	now    map[foreigner]*foreignTerm
	begun  map[gerritstream.ShardID][]*foreignTerm
	passes map[gerritstream.ShardID][]*pass
	ours   map[place]commit // what we reported as committed
}

// foreigner is one shard led by one process.
type foreigner struct {
	shard   gerritstream.ShardID
	process string
}

type foreignTerm struct {
	at      time.Time
	from    gerritstream.SequenceNumber // empty: from the tip
	reached gerritstream.SequenceNumber
	writes  *pass // not answered yet
}

// pass is a checkpoint that moved over records, or may have: after from, up to
// and including to.
type pass struct {
	from, to      gerritstream.SequenceNumber
	tip           bool      // it began at the tip: from is not known yet
	began         time.Time // of the term
	asked         time.Time
	wrote         time.Time // zero: not known to have succeeded
	refused       bool
	unconditional bool
}

func (p *pass) covers(at place) bool {
	return (p.from == "" || p.from.Compare(at.seq) < 0) && at.seq.Compare(p.to) <= 0
}

// commit is when we committed a record.
type commit struct {
	at       time.Time
	anchored bool // by a term that began without a sequence number
}

func newForeigners() *foreigners {
	return &foreigners{
		ids: map[string]place{}, now: map[foreigner]*foreignTerm{}, passes: map[gerritstream.ShardID][]*pass{},
		begun: map[gerritstream.ShardID][]*foreignTerm{}, ours: map[place]commit{},
	}
}

// take files an event of another program. Those of a process are in their
// order.
func (f *foreigners) take(e *Event) {
	who := foreigner{e.Shard, e.Process}
	if e.Kind == KindForeignElected {
		t := &foreignTerm{at: e.At, from: e.after(), reached: e.after()}
		f.now[who], f.begun[e.Shard] = t, append(f.begun[e.Shard], t)
		f.report.Terms++
		return
	}
	t := f.now[who]
	if t == nil {
		return // it ended before it led
	}
	switch e.Kind {
	case KindForeignQueues:
		for i := range e.Items {
			f.ids[e.Items[i].ID] = e.place(&e.Items[i])
		}
	case KindForeignWrites:
		t.writes = &pass{
			from: t.reached, to: e.after(), tip: t.reached == "", began: t.at, asked: e.At, unconditional: e.Count > 0,
		}
		f.passes[e.Shard] = append(f.passes[e.Shard], t.writes)
	case KindForeignWrote:
		if t.writes != nil {
			t.writes.wrote, t.reached = e.At, t.writes.to
		}
	case KindForeignRefused:
		if t.writes != nil {
			t.writes.refused = true
		}
	}
}

// settle finds out, once every event is filed, from where a term that began at
// the tip passed over records, and which writes of unknown outcome succeeded.
func (f *foreigners) settle(events []Event) {
	type term struct {
		who    foreigner
		number uint64
	}
	anchored := map[term]bool{}
	for i := range events {
		e := &events[i]
		who := foreigner{e.Shard, e.Process}
		switch e.Kind {
		case KindElected, KindForeignElected:
			if e.Kind == KindElected {
				anchored[term{who, e.Term}] = e.after() == ""
			}
			// A term that begins exactly where such a write leads proves it.
			for _, p := range f.passes[e.Shard] {
				if p.wrote.IsZero() && !p.refused && e.At.After(p.asked) && e.after() == p.to {
					p.wrote = e.At
				}
			}
		case KindCommitted:
			for _, p := range f.passes[e.Shard] {
				if p.tip && e.At.Before(p.began) && p.from.Compare(e.Position.After) < 0 {
					p.from = e.Position.After
				}
			}
			for j := range e.Items {
				f.ours[e.place(&e.Items[j])] = commit{e.At, anchored[term{who, e.Term}]}
			}
		}
	}
}

// lost reports whether another program lost a record that is nowhere, and
// counts it.
func (f *foreigners) lost(at place) bool {
	if _, committed := f.ours[at]; committed {
		return false
	}
	for _, p := range f.passes[at.shard] {
		if !p.wrote.IsZero() && p.covers(at) {
			f.report.Lost++
			return true
		}
	}
	return false
}

// ignored reports whether we committed a record that another program's
// checkpoint had passed. Where our term began at a point in time we cannot
// tell, and a checkpoint written unconditionally may have come later.
func (f *foreigners) ignored(at place) bool {
	c, ok := f.ours[at]
	if !ok || c.anchored {
		return false
	}
	for _, p := range f.passes[at.shard] {
		if !p.wrote.IsZero() && !p.unconditional && p.covers(at) && p.wrote.Before(c.at) {
			return true
		}
	}
	return false
}

// judgeForeignRows charges the rows of a record that another program queued, to
// it or to us.
func (c *checker) judgeForeignRows(at place, p *put) {
	if len(p.theirs) == 0 {
		return
	}
	extra := len(p.theirs) - 1
	switch {
	case len(p.ours) == 0 || c.finds[p.ours[0]].item.Outcome != Queued:
	case p.ours[0] > p.theirs[0] && c.foreign.ignored(at):
		c.report.Duplicated++
		c.problem("%s: queued again, before another program's checkpoint", at)
	default:
		extra++
	}
	c.foreign.report.Doubled += extra
}

// judgeForeign checks that another program never began before what we had
// committed.
func (c *checker) judgeForeign(events []Event) {
	for i := range events {
		e := &events[i]
		if e.Kind != KindCommitted {
			continue
		}
		for _, t := range c.foreign.begun[e.Shard] {
			if e.At.Before(t.at) && t.from.Compare(e.Position.After) < 0 {
				c.broken("another program began to lead %s at %q, before what we had committed: %q",
					e.Shard, t.from, e.Position.After)
				t.from = e.Position.After // once is enough
			}
		}
	}
}
