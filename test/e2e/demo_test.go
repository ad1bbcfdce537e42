package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// TestDemoAddsUp runs the demo as the README shows it, and counts with another
// program.
func TestDemoAddsUp(t *testing.T) {
	t.Parallel()
	database := newDatabase(t)
	out, code := run(t, "demo", "--events", "20000", "--shards", "4", "--db", database, "-o", "json")
	var result struct {
		Published    int `json:"published"`
		Queued       int `json:"queued"`
		Filtered     int `json:"filtered"`
		DeadLettered int `json:"dead_lettered"`
		Lost         int `json:"lost"`
		Duplicated   int `json:"duplicated"`
	}
	if err := json.Unmarshal(out, &result); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, out)
	}
	if result.Published != 20_000 || result.Lost != 0 || result.Duplicated != 0 || result.DeadLettered == 0 ||
		result.Queued+result.Filtered+result.DeadLettered != result.Published {
		t.Errorf("it does not add up: %s", out)
	}
	counts := query(t, database, `SELECT count(*), count(DISTINCT id), count(DISTINCT shard || '/' || seq || '/' || sub)
		FROM events`)
	if n := strconv.Itoa(result.Queued); counts != strings.Join([]string{n, n, n}, "|") {
		t.Errorf("rows, identities and places in the database: %s, queued: %d", counts, result.Queued)
	}
	if n := query(t, database, "SELECT count(DISTINCT id) FROM dead_letters"); n != strconv.Itoa(result.DeadLettered) {
		t.Errorf("%s dead letters in the database, %d reported", n, result.DeadLettered)
	}
}
