package peers_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// echo is a server that returns each line, and keeps them.
type echo struct {
	addr string

	mu   sync.Mutex
	seen []string // guarded by mu
}

func startEcho(t *testing.T) *echo {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{addr: listener.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { e.answer(conn) })
		}
	})
	// Links are made later and end earlier, with their connections.
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return e
}

func (e *echo) answer(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		e.mu.Lock()
		e.seen = append(e.seen, line)
		e.mu.Unlock()
		if _, err := io.WriteString(conn, line); err != nil {
			return
		}
	}
}

func (e *echo) has(line string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, seen := range e.seen {
		if seen == line {
			return nil
		}
	}
	return errors.New("the server did not see " + line)
}

// caller talks to an echo.
type caller struct {
	net.Conn
	lines *bufio.Reader
}

func call(t *testing.T, addr string) *caller {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &caller{conn, bufio.NewReader(conn)}
}

// say sends a line.
func (c *caller) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
}

// hear waits for the next line, up to a limit.
func (c *caller) hear(wait time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	return c.lines.ReadString('\n')
}

// expect fails the test unless the next line is that one.
func (c *caller) expect(t *testing.T, want string) {
	t.Helper()
	if got, err := c.hear(10 * time.Second); got != want {
		t.Fatalf("heard %q, %v, want %q", got, err, want)
	}
}

// expectClosed fails the test unless the connection ends without another line.
func (c *caller) expectClosed(t *testing.T) {
	t.Helper()
	got, err := c.hear(10 * time.Second)
	if got != "" || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("heard %q, %v, want the connection's end", got, err)
	}
}

// expectNothing fails the test if a line arrives within a moment.
func (c *caller) expectNothing(t *testing.T) {
	t.Helper()
	if got, err := c.hear(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("heard %q, %v, want nothing", got, err)
	}
}

// awaitLoss fails the test unless a loss occurs.
func awaitLoss(t *testing.T, lost <-chan struct{}) {
	t.Helper()
	select {
	case <-lost:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was lost")
	}
}

func TestLinkCutClosesAndRefusesUntilRestored(t *testing.T) {
	t.Parallel()
	link := peers.NewLink(t, startEcho(t).addr)
	c := call(t, link.Addr())
	c.say(t, "one\n")
	c.expect(t, "one\n")
	link.Cut()
	c.expectClosed(t)
	call(t, link.Addr()).expectClosed(t)
	link.Restore()
	c = call(t, link.Addr())
	c.say(t, "two\n")
	c.expect(t, "two\n")
	link.Drop()
	c.expectClosed(t)
	c = call(t, link.Addr())
	c.say(t, "three\n")
	c.expect(t, "three\n")
}

func TestLinkHoldsOneWayOrBoth(t *testing.T) {
	t.Parallel()
	for _, d := range []peers.Direction{peers.Requests, peers.Replies, peers.Both} {
		server := startEcho(t)
		link := peers.NewLink(t, server.addr)
		c := call(t, link.Addr())
		link.Hold(d)
		c.say(t, "held\n")
		if d == peers.Replies {
			eventually(t, func() error { return server.has("held\n") })
		}
		c.expectNothing(t)
		if d&peers.Requests != 0 && server.has("held\n") == nil {
			t.Errorf("%d: the request passed", d)
		}
		link.Restore()
		c.expect(t, "held\n")
	}
}

func TestLinkHidesAClientsEnd(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	link := peers.NewLink(t, listener.Addr().String())
	client := call(t, link.Addr())
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	link.Hold(peers.Both)
	_ = client.Close()
	(&caller{server, bufio.NewReader(server)}).expectNothing(t)
	link.Restore()
	(&caller{server, bufio.NewReader(server)}).expectClosed(t)
}

func TestLinkDelaysWithoutLosingPace(t *testing.T) {
	t.Parallel()
	link := peers.NewLink(t, startEcho(t).addr)
	c := call(t, link.Addr())
	const delay = 50 * time.Millisecond
	link.Delay(delay)
	began := time.Now()
	const lines = 40
	for range lines {
		c.say(t, "late\n")
	}
	for i := range lines {
		c.expect(t, "late\n")
		if took := time.Since(began); i == 0 && took < 2*delay {
			t.Errorf("the first reply took %v, want two delays of %v", took, delay)
		}
	}
	if took := time.Since(began); took > lines*delay {
		t.Errorf("%d lines took %v: each waited for the one before", lines, took)
	}
}

