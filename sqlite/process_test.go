package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// childPath is the environment variable that makes the test binary a process of
// TestProcesses, on the file it names.
const childPath = "GERRITSTREAM_TEST_STORE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		role := child
		if name := os.Getenv(childRole); name != "" {
			role = roles[name]
		}
		if err := role(path); err != nil {
			fmt.Println("failed", err)
			fmt.Fprintln(os.Stderr, "failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// childTTL is short, but longer than a busy machine pauses a process.
const childTTL = 2 * time.Second

// child leads whenever it can, commits one record after the other, and prints
// its terms, until its input ends.
func child(path string) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts
		cancel()
	}()
	store, err := sqlite.Open(context.Background(), sqlite.Config{Path: path, LeaseTTL: childTTL})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := lead(ctx, store); err != nil && ctx.Err() == nil && !errors.Is(err, gerritstream.ErrRetryLater) {
			return err
		}
	}
	// SQLite's lock is not fair: on a busy machine others may keep it. Then the
	// lease expires.
	if err := store.Close(context.Background()); !errors.Is(err, gerritstream.ErrRetryLater) {
		return err
	}
	return nil
}

// lead leads for one term, and prints so after its first commit: who kills or
// stops a leader then finds its records. Each record's id includes the term, so
// that a record which two terms commit is stored twice.
func lead(ctx context.Context, store *sqlite.Store) error {
	term, err := store.Campaign(ctx, 0, shardA)
	if err != nil {
		return err
	}
	stored, _ := strconv.Atoi(string(term.Beginning().Position.After))
	n := stored + 1
	for err == nil || errors.Is(err, gerritstream.ErrRetryLater) {
		seq := gerritstream.SequenceNumber(strconv.Itoa(n))
		e := entry(shardA, seq, 100)
		e.ID = gerritstream.NewEventID(gerritstream.Stream{}, shardA, seq, int(term.Number()))
		err = term.Commit(ctx, commitOf(seq, e))
		if err != nil {
			continue
		}
		if n == stored+1 {
			fmt.Println("leads", term.Number())
		}
		n++
	}
	fmt.Println("ended", term.Number(), err)
	if !errors.Is(err, gerritstream.ErrLeadershipLost) && ctx.Err() == nil {
		return err
	}
	return term.Resign(context.WithoutCancel(ctx))
}

// fleet is a number of child processes on one file.
type fleet struct {
	t      *testing.T
	path   string
	lines  chan line
	passed []line // by next

	children map[int]*exec.Cmd // by process id
	inputs   map[int]io.Closer
	roles    map[int]string
	readers  sync.WaitGroup
}

// line is what a child printed.
type line struct {
	pid  int
	word string
	term uint64
	text string
}

func (f *fleet) add() { f.t.Helper(); f.addAs("") }

// addAs adds a child in a role; "": one that leads.
func (f *fleet) addAs(role string) {
	f.t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this very program
	// Under the race detector, they exit at once.
	cmd.Env = append(os.Environ(), childPath+"="+f.path, childRole+"="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	must(f.t, err)
	output, err := cmd.StdoutPipe()
	must(f.t, err)
	must(f.t, cmd.Start())
	pid := cmd.Process.Pid
	f.children[pid], f.inputs[pid], f.roles[pid] = cmd, input, role
	f.readers.Go(func() {
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			l := line{pid: pid, text: scanner.Text()}
			_, _ = fmt.Sscan(l.text, &l.word, &l.term)
			f.lines <- l
		}
	})
}

// next waits until a child prints a line with a word, unless one has already,
// and returns the line.
func (f *fleet) next(word string, match func(line) bool) line {
	f.t.Helper()
	for _, l := range f.passed {
		if l.word == word && match(l) {
			return l
		}
	}
	timeout := time.NewTimer(2 * time.Minute)
	defer timeout.Stop()
	for {
		select {
		case l := <-f.lines:
			if l.word == "failed" {
				f.t.Fatalf("process %d: %s", l.pid, l.text)
			}
			f.passed = append(f.passed, l)
			if l.word == word && match(l) {
				return l
			}
		case <-timeout.C:
			f.t.Fatalf("no process prints %q", word)
		}
	}
}

// leads waits for a leader that has committed in a term after a given one.
func (f *fleet) leads(after uint64) line {
	f.t.Helper()
	return f.next("leads", func(l line) bool { return l.term > after })
}

