package e2e

import (
	_ "embed" // witness.py
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/sqlite"
)

// item is what the judge wants of a put.
func (p *wantedPut) item() history.Item {
	return history.Item{
		Shard: gerritstream.ShardID(p.Shard), Seq: gerritstream.SequenceNumber(p.SequenceNumber),
		Sub:     gerritstream.NoSub,
		Outcome: history.Outcome(p.Want), Sum: p.SHA256[:len(history.Sum(nil))],
	}
}

// judge fails the test unless a queue and dead letters hold exactly what must
// have become of the puts.
func judge(t *testing.T, puts []wantedPut, queue, deadLetters []history.Item) {
	t.Helper()
	var put []history.Item
	for i := range puts {
		put = append(put, puts[i].item())
	}
	report := history.Compare(put, queue, deadLetters)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	t.Logf("%d puts: %d queued, %d dead letters", report.Put, report.Queued, report.DeadLettered)
}

// checkExact has the judge and the witness fail the test unless a database
// holds exactly what must have become of the puts.
func checkExact(t *testing.T, database string, puts []wantedPut) {
	t.Helper()
	r, err := sqlite.OpenReader(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(t.Context()) }()
	var queue, deadLetters []history.Item
	for e, err := range r.Events(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		queue = append(queue, history.EntryItem(&e.Entry))
	}
	held, err := r.DeadLetters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range held {
		deadLetters = append(deadLetters, history.DeadLetterItem(&held[i]))
	}
	judge(t, puts, queue, deadLetters)
	for table, found := range witness(t, database, puts) {
		if !found.exact() {
			t.Errorf("the witness finds of the %s: %+v", table, found)
		}
	}
}

//go:embed witness.py
var witnessProgram string

// testimony is what witness.py finds in one table.
type testimony struct {
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
func (w testimony) exact() bool { return w == testimony{Wanted: w.Wanted, Rows: w.Wanted} }

// witness has witness.py compare a database with the puts, by table.
func witness(t *testing.T, database string, puts []wantedPut) (found map[string]testimony) {
	t.Helper()
	peers.Require(t, peers.Python)
	cmd := peers.PythonCommand(t.Context(), witnessProgram, database, writePuts(t, puts))
	if err := json.Unmarshal(outside(t, cmd), &found); err != nil {
		t.Fatal(err)
	}
	return found
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

// TestWitnessFindsEachFault; TestCheckFindsEachFault in internal/history does
// the same to the judge.
func TestWitnessFindsEachFault(t *testing.T) {
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
		events testimony
	}{
		"nothing": {`(1,'a','9','x'), (2,'a','10','x')`, testimony{Wanted: 2, Rows: 2}},
		"missing": {`(1,'a','9','x')`, testimony{Wanted: 2, Rows: 1, Missing: 1}},
		"filtered": {
			`(1,'a','9','x'), (2,'a','10','x'), (3,'a','11','x')`, testimony{Wanted: 2, Rows: 3, Extra: 1},
		},
		"dead letter queued": {
			`(1,'a','9','x'), (2,'a','10','x'), (3,'b','1','x')`, testimony{Wanted: 2, Rows: 3, Extra: 1},
		},
		"doubled": {
			`(1,'a','9','x'), (2,'a','10','x'), (3,'a','10','x')`,
			testimony{Wanted: 2, Rows: 3, Doubled: 1, Disordered: 1},
		},
		"changed":    {`(1,'a','9','x'), (2,'a','10','y')`, testimony{Wanted: 2, Rows: 2, Changed: 1}},
		"disordered": {`(1,'a','10','x'), (2,'a','9','x')`, testimony{Wanted: 2, Rows: 2, Disordered: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := filepath.Join(t.TempDir(), "d.db")
			query(t, database, `CREATE TABLE events (n INTEGER PRIMARY KEY, shard, seq, payload);
				CREATE TABLE dead_letters (n INTEGER PRIMARY KEY, shard, seq, sha256);`+dead+
				`INSERT INTO events SELECT column1, column2, column3, CAST(column4 AS BLOB) FROM (VALUES `+test.rows+`);`)
			found := witness(t, database, puts)
			if found["events"] != test.events || !found["dead_letters"].exact() {
				t.Errorf("found %+v, want %+v", found, test.events)
			}
		})
	}
}
