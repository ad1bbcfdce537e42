package sqlite_test

import (
	"database/sql"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// walLimit is what the -wal file is cut back to, and some pages that the next
// commit needs.
const walLimit = 17 << 20

// fill commits megabytes of events.
func fill(t *testing.T, term gerritstream.Term, from, megabytes int) {
	t.Helper()
	for i := range megabytes {
		seq := gerritstream.SequenceNumber(fmt.Sprint(from + i))
		must(t, term.Commit(t.Context(), gerritstream.Commit{
			Position: position(seq), Entries: []gerritstream.Entry{entry(shardA, seq, 1<<20)},
		}))
	}
}

func walSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path + "-wal")
	must(t, err)
	return info.Size()
}

// A reader that stays keeps the log from being moved into the database. The
// store shows since when, and the log is cut back once the reader has gone: by
// the next commits or, without any, by a look at it.
func TestLogIsBounded(t *testing.T) {
	for name, idle := range map[string]bool{"by commits": false, "by a look": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(t)
				store := openWith(t, sqlite.Config{Path: s.path})
				term := elect(t, store, shardA)
				fill(t, term, 1, 1)
				reader, err := s.raw.BeginTx(t.Context(), nil)
				must(t, err)
				var n int
				must(t, reader.QueryRowContext(t.Context(), `SELECT count(*) FROM events`).Scan(&n))
				fill(t, term, 2, 24)
				began := time.Now()
				wait(t, 5*time.Minute+5500*time.Millisecond) // between two looks and two heartbeats

				in, err := store.Inspect(t.Context())
				must(t, err)
				if in.Log == nil || in.Log.Bytes < 24<<20 {
					t.Fatalf("the log is %+v", in.Log)
				}
				if late := in.Log.HeldSince.Sub(began); late < 0 || late > 2*time.Minute { // no older than it is
					t.Errorf("the reader came at %v, the log is held since %v", began, in.Log.HeldSince)
				}
				must(t, reader.Rollback())
				if idle {
					wait(t, 30*time.Second)
				} else {
					fill(t, term, 100, 10)
				}
				if size := walSize(t, s.path); size > walLimit {
					t.Errorf("the log still has %d bytes", size)
				}
				wait(t, 30*time.Second)
				if in, err := store.Inspect(t.Context()); err != nil || !in.Log.HeldSince.IsZero() {
					t.Errorf("nobody reads, and the log is held since %v, %v", in.Log.HeldSince, err)
				}
			})
		})
	}
}

// Of successive readers, none is shown as older than it is.
func TestTheOldestReaderIsNoOlderThanItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store := openWith(t, sqlite.Config{Path: s.path})
		term := elect(t, store, shardA)
		var n int
		for i := range 12 {
			reader, err := s.raw.BeginTx(t.Context(), nil)
			must(t, err)
			must(t, reader.QueryRowContext(t.Context(), `SELECT count(*) FROM events`).Scan(&n))
			fill(t, term, 1+2*i, 2)
			wait(t, 17*time.Second)
			in, err := store.Inspect(t.Context())
			must(t, err)
			if since := in.Log.HeldSince; !since.IsZero() && time.Since(since) > 17*time.Second {
				t.Errorf("a reader that came 17s ago is called %v old", time.Since(since))
			}
			must(t, reader.Rollback())
		}
	})
}

// Short reads that overlap do not keep the log from being cut back either.
func TestLogIsBoundedUnderReadersWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		term := elect(t, openWith(t, sqlite.Config{Path: s.path}), shardA)
		fill(t, term, 1, 1)
		begin := func() *sql.Tx {
			var n int
			reader, err := s.raw.BeginTx(t.Context(), nil)
			must(t, err)
			must(t, reader.QueryRowContext(t.Context(), `SELECT count(*) FROM events`).Scan(&n))
			return reader
		}
		reader := begin()
		fill(t, term, 2, 24)
		for n := 0; n < 4000 && walSize(t, s.path) > walLimit; n++ { // of 50 ms each: twenty looks at the log
			wait(t, 40*time.Millisecond)
			next := begin()
			wait(t, 10*time.Millisecond)
			must(t, reader.Rollback())
			reader = next
		}
		if size := walSize(t, s.path); size > walLimit {
			t.Errorf("the log still has %d bytes", size)
		}
		must(t, reader.Rollback())
	})
}
