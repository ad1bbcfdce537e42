package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Shutdown is a way to stop a PostgreSQL server.
type Shutdown int

// The ways, as pg_ctl names them.
const (
	// Fast ends all sessions, rolls their transactions back and stops.
	Fast Shutdown = iota

	// Immediate ends all processes at once; the next start recovers.
	Immediate
)

// Start starts a stopped server and returns once it serves.
func (s *PostgreSQLServer) Start(tb testing.TB) {
	tb.Helper()
	if s.child != nil {
		tb.Fatal("PostgreSQL runs already")
	}
	if err := s.start(tb.Context()); err != nil {
		tb.Fatalf("start PostgreSQL: %v", err)
	}
}

// Stop stops the server as an operator does, and waits for its end.
func (s *PostgreSQLServer) Stop(tb testing.TB, how Shutdown) {
	tb.Helper()
	s.Thaw(tb)
	if s.child == nil {
		return
	}
	if err := s.child.signal(shutdownSignals[how]); err != nil {
		tb.Fatalf("stop PostgreSQL: %v", err)
	}
	if !s.child.ended(startTimeout) {
		tb.Fatalf("PostgreSQL did not end by %s: %s", shutdownSignals[how], tail(s.log()))
	}
	s.child.kill()
	s.child = nil
}

// Restart stops the server and starts it.
func (s *PostgreSQLServer) Restart(tb testing.TB, how Shutdown) {
	tb.Helper()
	s.Stop(tb, how)
	s.Start(tb)
}

// Kill ends all processes of the server with SIGKILL, frozen or not, as a host
// does that dies.
func (s *PostgreSQLServer) Kill(tb testing.TB) {
	tb.Helper()
	s.kill()
}

// Freeze stops all processes of the server where they stand: its connections
// stay open, and it does not answer.
func (s *PostgreSQLServer) Freeze(tb testing.TB) {
	tb.Helper()
	if s.child == nil || s.frozen != nil {
		tb.Fatal("PostgreSQL does not run")
	}
	if err := freeze(s.child.cmd.Process); err != nil { // first: it starts no others now
		tb.Fatalf("freeze PostgreSQL: %v", err)
	}
	s.frozen = childrenOf(s.child.cmd.Process.Pid)
	for _, pid := range s.frozen {
		signalProcess(pid, stopSignal)
	}
	s.frozen = append(s.frozen, s.child.cmd.Process.Pid)
}

// Thaw resumes a frozen server.
func (s *PostgreSQLServer) Thaw(tb testing.TB) {
	tb.Helper()
	for _, pid := range s.frozen {
		signalProcess(pid, thawSignal)
	}
	s.frozen = nil
}

// Reload has the server read its configuration again.
func (s *PostgreSQLServer) Reload(tb testing.TB) {
	tb.Helper()
	s.SQL(tb, "postgres", "SELECT pg_reload_conf()")
}

func (s *PostgreSQLServer) start(ctx context.Context) error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	// The process must outlive the context.
	cmd := s.command(context.WithoutCancel(ctx), "postgres", "-D", s.data())
	cmd.Stdout, cmd.Stderr = log, log
	if s.child, err = startChildEnding(cmd, s.folder, "-QUIT"); err != nil {
		return err
	}
	return s.await(ctx)
}

// await waits until the server serves, which it writes beside its number into a
// file.
func (s *PostgreSQLServer) await(ctx context.Context) error {
	const statusLine = 7
	pid := strconv.Itoa(s.child.cmd.Process.Pid)
	for deadline := time.Now().Add(startTimeout); ; {
		b, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
		if lines := strings.Split(string(b), "\n"); err == nil && lines[0] == pid && len(lines) > statusLine {
			if status := strings.TrimSpace(lines[statusLine]); status == "ready" || status == "standby" {
				return nil
			}
		}
		if s.child.ended(poll) {
			s.child.kill()
			s.child = nil
			return fmt.Errorf("it ended: %s", tail(s.log()))
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("it does not serve: %s", tail(s.log()))
		}
	}
}

// kill ends all processes of the server. The first is stopped before, so that
// it starts no others: a process that outlived it would keep the data in use.
func (s *PostgreSQLServer) kill() {
	if s.child == nil {
		return
	}
	if s.frozen == nil {
		_ = freeze(s.child.cmd.Process) // it may have ended by itself
	}
	children := childrenOf(s.child.cmd.Process.Pid)
	for _, pid := range children {
		signalProcess(pid, os.Kill)
	}
	s.child.kill()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		if !anyRuns(children) {
			break
		}
	}
	s.child, s.frozen = nil, nil
}

// childrenOf returns the processes that a process has started.
func childrenOf(parent int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var children []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// Any process of the machine may end at any moment.
		if fields := statOf(pid); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}

