package peers

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
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

// Link is a TCP proxy before a server, for tests of what networks do. What it
// does to bytes a network can do: they come late, or never, but no byte is
// missing between two others of a connection. Its methods may be called by
// several goroutines, and from within match functions.
type Link struct {
	listener net.Listener
	target   string
	frames   bool
	ctx      context.Context // the link's life
	running  sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed when one of the next three changes; guarded by mu, as all that follows
	cut     bool
	held    Direction
	delay   time.Duration
	losses  []*loss
	lines   map[*line]struct{}
}

// loss is a request that is waited for, which will be lost itself or whose
// reply will.
type loss struct {
	match func([]byte) bool
	what  Direction
	done  chan struct{}
}

// NewLink listens on a free loopback port and forwards to target, "HOST:PORT",
// until the test's end. It takes what passes as it comes: a request is what one
// read gives, so a match function sees an HTTP request's head.
func NewLink(tb testing.TB, target string) *Link {
	tb.Helper()
	return newLink(tb, target, false)
}

// NewZooKeeperLink is a link that knows where ZooKeeper's requests and replies
// begin and end, and which belong together. A match function sees one whole
// request after the connection's first, without its length: 4 bytes of number,
// 4 bytes of type (14 is a multi), the rest. Four-letter words and TLS do not
// pass.
func NewZooKeeperLink(tb testing.TB, target string) *Link {
	tb.Helper()
	return newLink(tb, target, true)
}

func newLink(tb testing.TB, target string, frames bool) *Link {
	tb.Helper()
	listener, err := listen("127.0.0.1", 0)
	if err != nil {
		tb.Fatalf("start link: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	l := &Link{
		listener: listener, target: target, frames: frames, ctx: ctx,
		changed: make(chan struct{}), lines: map[*line]struct{}{},
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

// Cut closes all connections, with what is on its way, and new ones as soon as
// they are made, until Restore.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	l.dropLocked()
	l.changeLocked()
}

// Drop closes all connections, with what is on its way. New ones pass.
func (l *Link) Drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked()
}

// Hold lets nothing more pass in a direction, on all connections and new ones,
// and nobody is told: a black hole. What is held passes after Restore, and is
// lost with Cut or Drop.
func (l *Link) Hold(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held |= d
	l.changeLocked()
}

// Delay lets everything pass so much later, in both directions, from now on. 0
// ends that.
func (l *Link) Delay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
	l.changeLocked()
}

// Restore ends Cut, Hold and Delay.
func (l *Link) Restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.held, l.delay = false, 0, 0
	l.changeLocked()
}

// LoseNextReply lets the next request that matches go to the server, takes the
// server's reply, and closes the connection instead of passing it on: the
// request was carried out and nobody knows. Replies to earlier requests pass.
// The channel is closed just before the connection is.
func (l *Link) LoseNextReply(match func(request []byte) bool) <-chan struct{} {
	return l.lose(match, Replies)
}

// LoseNextRequest closes the connection instead of passing the next request on
// that matches: it was never carried out and nobody knows. Earlier requests
// pass. The channel is closed just before the connection is.
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

func (l *Link) changeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Link) dropLocked() {
	for line := range l.lines {
		line.close()
	}
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
	n := &line{link: l, client: client, server: server, ctx: ctx, cancel: cancel}
	defer n.close()
	if !l.add(n) {
		return
	}
	defer l.remove(n)
	n.run()
}

// add reports whether new connections pass.
func (l *Link) add(n *line) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[n] = struct{}{}
	return !l.cut
}

func (l *Link) remove(n *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lines, n)
}

// wanted returns the loss that waits for a request, which is not waited for any
// more.
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

// line is one connection through a link.
type line struct {
	link           *Link
	client, server net.Conn
	ctx            context.Context // the connection's life
	cancel         context.CancelFunc

	mu      sync.Mutex
	awaited []awaited // replies to be lost; guarded by mu
}

// awaited is a reply to be lost.
type awaited struct {
	number uint32 // of its request; any, where there are no frames
	loss   *loss
}

// unit is what passes at once.
type unit struct {
	bytes []byte
	read  time.Time
	loss  *loss // not nil: the connection ends here instead
}

// queueLength is how many units may be on their way in one direction before the
// sender is made to wait.
const queueLength = 1024

// close ends the connection at once. It may be called more than once.
func (n *line) close() {
	n.cancel()
	_ = n.client.Close()
	_ = n.server.Close()
}

// run forwards both ways and returns when both have ended.
func (n *line) run() {
	var ways sync.WaitGroup
	for _, way := range []struct {
		d        Direction
		from, to net.Conn
	}{{Requests, n.client, n.server}, {Replies, n.server, n.client}} {
		queue := make(chan unit, queueLength)
		ways.Go(func() { n.receive(way.d, way.from, queue) })
		ways.Go(func() { n.send(way.d, way.to, queue) })
	}
	ways.Wait()
}

// receive queues what comes until there is no more.
func (n *line) receive(d Direction, from io.Reader, queue chan<- unit) {
	defer close(queue)
	r := bufio.NewReaderSize(from, 32<<10)
	for first := true; ; first = false {
		b, err := n.link.next(r)
		if err != nil {
			return
		}
		u := unit{bytes: b, read: time.Now()}
		if !n.link.frames || !first {
			u.loss = n.lost(d, b)
		}
		select {
		case queue <- u:
		case <-n.ctx.Done():
			return
		}
	}
}

// send passes on what is queued, when it may, and then that there is no more.
func (n *line) send(d Direction, to net.Conn, queue <-chan unit) {
	for u := range queue {
		if n.link.pass(n.ctx, d, u.read) != nil {
			return
		}
		if u.loss != nil {
			close(u.loss.done)
			n.close()
			return
		}
		if _, err := to.Write(u.bytes); err != nil {
			n.close()
			return
		}
	}
	if n.link.pass(n.ctx, d, time.Now()) != nil {
		return
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// lost returns the loss that a unit falls to.
func (n *line) lost(d Direction, b []byte) *loss {
	if d == Replies {
		return n.lostReply(b)
	}
	request := n.link.body(b)
	loss := n.link.wanted(request)
	if loss == nil || loss.what == Requests {
		return loss
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.awaited = append(n.awaited, awaited{n.link.number(request), loss})
	return nil
}

func (n *line) lostReply(b []byte) *loss {
	number := n.link.number(n.link.body(b))
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.awaited {
		if a.number == number {
			return a.loss
		}
	}
	return nil
}

// lengthBytes precede each of ZooKeeper's frames.
const lengthBytes = 4

// maxFrame is far more than ZooKeeper takes. What is longer is no frame.
const maxFrame = 64 << 20

// next reads the next unit.
func (l *Link) next(r *bufio.Reader) ([]byte, error) {
	if !l.frames {
		if _, err := r.Peek(1); err != nil {
			return nil, err
		}
		b := make([]byte, r.Buffered())
		_, err := io.ReadFull(r, b)
		return b, err
	}
	head, err := r.Peek(lengthBytes)
	if err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head)
	if length > maxFrame {
		return nil, errors.New("no frame of ZooKeeper's")
	}
	b := make([]byte, lengthBytes+int(length))
	_, err = io.ReadFull(r, b)
	return b, err
}

// body returns what a match function sees of a unit.
func (l *Link) body(b []byte) []byte {
	if l.frames {
		return b[lengthBytes:]
	}
	return b
}

// number returns what a request and its reply have in common.
func (l *Link) number(body []byte) uint32 {
	if !l.frames || len(body) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(body)
}
