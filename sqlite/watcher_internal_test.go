package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
)

// What the watcher has read is what the file holds, whoever writes to it and
// however: no change may be taken for none.
func TestTheWatcherReadsWhatWasChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	store, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(context.WithoutCancel(t.Context()))
	db, err := sql.Open("sqlite", dsn(path, "rw"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := store.heartbeat.Renew(); err != nil { // so that the first one does not come between two readings
		t.Fatal(err)
	}
	o := &tables{store: store}
	var seen lease.State
	ids := func(c lease.State) []string {
		var ids []string
		for _, p := range c.Processes {
			ids = append(ids, p.ID)
		}
		return slices.Sorted(slices.Values(ids))
	}
	for _, statement := range []string{
		`INSERT INTO leases VALUES ('a', 1, 'p'), ('b', 2, 'p')`,
		`UPDATE leases SET term = 2, process = 'q' WHERE shard = 'a'`,
		`UPDATE leases SET process = '' WHERE shard = 'b'`,
		`INSERT INTO leases VALUES ('b', 3, 'r') ON CONFLICT DO UPDATE SET term = 3, process = 'r'`,
		`DELETE FROM leases WHERE shard = 'a'`,
		`INSERT INTO candidates (process, shard) VALUES ('p', 'a'), ('q', 'a'), ('p', 'b')`,
		`DELETE FROM candidates WHERE process = 'p' AND shard = 'a'`,
		`INSERT INTO processes (id, name, beat, ttl, beaten) VALUES ('p', 'p', 1, 5000, 0), ('q', 'q', 1, 5000, 0)`,
		`INSERT INTO members VALUES ('p', '{"host":"one"}'), ('q', '{"host":"other"}')`,
		`INSERT INTO members VALUES ('p', '{"host":"new"}') ON CONFLICT DO UPDATE SET info = excluded.info`,
		`UPDATE processes SET beat = 2 WHERE id = 'q'`,
		`DELETE FROM processes WHERE id = 'p'`,
		`DELETE FROM members`,
		`DELETE FROM candidates`,
		`DELETE FROM leases`,
	} {
		run(t, db, statement)
		var all lease.State
		readInto(t, o, &seen)
		readInto(t, &tables{store: store}, &all)
		if !maps.Equal(seen.Leases, all.Leases) || !reflect.DeepEqual(seen.Candidates, all.Candidates) ||
			!reflect.DeepEqual(seen.Members, all.Members) || !slices.Equal(ids(seen), ids(all)) {
			t.Errorf("after %s: read %+v, want %+v", statement, seen, all)
		}
	}
}

// readInto reads what was changed since c was read.
func readInto(tb testing.TB, o *tables, c *lease.State) {
	tb.Helper()
	err := view(tb.Context(), o.store.reading, func(tx *sql.Tx) error { return o.readChanged(tb.Context(), tx, c) })
	if err != nil {
		tb.Fatal(err)
	}
}

// While nothing but heartbeats is written, the watcher reads nothing else.
func TestHeartbeatsAreCheapToFollow(t *testing.T) {
	store, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(context.WithoutCancel(t.Context()))
	o := &tables{store: store}
	var c lease.State
	readInto(t, o, &c)
	mark := map[gerritstream.ShardID]lease.Lease{"mark": {}}
	c.Leases = mark
	if err := store.heartbeat.Renew(); err != nil {
		t.Fatal(err)
	}
	if readInto(t, o, &c); !maps.Equal(c.Leases, mark) {
		t.Errorf("the leases were read again: %v", c.Leases)
	}
}

// BenchmarkLook reads what the watcher needs of a file with 1,000 leases, after
// a heartbeat and after all of it was changed.
func BenchmarkLook(b *testing.B) {
	store, err := Open(b.Context(), Config{Path: filepath.Join(b.TempDir(), "store.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close(context.WithoutCancel(b.Context()))
	err = store.writer.do(b.Context(), func(tx *transaction) error {
		for i := range 1000 {
			shard := fmt.Sprintf("shardId-%012d", i)
			if err := tx.exec(`INSERT INTO leases VALUES (?, 1, ?)`, shard, store.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	o := &tables{store: store}
	var c lease.State
	for name, before := range map[string]func(){"heartbeat": func() {}, "all": func() { c = lease.State{} }} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				before()
				readInto(b, o, &c)
			}
		})
	}
}
