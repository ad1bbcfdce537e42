package zookeeper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-zookeeper/zk"
	"pgregory.net/rapid"

	"github.com/gerritstream/gerritstream"
)

// librarySide is the library connected to a server that a test plays.
type librarySide struct {
	t    *testing.T
	conn *zk.Conn
	peer net.Conn // the server's end
}

// newLibrarySide connects the library, by way of a link if there are deposits.
func newLibrarySide(t *testing.T, d *deposits) *librarySide {
	t.Helper()
	ours, peer := net.Pipe()
	l := &librarySide{t: t, peer: peer}
	dial := func(string, string, time.Duration) (net.Conn, error) {
		if d != nil {
			return newLink(ours, d, time.Now()), nil
		}
		return ours, nil
	}
	var err error
	l.conn, _, err = zk.Connect([]string{"none"}, time.Minute, zk.WithHostProvider(newHosts([]string{"none"})),
		zk.WithLogger(slog.NewLogLogger(slog.DiscardHandler, 0)), zk.WithDialer(dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = peer.Close()
		l.conn.Close()
	})
	l.frame() // the library asks for a session
	l.write(slices.Concat([]byte{0, 0, 0, 36}, make([]byte, 4), []byte{0, 0, 0xff, 0xff}, make([]byte, 7), []byte{7},
		[]byte{0, 0, 0, 16}, make([]byte, 16)))
	return l
}

// frame reads a request.
func (l *librarySide) frame() []byte {
	l.t.Helper()
	var size [4]byte
	if err := l.peer.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		l.t.Fatal(err)
	}
	if _, err := io.ReadFull(l.peer, size[:]); err != nil {
		l.t.Fatal(err)
	}
	rest := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(l.peer, rest); err != nil {
		l.t.Fatal(err)
	}
	return append(size[:], rest...)
}

func (l *librarySide) write(b []byte) {
	l.t.Helper()
	if _, err := l.peer.Write(b); err != nil {
		l.t.Fatal(err)
	}
}

// exchange has the library send a transaction, and answers it. It returns what
// was written, with the number 0, and the transaction's outcome.
func (l *librarySide) exchange(ops []any, answer ...[]byte) (request []byte, results []zk.MultiResponse, err error) {
	l.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); results, err = l.conn.Multi(ops...) }()
	request = l.frame()
	number := int32(binary.BigEndian.Uint32(request[4:]))
	l.write(reply(number, 0, answer...))
	<-done
	return append(append(request[:4:4], 0, 0, 0, 0), request[8:]...), results, err
}

// sent returns the request that the library writes for a transaction.
func (l *librarySide) sent(ops []any) []byte {
	l.t.Helper()
	request, _, err := l.exchange(ops, endOfReply)
	if err != nil {
		l.t.Fatal(err)
	}
	return request
}

var endOfReply = appendOpHead(nil, -1, true)

// What is written in the library's place is what the library would write, with
// a queue's node for each event.
func TestTransactionsAreEncodedAsTheLibraryDoes(t *testing.T) {
	var d deposits
	library, linked := newLibrarySide(t, nil), newLibrarySide(t, &d)
	equal := func(ops []any) {
		t.Helper()
		theirs := slices.Clone(ops)
		for i := range theirs {
			if e, ok := ops[i].(*queueEvent); ok {
				theirs[i] = &zk.CreateRequest{Path: e.path, Data: appendEnvelope(nil, e.entry, e.written), Acl: openACL,
					Flags: zk.FlagSequence}
			}
		}
		standIn := []any{&zk.CheckVersionRequest{Path: d.put(encode(ops))}}
		got := linked.sent(standIn)
		if want := library.sent(theirs); !bytes.Equal(got, want) {
			t.Fatalf("in the library's place is written\n%x, want\n%x", got, want)
		}
		room := wireRequestHead + wireOpHead
		for _, op := range ops {
			room += largest(op)
		}
		if len(got) > room {
			t.Fatalf("a request of %d bytes has room for %d", len(got), room)
		}
	}
	equal([]any{
		&zk.SetDataRequest{Path: "/position", Version: 0},
		&zk.CreateRequest{Path: "/null", Acl: zk.AuthACL(zk.PermRead)},
		&zk.CreateRequest{Path: "/none", Data: []byte(strings.Repeat("x", 1_000_000))},
	})
	rapid.Check(t, func(r *rapid.T) { equal(rapid.SliceOfN(anyOperation, 0, 12).Draw(r, "ops")) })
}

