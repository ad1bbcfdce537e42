package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// soon is long enough to read a touch that the kernel has noted.
const soon = 20 * time.Millisecond

// touched reports whether there was a touch since the last call, or comes
// within a limit.
func touched(t *testing.T, events *os.File, limit time.Duration) bool {
	t.Helper()
	if err := events.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	_, err := events.Read(make([]byte, 4<<10))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

// Whatever another process may wait for wakes it, commits and heartbeats do
// not.
func TestTouches(t *testing.T) {
	const patience = 10 * time.Second
	path := filepath.Join(t.TempDir(), "store.db")
	open := func() *Store {
		s, err := Open(t.Context(), Config{Path: path, LeaseTTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) })
		return s
	}
	store, other := open(), open()
	events, err := watchTouches(path + beside[0])
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	// Run by root, SQLite sets the owner of the -wal file, a touch, with each
	// connection: open them all.
	for _, s := range []*Store{store, other} {
		if _, err := s.Campaign(t.Context(), 0, gerritstream.ShardID(s.id)); err != nil {
			t.Fatal(err)
		}
	}
	for touched(t, events, soon) {
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// wakes checks that what was just done is noticed.
	wakes := func(what string) {
		t.Helper()
		if !touched(t, events, patience) {
			t.Errorf("%s wakes nobody", what)
		}
		for touched(t, events, soon) {
		}
	}
	ended, err := store.Campaign(t.Context(), 0, "shard")
	must(err)
	ended.(*term).held.Finish(errors.New("over"))
	wakes("a lease that is freed")

	leader, err := store.Campaign(t.Context(), 0, "shard")
	must(err)
	must(leader.Commit(t.Context(), gerritstream.Commit{Position: gerritstream.Position{After: "1"}}))
	must(store.Report(t.Context(), gerritstream.Status{}))
	must(store.heartbeat.Renew())
	if touched(t, events, soon) { // the kernel notes a touch before the call for it returns
		t.Error("commits or heartbeats wake the other processes")
	}
	must(store.Advertise(t.Context(), gerritstream.MemberInfo{Readable: true}))
	wakes("member info")

	won := make(chan error, 1)
	go func() { _, err := other.Campaign(t.Context(), 0, "shard"); won <- err }()
	wakes("a candidacy")
	must(leader.Commit(t.Context(), gerritstream.Commit{Position: gerritstream.Position{After: "2", Ended: true}}))
	wakes("the end of a shard")
	must(leader.Resign(t.Context()))
	wakes("a resignation")
	must(<-won)
	unlucky, err := store.Campaign(t.Context(), 0, "another")
	must(err)
	withdrawn, cancel := context.WithCancel(t.Context())
	cancel()
	if err := unlucky.Resign(withdrawn); err == nil {
		t.Error("a resignation that was withdrawn succeeded")
	}
	wakes("the lease of a resignation that failed")
	must(other.Close(t.Context()))
	wakes("the end of a process")
}

// A touch wakes the watcher, at once or, if one has just done so, a little
// later.
func TestATouchWakesTheWatcher(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Store{log: slog.New(slog.DiscardHandler)}
	wake := storekit.NewSignal()
	s.life, s.end = context.WithCancelCause(t.Context())
	o := &touches{store: s, path: path, wake: wake.Set}
	s.running.Go(o.run)
	deadline := time.After(time.Minute)
	for woken := 0; woken < 3; { // it begins to watch at some time
		o.touch()
		select {
		case <-wake:
			woken++
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatal("touches do not wake the watcher")
		}
	}
	s.end(errClosed)
	s.running.Wait()
}
