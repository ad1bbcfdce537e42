package peers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// startTimeout bounds how long a peer may take to answer: seconds on an idle
// machine, more with two busy cores.
const startTimeout = 60 * time.Second

// process is a server of another program. No goroutine belongs to it: its
// output goes straight into a file.
type process struct {
	name string
	dir  string
	env  []string
	argv []string
}

// start runs the process, waits until it answers and returns its endpoint. The
// test's end ends it.
func (p process) start(tb testing.TB) string {
	tb.Helper()
	log, err := os.CreateTemp("", p.name+"-*.log")
	if err != nil {
		tb.Fatalf("start %s: %v", p.name, err)
	}
	ports, portsIn, err := os.Pipe()
	if err != nil {
		tb.Fatalf("start %s: %v", p.name, err)
	}
	// tb's context ends before its clean-ups, which end the process and show
	// its log.
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), p.argv[0], p.argv[1:]...)
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{portsIn}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatalf("start %s: %v", p.name, err)
	}
	err = cmd.Start()
	_ = portsIn.Close() // the child has its own
	if err != nil {
		tb.Fatalf("start %s: %v", p.name, err)
	}
	tb.Cleanup(func() { p.stop(tb, cmd, stdin, ports, log) })

	endpoint, err := p.endpoint(ports)
	if err != nil {
		tb.Fatalf("start %s: %v", p.name, err)
	}
	if err := answers(tb.Context(), endpoint); err != nil {
		tb.Fatalf("start %s: %v", p.name, err)
	}
	return endpoint
}

// endpoint waits for the line in which the process names its plain port. A
// process that dies closes the pipe.
func (p process) endpoint(ports *os.File) (string, error) {
	if err := ports.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return "", fmt.Errorf("wait for its port: %w", err)
	}
	lines := bufio.NewScanner(ports)
	for lines.Scan() {
		if port, ok := strings.CutPrefix(lines.Text(), plainPort+" "); ok {
			return "http://127.0.0.1:" + port, nil
		}
	}
	err := lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return "", fmt.Errorf("wait for its port: %w", err)
}

// answers returns nil once the endpoint has answered a request, with whatever
// status.
func answers(ctx context.Context, endpoint string) error {
	client := http.Client{Timeout: startTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, http.NoBody)
	if err != nil {
		return fmt.Errorf("wait for an answer: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("wait for an answer: %w", err)
	}
	return resp.Body.Close()
}

// stop ends the process by its id and waits for it. A failed test keeps the log
// and shows its end.
func (p process) stop(tb testing.TB, cmd *exec.Cmd, stdin io.Closer, ports, log *os.File) {
	tb.Helper()
	_ = stdin.Close()
	_ = ports.Close()
	_ = cmd.Process.Kill() // it may have ended by itself
	_ = cmd.Wait()         // "signal: killed" is what was asked for
	_ = log.Close()
	if !tb.Failed() {
		_ = os.Remove(log.Name())
		return
	}
	tb.Logf("%s: log kept in %s, its end:\n%s", p.name, log.Name(), tail(log.Name()))
}