// anyOperation makes an operation of a transaction.
var anyOperation = rapid.Custom(func(r *rapid.T) any {
	path := rapid.String().Draw(r, "path")
	data := rapid.OneOf(rapid.Just[[]byte](nil), rapid.SliceOf(rapid.Byte())).Draw(r, "data")
	version := rapid.Int32().Draw(r, "version")
	switch rapid.IntRange(0, 4).Draw(r, "kind") {
	case 0:
		e := &gerritstream.Entry{Payload: data}
		copy(e.ID[:], data)
		return &queueEvent{path, e, time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(r, "written"))}
	case 1:
		acl := rapid.SampledFrom([][]zk.ACL{nil, {}, openACL, zk.DigestACL(zk.PermRead, "u", "p"),
			slices.Repeat(openACL, 3)}).Draw(r, "acl")
		return &zk.CreateRequest{Path: path, Data: data, Acl: acl, Flags: version}
	case 2:
		return &zk.SetDataRequest{Path: path, Data: data, Version: version}
	case 3:
		return &zk.CheckVersionRequest{Path: path, Version: version}
	default:
		return &zk.DeleteRequest{Path: path, Version: version}
	}
})

// A caller learns from a reply that came by way of the link what the library
// makes of the same reply to its own request: success, or the operation that
// was refused.
func TestOutcomesAreThoseOfTheLibrary(t *testing.T) {
	var d deposits
	library, linked := newLibrarySide(t, nil), newLibrarySide(t, &d)
	rapid.Check(t, func(r *rapid.T) {
		answer := append(slices.Concat(rapid.SliceOfN(anyResult, 0, 12).Draw(r, "results")...), endOfReply...)
		standIn := []any{&zk.CheckVersionRequest{Path: d.put(encode(nil))}}
		_, got, err := linked.exchange(standIn, answer)
		_, want, wantErr := library.exchange(nil, answer)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || err != nil && firstFailure(got) != firstFailure(want) {
			r.Fatalf("the transaction returned %v, %v, want %v, %v", got, err, want, wantErr)
		}
	})
}

// firstFailure returns the index of the operation that was refused, or -1.
func firstFailure(results []zk.MultiResponse) int {
	return slices.IndexFunc(results, func(r zk.MultiResponse) bool { return r.Error != nil })
}

// anyResult makes what a reply says of an operation.
var anyResult = rapid.Custom(func(r *rapid.T) []byte {
	switch rapid.IntRange(0, 8).Draw(r, "kind") {
	case 0, 1:
		return appendText(appendOpHead(nil, wireCreate, false), rapid.String().Draw(r, "path"))
	case 2, 3:
		return append(appendOpHead(nil, wireSetData, false), rapid.SliceOfN(rapid.Byte(), wireStat, wireStat).Draw(r,
			"stat")...)
	case 4, 5:
		return appendOpHead(nil, wireCheck, false)
	case 6, 7:
		return appendOpHead(nil, wireDelete, false)
	default:
		return appendNumber(appendOpHead(nil, -1, false), rapid.SampledFrom([]int32{0, -2, -8, -101, -103, -110,
			-125}).Draw(r, "code"))
	}
})

