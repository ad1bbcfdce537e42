package zookeeper

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
)

// The library encodes a transaction by reflection in its sending goroutine, and
// decodes a reply for each of its operations the same way. That takes more
// processor time than all else that a commit does here. So a transaction is
// encoded here, straight from the page, and deposited with the session; the
// library is given a stand-in of one operation, whose path is the number of the
// deposit. The link writes what was deposited in the stand-in's place, under
// the number that the library gave the request, and shortens the reply to that
// of an empty transaction if everything was carried out. A reply that tells of
// a refusal goes to the library as it came.

// The types of requests and of a transaction's operations.
const (
	wireCreate  = 1
	wireDelete  = 2
	wireSetData = 5
	wireCheck   = 13
	wireMulti   = 14
)

// Sizes of what has a fixed one.
const (
	wireRequestHead = 12 // length, number, type
	wireReplyHead   = 20 // length, number, transaction, error
	wireOpHead      = 9  // type, done, error
	wireStat        = 68
)

// queueEvent is the operation that makes a node of Zuul's queue. It is encoded
// from the entry, whose payload is copied this once.
type queueEvent struct {
	path    string
	entry   *gerritstream.Entry
	written time.Time
}

// encoded is an encoded request.
type encoded struct {
	bytes   []byte
	writing sync.Mutex // held by the link while it writes them
}

// requests are used again once the server has answered. Until then the link may
// write from them: one whose reply was lost is left to the garbage collector.
var requests = sync.Pool{New: func() any { return new(encoded) }}

// encode encodes a transaction.
func encode(ops []any) *encoded {
	request, _ := requests.Get().(*encoded)
	size := wireRequestHead + wireOpHead
	for _, op := range ops {
		size += largest(op)
	}
	request.bytes = appendTransaction(slices.Grow(request.bytes[:0], size), ops)
	return request
}

// largest bounds an operation's encoded size, so that a request's memory is
// allocated once.
func largest(op any) int {
	const numbers = wireOpHead + 4*4 // lengths of path, data and list; version or flags
	switch op := op.(type) {
	case *queueEvent:
		return numbers + len(op.path) + envelopeOverhead + len(op.entry.Payload) + aclSize(openACL)
	case *zk.CreateRequest:
		return numbers + len(op.Path) + len(op.Data) + aclSize(op.Acl)
	case *zk.SetDataRequest:
		return numbers + len(op.Path) + len(op.Data)
	case *zk.CheckVersionRequest:
		return numbers + len(op.Path)
	case *zk.DeleteRequest:
		return numbers + len(op.Path)
	}
	return 0
}

func aclSize(list []zk.ACL) (n int) {
	for i := range list {
		n += 3*4 + len(list[i].Scheme) + len(list[i].ID)
	}
	return n
}

// free has a request's memory used again. The server may have answered before
// the link knows that it has written everything.
func (e *encoded) free() {
	e.writing.Lock()
	defer e.writing.Unlock()
	requests.Put(e)
}

// appendTransaction appends a request of operations, with room for its head.
func appendTransaction(b []byte, ops []any) []byte {
	b = append(b, make([]byte, wireRequestHead)...)
	for _, op := range ops {
		b = appendOperation(b, op)
	}
	return appendOpHead(b, -1, true)
}

func appendOperation(b []byte, op any) []byte {
	switch op := op.(type) {
	case *queueEvent:
		b = appendText(appendOpHead(b, wireCreate, false), op.path)
		start := len(b)
		b = appendEnvelope(append(b, 0, 0, 0, 0), op.entry, op.written)
		binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4)) //nolint:gosec // bounded by maxBytes
		return appendPermissions(b, openACL, zk.FlagSequence)
	case *zk.CreateRequest:
		b = appendText(appendOpHead(b, wireCreate, false), op.Path)
		return appendPermissions(appendData(b, op.Data), op.Acl, op.Flags)
	case *zk.SetDataRequest:
		b = appendText(appendOpHead(b, wireSetData, false), op.Path)
		return appendNumber(appendData(b, op.Data), op.Version)
	case *zk.CheckVersionRequest:
		return appendNumber(appendText(appendOpHead(b, wireCheck, false), op.Path), op.Version)
	case *zk.DeleteRequest:
		return appendNumber(appendText(appendOpHead(b, wireDelete, false), op.Path), op.Version)
	}
	panic(fmt.Sprintf("a transaction has no %T", op))
}

func appendOpHead(b []byte, kind int32, done bool) []byte {
	b = appendNumber(b, kind)
	if done {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return appendNumber(b, -1)
}

func appendNumber(b []byte, n int32) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(n)) //nolint:gosec // the same bits
}

func appendText(b []byte, s string) []byte {
	return append(appendNumber(b, int32(len(s))), s...) //nolint:gosec // bounded by maxBytes
}

// appendData appends a node's data; nil is null.
func appendData(b, data []byte) []byte {
	if data == nil {
		return appendNumber(b, -1)
	}
	return append(appendNumber(b, int32(len(data))), data...) //nolint:gosec // bounded by maxBytes
}

