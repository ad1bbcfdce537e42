// Package crowd bounds how many connections an HTTP server has at once. Where
// there are too many, a new one takes the place of the one that has been
// without a request for the longest: connections that nobody uses, be they kept
// alive or silent, hold up nobody.
package crowd

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// patience is how long a connection may be without a request although another
// one waits for its place: long enough for the first bytes of a request to
// come.
const patience = 500 * time.Millisecond

// A Listener accepts at most so many connections at once. Its State must be the
// server's ConnState.
type Listener struct {
	inner net.Listener
	most  int
	freed chan struct{} // something may have changed for who waits
	ended chan struct{} // closed by Close
	end   func() error  // closes inner once

	mu   sync.Mutex
	open int
	idle []idle // the longest first
}

// idle is a connection without a request.
type idle struct {
	conn  net.Conn
	since time.Time
}

// NewListener returns a listener that accepts from another one.
func NewListener(inner net.Listener, most int) *Listener {
	l := &Listener{inner: inner, most: most, freed: make(chan struct{}, 1), ended: make(chan struct{})}
	l.end = sync.OnceValue(func() error {
		close(l.ended)
		return inner.Close()
	})
	return l
}

var _ net.Listener = (*Listener)(nil)

// Accept returns the next connection once there is a place for it.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.inner.Accept()
	if err != nil {
		return nil, err
	}
	for {
		longest, wait, ok := l.admit()
		switch {
		case ok:
			return &guest{Conn: conn, leave: sync.OnceFunc(l.left)}, nil
		case longest != nil:
			_ = longest.Close() // it is gone, or gives its place away now
			continue
		}
		select {
		case <-l.freed:
		case <-time.After(wait):
		case <-l.ended:
			_ = conn.Close() // it was not served
			return nil, net.ErrClosed
		}
	}
}

// admit takes a place for a connection. If there is none it returns the
// connection that must be closed for it or, where none may be yet, when to look
// again at the latest.
func (l *Listener) admit() (longest net.Conn, wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open < l.most {
		l.open++
		return nil, 0, true
	}
	if len(l.idle) == 0 {
		return nil, time.Minute, false
	}
	first := l.idle[0]
	if been := time.Since(first.since); been < patience {
		return nil, patience - been, false
	}
	l.idle = l.idle[1:]
	return first.conn, 0, false
}

// left gives up a place.
func (l *Listener) left() {
	l.mu.Lock()
	l.open--
	l.mu.Unlock()
	l.wake()
}

// wake has who waits look again.
func (l *Listener) wake() {
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// State notes what a connection is doing. It is for http.Server's ConnState.
func (l *Listener) State(conn net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = slices.DeleteFunc(l.idle, func(i idle) bool { return i.conn == conn })
	if state == http.StateNew || state == http.StateIdle {
		l.idle = append(l.idle, idle{conn, time.Now()})
		l.wake()
	}
}

// Close stops accepting. It may be called again.
func (l *Listener) Close() error { return l.end() }

// Addr returns the address of the listener.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// guest is a connection that has a place until it is closed.
type guest struct {
	net.Conn
	leave func()
}

func (g *guest) Close() error {
	err := g.Conn.Close()
	g.leave()
	return err
}