// The library's other requests are written as they are. So is a stand-in whose
// deposit was withdrawn: the server refuses its path.
func TestStandIns(t *testing.T) {
	var d deposits
	linked := newLibrarySide(t, &d)
	name := d.put(encode([]any{&zk.DeleteRequest{Path: "/", Version: 1}}))
	d.remove(name)
	for _, ops := range [][]any{
		nil, {&zk.CheckVersionRequest{Path: "/"}}, {&zk.DeleteRequest{Path: "/#1"}},
		{&zk.CheckVersionRequest{Path: name}},
	} {
		want := encode(ops)
		var b bytes.Buffer
		head := make([]byte, wireRequestHead)
		binary.BigEndian.PutUint32(head[8:], wireMulti)
		if err := want.writeTo(&b, head); err != nil {
			t.Fatal(err)
		}
		if got := linked.sent(ops); !bytes.Equal(got, b.Bytes()) {
			t.Errorf("in place of %v is written %x", ops, got)
		}
	}
	if name[0] == '/' {
		t.Errorf("%q is the path of a node", name)
	}
}

// reply is a server's reply to a request.
func reply(number, failure int32, body ...[]byte) []byte {
	all := slices.Concat(body...)
	b := appendNumber(appendNumber(nil, int32(16+len(all))), number)
	return append(appendNumber(append(b, 1, 2, 3, 4, 5, 6, 7, 8), failure), all...)
}

// Only the reply to a transaction that was carried out, and that the library
// did not encode itself, is shortened, however the bytes arrive.
func TestReplies(t *testing.T) {
	end := appendOpHead(nil, -1, true)
	created := appendText(appendOpHead(nil, wireCreate, false), "/q0000000001")
	set := append(appendOpHead(nil, wireSetData, false), make([]byte, wireStat)...)
	checked, deleted := appendOpHead(nil, wireCheck, false), appendOpHead(nil, wireDelete, false)
	errorOf := func(code int32) []byte { return appendNumber(appendOpHead(nil, -1, false), code) }
	whole := slices.Concat(checked, set, created, deleted, end)
	greeting := append([]byte{0, 0, 0, 36}, make([]byte, 36)...)
	long := slices.Repeat(created, repliesBuffer/len(created)+1)
	for name, tc := range map[string]struct {
		from []byte
		want []byte // nil: as it came
	}{
		"carried out":          {reply(7, 0, whole), reply(7, 0, end)},
		"nothing to carry out": {reply(7, 0, end), reply(7, 0, end)},
		"another's":            {reply(8, 0, whole), nil},
		"refused":              {reply(7, 0, errorOf(0), errorOf(-101), errorOf(-2), end), nil},
		"refused at its end":   {reply(7, 0, checked, set, errorOf(-2), end), nil},
		"failed":               {reply(7, -4), nil},
		"failed, with a body":  {reply(7, -4, whole), nil},
		"cut":                  {reply(7, 0, whole[:len(whole)-1]), nil},
		"a cut path":           {reply(7, 0, checked, created[:len(created)-1]), nil},
		"a cut stat":           {reply(7, 0, set[:len(set)-1]), nil},
		"without an end":       {reply(7, 0, checked), nil},
		"with more":            {reply(7, 0, whole, []byte{0}), nil},
		"unknown operation":    {reply(7, 0, appendOpHead(nil, 99, false), end), nil},
		"longer than shortens": {reply(7, 0, long, end), nil},
		"a short frame":        {[]byte{0, 0, 0, 2, 1, 1}, nil},
		"an empty frame":       {[]byte{0, 0, 0, 0}, nil},
	} {
		want := tc.want
		if want == nil {
			want = tc.from
		}
		stream := slices.Concat(greeting, tc.from, reply(9, 0, whole))
		want = slices.Concat(greeting, want, reply(9, 0, end))
		for _, from := range []io.Reader{bytes.NewReader(stream), iotest.OneByteReader(bytes.NewReader(stream))} {
			r := newReplies(from)
			r.expect(7)
			r.expect(9)
			got, err := io.ReadAll(iotest.OneByteReader(r))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: read %x, %v, want %x", name, got, err, want)
			}
		}
	}
	twice := newReplies(bytes.NewReader(slices.Concat(reply(9, 0, whole), reply(9, 0, whole))))
	twice.expect(9)
	got, err := io.ReadAll(twice)
	if err != nil || !bytes.Equal(got, slices.Concat(reply(9, 0, end), reply(9, 0, whole))) {
		t.Errorf("of two replies of one number are read %x, %v", got, err)
	}
}
