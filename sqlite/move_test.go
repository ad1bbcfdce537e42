package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

func openMove(t *testing.T, path string) *sqlite.Move {
	t.Helper()
	m, err := sqlite.OpenMove(t.Context(), path)
	must(t, err)
	t.Cleanup(func() { closed(t, m.Close()) })
	return m
}

// TestMovedFileIsRefused: nobody opens a file that is being moved or was moved,
// nobody who has it open writes to it, and a move that was cut is completed or
// cancelled.
func TestMovedFileIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := s.open()
		term := elect(t, store, shardA)
		must(t, term.Commit(t.Context(), commitOf("1")))

		m := openMove(t, s.path)
		if alive, err := m.InUse(t.Context()); err != nil || len(alive) != 1 {
			t.Errorf("a process that lives: %q, %v", alive, err)
		}
		// One that is frozen meanwhile is not seen, and must write nothing.
		if was, err := m.Begin(t.Context(), "postgres://there"); was != sqlite.NotMoved || err != nil {
			t.Fatal(was, err)
		}
		if err := term.Commit(t.Context(), commitOf("2")); err == nil {
			t.Error("a process that had the file open commits")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := store.Campaign(ctx, 0, shardA); err == nil {
			t.Error("a process that had the file open wins a lease")
		}
		cancel()
		s.refused(t, "being copied to postgres://there")
		if _, err := m.Begin(t.Context(), "postgres://elsewhere"); !errors.Is(err, gerritstream.ErrUnusable) {
			t.Errorf("a move to another store: %v", err)
		}
		store.Kill()

		must(t, m.Cancel(t.Context()))
		must(t, m.Cancel(t.Context())) // it may be repeated
		again := elect(t, s.open(), shardA)
		must(t, again.Commit(t.Context(), commitOf("3")))
		must(t, again.Resign(t.Context()))

		if _, err := m.Begin(t.Context(), "postgres://there"); err != nil {
			t.Fatal(err)
		}
		if was, err := openMove(t, s.path).Begin(t.Context(), "postgres://there"); was != sqlite.Moving || err != nil {
			t.Errorf("a move that was cut is begun again: %v, %v", was, err)
		}
		must(t, m.Finish(t.Context()))
		s.refused(t, "copied to postgres://there at")
		if was, err := m.Begin(t.Context(), "postgres://there"); was != sqlite.Moved || err != nil {
			t.Errorf("a move that was completed: %v, %v", was, err)
		}
		if err := m.Cancel(t.Context()); !errors.Is(err, gerritstream.ErrUnusable) {
			t.Errorf("a move that was completed is cancelled: %v", err)
		}
	})
}

// refused checks that the file cannot be opened in any way.
func (s *shared) refused(t *testing.T, why string) {
	t.Helper()
	for how, open := range map[string]func() error{
		"to run":       func() error { _, err := sqlite.Open(t.Context(), sqlite.Config{Path: s.path}); return err },
		"to consume":   func() error { _, err := sqlite.OpenQueue(t.Context(), sqlite.Config{Path: s.path}); return err },
		"to read":      func() error { _, err := sqlite.OpenReader(t.Context(), s.path); return err },
		"to operate":   func() error { _, err := sqlite.OpenOperator(t.Context(), s.path); return err },
		"to look into": func() error { _, err := sqlite.Inspect(t.Context(), s.path); return err },
	} {
		err := open()
		if !errors.Is(err, gerritstream.ErrUnusable) || !strings.Contains(err.Error(), why) {
			t.Errorf("opened %s: %v", how, err)
		}
	}
}

// TestProcessesThatUseAFileAreNamed; those that died are not.
func TestProcessesThatUseAFileAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		dead := s.open()
		must(t, dead.Renew())
		dead.Kill()
		must(t, dead.Reap()) // its last heartbeat is written
		m, began := openMove(t, s.path), time.Now()
		if alive, err := m.InUse(t.Context()); err != nil || alive != nil {
			t.Errorf("a process that died: %q, %v", alive, err)
		}
		if took := time.Since(began); took != sqlite.DefaultLeaseTTL {
			t.Errorf("it was watched for %v", took)
		}
		live, err := sqlite.Open(t.Context(), sqlite.Config{Path: s.path, Process: "lives", PollOnly: true})
		must(t, err)
		defer func() { must(t, live.Close(t.Context())) }()
		if alive, err := m.InUse(t.Context()); err != nil || !slices.Equal(alive, []string{"lives"}) {
			t.Errorf("a process that lives: %q, %v", alive, err)
		}
	})
}

// TestMoveGivesEverything: every table of the schema is given or named here,
// and every column.
func TestMoveGivesEverything(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	s.exec(`INSERT INTO consumers (name, n, at) VALUES ('c', 7, 1)`)
	s.exec(`INSERT INTO counters VALUES ('wal held since', 9)`)
	m := openMove(t, s.path)
	tables, err := m.Tables(t.Context())
	must(t, err)
	given := map[string]string{
		// Of processes, which have ended; of the file; known again at once.
		"processes": "id, name, beat, ttl, beaten", "members": "process, info", "reports": "process, report, reported",
		"candidates": "n, process, shard", "changes": "one, leases, candidates, members, pauses",
		"frontiers": "process, epoch, until", "frontier_asked": "one, at",
	}
	for _, table := range tables {
		given[table.Name] = strings.Join(table.Columns, ", ")
		var rows int64
		for row, err := range table.Rows(t.Context()) {
			must(t, err)
			if rows++; len(row) != len(table.Columns) {
				t.Errorf("%s: %v", table.Name, row)
			}
			if table.Name == "counters" && row[0] != "expired" && row[0] != "discarded" {
				t.Errorf("the counter %v is the file's own", row[0])
			}
		}
		if rows != table.Count {
			t.Errorf("%s: %d rows, counted %d", table.Name, rows, table.Count)
		}
	}
	missing := map[string][]string{}
	s.each(`SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table'`,
		func(rows *sql.Rows) error {
			var table, column string
			err := rows.Scan(&table, &column)
			if !slices.Contains(strings.Split(given[table], ", "), column) {
				missing[table] = append(missing[table], column)
			}
			return err
		})
	delete(missing, "sqlite_stat1")
	for table, columns := range missing {
		known := map[string]string{"start": "one", "leases": "process"} // always the same, and nobody's
		if len(columns) != 1 || columns[0] != known[table] {
			t.Errorf("%s: %q are not given", table, columns)
		}
	}
}