// kill kills a child.
func (f *fleet) kill(pid int) {
	f.t.Helper()
	cmd := f.children[pid]
	must(f.t, cmd.Process.Kill())
	_ = cmd.Wait() // returns that it was killed
	delete(f.children, pid)
	delete(f.inputs, pid)
}

// dismiss has a child stop in order.
func (f *fleet) dismiss(pid int) {
	f.t.Helper()
	must(f.t, f.inputs[pid].Close())
	if err := f.children[pid].Wait(); err != nil {
		f.t.Errorf("process %d ended with %v", pid, err)
	}
	delete(f.children, pid)
	delete(f.inputs, pid)
}

// dismissAll has the children of a role stop in order.
func (f *fleet) dismissAll(role string) {
	f.t.Helper()
	for pid := range f.children {
		if f.roles[pid] == role {
			f.dismiss(pid)
		}
	}
}

// Processes of one host share the file. Whatever happens to a leader (killed,
// stopped and continued, dismissed), another takes over; a stopped one that
// continues commits nothing; and in the end each record is stored once, in
// order.
func TestProcesses(t *testing.T) {
	f := newFleet(t)
	for range 3 {
		f.add()
	}
	leader := f.leads(0)
	for range 2 {
		f.kill(leader.pid)
		f.add()
		leader = f.leads(leader.term)
	}
	for range 2 {
		leader = f.stopAndContinue(leader)
	}
	f.dismiss(leader.pid)
	f.add()
	f.leads(leader.term)
	for pid := range f.children {
		f.dismiss(pid)
	}
	f.readers.Wait()
	checkHistory(t, f.path)
}

// stopAndContinue stops the leader until another one leads, and checks that it
// then commits nothing.
func (f *fleet) stopAndContinue(leader line) line {
	f.t.Helper()
	f.stop(leader.pid)
	next := f.leads(leader.term)
	must(f.t, syscall.Kill(leader.pid, syscall.SIGCONT))
	ended := f.next("ended", func(l line) bool { return l.pid == leader.pid && l.term == leader.term })
	if !strings.Contains(ended.text, gerritstream.ErrLeadershipLost.Error()) {
		f.t.Errorf("a process that was stopped printed %q", ended.text)
	}
	return next
}

// stop stops a child at a moment at which it does not hold the file's write
// lock: with SQLite, a process that is frozen with the lock blocks everybody
// until it continues or dies.
func (f *fleet) stop(pid int) {
	f.t.Helper()
	db, err := sql.Open("sqlite", f.path+"?_pragma=busy_timeout(100)")
	must(f.t, err)
	defer db.Close()
	for range 1000 {
		must(f.t, syscall.Kill(pid, syscall.SIGSTOP))
		// A thread that runs on the other processor continues for a moment,
		// long enough to take the lock.
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
			f.t.Fatalf("a process that was to stop ended: %v, %v", status, err)
		}
		if lockFree(f.t, db) {
			return
		}
		must(f.t, syscall.Kill(pid, syscall.SIGCONT))
		for !lockFree(f.t, db) { // it runs until it has released the lock
		}
	}
	f.t.Fatal("the process never releases the file")
}

// lockFree reports whether the file's write lock can be taken.
func lockFree(t *testing.T, db *sql.DB) bool {
	t.Helper()
	conn, err := db.Conn(t.Context())
	must(t, err)
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE; ROLLBACK")
	must(t, conn.Close())
	return err == nil
}

// checkHistory checks that records 1 to the stored position are there, each
// once and in order.
func checkHistory(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	var last, rows, distinct, disorder int
	must(t, db.QueryRowContext(t.Context(), `SELECT json_extract(position, '$.after') FROM positions`).Scan(&last))
	must(t, db.QueryRowContext(t.Context(), `SELECT count(*), count(DISTINCT seq) FROM events`).Scan(&rows, &distinct))
	must(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM
		(SELECT CAST(seq AS INTEGER) - row_number() OVER (ORDER BY n) AS off FROM events) WHERE off <> 0`).Scan(&disorder))
	if rows != last || distinct != last || disorder != 0 || last < 3 {
		t.Errorf("the position is %d; %d rows, %d distinct records, %d out of order", last, rows, distinct, disorder)
	}
	t.Logf("%d records", last)
}
