package sqlite_test

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		New:          func(t *testing.T) storetest.Backend { return newShared(t).backend() },
		Bubble:       true,
		Settle:       2 * time.Second,
		Patience:     time.Minute,
		Deduplicates: true,
	})
	goleak.VerifyNone(t)
}

func TestQueue(t *testing.T) {
	storetest.RunQueue(t, storetest.Harness{
		New:      func(t *testing.T) storetest.Backend { return newShared(t).backend() },
		Bubble:   true,
		Settle:   2 * time.Second,
		Patience: time.Minute,
	})
	goleak.VerifyNone(t)
}

func TestWebhooks(t *testing.T) {
	storetest.RunWebhooks(t, storetest.Harness{
		New:      func(t *testing.T) storetest.Backend { return newShared(t).backend() },
		Bubble:   true,
		Settle:   2 * time.Second,
		Patience: time.Minute,
	})
	goleak.VerifyNone(t)
}

func TestPauses(t *testing.T) {
	storetest.RunPauses(t, storetest.Harness{
		New:      func(t *testing.T) storetest.Backend { return newShared(t).backend() },
		Bubble:   true,
		Settle:   2 * time.Second,
		Patience: time.Minute,
	})
	goleak.VerifyNone(t)
}

// shared is one file, the stores opened on it, and a connection of its own to
// read and change it.
type shared struct {
	t    *testing.T
	path string
	raw  *sql.DB

	faults storetest.Faults
}

func newShared(t *testing.T) *shared {
	s := &shared{t: t, path: filepath.Join(t.TempDir(), "store.db")}
	makeStore(t, s.path)
	raw, err := sql.Open("sqlite", s.path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	s.raw = raw
	t.Cleanup(func() { closed(t, raw.Close()) })
	return s
}

func closed(t *testing.T, err error) {
	if err != nil {
		t.Errorf("close: %v", err)
	}
}

func (s *shared) backend() storetest.Backend {
	return storetest.Backend{
		Open:        func() gerritstream.Store { return s.open() },
		Kill:        func(store gerritstream.Store) { store.(*sqlite.Store).Kill() },
		Entries:     s.entries,
		DeadLetters: s.deadLetters,
		WritePosition: func(epoch int, shard gerritstream.ShardID, raw []byte) {
			s.exec(`DELETE FROM positions WHERE epoch = ? AND shard = ?`, epoch, string(shard))
			if raw != nil {
				s.exec(`INSERT INTO positions VALUES (?, ?, ?, 0)`, epoch, string(shard), string(raw))
			}
		},
		WriteNewerOrigin: func() { s.exec(`UPDATE start SET record = '{"format":1000000}'`) },
		Expire: func(shard gerritstream.ShardID) {
			s.exec(`UPDATE leases SET term = term + 1, process = '' WHERE shard = ?`, string(shard))
		},
		ExpireLease: func(name string) {
			s.exec(`UPDATE leases SET term = term + 1, process = '' WHERE shard = ?`, "consumer:"+name)
		},
		Operator: func() gerritstream.Operator { return s.operator() },
		DamageReport: func(store gerritstream.Store) {
			s.exec(`UPDATE reports SET report = 'garbage' WHERE process = ?`, store.(*sqlite.Store).ID())
		},
		DamageMember: func(store gerritstream.Store) {
			s.exec(`UPDATE members SET info = 'garbage' WHERE process = ?`, store.(*sqlite.Store).ID())
		},
		FailNext: s.faults.FailNext,
	}
}

// open opens a store whose writes suffer the faults that were asked for.
func (s *shared) open() *sqlite.Store {
	s.t.Helper()
	store, err := sqlite.Open(s.t.Context(), sqlite.Config{
		Path: s.path, PollOnly: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	store.Intercept(s.faults.Intercept(store.Kill))
	s.t.Cleanup(func() {
		store.Kill()
		closed(s.t, store.Reap())
	})
	return store
}

// operator opens an operator whose writes suffer the faults that were asked
// for. The caller closes it.
func (s *shared) operator() *sqlite.Operator {
	s.t.Helper()
	o, err := sqlite.OpenOperator(s.t.Context(), s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	o.Intercept(s.faults.Intercept(nil))
	return o
}

func (s *shared) exec(statement string, args ...any) {
	s.t.Helper()
	if _, err := s.raw.ExecContext(s.t.Context(), statement, args...); err != nil {
		s.t.Fatal(err)
	}
}

// each calls scan for each row of a query.
func (s *shared) each(query string, scan func(*sql.Rows) error) {
	s.t.Helper()
	rows, err := s.raw.QueryContext(s.t.Context(), query)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shared) entries() (entries []gerritstream.Entry) {
	s.each(`SELECT id, payload FROM events ORDER BY n`, func(rows *sql.Rows) error {
		var id []byte
		var e gerritstream.Entry
		err := rows.Scan(&id, &e.Payload)
		e.ID = gerritstream.EventID(id)
		entries = append(entries, e)
		return err
	})
	return entries
}

func (s *shared) deadLetters() (dead []gerritstream.DeadLetter) {
	const query = `SELECT id, shard, seq, sub, arrived, reason, detail, payload, length, sha256 FROM dead_letters`
	s.each(query, func(rows *sql.Rows) error {
		var id, sum []byte
		var arrived int64
		var d gerritstream.DeadLetter
		err := rows.Scan(&id, &d.Shard, &d.Seq, &d.Sub, &arrived, &d.Reason, &d.Detail, &d.Payload, &d.Length, &sum)
		d.ID, d.SHA256, d.Arrived = gerritstream.EventID(id), [32]byte(sum), time.UnixMilli(arrived)
		dead = append(dead, d)
		return err
	})
	return dead
}
