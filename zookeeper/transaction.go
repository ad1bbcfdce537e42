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
	opCheckpoint
	opQueue
	opDeadLetter
	opDiscarded
	opIntent
	opOrigin
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
func (a *commitAttempt) build() *transaction {
	t, at := a.term, a.term.store.at
	x := &transaction{list: make([]any, 0, len(a.entries)+len(a.deadLetters)+5), kinds: make([]opKind, 0, len(a.entries)+len(a.deadLetters)+5)}
	x.add(opLock, t.checkLock())

	path := at.position(t.epoch, t.shard)
	position := storekit.EncodePosition(a.position, gerritstream.Stamp{Term: t.number, Nonce: a.nonce})
	if t.version == absent {
		x.add(opPosition, &zk.CreateRequest{Path: path, Data: position, Acl: openACL})
	} else {
		x.add(opPosition, &zk.SetDataRequest{Path: path, Data: position, Version: t.version})
	}

	if want := a.zuulCheckpoint(); t.knows(want) {
		x.add(opCheckpoint, &zk.CheckVersionRequest{Path: at.checkpoint(t.shard), Version: t.zuul.version})
	} else {
		x.add(opCheckpoint, t.setCheckpoint(want))
	}
	t.guardEpoch(x)

	a.addEvents(x, a.timestamp())
	for i := range a.deadLetters {
		x.add(opDeadLetter, &zk.CreateRequest{Path: at.deadLetter(&a.deadLetters[i]), Data: encodeDeadLetter(&a.deadLetters[i]), Acl: openACL})
	}
	if len(a.discarded) > 0 {
		x.add(opDiscarded, t.discards.request(at.discarded(t.shard), len(a.discarded)))
	}
	return x
}

// addEvents adds the queue's nodes.
func (a *commitAttempt) addEvents(x *transaction, written time.Time) {
	at := a.term.store.at
	if a.largeID != "" {
		if len(a.entries) > 0 {
			data := appendLargeEventPath(nil, at.unprefixed(at.largeEvent(a.largeID)))
			x.add(opQueue, &zk.CreateRequest{Path: at.queueNode(), Data: data, Acl: openACL, Flags: zk.FlagSequence})
			if !a.intentGone {
				x.add(opIntent, &zk.DeleteRequest{Path: at.intent(a.term.shard), Version: -1})
			}
		}
		return
	}
	if len(a.entries) == 0 {
		return
	}
	size := 0
	for i := range a.entries {
		size += len(a.entries[i].Payload) + envelopeOverhead
	}
	x.arena, _ = arenas.Get().(*[]byte)
	if cap(*x.arena) < size {
		*x.arena = make([]byte, 0, size)
	}
	b := (*x.arena)[:0]
	requests := make([]zk.CreateRequest, len(a.entries))
	for i := range a.entries {
		from := len(b)
		b = appendEnvelope(b, &a.entries[i], written)
		requests[i] = zk.CreateRequest{Path: at.queueNode(), Data: b[from:len(b):len(b)], Acl: openACL, Flags: zk.FlagSequence}
		x.add(opQueue, &requests[i])
	}
	*x.arena = b
}
