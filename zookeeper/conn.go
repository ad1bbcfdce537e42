package zookeeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// hosts offers the servers by turns, by name: a name is resolved anew at each
// connection. It implements zk.HostProvider.
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

// Init implements zk.HostProvider. The names are known already.
func (h *hosts) Init([]string) error { return nil }

// Len implements zk.HostProvider.
func (h *hosts) Len() int { return len(h.names) }

// Next implements zk.HostProvider: all is set when every server was offered
// since the last one that worked.
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

// Connected implements zk.HostProvider.
func (h *hosts) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = h.next
}

// link is one connection to one server. Its session can cut it at any moment,
// whatever the library waits for.
type link struct {
	net.Conn
	began     time.Time   // before it was dialled
	handshake *time.Timer // cuts it when the session is not confirmed in time: the library would wait for long

	mu     sync.Mutex
	paused chan struct{} // under mu; not nil: nothing is read before it is closed
}

// pausedFor bounds a pause: the library may have no watches to set.
const pausedFor = time.Second

// pause has nothing read before the library has set its watches anew. It tells
// the server from which transaction on it has missed something, and looks that
// up without a lock while it reads: a reply that came first would make it miss
// events.
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

// Read implements net.Conn.
func (l *link) Read(p []byte) (int, error) {
	l.mu.Lock()
	paused := l.paused
	l.mu.Unlock()
	if paused != nil {
		<-paused
	}
	return l.Conn.Read(p)
}

// opSetWatches is the type of the request by which the library sets its
// watches.
const opSetWatches = 101

// Write implements net.Conn. The library writes one request at a time: its
// length, its number, its type, the rest.
func (l *link) Write(p []byte) (int, error) {
	if len(p) >= 12 && binary.BigEndian.Uint32(p[8:]) == opSetWatches {
		l.resume()
	}
	return l.Conn.Write(p)
}

// Close implements net.Conn.
func (l *link) Close() error {
	l.resume()
	return l.Conn.Close()
}

// errSessionOver: the session has ended; what was asked in it is not asked in
// another.
var errSessionOver = errors.New("the session with ZooKeeper is over")

// dial connects to a server, for the library. It refuses once the session is
// over: the library would send what is queued in this session into the next
// one.
func (sess *session) dial(_, address string, _ time.Duration) (net.Conn, error) {
	if sess.isOver() {
		return nil, errSessionOver
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(sess.ctx, sess.dialTimeout())
	defer cancel()
	conn, err := sess.store.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn, began: began}
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

// connect opens a connection, in TLS if so configured.
func (s *Store) connect(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil || s.config.TLS == nil {
		return raw, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	conn, err := s.config.TLS.client(ctx, raw, host)
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return conn, nil
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
