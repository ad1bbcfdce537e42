package zookeeper

import (
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/go-zookeeper/zk"
)

// opKind says what an operation of a transaction is for: the first one that the
// server refuses decides what is done.
type opKind int

const (
	opUnknown opKind = iota
	opLock
	opPosition
	opZuul
	opQueue
	opLetter
	opDiscarded
	opIntent
	opStart
)

// transaction is a commit in the form in which it is sent.
type transaction struct {
	list  []any
	kinds []opKind
	arena *[]byte // holds the data of all queue nodes
}

func (x *transaction) add(kind opKind, op any) {
	x.kinds = append(x.kinds, kind)
	x.list = append(x.list, op)
}

func (x *transaction) kind(failed int) opKind {
	if failed < 0 || failed >= len(x.kinds) {
		return opUnknown
	}
	return x.kinds[failed]
}

// arenas are used again once the server has answered. Until then the library
// may read from them: that of a transaction whose reply was lost is left to the
// garbage collector.
var arenas = sync.Pool{New: func() any { return new([]byte) }}

func (x *transaction) free() {
	if x.arena != nil {
		arenas.Put(x.arena)
		x.arena = nil
	}
}

// build makes the transaction: proof of leadership, position, Zuul's
// checkpoint, epoch, events, dead letters. The position comes before what may
// have changed meanwhile: a copy that was carried out, although its reply was
// lost, shows in the position being refused, and in nothing else.
func (w *work) build() *transaction {
	t, at := w.term, w.term.store.at
	x := &transaction{list: make([]any, 0, len(w.entries)+len(w.letters)+5), kinds: make([]opKind, 0, len(w.entries)+len(w.letters)+5)}
	x.add(opLock, t.checkLock())

	path := at.position(t.epoch, t.shard)
	position := storekit.EncodePosition(w.position, gerritstream.Stamp{Term: t.number, Nonce: w.nonce})
	if t.version == absent {
		x.add(opPosition, &zk.CreateRequest{Path: path, Data: position, Acl: openACL})
	} else {
		x.add(opPosition, &zk.SetDataRequest{Path: path, Data: position, Version: t.version})
	}

	if want := w.checkpoint(); t.knows(want) {
		x.add(opZuul, &zk.CheckVersionRequest{Path: at.checkpoint(t.shard), Version: t.zuul.version})
	} else {
		x.add(opZuul, t.setCheckpoint(want))
	}
	t.guardEpoch(x)

	w.addEvents(x, w.writing())
	for i := range w.letters {
		x.add(opLetter, &zk.CreateRequest{Path: at.letter(&w.letters[i]), Data: encodeLetter(&w.letters[i]), Acl: openACL})
	}
	if len(w.discarded) > 0 {
		x.add(opDiscarded, t.discards.request(at.discarded(t.shard), len(w.discarded)))
	}
	return x
}

// addEvents adds the queue's nodes.
func (w *work) addEvents(x *transaction, written time.Time) {
	at := w.term.store.at
	if w.side != "" {
		if len(w.entries) > 0 {
			data := appendSidePath(nil, at.unprefixed(at.side(w.side)))
			x.add(opQueue, &zk.CreateRequest{Path: at.queued(), Data: data, Acl: openACL, Flags: zk.FlagSequence})
			if !w.unsaid {
				x.add(opIntent, &zk.DeleteRequest{Path: at.intent(w.term.shard), Version: -1})
			}
		}
		return
	}
	if len(w.entries) == 0 {
		return
	}
	size := 0
	for i := range w.entries {
		size += len(w.entries[i].Payload) + envelopeOverhead
	}
	x.arena, _ = arenas.Get().(*[]byte)
	if cap(*x.arena) < size {
		*x.arena = make([]byte, 0, size)
	}
	b := (*x.arena)[:0]
	requests := make([]zk.CreateRequest, len(w.entries))
	for i := range w.entries {
		from := len(b)
		b = appendEnvelope(b, &w.entries[i], written)
		requests[i] = zk.CreateRequest{Path: at.queued(), Data: b[from:len(b):len(b)], Acl: openACL, Flags: zk.FlagSequence}
		x.add(opQueue, &requests[i])
	}
	*x.arena = b
}
