package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

const streamName = "gerrit"

// streams start a Kinesis, by its name.
var streams = map[string]func(t *testing.T) (endpoint string){
	"kinesalite":    func(t *testing.T) string { t.Helper(); return peers.Kinesalite(t) },
	"kinesis-local": func(t *testing.T) string { t.Helper(); return peers.KinesisLocal(t) },
	"emulate":       emulate,
}

// emulate starts `gerritstream emulate` and returns its endpoint.
func emulate(t *testing.T) string {
	t.Helper()
	return emulateWith(t)
}

// emulateWith is emulate with more arguments.
func emulateWith(tb testing.TB, args ...string) string {
	tb.Helper()
	p := start(tb, append([]string{"emulate", "--addr", "127.0.0.1:0"}, args...)...)
	var endpoint string
	eventually(tb, "emulate is ready", func() bool {
		_, rest, found := strings.Cut(string(p.output(tb)), "ready at ")
		var whole bool
		endpoint, _, whole = strings.Cut(rest, ": ")
		return found && whole
	})
	return endpoint
}

// fromStart are the arguments of a `run` that reads a stream from its beginning
// into a database.
func fromStart(endpoint, database string, more ...string) []string {
	return append([]string{
		"run", "--stream", streamName, "--region", "us-east-1", "--endpoint", endpoint,
		"--store", "sqlite:" + database, "--start-at", "trim-horizon", "--admin", "127.0.0.1:0",
	}, more...)
}

// newDatabase returns the path of a database that does not exist yet.
func newDatabase(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "events.db")
}

// runUntilCaughtUp runs `run ... --until-caught-up`, which must succeed, and
// returns its output.
func runUntilCaughtUp(t *testing.T, endpoint, database string, more ...string) []byte {
	t.Helper()
	out, code := run(t, fromStart(endpoint, database, append(more, "--until-caught-up")...)...)
	if code != 0 {
		t.Fatalf("run --until-caught-up: exit code %d, want 0", code)
	}
	return out
}
