package peers

import (
	"os"
	"path/filepath"
	"testing"
)

// Kinesalite starts kinesalite 3.3.3 (the older emulator) on a free loopback
// port and returns its endpoint, "http://HOST:PORT", once it answers. It holds
// its streams in memory and ends with the test; its log is kept when the test
// fails.
//
// Streams change state within 5 ms and there may be 1,000 shards. It does not
// throttle reads, and it reports MillisBehindLatest as 0 and no ChildShards.
func Kinesalite(tb testing.TB) (endpoint string) {
	tb.Helper()
	return kinesalite.start(tb)
}

// KinesisLocal starts kinesis-local 0.6.2 (the newer emulator) in the same way
// as Kinesalite.
//
// It does not trim, and SubscribeToShard fails with the Go SDK.
func KinesisLocal(tb testing.TB) (endpoint string) {
	tb.Helper()
	return kinesisLocal.start(tb)
}

// plainPort is the port that a peer is told to serve plain HTTP on. It stands
// for the free one that npm/loopback.cjs takes.
const plainPort = "4568"

// peer is an emulator from npm and how it is started.
type peer struct {
	name string
	main string // below its package's folder
	args []string
	env  []string
}

var (
	kinesalite = peer{
		name: "kinesalite",
		main: "cli.js",
		args: []string{
			"--port", plainPort,
			"--createStreamMs", "5", "--deleteStreamMs", "5", "--updateStreamMs", "5", "--shardLimit", "1000",
		},
	}
	kinesisLocal = peer{
		name: "kinesis-local",
		main: "main.js",
		env: []string{
			"KINESIS_MOCK_PLAIN_PORT=" + plainPort, "SHARD_LIMIT=1000",
			"CREATE_STREAM_DURATION=5ms", "DELETE_STREAM_DURATION=5ms",
			"SPLIT_SHARD_DURATION=5ms", "MERGE_SHARDS_DURATION=5ms", "UPDATE_SHARD_COUNT_DURATION=5ms",
		},
	}
)

// path returns where a file of the peer's package is.
func (p peer) path(file string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "internal", "peers", "npm", "node_modules", p.name, file), nil
}

// start runs the peer in its own package's folder, where kinesis-local looks
// for its certificate.
func (p peer) start(tb testing.TB) string {
	tb.Helper()
	Require(tb, NPM)
	main, err := p.path(p.main)
	if err != nil {
		tb.Fatal(err)
	}
	folder := filepath.Dir(main)
	preload := filepath.Join(folder, "..", "..", "loopback.cjs")
	proc := process{
		name: p.name,
		dir:  folder,
		env:  append(os.Environ(), p.env...),
		argv: append([]string{"node", "--require", preload, main}, p.args...),
	}
	return proc.start(tb)
}
