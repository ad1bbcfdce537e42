package history

import (
	"time"

	"github.com/gerritstream/gerritstream"
)

// Foreign is what another program did that took turns with ours, and what it
// lost and doubled itself. It reads from a checkpoint that it shares with ours,
// queues first and moves the checkpoint afterwards, and begins at the tip when
// it has none.
//
//   - A record that is nowhere is lost by the one whose checkpoint passed over
//     it: a checkpoint that moved from before the record to it or beyond, and
//     was written. What we said we had committed ourselves is lost by us,
//     whoever led when; and what lies behind the checkpoint where another
//     program ended is lost by us.
//   - A row too many is doubled by the other program, who may queue what it
//     never comes to checkpoint, or what was queued while it did not know that
//     it had lost its leadership. But if its checkpoint stood at the record or
//     beyond before we committed, we should have seen it, and doubled it
//     ourselves. So it is with two rows of our own.
//   - Where it begins is for us to keep: a checkpoint behind what we had
//     committed is a promise of ours that was broken.
type Foreign struct {
	Terms   int `json:"terms"`
	Queued  int `json:"queued"`  // rows of the queue
	Lost    int `json:"lost"`    // records that it passed over, bad ones included
	Doubled int `json:"doubled"` // rows of the queue that it owes, beyond the first of a record
}

// foreigners is what is known of all that another program did.
type foreigners struct {
	Foreign
	ids    map[string]place // of the events that it was about to queue
	now    map[foreigner]*foreignTerm
	passes map[gerritstream.ShardID][]*pass
	begun  map[gerritstream.ShardID][]*foreignTerm
	ours   map[place]commit // what we said we committed
}

// foreigner is one shard in the hands of one process.
type foreigner struct {
	shard   gerritstream.ShardID
	process string
}

type foreignTerm struct {
	at      time.Time
	from    gerritstream.SequenceNumber // empty: from the tip
	reached gerritstream.SequenceNumber
	writes  *pass // that nobody has answered yet
}

// pass is a checkpoint that moved over records, or may have.
type pass struct {
	from, to      gerritstream.SequenceNumber // behind from, up to and with to
	tip           bool                        // it began at the tip: from is not known yet
	began         time.Time                   // the term
	asked         time.Time
	wrote         time.Time // zero: nobody saw it succeed
	refused       bool
	unconditional bool
}

// commit is where one of ours handled a record.
type commit struct {
	at       time.Time
	anchored bool // its term began without a sequence number
}

func newForeigners() *foreigners {
	return &foreigners{
		ids: map[string]place{}, now: map[foreigner]*foreignTerm{}, passes: map[gerritstream.ShardID][]*pass{},
		begun: map[gerritstream.ShardID][]*foreignTerm{}, ours: map[place]commit{},
	}
}

// take files an event of another program's. Those of a process come in their
// order.
func (f *foreigners) take(e *Event) {
	who := foreigner{e.Shard, e.Process}
	if e.Kind == KindForeignElected {
		t := &foreignTerm{at: e.At, from: sequenceOf(e), reached: sequenceOf(e)}
		f.now[who], f.begun[e.Shard] = t, append(f.begun[e.Shard], t)
		f.Terms++
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
			from: t.reached, to: sequenceOf(e), tip: t.reached == "", began: t.at, asked: e.At, unconditional: e.Count > 0,
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

func sequenceOf(e *Event) gerritstream.SequenceNumber {
	if e.Position == nil {
		return ""
	}
	return e.Position.After
}

// settle finds out, once all is filed, from where a term that began at the tip
// passed over records, and which writes that nobody saw succeed did.
func (f *foreigners) settle(events []Event) {
	anchored := map[foreigner]map[uint64]bool{}
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case KindElected:
			f.begins(e)
			who := foreigner{e.Shard, e.Process}
			if anchored[who] == nil {
				anchored[who] = map[uint64]bool{}
			}
			anchored[who][e.Term] = sequenceOf(e) == ""
		case KindForeignElected:
			f.begins(e)
		case KindCommitted:
			f.handled(e)
			for j := range e.Items {
				f.ours[e.place(&e.Items[j])] = commit{e.At, anchored[foreigner{e.Shard, e.Process}][e.Term]}
			}
		}
	}
}

// begins takes note of where somebody began: exactly where a write of unknown
// outcome would have led, and then it succeeded.
func (f *foreigners) begins(e *Event) {
	for _, p := range f.passes[e.Shard] {
		if p.wrote.IsZero() && !p.refused && e.At.After(p.asked) && sequenceOf(e) == p.to {
			p.wrote = e.At
		}
	}
}

// handled takes note of how far ours had come when a term began at the tip.
func (f *foreigners) handled(e *Event) {
	for _, p := range f.passes[e.Shard] {
		if p.tip && e.At.Before(p.began) && p.from.Compare(e.Position.After) < 0 {
			p.from = e.Position.After
		}
	}
}

// lost reports whether a record that is nowhere is lost by another program, and
// counts it.
func (f *foreigners) lost(at place) bool {
	if _, committed := f.ours[at]; committed {
		return false
	}
	for _, p := range f.passes[at.shard] {
		if !p.wrote.IsZero() && p.covers(at) {
			f.Lost++
			return true
		}
	}
	return false
}

// ignored reports whether one of ours committed a record over which another
// program's checkpoint had passed. Where we began at a point of time ourselves
// we cannot tell, and where the other one overwrites whatever stands there it
// may have come later.
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

func (p *pass) covers(at place) bool {
	return (p.from == "" || p.from.Compare(at.seq) < 0) && at.seq.Compare(p.to) <= 0
}

// judgeForeign checks that another program never began behind what we had
// committed.
func (c *checker) judgeForeign(events []Event) {
	for i := range events {
		e := &events[i]
		if e.Kind != KindCommitted {
			continue
		}
		for _, t := range c.foreign.begun[e.Shard] {
			if e.At.Before(t.at) && t.from.Compare(e.Position.After) < 0 {
				c.broken("another program began to lead %s behind %q, where we had come to %q", e.Shard, t.from, e.Position.After)
				t.from = e.Position.After // once is enough
			}
		}
	}
}
