package zookeeper

import (
	"strconv"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// opKind says what an operation of a transaction is for. That of the first one
// that the server refuses decides what is done.
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
	opPauses
)

// transaction is a list of operations that are carried out together or not at
// all.
type transaction struct {
	list  []any
	kinds []opKind
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

// checkOrigin has the transaction refused if the origin no longer has this
// version. While there is none, the epoch is 0, and so is that of the first
// origin.
func (x *transaction) checkOrigin(at layout, version int32) {
	if version != absent {
		x.add(opOrigin, &zk.CheckVersionRequest{Path: at.origin(), Version: version})
	}
}

// writeAt writes a node if it still has this version, or creates it if it was
// absent.
func writeAt(path string, version int32, data []byte) any {
	if version == absent {
		return &zk.CreateRequest{Path: path, Data: data, Acl: openACL}
	}
	return &zk.SetDataRequest{Path: path, Data: data, Version: version}
}

// build makes the transaction: proof of leadership, position, Zuul's
// checkpoint, epoch, pauses, events, dead letters. The position comes before
// everything that may have changed meanwhile: a copy that was carried out,
// although its reply was lost, shows in that the position is refused, and in
// nothing else.
func (a *commitAttempt) build() *transaction {
	t, at := a.term, a.term.store.at
	operations := len(a.entries) + len(a.deadLetters) + 6
	x := &transaction{list: make([]any, 0, operations), kinds: make([]opKind, 0, operations)}
	x.add(opLock, t.checkLock())

	position := storekit.EncodePosition(a.position, gerritstream.Stamp{Term: t.lock.number, Nonce: a.nonce})
	x.add(opPosition, writeAt(at.position(t.epoch, t.shard), t.version, position))

	if want := a.zuulCheckpoint(); t.zuul.equals(want) {
		x.add(opCheckpoint, &zk.CheckVersionRequest{Path: at.checkpoint(t.shard), Version: t.zuul.version()})
	} else {
		x.add(opCheckpoint, t.writeCheckpoint(want))
	}
	t.guardEpoch(x)
	x.add(opPauses, &zk.CheckVersionRequest{Path: at.pauses(), Version: t.pauses})

	a.addEvents(x, a.timestamp())
	for i := range a.deadLetters {
		d := &a.deadLetters[i]
		x.add(opDeadLetter, &zk.CreateRequest{Path: at.deadLetter(d), Data: encodeDeadLetter(d), Acl: openACL})
	}
	if len(a.discarded) > 0 {
		count := strconv.AppendInt(nil, t.discarded.count+int64(len(a.discarded)), 10)
		x.add(opDiscarded, writeAt(at.discarded(t.shard), t.discarded.version, count))
	}
	return x
}

// addEvents adds the nodes of the queue.
func (a *commitAttempt) addEvents(x *transaction, written time.Time) {
	at := a.term.store.at
	if len(a.entries) == 0 {
		return
	}
	if a.largeID != "" {
		data := appendLargeEventPath(nil, at.unprefixed(at.largeEvent(a.largeID)))
		x.add(opQueue, &zk.CreateRequest{Path: at.queueNode(), Data: data, Acl: openACL, Flags: zk.FlagSequence})
		if !a.intentGone {
			x.add(opIntent, &zk.DeleteRequest{Path: at.intent(a.term.shard), Version: -1})
		}
		return
	}
	path := at.queueNode()
	events := make([]queueEvent, len(a.entries))
	for i := range a.entries {
		events[i] = queueEvent{path: path, entry: &a.entries[i], written: written}
		x.add(opQueue, &events[i])
	}
}
