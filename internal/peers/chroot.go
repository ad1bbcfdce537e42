package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// Chroot creates a node for one test and returns its path, "/t-...". The
// ensemble's hosts followed by the path are what zuul.conf has as `hosts`. The
// node and all below it are removed after the test.
func Chroot(tb testing.TB, zk *Ensemble) string {
	tb.Helper()
	path := fmt.Sprintf("/t-%08x", rand.Uint32())
	if err := withSession(tb.Context(), zk, func(s *session) error { return s.create(path) }); err != nil {
		tb.Fatalf("create chroot: %v", err)
	}
	if zk.shared { // another one ends with the test
		tb.Cleanup(func() { // what cannot be removed harms nobody
			_ = withSession(context.Background(), zk, func(s *session) error { return s.removeAll(path) })
		})
	}
	return path
}

// session speaks as much of ZooKeeper's protocol as Chroot needs, one request
// at a time. It has no goroutine.
type session struct {
	conn net.Conn
	xid  int32
}

// sessionTimeout is requested, and bounds the session's life.
const sessionTimeout = 30 * time.Second

// Operations and errors of the protocol.
const (
	opCreate      = 1
	opDelete      = 2
	opGetChildren = 8
	opClose       = -11

	errNoNode   = -101
	errNotEmpty = -111
)

// protocolError is a server's refusal of a request.
type protocolError int32

func (e protocolError) Error() string { return fmt.Sprintf("ZooKeeper error %d", int32(e)) }

// withSession calls f with a session of the first server that answers.
func withSession(ctx context.Context, zk *Ensemble, f func(*session) error) error {
	errs := []error{errors.New("no ZooKeeper server runs")}
	for _, server := range zk.Servers {
		if server.child == nil || server.frozen {
			continue
		}
		s, err := newSession(ctx, server.Addr())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer s.conn.Close()
		if err := f(s); err != nil {
			return err
		}
		_, err = s.call(opClose, nil)
		return err
	}
	return errors.Join(errs...)
}

func newSession(ctx context.Context, addr string) (*session, error) {
	dialer := net.Dialer{Timeout: askTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to ZooKeeper: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(sessionTimeout))
	s := &session{conn: conn}
	// protocol version, last zxid seen, timeout, session id, password
	hello := binary.BigEndian.AppendUint32(make([]byte, 4+8), uint32(sessionTimeout.Milliseconds()))
	hello = append(hello, make([]byte, 8)...)
	hello = appendString(hello, string(make([]byte, 16)))
	if _, err := s.exchange(hello); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to ZooKeeper: %w", err)
	}
	return s, nil
}

// create creates a persistent, empty node that is open to all.
func (s *session) create(path string) error {
	body := appendString(appendString(nil, path), "")
	body = binary.BigEndian.AppendUint32(body, 1)  // one ACL
	body = binary.BigEndian.AppendUint32(body, 31) // all permissions
	body = appendString(appendString(body, "world"), "anyone")
	body = binary.BigEndian.AppendUint32(body, 0) // no flags
	_, err := s.call(opCreate, body)
	return err
}

// removeAll removes a node and all below it, including what appears meanwhile.
func (s *session) removeAll(path string) error {
	for {
		children, err := s.children(path)
		if err != nil {
			return err
		}
		for _, child := range children {
			if err := s.removeAll(path + "/" + child); err != nil && !errors.Is(err, protocolError(errNoNode)) {
				return err
			}
		}
		anyVersion := int32(-1)
		_, err = s.call(opDelete, binary.BigEndian.AppendUint32(appendString(nil, path), uint32(anyVersion)))
		if !errors.Is(err, protocolError(errNotEmpty)) {
			return err
		}
	}
}

func (s *session) children(path string) ([]string, error) {
	reply, err := s.call(opGetChildren, append(appendString(nil, path), 0)) // no watch
	if err != nil {
		return nil, err
	}
	var names []string
	next := func() uint32 {
		if len(reply) < 4 {
			reply = make([]byte, 4)
		}
		n := binary.BigEndian.Uint32(reply)
		reply = reply[4:]
		return n
	}
	for range next() {
		n := min(int(next()), len(reply))
		names = append(names, string(reply[:n]))
		reply = reply[n:]
	}
	return names, nil
}

// call sends a request and returns what follows the header of its reply.
func (s *session) call(op int32, body []byte) ([]byte, error) {
	s.xid++
	request := binary.BigEndian.AppendUint32(nil, uint32(s.xid))
	request = binary.BigEndian.AppendUint32(request, uint32(op))
	reply, err := s.exchange(append(request, body...))
	if err != nil {
		return nil, err
	}
	const header = 4 + 8 + 4 // xid, zxid, error
	if len(reply) < header {
		return nil, fmt.Errorf("ZooKeeper's reply has %d bytes: %w", len(reply), io.ErrUnexpectedEOF)
	}
	if code := int32(binary.BigEndian.Uint32(reply[12:])); code != 0 {
		return nil, protocolError(code)
	}
	return reply[header:], nil
}

// exchange sends one frame and reads one.
func (s *session) exchange(frame []byte) ([]byte, error) {
	if _, err := s.conn.Write(appendString(nil, string(frame))); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	var length [4]byte
	_, err := io.ReadFull(s.conn, length[:])
	reply := make([]byte, binary.BigEndian.Uint32(length[:]))
	if err == nil {
		_, err = io.ReadFull(s.conn, reply)
	}
	if err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	return reply, nil
}

// appendString appends a string, bytes or a frame: the length, then the bytes.
func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