func appendPermissions(b []byte, list []zk.ACL, flags int32) []byte {
	b = appendNumber(b, int32(len(list))) //nolint:gosec // a few
	for i := range list {
		b = appendNumber(b, list[i].Perms)
		b = appendText(appendText(b, list[i].Scheme), list[i].ID)
	}
	return appendNumber(b, flags)
}

// carriedOut reports whether a transaction's reply, without its head, says that
// every operation was carried out.
func carriedOut(reply []byte) bool {
	for len(reply) >= wireOpHead {
		kind, done := int32(binary.BigEndian.Uint32(reply)), reply[4] != 0 //nolint:gosec // the same bits
		reply = reply[wireOpHead:]
		size := 0
		switch {
		case done:
			return len(reply) == 0
		case kind == wireCheck || kind == wireDelete:
		case kind == wireSetData:
			size = wireStat
		case kind == wireCreate && len(reply) >= 4: // the path
			size = 4 + int(binary.BigEndian.Uint32(reply))
		default: // an error
			return false
		}
		if size > len(reply) {
			return false
		}
		reply = reply[size:]
	}
	return false
}

// deposits are the requests that the link writes in place of the library's.
type deposits struct {
	mu      sync.Mutex
	next    uint64              // under mu
	pending map[string]*encoded // under mu
}

// depositMark begins the path of a stand-in. Real paths begin with a slash.
const depositMark = '#'

// put deposits a request and returns the path of its stand-in.
func (d *deposits) put(request *encoded) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	name := string(strconv.AppendUint([]byte{depositMark}, d.next, 36))
	if d.pending == nil {
		d.pending = map[string]*encoded{}
	}
	d.pending[name] = request
	return name
}

func (d *deposits) remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pending, name)
}

// inPlaceOf returns what is written in place of a request of the library: nil
// if the request is no stand-in, or if its deposit was withdrawn because the
// library has reported an unknown outcome. Then the stand-in itself is written.
// The server refuses it, because its path is none, and the connection goes on.
func (d *deposits) inPlaceOf(p []byte) *encoded {
	const path = wireRequestHead + wireOpHead + 4
	if len(p) <= path || binary.BigEndian.Uint32(p[8:]) != wireMulti || p[path] != depositMark {
		return nil
	}
	name := p[path : path+int(binary.BigEndian.Uint32(p[path-4:]))]
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pending[string(name)]
}

// writeTo writes a request under the number of its stand-in.
func (e *encoded) writeTo(w io.Writer, standIn []byte) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	binary.BigEndian.PutUint32(e.bytes, uint32(len(e.bytes)-4)) //nolint:gosec // bounded by maxBytes
	copy(e.bytes[4:], standIn[4:wireRequestHead])
	_, err := w.Write(e.bytes)
	return err
}

// replies reads a server's replies. It belongs to the goroutine that reads from
// the link, but for expected.
type replies struct {
	in    *bufio.Reader
	rest  int    // bytes of the current reply that are still to be passed on
	short []byte // what is left of a shortened reply

	mu       sync.Mutex
	expected map[uint32]bool // under mu: numbers of the requests that the link wrote in place of the library's
}

// repliesBuffer is the largest reply that is shortened. A commit's has less.
const repliesBuffer = 64 << 10

func newReplies(from io.Reader) *replies {
	return &replies{in: bufio.NewReaderSize(from, repliesBuffer), expected: map[uint32]bool{}}
}

// expect notes that the reply to a request may be shortened.
func (r *replies) expect(number uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected[number] = true
}

// take reports whether the reply to this request may be shortened.
func (r *replies) take(number uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ours := r.expected[number]
	delete(r.expected, number)
	return ours
}

func (r *replies) Read(p []byte) (int, error) {
	if r.rest == 0 && len(r.short) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	if len(r.short) > 0 {
		n := copy(p, r.short)
		r.short = r.short[n:]
		return n, nil
	}
	n, err := r.in.Read(p[:min(len(p), r.rest)])
	r.rest -= n
	return n, err
}

// next looks at the head of the next reply, and shortens the reply if it may.
func (r *replies) next() error {
	head, err := r.in.Peek(4)
	if err != nil {
		return err
	}
	size := 4 + int(binary.BigEndian.Uint32(head))
	r.rest = size
	if size < wireReplyHead { // none of ours
		return nil
	}
	if head, err = r.in.Peek(wireReplyHead); err != nil {
		return err
	}
	ours, failed := r.take(binary.BigEndian.Uint32(head[4:])), binary.BigEndian.Uint32(head[16:]) != 0
	if !ours || failed || size > repliesBuffer {
		return nil
	}
	whole, err := r.in.Peek(size)
	if err != nil || !carriedOut(whole[wireReplyHead:]) {
		return err
	}
	short := appendNumber(make([]byte, 0, wireReplyHead+wireOpHead), wireReplyHead-4+wireOpHead)
	r.short, r.rest = appendOpHead(append(short, whole[4:wireReplyHead]...), -1, true), 0
	_, err = r.in.Discard(size)
	return err
}
