package e2e

import (
	_ "embed" // compare.py
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/peers"
)

//go:embed compare.py
var compareProgram string

// comparison is what compare.py prints of one table.
type comparison struct {
	Wanted     int `json:"wanted"`
	Rows       int `json:"rows"`
	Missing    int `json:"missing"`
	Extra      int `json:"extra"`
	Doubled    int `json:"doubled"`
	Changed    int `json:"changed"`
	Disordered int `json:"disordered"`
}

// exact: the table holds what is wanted, once, unchanged, in order, and nothing
// else.
func (c comparison) exact() bool {
	return c == comparison{Wanted: c.Wanted, Rows: c.Wanted}
}

// compare has compare.py judge a database.
func compare(t *testing.T, database string, puts []wantedPut) (events, letters comparison) {
	t.Helper()
	peers.Require(t, peers.Python)
	cmd := peers.PythonCommand(t.Context(), compareProgram, database, writePuts(t, puts))
	var result struct {
		Events      comparison `json:"events"`
		DeadLetters comparison `json:"dead_letters"`
	}
	if err := json.Unmarshal(outside(t, cmd), &result); err != nil {
		t.Fatal(err)
	}
	return result.Events, result.DeadLetters
}

// checkExact fails the test unless the database holds exactly what must have
// become of the puts.
func checkExact(t *testing.T, database string, puts []wantedPut) {
	t.Helper()
	events, letters := compare(t, database, puts)
	t.Logf("of %d puts: events %+v, dead letters %+v", len(puts), events, letters)
	if !events.exact() {
		t.Errorf("events: %+v", events)
	}
	if !letters.exact() {
		t.Errorf("dead letters: %+v", letters)
	}
}

// query runs one statement in a database with the sqlite3 program.
func query(t *testing.T, database, statement string) string {
	t.Helper()
	return string(outside(t, sqlite3(t, database, statement)))
}

// sqlite3 returns a call of the sqlite3 program. It waits for locks of others.
func sqlite3(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	peers.Require(t, peers.SQLite)
	args = append([]string{"-batch", "-cmd", ".timeout 5000"}, args...)
	return exec.CommandContext(t.Context(), "/usr/bin/sqlite3", args...)
}

// TestComparisonFinds shows that each kind of difference is found: every
// end-to-end test stands on it.
func TestComparisonFinds(t *testing.T) {
	t.Parallel()
	const digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" // of "x"
	put := func(shard, seq string, want gerrittest.Want) wantedPut {
		return wantedPut{peers.Put{Shard: shard, SequenceNumber: seq, SHA256: digest}, want}
	}
	puts := []wantedPut{
		put("a", "9", gerrittest.Queued), put("a", "10", gerrittest.Queued), put("a", "11", gerrittest.Filtered),
		put("b", "1", gerrittest.DeadLetter),
	}
	const dead = `INSERT INTO dead_letters VALUES (1, 'b', '1', X'` + digest + `');`
	for name, test := range map[string]struct {
		rows   string
		events comparison
	}{
		"nothing": {`(1,'a','9','x'), (2,'a','10','x')`, comparison{Wanted: 2, Rows: 2}},
		"missing": {`(1,'a','9','x')`, comparison{Wanted: 2, Rows: 1, Missing: 1}},
		"filtered": {
			`(1,'a','9','x'), (2,'a','10','x'), (3,'a','11','x')`, comparison{Wanted: 2, Rows: 3, Extra: 1},
		},
		"dead letter queued": {
			`(1,'a','9','x'), (2,'a','10','x'), (3,'b','1','x')`, comparison{Wanted: 2, Rows: 3, Extra: 1},
		},
		"doubled": {
			`(1,'a','9','x'), (2,'a','10','x'), (3,'a','10','x')`,
			comparison{Wanted: 2, Rows: 3, Doubled: 1, Disordered: 1},
		},
		"changed":    {`(1,'a','9','x'), (2,'a','10','y')`, comparison{Wanted: 2, Rows: 2, Changed: 1}},
		"disordered": {`(1,'a','10','x'), (2,'a','9','x')`, comparison{Wanted: 2, Rows: 2, Disordered: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := filepath.Join(t.TempDir(), "d.db")
			query(t, database, `CREATE TABLE events (n INTEGER PRIMARY KEY, shard, seq, payload);
				CREATE TABLE dead_letters (n INTEGER PRIMARY KEY, shard, seq, sha256);`+dead+
				`INSERT INTO events SELECT column1, column2, column3, CAST(column4 AS BLOB) FROM (VALUES `+test.rows+`);`)
			events, letters := compare(t, database, puts)
			if events != test.events || !letters.exact() {
				t.Errorf("events %+v, want %+v; dead letters %+v", events, test.events, letters)
			}
		})
	}
}
