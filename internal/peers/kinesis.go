package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
// as Kinesalite. It does not trim, and SubscribeToShard fails with the Go SDK.
func KinesisLocal(tb testing.TB) (endpoint string) {
	tb.Helper()
	return kinesisLocal.start(tb)
}

// plainPort is the port on which an emulator is told to serve plain HTTP;
// npm/loopback.cjs replaces it by a free one.
const plainPort = "4568"

// emulator is a Kinesis from npm, and how it is started.
type emulator struct {
	name string
	main string // in its package's folder
	args []string
	env  []string
}

var (
	kinesalite = emulator{
		name: "kinesalite",
		main: "cli.js",
		args: []string{
			"--port", plainPort,
			"--createStreamMs", "5", "--deleteStreamMs", "5", "--updateStreamMs", "5", "--shardLimit", "1000",
		},
	}
	kinesisLocal = emulator{
		name: "kinesis-local",
		main: "main.js",
		env: []string{
			"KINESIS_MOCK_PLAIN_PORT=" + plainPort, "SHARD_LIMIT=1000",
			"CREATE_STREAM_DURATION=5ms", "DELETE_STREAM_DURATION=5ms",
			"SPLIT_SHARD_DURATION=5ms", "MERGE_SHARDS_DURATION=5ms", "UPDATE_SHARD_COUNT_DURATION=5ms",
		},
	}
)

// path returns the path of the emulator's program.
func (e emulator) path() (string, error) {
	root, err := moduleRoot()
	return filepath.Join(root, "internal", "peers", "npm", "node_modules", e.name, e.main), err
}

// startTimeout bounds how long a peer may take to answer: seconds on an idle
// machine, more with two busy cores.
const startTimeout = 60 * time.Second

// start runs the emulator and returns its endpoint once it answers. The test's
// end kills it.
func (e emulator) start(tb testing.TB) (endpoint string) {
	tb.Helper()
	Require(tb, NPM)
	endpoint, err := e.run(tb)
	if err == nil {
		err = answers(tb.Context(), endpoint)
	}
	if err != nil {
		tb.Fatalf("start %s: %v", e.name, err)
	}
	return endpoint
}

// run runs the emulator in its own package's folder, where kinesis-local looks
// for its certificate, and returns its endpoint.
func (e emulator) run(tb testing.TB) (endpoint string, err error) {
	main, err := e.path()
	if err != nil {
		return "", err
	}
	log, err := os.CreateTemp("", e.name+"-*.log")
	if err != nil {
		return "", err
	}
	defer log.Close() // the child has its own
	ports, portsIn, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer ports.Close()
	folder := filepath.Dir(main)
	args := append([]string{"--require", filepath.Join(folder, "..", "..", "loopback.cjs"), main}, e.args...)
	cmd := exec.CommandContext(context.Background(), "node", args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = folder, append(os.Environ(), e.env...), log, log
	cmd.ExtraFiles = []*os.File{portsIn}
	child, err := startChild(cmd, "")
	_ = portsIn.Close() // likewise
	if err != nil {
		return "", err
	}
	tb.Cleanup(func() {
		child.kill()
		if !tb.Failed() {
			_ = os.Remove(log.Name())
			return
		}
		tb.Logf("%s: log kept in %s, its end:\n%s", e.name, log.Name(), tail(log.Name()))
	})

	// A process that dies closes the pipe.
	_ = ports.SetReadDeadline(time.Now().Add(startTimeout))
	lines := bufio.NewScanner(ports)
	for lines.Scan() {
		if port, ok := strings.CutPrefix(lines.Text(), plainPort+" "); ok {
			return "http://127.0.0.1:" + port, nil
		}
	}
	return "", fmt.Errorf("wait for its port: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}

// answers returns nil once the endpoint has answered a request, with any
// status.
func answers(ctx context.Context, endpoint string) error {
	client := http.Client{Timeout: startTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("wait for an answer: %w", err)
	}
	return resp.Body.Close()
}
