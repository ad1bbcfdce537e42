package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

func openOperator(t *testing.T, path string) *sqlite.Operator {
	t.Helper()
	o, err := sqlite.OpenOperator(t.Context(), path)
	must(t, err)
	t.Cleanup(func() { closed(t, o.Close(context.WithoutCancel(t.Context()))) })
	return o
}

func setTo(pos gerritstream.Position) func(*gerritstream.StoredPosition) (gerritstream.Position, error) {
	return func(*gerritstream.StoredPosition) (gerritstream.Position, error) { return pos, nil }
}

// A transaction that fails half-way leaves no trace.
func TestOperatorWritesAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		o, term := openOperator(t, s.path), elect(t, s.open(), shardA)
		d := gerritstream.DeadLetter{ID: gerritstream.EventID{1}, Shard: shardA, Seq: "1"}
		e := gerritstream.DeadLetter{ID: gerritstream.EventID{2}, Shard: shardA, Seq: "2"}
		dead := []gerritstream.DeadLetter{d, e}
		must(t, term.Commit(t.Context(), gerritstream.Commit{Position: position("2"), DeadLetters: dead}))

		s.exec(`CREATE TRIGGER kept BEFORE DELETE ON dead_letters WHEN old.seq = '2' BEGIN SELECT RAISE(ABORT, 'kept'); END`)
		if err := o.RedriveDeadLetter(t.Context(), gerritstream.Entry{ID: e.ID, Shard: shardA, Seq: "2"}); err == nil {
			t.Error("the redrive succeeded")
		}
		if n, err := o.DropDeadLetters(t.Context(), []gerritstream.EventID{d.ID, e.ID}); err == nil || n != 0 {
			t.Errorf("%d dropped, error %v", n, err)
		}
		if queued, dead := len(s.entries()), len(s.deadLetters()); queued != 0 || dead != 2 {
			t.Errorf("%d entries and %d dead letters, want 0 and 2", queued, dead)
		}

		s.exec(`CREATE TRIGGER fixed BEFORE UPDATE ON positions WHEN new.position LIKE '%"7"%' BEGIN SELECT RAISE(ABORT, 'fixed'); END`)
		if err := o.SetPosition(t.Context(), 0, shardA, setTo(position("7"))); err == nil {
			t.Error("the position was set")
		}
		wait(t, time.Minute)
		must(t, term.Commit(t.Context(), commitOf("3"))) // it still leads
	})
}

// An operator changes only what it is asked to: it is not a process of the
// file.
func TestOperatorIsNoMember(t *testing.T) {
	s := newShared(t)
	o := openOperator(t, s.path)
	must(t, o.SetPosition(t.Context(), 0, shardA, setTo(position("1"))))
	rows := 0
	must(t, s.raw.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM processes) + (SELECT count(*) FROM leases)`).Scan(&rows))
	if rows != 0 {
		t.Errorf("an operator left %d rows of processes and leases", rows)
	}
}

// An operator waits a while for another writer, and then reports that nothing
// was written.
func TestOperatorWaitsForWriters(t *testing.T) {
	s := newShared(t)
	o := openOperator(t, s.path)
	conn, err := s.raw.Conn(t.Context())
	must(t, err)
	_, err = conn.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
	must(t, err)
	if err := o.SetPosition(t.Context(), 0, shardA, setTo(position("1"))); !errors.Is(err, gerritstream.ErrRetryLater) {
		t.Errorf("while another writes: %v, want %v", err, gerritstream.ErrRetryLater)
	}
	_, err = conn.ExecContext(t.Context(), `ROLLBACK`)
	must(t, err)
	must(t, conn.Close())
	must(t, o.SetPosition(t.Context(), 0, shardA, setTo(position("1"))))
}

// Only an existing store is opened.
func TestOperatorOpensWhatIsThere(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "store.db")
	if _, err := sqlite.OpenOperator(t.Context(), missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	s := newShared(t)
	s.exec(`PRAGMA user_version = 999`)
	if _, err := sqlite.OpenOperator(t.Context(), s.path); !errors.Is(err, gerritstream.ErrNewerFormat) {
		t.Errorf("a newer file: %v", err)
	}
}
