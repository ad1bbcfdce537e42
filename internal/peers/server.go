package peers

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Server is one server of an [Ensemble]. It keeps its ports and its data when
// it is stopped and started again.
type Server struct {
	id                                       int
	port, securePort, peerPort, electionPort int
	folder                                   string
	tls                                      bool // it listens at securePort, too

	child  *child // nil: it does not run
	frozen bool
}

// Addr returns the server's plain address: "127.0.0.1:PORT".
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// SecureAddr returns the server's address for TLS. Nothing listens there
// without [ZooKeeperOptions].TLS.
func (s *Server) SecureAddr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.securePort))
}

// Start starts a stopped server and does not wait for it: [Ensemble.Await]
// does.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	if s.child != nil {
		tb.Fatalf("ZooKeeper server %d runs already", s.id)
	}
	if err := s.start(); err != nil {
		tb.Fatal(err)
	}
}

// Stop ends the server as an operator does, with SIGTERM, and waits for its
// end.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	s.Thaw(tb)
	if s.child == nil {
		return
	}
	if err := s.child.signal(endSignal); err != nil {
		tb.Fatalf("stop ZooKeeper server %d: %v", s.id, err)
	}
	if !s.child.ended(startTimeout) {
		tb.Fatalf("ZooKeeper server %d did not end by SIGTERM", s.id)
	}
	s.kill()
}

// Kill ends the server with SIGKILL, frozen or not.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.kill()
}

// Restart stops the server, unless it is stopped, starts it, and waits until it
// serves clients: in an ensemble, more than half of the servers must run.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Stop(tb)
	s.Start(tb)
	if err := s.await(tb.Context(), time.Now().Add(startTimeout)); err != nil {
		tb.Fatal(err)
	}
}

// Freeze stops the server where it stands: its connections stay open and
// nothing answers.
func (s *Server) Freeze(tb testing.TB) {
	tb.Helper()
	if s.child == nil {
		tb.Fatalf("ZooKeeper server %d does not run", s.id)
	}
	if err := freeze(s.child.cmd.Process); err != nil {
		tb.Fatalf("freeze ZooKeeper server %d: %v", s.id, err)
	}
	s.frozen = true
}

// Thaw lets a frozen server go on. It is none the wiser, until its clock tells.
func (s *Server) Thaw(tb testing.TB) {
	tb.Helper()
	if !s.frozen {
		return
	}
	if err := s.child.signal(thawSignal); err != nil {
		tb.Fatalf("thaw ZooKeeper server %d: %v", s.id, err)
	}
	s.frozen = false
}

// Mode asks the server what it is: "standalone", "leader", "follower" or
// "observer". One that serves no clients is an error.
func (s *Server) Mode(ctx context.Context) (string, error) {
	answer, err := s.Ask(ctx, "srvr")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(answer) {
		if mode, ok := strings.CutPrefix(line, "Mode: "); ok {
			return strings.TrimSpace(mode), nil
		}
	}
	return "", fmt.Errorf("ZooKeeper server %d does not serve: %s", s.id, strings.TrimSpace(answer))
}

// askTimeout bounds how long a server may take to answer a four-letter word,
// unless the context's deadline comes first.
const askTimeout = 5 * time.Second

// Ask sends one of ZooKeeper's four-letter words to the server's plain port and
// returns the answer.
func (s *Server) Ask(ctx context.Context, word string) (string, error) {
	dialer := net.Dialer{Timeout: askTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return "", fmt.Errorf("ask ZooKeeper server %d: %w", s.id, err)
	}
	defer func() { _ = conn.Close() }()
	deadline := time.Now().Add(askTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, word); err != nil {
		return "", fmt.Errorf("ask ZooKeeper server %d: %w", s.id, err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", fmt.Errorf("ask ZooKeeper server %d: %w", s.id, err)
	}
	return string(answer), nil
}

// await returns once the server serves clients, at once for one that does not
// run or is frozen.
func (s *Server) await(ctx context.Context, deadline time.Time) error {
	for s.child != nil && !s.frozen {
		err := s.serves(ctx)
		if err == nil {
			return nil
		}
		if s.child.ended(poll) {
			return fmt.Errorf("ZooKeeper server %d ended: %s", s.id, tail(s.log()))
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("wait for ZooKeeper server %d: %w", s.id, err)
		}
	}
	return nil
}

// serves returns an error unless the server answers, and can be reached over
// TLS where it is to be: that port comes later.
func (s *Server) serves(ctx context.Context) error {
	if _, err := s.Mode(ctx); err != nil || !s.tls {
		return err
	}
	dialer := net.Dialer{Timeout: askTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", s.SecureAddr())
	if err != nil {
		return fmt.Errorf("reach ZooKeeper server %d over TLS: %w", s.id, err)
	}
	return conn.Close()
}

func (s *Server) start() error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start ZooKeeper server %d: %w", s.id, err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	argv := s.command()
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.folder, log, log
	child, err := startChild(cmd, s.folder)
	if err != nil {
		return fmt.Errorf("start ZooKeeper server %d: %w", s.id, err)
	}
	s.child = child
	return nil
}

func (s *Server) kill() {
	if s.child != nil {
		s.child.kill()
	}
	s.child, s.frozen = nil, false
}

// javaFolder is where Debian keeps jars.
const javaFolder = "/usr/share/java/"

// jars are what the server runs with. ZooKeeper's own names most of what it
// needs in its manifest; Netty's, for TLS, and the log are not among that. Java
// ignores those that a release does not have.
var jars = []string{
	"zookeeper.jar", "zookeeper-jute.jar", "slf4j-api.jar", "slf4j-simple.jar", "metrics-core.jar", "snappy-java.jar",
	"netty-buffer.jar", "netty-codec.jar", "netty-common.jar", "netty-handler.jar", "netty-resolver.jar", "netty-tcnative.jar",
	"netty-transport.jar", "netty-transport-native-epoll.jar", "netty-transport-native-unix-common.jar",
}

// command starts the server itself, not Debian's script for it, with only the
// quick one of Java's compilers. The heap holds its last 500 transactions, of
// which large events make some of nearly a megabyte.
func (s *Server) command() []string {
	classPath := make([]string, len(jars))
	for i, jar := range jars {
		classPath[i] = javaFolder + jar
	}
	return []string{
		"java", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dzookeeper.jmx.log4j.disable=true",
		"-cp", strings.Join(classPath, ":"),
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", s.config(),
	}
}

func missingZooKeeper() error {
	if _, err := exec.LookPath("java"); err != nil {
		return fmt.Errorf("find java: %w", err)
	}
	for _, jar := range []string{"zookeeper.jar", "slf4j-simple.jar"} {
		if _, err := os.Stat(javaFolder + jar); err != nil {
			return err
		}
	}
	return nil
}
