package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// A file of each older version is migrated with what it holds, and works.
func TestMigrations(t *testing.T) {
	for version := 1; version < len(migrations); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			makeOld(t, path, version)
			store, err := Open(t.Context(), Config{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			positions, err := store.Positions(t.Context(), 0)
			if err != nil || len(positions) != 1 {
				t.Errorf("positions %v, %v", positions, err)
			}
			if err := store.Advertise(t.Context(),
				gerritstream.MemberInfo{Process: "new", Readable: true}); err != nil {
				t.Error(err)
			}
			m, err := store.GroupState(t.Context(), nil)
			if err != nil || len(m.Members) != 1 || m.Members[0].Info.Process != "new" {
				t.Errorf("members %+v, %v", m.Members, err)
			}
			s, err := readSchema(t.Context(), store.reading)
			if err != nil || s.version != len(migrations) || s.application != applicationID {
				t.Errorf("schema %+v, %v", s, err)
			}
			if err := store.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// makeOld makes a file as an older version left it, with a process that still
// runs.
func makeOld(t *testing.T, path string, version int) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, step := range migrations[:version] {
		run(t, db, step)
	}
	position := storekit.EncodePosition(gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}},
		gerritstream.Stamp{})
	run(t, db, fmt.Sprintf(`PRAGMA application_id=%d; PRAGMA user_version=%d`, applicationID, version))
	run(t, db, `INSERT INTO positions VALUES (0, 'shardId-000000000000', ?, 0)`, string(position))
	run(t, db, `INSERT INTO processes (id, name, beat, ttl, beaten) VALUES ('old', 'old', 1, 5000, 0)`)
}

func run(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}
