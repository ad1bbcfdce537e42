package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// patience is how long something quick may take on a machine with two busy
// cores.
const patience = 60 * time.Second

// program is a running gerritstream, with its output in files.
type program struct {
	*peers.Program
	stdout, stderr *os.File
}

// start runs `gerritstream ARGS`. The test's end kills it; a failed test shows
// its log.
func start(tb testing.TB, args ...string) *program {
	tb.Helper()
	dir := tb.TempDir()
	p := &program{stdout: create(tb, filepath.Join(dir, "stdout")), stderr: create(tb, filepath.Join(dir, "stderr"))}
	tb.Cleanup(func() {
		if tb.Failed() && p.Program != nil {
			tb.Logf("gerritstream %q, process %d, %v, log:\n%s", args, p.Process.Pid, p.State(), p.log(tb))
		}
	})
	p.Program = peers.StartProgram(tb, peers.ProgramOptions{Args: args, Home: dir, Stdout: p.stdout, Stderr: p.stderr})
	return p
}

func create(tb testing.TB, path string) *os.File {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

// wait returns the exit code; -1: a signal ended it. It fails the test if the
// program runs for longer than limit.
func (p *program) wait(tb testing.TB, limit time.Duration) int {
	tb.Helper()
	if !p.Wait(limit) {
		tb.Fatalf("process %d has not ended after %v", p.Process.Pid, limit)
	}
	return p.State().ExitCode()
}

// signal sends a signal to the running process.
func (p *program) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if err := p.Process.Signal(sig); err != nil {
		tb.Fatalf("send %v: %v", sig, err)
	}
}

// output returns the standard output so far.
func (p *program) output(tb testing.TB) []byte {
	tb.Helper()
	return read(tb, p.stdout.Name())
}

// log returns the last 16 KiB of the standard error so far.
func (p *program) log(tb testing.TB) []byte {
	tb.Helper()
	b := read(tb, p.stderr.Name())
	return b[max(0, len(b)-16<<10):]
}

func read(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// run runs `gerritstream ARGS` to its end and returns its standard output and
// exit code.
func run(t *testing.T, args ...string) (stdout []byte, code int) {
	t.Helper()
	p := start(t, args...)
	code = p.wait(t, patience)
	return p.output(t), code
}

// outside runs another program and returns its standard output.
func outside(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.Join(err, errors.New(string(exit.Stderr)))
		}
		t.Fatalf("%s: %v\n%s", cmd.Args[0], err, out)
	}
	return bytes.TrimSpace(out)
}

// eventually waits until a condition holds, checking ten times a second: many
// checks start a program.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("not within %v: %s", patience, what)
		}
	}
}