// anyRuns reports whether one of several processes runs; a zombie does not.
func anyRuns(pids []int) bool {
	for _, pid := range pids {
		if fields := statOf(pid); len(fields) > 0 && fields[0] != "Z" && fields[0] != "X" {
			return true
		}
	}
	return false
}

// statOf returns what /proc tells of a process after its name: its state, its
// parent and more; nothing if it has ended.
func statOf(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.Fields(rest)
}

// StandbyOptions configures a standby.
type StandbyOptions struct {
	// Via is where it connects to instead of the primary: the address of a
	// [Link] before that; "": none.
	Via string

	// Synchronous has the primary confirm a commit only when the standby has
	// written it.
	Synchronous bool
}

// StartStandby starts a streaming standby of a primary, and returns once it
// streams. It ends with the test.
func StartStandby(tb testing.TB, primary *PostgreSQLServer, opts StandbyOptions) *PostgreSQLServer {
	tb.Helper()
	s, err := newPostgreSQL(primary.opts)
	if err != nil {
		tb.Fatalf("start standby: %v", err)
	}
	tb.Cleanup(func() {
		s.showLog(tb)
		s.release()
	})
	s.Follow(tb, primary, opts)
	return s
}

// Follow throws away what the server has, if it has anything, and makes it a
// standby of a primary: at its own port, with a copy of the primary's data.
func (s *PostgreSQLServer) Follow(tb testing.TB, primary *PostgreSQLServer, opts StandbyOptions) {
	tb.Helper()
	if err := s.follow(tb.Context(), primary, opts); err != nil {
		tb.Fatalf("start standby: %v", err)
	}
	if opts.Synchronous {
		primary.SQL(tb, "postgres", "ALTER SYSTEM SET synchronous_standby_names = '"+s.standbyName()+"'")
		primary.Reload(tb)
	}
	primary.awaitStreaming(tb, s, opts.Synchronous)
}

// AwaitStandby returns once a standby streams; a synchronous one then has all
// that the server has confirmed, the other what it had when it was asked.
func (s *PostgreSQLServer) AwaitStandby(tb testing.TB, standby *PostgreSQLServer, synchronous bool) {
	tb.Helper()
	s.awaitStreaming(tb, standby, synchronous)
	if synchronous {
		return
	}
	lsn := s.SQL(tb, "postgres", "SELECT pg_current_wal_lsn()")
	query := "SELECT pg_last_wal_replay_lsn() >= '" + lsn + "'"
	for deadline := time.Now().Add(startTimeout); standby.SQL(tb, "postgres", query) != "t"; <-time.After(poll) {
		if time.Now().After(deadline) {
			tb.Fatalf("the standby lags: %s", tail(standby.log()))
		}
	}
}

func (s *PostgreSQLServer) awaitStreaming(tb testing.TB, standby *PostgreSQLServer, synchronous bool) {
	tb.Helper()
	query := "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name = '" +
		standby.standbyName() + "'"
	if synchronous {
		query += " AND sync_state = 'sync'"
	}
	for deadline := time.Now().Add(startTimeout); s.SQL(tb, "postgres", query) != "1"; <-time.After(poll) {
		if time.Now().After(deadline) {
			tb.Fatalf("the standby does not stream: %s", tail(standby.log()))
		}
	}
}

func (s *PostgreSQLServer) standbyName() string { return "standby_" + strconv.Itoa(s.port) }

func (s *PostgreSQLServer) follow(ctx context.Context, primary *PostgreSQLServer, opts StandbyOptions) error {
	s.kill()
	if err := os.RemoveAll(s.data()); err != nil {
		return err
	}
	via := primary.Addr()
	if opts.Via != "" {
		via = opts.Via
	}
	host, port, ok := strings.Cut(via, ":")
	if !ok {
		return errors.New("not HOST:PORT: " + via)
	}
	if err := s.run(ctx, "pg_basebackup", "-D", s.data(), "-h", primary.folder, "-p", strconv.Itoa(primary.port),
		"-U", "postgres", "-X", "stream", "-c", "fast", "--no-sync"); err != nil {
		return err
	}
	// A primary that was made synchronous says so in its copy.
	conninfo := fmt.Sprintf("primary_conninfo = 'host=%s port=%s user=postgres sslmode=disable application_name=%s'\n",
		host, port, s.standbyName())
	if err := errors.Join(s.configure(), s.write("postgresql.auto.conf", []byte(conninfo)),
		s.write("standby.signal", nil)); err != nil {
		return err
	}
	return s.start(ctx)
}

// Promote makes a standby a primary, and returns once it takes writes.
func (s *PostgreSQLServer) Promote(tb testing.TB) {
	tb.Helper()
	if s.SQL(tb, "postgres", "SELECT pg_promote(true, 60)") != "t" {
		tb.Fatalf("the standby is not promoted: %s", tail(s.log()))
	}
}
