package e2e

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// status is what the tests read of `gerritstream status -o json`.
type status struct {
	Queue       int           `json:"queue"`
	DeadLetters int           `json:"dead_letters"`
	Shards      []statusShard `json:"shards"`
	Trouble     []string      `json:"trouble"`
	Processes   []struct {
		Process string `json:"process"`
	} `json:"processes"`
}

type statusShard struct {
	Shard   string `json:"shard"`
	State   string `json:"state"`
	Leader  string `json:"leader"`
	Foreign bool   `json:"foreign"`
	Lost    []any  `json:"possibly_lost"`
}

// readStatus runs `gerritstream status -o json` on a database.
func readStatus(t *testing.T, database string) (s status) {
	t.Helper()
	return readStatusOf(t, "sqlite:"+database)
}

// readStatusOf is readStatus of any store.
func readStatusOf(t *testing.T, store string) (s status) {
	t.Helper()
	out, code := run(t, "status", "--store", store, "-o", "json")
	if code != 0 {
		t.Fatalf("status: exit code %d", code)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("status: %v\n%s", err, out)
	}
	return s
}

// leads counts the shards that a process leads.
func (s status) leads(p *program) int {
	pid := strconv.Itoa(p.Process.Pid)
	n := 0
	for _, shard := range s.Shards {
		if slices.Contains(strings.FieldsFunc(shard.Leader, func(r rune) bool { return r < '0' || r > '9' }), pid) {
			n++
		}
	}
	return n
}