func TestLinkLosesAReplyOrARequest(t *testing.T) {
	t.Parallel()
	server := startEcho(t)
	link := peers.NewLink(t, server.addr)
	matches := func(line string) func([]byte) bool {
		return func(request []byte) bool { return string(request) == line }
	}
	lost := link.LoseNextReply(matches("reply lost\n"))
	c := call(t, link.Addr())
	c.say(t, "passes\n")
	c.expect(t, "passes\n")
	c.say(t, "reply lost\n")
	c.expectClosed(t)
	awaitLoss(t, lost)
	if err := server.has("reply lost\n"); err != nil {
		t.Error(err)
	}
	lost = link.LoseNextRequest(matches("request lost\n"))
	c = call(t, link.Addr())
	c.say(t, "reply lost\n") // only once
	c.expect(t, "reply lost\n")
	c.say(t, "request lost\n")
	c.expectClosed(t)
	awaitLoss(t, lost)
	if server.has("request lost\n") == nil {
		t.Error("the request passed")
	}
}

// TestZooKeeperLinkLosesOneReplyOfSeveral sends three requests at once and
// answers them at once: the first reply passes, the second is lost although its
// bytes came together with the first's.
func TestZooKeeperLinkLosesOneReplyOfSeveral(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	link := peers.NewZooKeeperLink(t, listener.Addr().String())
	link.LoseNextReply(func(request []byte) bool { return string(request[4:]) == "multi" })
	client := call(t, link.Addr())
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()

	sent := frames("\x00\x00\x00\x00multi", "\x00\x00\x00\x01get", "\x00\x00\x00\x02multi", "\x00\x00\x00\x03get")
	client.say(t, string(sent))
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(server, got); err != nil || string(got) != string(sent) {
		t.Fatalf("the server read %q, %v", got, err)
	}
	replies := frames("hello", "\x00\x00\x00\x01a", "\xff\xff\xff\xffwatch", "\x00\x00\x00\x02b", "\x00\x00\x00\x03c")
	if _, err := server.Write(replies); err != nil {
		t.Fatal(err)
	}
	_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
	heard, _ := io.ReadAll(client)
	if want := frames("hello", "\x00\x00\x00\x01a", "\xff\xff\xff\xffwatch"); string(heard) != string(want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

func frames(bodies ...string) []byte {
	var b []byte
	for _, body := range bodies {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...)
	}
	return b
}

// isMulti matches ZooKeeper's transactions.
func isMulti(request []byte) bool {
	return len(request) >= 8 && binary.BigEndian.Uint32(request[4:]) == 14
}

func TestALostMultiIsAppliedInZooKeeperAndALostRequestIsNot(t *testing.T) {
	t.Parallel()
	server := peers.SharedZooKeeper(t, peers.ZooKeeperOptions{})
	chroot := peers.Chroot(t, server)
	link := peers.NewZooKeeperLink(t, server.Hosts())
	conn := connect(t, link.Addr())
	direct := connect(t, server.Hosts())
	for _, c := range []struct {
		lose func(func([]byte) bool) <-chan struct{}
		path string
		want bool
	}{{link.LoseNextReply, "/applied", true}, {link.LoseNextRequest, "/refused", false}} {
		lost := c.lose(isMulti)
		if _, _, err := conn.Exists(chroot); err != nil {
			t.Fatal(err)
		}
		create := &zk.CreateRequest{Path: chroot + c.path, Acl: zk.WorldACL(zk.PermAll)}
		if _, err := conn.Multi(create); err == nil {
			t.Errorf("%s: the multi succeeded", c.path)
		}
		awaitLoss(t, lost)
		if exists, _, err := direct.Exists(chroot + c.path); exists != c.want || err != nil {
			t.Errorf("%s exists: %v, %v", c.path, exists, err)
		}
	}
}
