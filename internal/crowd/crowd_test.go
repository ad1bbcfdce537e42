package crowd

import (
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a listener whose connections are made by a test.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return nil }

// crowded returns a listener with as many connections as it takes.
func crowded(t *testing.T, most int) (*pipes, *Listener, []net.Conn) {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn, 10), closed: make(chan struct{})}
	l := NewListener(p, most)
	var held []net.Conn
	for range most {
		here, _ := net.Pipe()
		p.conns <- here
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		l.State(conn, http.StateNew)
		held = append(held, conn)
	}
	return p, l, held
}

// accept waits for one more connection and returns after how long it came.
func accept(t *testing.T, p *pipes, l *Listener) time.Duration {
	t.Helper()
	here, _ := net.Pipe()
	p.conns <- here
	began := time.Now()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l.State(conn, http.StateNew)
	return time.Since(began)
}

func isClosed(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(-time.Second)) // of a closed pipe it fails
	_, err := conn.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestTheLongestIdleMakesRoom: of those without a request, and after a moment.
func TestTheLongestIdleMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l, held := crowded(t, 3)
		defer l.Close()
		l.State(held[0], http.StateActive)
		time.Sleep(patience / 2)
		l.State(held[1], http.StateActive)
		l.State(held[1], http.StateIdle) // later than held[2]
		if took := accept(t, p, l); took != patience/2 {
			t.Errorf("accepted after %v", took)
		}
		if isClosed(held[0]) || isClosed(held[1]) || !isClosed(held[2]) {
			t.Errorf("closed: %t %t %t", isClosed(held[0]), isClosed(held[1]), isClosed(held[2]))
		}
		_ = held[2].Close() // as the server does, too
		if l.open != 3 {
			t.Errorf("%d places are taken", l.open)
		}
	})
}

// TestRequestsAreNotCut: while all connections are in use, one waits.
func TestRequestsAreNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l, held := crowded(t, 2)
		for _, conn := range held {
			l.State(conn, http.StateActive)
		}
		time.AfterFunc(time.Hour, func() { _ = held[1].Close() })
		if took := accept(t, p, l); took != time.Hour {
			t.Errorf("accepted after %v", took)
		}
		l.State(held[1], http.StateClosed)
		time.AfterFunc(time.Minute, func() { _ = l.Close() })
		l.most = 0 // nobody makes room any more
		l.idle = nil
		here, _ := net.Pipe()
		p.conns <- here
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) || !isClosed(here) {
			t.Errorf("after the end: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
