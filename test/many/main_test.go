// Package many measures what many shards cost: real processes on the embedded
// Kinesis, with an account's limits, and on each store. It goes through what
// happens to a deployment, and prints a table.
//
// `make many` measures with 1,000 shards; `make test` only compiles it.
package many

import (
	"flag"
	"os"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

func TestMain(m *testing.M) {
	if flag.Parse(); *flagShards == 0 {
		os.Exit(m.Run())
	}
	os.Exit(peers.WithProgram(m))
}
