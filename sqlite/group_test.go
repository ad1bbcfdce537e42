package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/sqlite"
)

func advertise(t *testing.T, store *sqlite.Store) {
	t.Helper()
	must(t, store.Advertise(t.Context(), gerritstream.MemberInfo{Process: "process", Readable: true}))
}

func groupState(t *testing.T, store *sqlite.Store) gerritstream.GroupState {
	t.Helper()
	m, err := store.GroupState(t.Context(), []gerritstream.ShardID{shardA})
	must(t, err)
	return m
}

// While nothing changes, nothing is written about members and candidates,
// however many processes look and wait.
func TestAQuietGroupWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		leader, candidate := s.open(), s.open()
		advertise(t, leader)
		advertise(t, candidate)
		elect(t, leader, shardA)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _, _ = candidate.Campaign(ctx, 0, shardA) }()
		wait(t, 10*time.Second)
		if candidates := groupState(t, leader).Candidates[shardA]; len(candidates) != 2 {
			t.Fatalf("the candidates are %+v", candidates)
		}
		s.exec(`CREATE TABLE written (what TEXT)`)
		for _, on := range []string{"INSERT ON candidates", "DELETE ON candidates",
			"INSERT ON members", "UPDATE ON members"} {
			s.exec(`CREATE TRIGGER "` + on + `" AFTER ` + on + ` BEGIN INSERT INTO written VALUES ('` + on + `'); END`)
		}
		seen := groupState(t, leader)
		for range 60 {
			waiting, stop := context.WithTimeout(ctx, time.Second)
			if _, err := leader.WaitGroupChange(waiting, seen); err == nil {
				t.Error("a wait ended though nothing changed")
			}
			stop()
			groupState(t, candidate)
		}
		var n int
		must(t, s.raw.QueryRowContext(t.Context(), `SELECT count(*) FROM written`).Scan(&n))
		if n != 0 {
			t.Errorf("%d writes in a quiet minute", n)
		}
		advertise(t, leader) // which the triggers see
		must(t, s.raw.QueryRowContext(t.Context(), `SELECT count(*) FROM written`).Scan(&n))
		if n != 1 {
			t.Errorf("advertising was seen %d times", n)
		}
	})
}

// To a process that has just started, one that died long ago is not a member,
// although it has not been watched for a TTL. One that lives is a member at
// once.
func TestLongDeadMembersAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		dead, alive := s.open(), s.open()
		advertise(t, dead)
		advertise(t, alive)
		dead.Kill()
		wait(t, 10*time.Minute)
		if m := groupState(t, s.open()); len(m.Members) != 1 || m.Members[0].ID != alive.ID() {
			t.Errorf("the members are %+v, want %s", m.Members, alive.ID())
		}
	})
}

// The loss of a killed member is noticed within the TTL and one look, that of a
// member that leaves in order at the next look.
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
				advertise(t, watcher)
				advertise(t, leaver)
				elect(t, leaver, shardA)
				wait(t, 10*time.Second)
				seen := groupState(t, watcher)
				began := time.Now()
				tt.leave(t, leaver)
				urgent, err := watcher.WaitGroupChange(t.Context(), seen)
				if took := time.Since(began); err != nil || !urgent || took > tt.within {
					t.Errorf("urgent %v, %v, after %v", urgent, err, took)
				}
				elect(t, watcher, shardA)
				if took := time.Since(began); took > tt.within {
					t.Errorf("its leadership was taken over after %v", took)
				}
				if name == "killed" {
					must(t, leaver.Reap())
				}
			})
		})
	}
}

// Of processes that have left the group nothing is left in the file.
func TestAGroupLeavesNothingBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	first := openWith(t, sqlite.Config{Path: path})
	second := openWith(t, sqlite.Config{Path: path})
	advertise(t, first)
	advertise(t, second)
	elect(t, first, shardA)
	gone := make(chan error, 1)
	go func() { _, err := second.Campaign(t.Context(), 0, shardA); gone <- err }()
	for deadline := time.After(30 * time.Second); len(groupState(t, first).Candidates[shardA]) != 2; {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatal("there is no candidate")
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

// A candidate that wins is removed in the same transaction, and a heartbeat
// before the term begins does not add it again: it is never a candidate after
// itself.
func TestALeaderIsNoCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		first, second := s.open(), s.open()
		term := elect(t, first, shardA)
		check := func(when string) {
			var rows int
			must(t, s.raw.QueryRow(`SELECT count(*) FROM candidates WHERE process = ?`, second.ID()).Scan(&rows))
			if rows != 0 {
				t.Errorf("%s the leader is a candidate", when)
			}
		}
		second.Intercept(func(p storekit.Point, write func() error) error {
			err := write()
			if p == storekit.PointCampaign && err == nil {
				check("with its lease")
				must(t, second.Renew())
				check("after a heartbeat")
			}
			return err
		})
		won := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := second.Campaign(ctx, 0, shardA)
			won <- err
		}()
		wait(t, 5*time.Second)
		if candidates := groupState(t, first).Candidates[shardA]; len(candidates) != 2 {
			t.Fatalf("the candidates are %+v", candidates)
		}
		must(t, term.Resign(t.Context()))
		must(t, <-won)
		candidates := groupState(t, first).Candidates[shardA]
		if len(candidates) != 1 || candidates[0].Member != second.ID() {
			t.Errorf("the candidates are %+v, want %s alone", candidates, second.ID())
		}
	})
}
