package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

func announce(t *testing.T, store *sqlite.Store) {
	t.Helper()
	must(t, store.Advertise(t.Context(), gerritstream.MemberInfo{Process: "process", Readable: true}))
}

func muster(t *testing.T, store *sqlite.Store) gerritstream.GroupState {
	t.Helper()
	m, err := store.GroupState(t.Context(), []gerritstream.ShardID{shardA})
	must(t, err)
	return m
}

// While nothing changes, nothing is written about members and candidates,
// however many look and wait.
func TestAQuietCrewWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		leader, candidate := s.open(), s.open()
		announce(t, leader)
		announce(t, candidate)
		elect(t, leader, shardA)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _, _ = candidate.Campaign(ctx, 0, shardA) }()
		wait(t, 10*time.Second)
		if line := muster(t, leader).Candidates[shardA]; len(line) != 2 {
			t.Fatalf("the line is %+v", line)
		}
		s.say(`CREATE TABLE written (what TEXT)`)
		for _, on := range []string{"INSERT ON candidates", "DELETE ON candidates", "UPDATE OF announcement ON processes"} {
			s.say(`CREATE TRIGGER "` + on + `" AFTER ` + on + ` BEGIN INSERT INTO written VALUES ('` + on + `'); END`)
		}
		seen := muster(t, leader)
		for range 60 {
			waiting, stop := context.WithTimeout(ctx, time.Second)
			if _, err := leader.WaitGroupChange(waiting, seen); err == nil {
				t.Error("a wait ended, and nothing has changed")
			}
			stop()
			muster(t, candidate)
		}
		var n int
		must(t, s.raw.QueryRowContext(t.Context(), `SELECT count(*) FROM written`).Scan(&n))
		if n != 0 {
			t.Errorf("%d writes in a quiet minute", n)
		}
		announce(t, leader) // and the triggers do see what is written
		must(t, s.raw.QueryRowContext(t.Context(), `SELECT count(*) FROM written`).Scan(&n))
		if n != 1 {
			t.Errorf("an announcement was seen %d times", n)
		}
	})
}

// A process that died long ago is no member to one that has just begun,
// although it has not seen it for a TTL; one that lives is, at once.
func TestLongDeadMembersAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		dead, alive := s.open(), s.open()
		announce(t, dead)
		announce(t, alive)
		dead.Kill()
		wait(t, 10*time.Minute)
		if m := muster(t, s.open()); len(m.Members) != 1 || m.Members[0].ID != alive.ID() {
			t.Errorf("the members are %+v, want %s", m.Members, alive.ID())
		}
	})
}

// A killed member is noticed within the TTL and a look; one that leaves in good
// order at the next look.
func TestLeavingIsNoticed(t *testing.T) {
	for name, tt := range map[string]struct {
		leave  func(t *testing.T, s *sqlite.Store)
		within time.Duration
	}{
		"killed": {func(_ *testing.T, s *sqlite.Store) { s.Kill() }, 6 * time.Second},
		"closed": {func(t *testing.T, s *sqlite.Store) { t.Helper(); must(t, s.Close(t.Context())) }, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(t)
				watcher := s.open()
				leaver := openWith(t, sqlite.Config{Path: s.path})
				announce(t, watcher)
				announce(t, leaver)
				elect(t, leaver, shardA)
				wait(t, 10*time.Second)
				seen := muster(t, watcher)
				began := time.Now()
				tt.leave(t, leaver)
				left, err := watcher.WaitGroupChange(t.Context(), seen)
				if took := time.Since(began); err != nil || !left || took > tt.within {
					t.Errorf("left %v, %v, after %v", left, err, took)
				}
				elect(t, watcher, shardA)
				if took := time.Since(began); took > tt.within {
					t.Errorf("its leadership was another's after %v", took)
				}
				if name == "killed" {
					must(t, leaver.Reap())
				}
			})
		})
	}
}

// What a process said that is no member of the crew any more does not stay.
func TestACrewLeavesNothingBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	first := openWith(t, sqlite.Config{Path: path})
	second := openWith(t, sqlite.Config{Path: path})
	announce(t, first)
	announce(t, second)
	elect(t, first, shardA)
	gone := make(chan error, 1)
	go func() { _, err := second.Campaign(t.Context(), 0, shardA); gone <- err }()
	for deadline := time.After(30 * time.Second); len(muster(t, first).Candidates[shardA]) != 2; {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatal("the candidate is not in the line")
		}
	}
	must(t, second.Close(t.Context()))
	<-gone
	must(t, first.Close(t.Context()))
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	var rows int
	must(t, db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM processes) + (SELECT count(*) FROM candidates)`).Scan(&rows))
	if rows != 0 {
		t.Errorf("%d rows are left of processes and candidates", rows)
	}
}

// Who wins leaves the line in the same transaction: it never stands behind
// itself.
func TestALeaderLeavesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		first, second := s.open(), s.open()
		term := elect(t, first, shardA)
		won := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := second.Campaign(ctx, 0, shardA)
			won <- err
		}()
		wait(t, 5*time.Second)
		if line := muster(t, first).Candidates[shardA]; len(line) != 2 {
			t.Fatalf("the line is %+v", line)
		}
		must(t, term.Resign(t.Context()))
		must(t, <-won)
		if line := muster(t, first).Candidates[shardA]; len(line) != 1 || line[0].Member != second.ID() {
			t.Errorf("the line is %+v, want %s alone", line, second.ID())
		}
	})
}
