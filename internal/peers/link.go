package peers

import (
	"bufio"
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// Direction is one way through a [Link], or both.
type Direction int

// The ways through a link.
const (
	Requests Direction = 1 << iota // from the one who connected
	Replies                        // to it
	Both     = Requests | Replies
)

// Link is a TCP proxy before a server, for tests of network faults. It does
// what a network can do: bytes arrive late or never, but none is missing
// between two others of a connection. Its methods may be called by several
// goroutines, and by match functions.
type Link struct {
	listener net.Listener
	target   string
	framers  func() (requests, replies framer) // of a new connection
	ctx      context.Context                   // the link's life
	running  sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed when one of the next three changes; all that follows is under mu
	cut     bool
	held    Direction
	delay   time.Duration
	losses  []*loss
	alter   func(reply []byte) []byte // nil: replies pass as they are
	conns   map[*connection]struct{}
}

// loss waits for a request that, or whose reply, is to be lost.
type loss struct {
	match func([]byte) bool
	what  Direction
	done  chan struct{}
}

// NewLink listens on a free loopback port and forwards to target, "HOST:PORT",
// until the test's end. A request is what one read returns: a match function
// sees the head of an HTTP request.
func NewLink(tb testing.TB, target string) *Link {
	tb.Helper()
	return newLink(tb, target, func() (framer, framer) { return readFramer{}, readFramer{} })
}

// NewZooKeeperLink returns a link that understands ZooKeeper's frames and which
// replies belong to which requests. A match function sees each whole request
// after the connection's first, without its length: 4 bytes of number, 4 bytes
// of type (14 is a multi), the rest. Four-letter words and TLS do not pass.
func NewZooKeeperLink(tb testing.TB, target string) *Link {
	tb.Helper()
	return newLink(tb, target, func() (framer, framer) { return &zooKeeperFramer{}, &zooKeeperFramer{} })
}

func newLink(tb testing.TB, target string, framers func() (requests, replies framer)) *Link {
	tb.Helper()
	listener, err := listen("127.0.0.1", 0)
	if err != nil {
		tb.Fatalf("start link: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	l := &Link{
		listener: listener, target: target, framers: framers, ctx: ctx,
		changed: make(chan struct{}), conns: map[*connection]struct{}{},
	}
	l.running.Go(l.accept)
	tb.Cleanup(func() {
		cancel()
		_ = listener.Close()
		l.Cut()
		l.running.Wait()
	})
	return l
}

// Addr returns where the link listens: "127.0.0.1:PORT".
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Cut closes all connections, with everything in flight, and new ones as soon
// as they are made, until Restore.
func (l *Link) Cut() {
	l.change(func() { l.cut = true })
	l.Drop()
}

// Drop closes all connections, with everything in flight. New ones pass.
func (l *Link) Drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.close()
	}
}

// Hold silently stops everything in a direction, on all connections and new
// ones: a black hole. What is held passes after Restore, and is lost with Cut
// or Drop.
func (l *Link) Hold(d Direction) { l.change(func() { l.held |= d }) }

// Delay delays everything in both directions from now on; 0 ends that.
func (l *Link) Delay(d time.Duration) { l.change(func() { l.delay = d }) }

// Restore ends Cut, Hold and Delay.
func (l *Link) Restore() { l.change(func() { l.cut, l.held, l.delay = false, 0, 0 }) }

// Alter has what a server says pass through a function: one read at a time, or
// one message where the link understands messages. A message may not change its
// length. What has been read before passes as it is; nil ends it.
func (l *Link) Alter(alter func(reply []byte) []byte) { l.change(func() { l.alter = alter }) }

// altered returns what passes instead of a frame's bytes.
func (l *Link) altered(d Direction, b []byte) []byte {
	l.mu.Lock()
	alter := l.alter
	l.mu.Unlock()
	if d == Replies && alter != nil {
		return alter(b)
	}
	return b
}

// change changes what passes, and has everything that waits look again.
func (l *Link) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	close(l.changed)
	l.changed = make(chan struct{})
}

// LoseNextReply passes the next request that matches to the server, and closes
// the connection instead of passing the reply on: the request was carried out
// and the client does not know. Replies to earlier requests pass. The channel
// is closed just before the connection is.
func (l *Link) LoseNextReply(match func(request []byte) bool) <-chan struct{} {
	return l.lose(match, Replies)
}

// LoseNextRequest closes the connection instead of passing on the next request
// that matches: it was not carried out and the client does not know. Earlier
// requests pass. The channel is closed just before the connection is.
func (l *Link) LoseNextRequest(match func(request []byte) bool) <-chan struct{} {
	return l.lose(match, Requests)
}

