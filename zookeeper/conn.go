package zookeeper

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// hosts is a zk.HostProvider that offers the servers in turn, by name: a name
// is resolved at each connection.
type hosts struct {
	mu    sync.Mutex
	names []string // under mu
	next  int      // under mu
	last  int      // under mu; where the round began
}

func newHosts(names []string) *hosts {
	names = slices.Clone(names)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return &hosts{names: names, next: -1, last: -1}
}

func (h *hosts) Init([]string) error { return nil } // the names are known already
func (h *hosts) Len() int            { return len(h.names) }

// Next returns the next server; all is set when every server was offered since
// the last one that worked.
func (h *hosts) Next() (name string, all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = (h.next + 1) % len(h.names)
	all = h.next == h.last
	if h.last < 0 {
		h.last = h.next
	}
	return h.names[h.next], all
}

// Connected notes that the server offered last works.
func (h *hosts) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = h.next
}

// link is a connection to a server that its session can cut at any moment,
// whatever the library waits for.
type link struct {
	net.Conn              // Read, Write and Close are wrapped
	deposits  *deposits   // of the session
	replies   *replies    // from Conn
	began     time.Time   // before it was dialled
	handshake *time.Timer // cuts it unless the session is confirmed in time; the library has no such limit

	mu     sync.Mutex
	paused chan struct{} // under mu; if not nil, nothing is read until it is closed
}

func newLink(conn net.Conn, d *deposits, began time.Time) *link {
	return &link{Conn: conn, deposits: d, replies: newReplies(conn), began: began}
}

// pausedFor bounds a pause: the library may have no watches to set.
const pausedFor = time.Second

// pause holds back the server's replies until the library has set its watches
// again. It names the last transaction that it has seen, so that the server can
// report what it has missed since, and it looks that number up without a lock:
// an earlier reply would raise it, and events would be missed.
func (l *link) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = make(chan struct{})
	time.AfterFunc(pausedFor, l.resume)
}

func (l *link) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused != nil {
		close(l.paused)
		l.paused = nil
	}
}

func (l *link) Read(p []byte) (int, error) {
	l.mu.Lock()
	paused := l.paused
	l.mu.Unlock()
	if paused != nil {
		<-paused
	}
	return l.replies.Read(p)
}

// opSetWatches is the type of the request by which the library sets its
// watches.
const opSetWatches = 101

// Write takes one request at a time, as the library writes them: length,
// number, type, and the rest. In place of a stand-in it writes what was
// deposited.
func (l *link) Write(p []byte) (int, error) {
	if len(p) >= wireRequestHead && binary.BigEndian.Uint32(p[8:]) == opSetWatches {
		l.resume()
	}
	request := l.deposits.inPlaceOf(p)
	if request == nil {
		return l.Conn.Write(p)
	}
	l.replies.expect(binary.BigEndian.Uint32(p[4:]))
	if err := request.writeTo(l.Conn, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (l *link) Close() error {
	l.resume()
	return l.Conn.Close()
}

// errSessionOver: the session has ended, and its requests are not repeated in
// another one.
var errSessionOver = errors.New("the session with ZooKeeper is over")

// dial connects to a server for the library. Once the session is over it
// refuses, because the library would send queued requests into the next
// session.
func (sess *session) dial(_, address string, _ time.Duration) (net.Conn, error) {
	if sess.isOver() {
		return nil, errSessionOver
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(sess.ctx, sess.dialTimeout())
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if t := sess.store.config.TLS; err == nil && t != nil {
		conn, err = t.Handshake(ctx, conn, address)
	}
	if err != nil {
		return nil, err
	}
	l := newLink(conn, &sess.outbox.deposits, began)
	l.handshake = time.AfterFunc(sess.dialTimeout(), func() { _ = l.Close() })
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.cut {
		_ = conn.Close()
		return nil, errSessionOver
	}
	sess.link = l
	return l, nil
}

// cutLink closes the connection, and any later one at once.
func (sess *session) cutLink() {
	sess.mu.Lock()
	l := sess.link
	sess.cut = true
	sess.mu.Unlock()
	sess.cancel()
	if l != nil {
		_ = l.Close()
	}
}
