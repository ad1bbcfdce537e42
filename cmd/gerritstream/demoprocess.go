package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// demoProcess is a place for a process of `demo --serve`: whenever one ends,
// another begins a while later, as a service manager has it.
type demoProcess struct {
	serving       *serving
	name          string
	admin, socket string // its addresses
	log           string // its file

	mu      sync.Mutex
	process *os.Process // under mu; nil: none runs
}

const (
	// startAgainAfter leaves the others the time to take the shards over, which
	// is five seconds.
	startAgainAfter = 8 * time.Second

	// endWithin is how long a process may take to end after SIGTERM; it
	// promises 5 s.
	endWithin = 6 * time.Second
)

// pid returns the number of the process; 0: none runs.
func (p *demoProcess) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return 0
	}
	return p.process.Pid
}

// kill ends the process as a crash would, and reports whether there is one.
func (p *demoProcess) kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process != nil && p.process.Kill() == nil
}

func (p *demoProcess) set(process *os.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = process
}

// run runs one process after the other until ctx ends.
func (p *demoProcess) run(ctx context.Context) {
	defer func() { _ = os.Remove(p.socket) }() // one that was killed has left it
	for {
		err := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		s := p.serving
		s.say(ctx, bold, "%s is gone (%v); its shards go to the others, and it is started again in %s",
			p.name, err, startAgainAfter)
		if pause(ctx, startAgainAfter) != nil {
			return
		}
	}
}

// once runs a process until it or ctx ends.
func (p *demoProcess) once(ctx context.Context) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	s := p.serving
	cmd := exec.CommandContext(ctx, path, "run", //nolint:gosec // it is this program
		"--stream", demoStreamName, "--region", demoRegion,
		"--endpoint", s.endpoint, "--start-at", "trim-horizon",
		"--admin", p.admin, "--socket", "unix:"+p.socket, "--retention", demoRetention.String(),
		"--memory", "64MiB", "--log-level", "info", "--log-format", "text")
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(withoutSettings(s.demo.process.environ), "AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any",
		"GERRITSTREAM_STORE="+s.demo.address) // it may have a password
	cmd.SysProcAttr = commandAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endWithin
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.set(cmd.Process)
	s.say(ctx, bold, "%s is started, process %d", p.name, cmd.Process.Pid)
	copied := p.copyLog(ctx, log)
	err = cmd.Wait()
	p.set(nil)
	return errors.Join(err, copied)
}

// copyLog writes the log into its file until the process closes it, and shows
// lines of more than daily interest.
func (p *demoProcess) copyLog(ctx context.Context, log io.Reader) error {
	f, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		_, _ = io.Copy(io.Discard, log) // so that the process is not held up
		return fmt.Errorf("keep the log: %w", err)
	}
	lines := bufio.NewScanner(io.TeeReader(log, f))
	for lines.Scan() {
		if line := lines.Text(); isNews(line) {
			_, line, _ = strings.Cut(line, " ") // without its time
			p.serving.say(ctx, dim, "%s | %s", p.name, printable(line))
		}
	}
	_, _ = io.Copy(f, log) // after a line that is too long
	return f.Close()
}

// isNews reports whether a line of a log is worth showing: a warning, and what
// a fault of the stream leads to.
func isNews(line string) bool {
	return !strings.Contains(line, " level=INFO ") || strings.Contains(line, `="shard `)
}

// withoutSettings returns an environment without settings of this program, of
// AWS' tools, of OpenTelemetry and of a service manager.
func withoutSettings(environ []string) (rest []string) {
	for _, line := range environ {
		if !strings.HasPrefix(line, "GERRITSTREAM_") && !strings.HasPrefix(line, "AWS_") &&
			!strings.HasPrefix(line, "OTEL_") && !strings.HasPrefix(line, "NOTIFY_SOCKET=") &&
			!strings.HasPrefix(line, "WATCHDOG_") {
			rest = append(rest, line)
		}
	}
	return rest
}