func (l *Link) lose(match func([]byte) bool, what Direction) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := make(chan struct{})
	l.losses = append(l.losses, &loss{match, what, done})
	return done
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.running.Go(func() { l.serve(client) })
	}
}

// serve connects a client to the target and returns when that connection has
// ended.
func (l *Link) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	var dialer net.Dialer
	server, err := dialer.DialContext(l.ctx, "tcp", l.target)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(l.ctx)
	c := &connection{link: l, client: client, server: server, ctx: ctx, cancel: cancel}
	defer c.close()
	l.mu.Lock()
	l.conns[c] = struct{}{}
	cut := l.cut
	l.mu.Unlock()
	if !cut {
		c.run()
	}
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

// wanted returns the loss that waits for a request, and forgets it.
func (l *Link) wanted(request []byte) *loss {
	l.mu.Lock()
	losses := slices.Clone(l.losses)
	l.mu.Unlock()
	for _, loss := range losses {
		if !loss.match(request) {
			continue
		}
		l.mu.Lock()
		i := slices.Index(l.losses, loss)
		if i >= 0 {
			l.losses = slices.Delete(l.losses, i, i+1)
		}
		l.mu.Unlock()
		if i >= 0 {
			return loss
		}
	}
	return nil
}

// pass waits until what was read at a time may pass in a direction. It returns
// an error when the connection ends first.
func (l *Link) pass(ctx context.Context, d Direction, read time.Time) error {
	for {
		l.mu.Lock()
		held, wait, changed := l.held&d != 0, time.Until(read.Add(l.delay)), l.changed
		l.mu.Unlock()
		var due <-chan time.Time
		if !held {
			if wait <= 0 {
				return ctx.Err()
			}
			due = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-due:
		}
	}
}

// connection is one through a link.
type connection struct {
	link           *Link
	client, server net.Conn
	ctx            context.Context // the connection's life
	cancel         context.CancelFunc

	mu      sync.Mutex
	awaited []awaited // replies to be lost; under mu
}

// awaited is a reply to be lost.
type awaited struct {
	number uint32 // of its request
	loss   *loss
}

// unit is what passes at once.
type unit struct {
	bytes []byte
	read  time.Time
	loss  *loss // not nil: the connection ends here instead
}

// queueLength is how many units may be in flight in one direction before the
// sender has to wait.
const queueLength = 1024

// close ends the connection at once. It may be called more than once.
func (c *connection) close() {
	c.cancel()
	_ = c.client.Close()
	_ = c.server.Close()
}

// run forwards both ways and returns when both have ended.
func (c *connection) run() {
	var ways sync.WaitGroup
	requests, replies := c.link.framers()
	for _, way := range []struct {
		d        Direction
		framer   framer
		from, to net.Conn
	}{{Requests, requests, c.client, c.server}, {Replies, replies, c.server, c.client}} {
		queue := make(chan unit, queueLength)
		ways.Go(func() { c.receive(way.d, way.framer, way.from, queue) })
		ways.Go(func() { c.send(way.d, way.to, queue) })
	}
	ways.Wait()
}

// receive queues what arrives until the end.
func (c *connection) receive(d Direction, framer framer, from io.Reader, queue chan<- unit) {
	defer close(queue)
	r := bufio.NewReaderSize(from, 32<<10)
	for {
		f, err := framer.next(r)
		if err != nil {
			return
		}
		u := unit{bytes: c.link.altered(d, f.bytes), read: time.Now()}
		if f.matched != nil {
			if u.loss = c.lost(d, f); u.loss != nil && f.more {
				continue // the rest of the reply tells that the request was carried out
			}
		}
		select {
		case queue <- u:
		case <-c.ctx.Done():
			return
		}
	}
}

// send passes on what is queued, when it may, and then the end.
func (c *connection) send(d Direction, to net.Conn, queue <-chan unit) {
	for u := range queue {
		if c.link.pass(c.ctx, d, u.read) != nil {
			return
		}
		if u.loss != nil {
			close(u.loss.done)
			c.close()
			return
		}
		if _, err := to.Write(u.bytes); err != nil {
			c.close()
			return
		}
	}
	if c.link.pass(c.ctx, d, time.Now()) != nil {
		return
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// lost returns the loss of a frame, if it is to be lost.
func (c *connection) lost(d Direction, f frame) *loss {
	if d == Requests {
		loss := c.link.wanted(f.matched)
		if loss == nil || loss.what == Requests {
			return loss
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.awaited = append(c.awaited, awaited{f.number, loss})
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.awaited {
		if a.number == f.number {
			return a.loss
		}
	}
	return nil
}
