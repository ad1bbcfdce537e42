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
	tls                                      bool // it listens on securePort, too

	child  *child // nil: it does not run
	frozen bool
}

// Addr returns the server's plain address: "127.0.0.1:PORT".
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// SecureAddr returns the server's address for TLS, where it listens only with
// [ZooKeeperOptions].TLS.
func (s *Server) SecureAddr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.securePort))
}

// Start starts a stopped server without waiting for it; [Ensemble.Await] waits.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	if s.child != nil {
		tb.Fatalf("ZooKeeper server %d runs already", s.id)
	}
	if err := s.start(); err != nil {
		tb.Fatal(err)
	}
}

// Stop ends the server with SIGTERM, as an operator does, and waits for its
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

// Restart stops the server, if it runs, starts it, and waits until it serves
// clients, for which more than half of the servers must run.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Stop(tb)
	s.Start(tb)
	if err := s.await(tb.Context(), time.Now().Add(startTimeout)); err != nil {
		tb.Fatal(err)
	}
}

// Freeze stops the server where it stands: its connections stay open, and it
// does not answer.
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

// Thaw resumes a frozen server, which notices nothing but its clock.
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

// Mode returns "standalone", "leader", "follower" or "observer", or an error if
// the server serves no clients.
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

// askTimeout bounds how long a server may take to answer a four-letter word.
const askTimeout = 5 * time.Second

// Ask sends one of ZooKeeper's four-letter words to the server's plain port and
// returns the answer.
func (s *Server) Ask(ctx context.Context, word string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return "", fmt.Errorf("ask ZooKeeper server %d: %w", s.id, err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	var answer []byte
	if _, err = io.WriteString(conn, word); err == nil {
		answer, err = io.ReadAll(conn)
	}
	if err != nil {
		return "", fmt.Errorf("ask ZooKeeper server %d: %w", s.id, err)
	}
	return string(answer), nil
}

// await waits until the server serves clients, unless it is stopped or frozen.
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

// serves returns an error unless the server answers, and is reachable over TLS
// if configured: that port opens later.
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
	defer log.Close() // the child has its own
	// This is the server itself, not Debian's script for it, with only the
	// quick one of Java's compilers. The heap holds the last 500 transactions,
	// some of nearly a megabyte.
	cmd := exec.CommandContext(context.Background(),
		"java", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dzookeeper.jmx.log4j.disable=true",
		"-cp", javaFolder+strings.Join(jars, ":"+javaFolder),
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", s.config())
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.folder, log, log
	child, err := startChild(cmd, s.folder)
	if err != nil {
		return fmt.Errorf("start ZooKeeper server %d: %w", s.id, err)
	}
	s.child = child
	return nil
}

// ProcessTime returns the processor time that the server has taken since it was
// started.
func (s *Server) ProcessTime(tb testing.TB) time.Duration {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.child.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // what follows the name, which may have blanks
	fields := strings.Fields(rest)
	const user, system, ticks = 11, 12, 100 // of a second: Linux' USER_HZ
	var total time.Duration
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		total += time.Duration(n) * time.Second / ticks
	}
	return total
}

func (s *Server) kill() {
	if s.child != nil {
		s.child.kill()
	}
	s.child, s.frozen = nil, false
}

// javaFolder is where Debian keeps jars.
const javaFolder = "/usr/share/java/"

// jars are the server's class path. ZooKeeper's own manifest names most of what
// it needs, but not the log and, for TLS, Netty. Java ignores missing ones.
var jars = []string{
	"zookeeper.jar", "zookeeper-jute.jar", "slf4j-api.jar", "slf4j-simple.jar", "metrics-core.jar", "snappy-java.jar",
	"netty-buffer.jar", "netty-codec.jar", "netty-common.jar", "netty-handler.jar", "netty-resolver.jar",
	"netty-tcnative.jar", "netty-transport.jar", "netty-transport-native-epoll.jar",
	"netty-transport-native-unix-common.jar",
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
