package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// ProgramPath is the binary that [WithProgram] built.
var ProgramPath string

// WithProgram is a TestMain for tests that run gerritstream: it builds the real
// binary once, with what only trials need (a history, and a clock that goes
// wrong), runs the tests, removes the binary, and returns the exit code.
func WithProgram(m *testing.M) (code int) {
	root, err := moduleRoot()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "gerritstream-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ProgramPath = filepath.Join(dir, "gerritstream")
	build := exec.CommandContext(context.Background(), "go", "build", "-tags", "trial", "-o", ProgramPath,
		"./cmd/gerritstream")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Program is a running gerritstream. Several goroutines may use it.
type Program struct {
	Process *os.Process
	cmd     *exec.Cmd
	ended   chan struct{} // closed once the process is gone
}

// ProgramOptions configures a Program.
type ProgramOptions struct {
	Args           []string
	Home           string   // a folder
	Env            []string // besides Environment
	Stdout, Stderr *os.File
}

// StartProgram runs `gerritstream ARGS`. The test's end kills it.
func StartProgram(tb testing.TB, o ProgramOptions) *Program {
	tb.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), ProgramPath, o.Args...)
	cmd.Env = append(Environment(), "HOME="+o.Home, "XDG_STATE_HOME="+o.Home, "STATE_DIRECTORY=")
	cmd.Env = append(cmd.Env, o.Env...)
	cmd.Stdout, cmd.Stderr = o.Stdout, o.Stderr
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start gerritstream: %v", err)
	}
	p := &Program{Process: cmd.Process, cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // see State
	}()
	tb.Cleanup(p.Kill)
	return p
}

// Wait reports whether the process ends within a limit.
func (p *Program) Wait(limit time.Duration) bool {
	select {
	case <-p.ended:
		return true
	default:
	}
	select {
	case <-p.ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// State returns how the process ended; nil: it runs.
func (p *Program) State() *os.ProcessState {
	if !p.Wait(0) {
		return nil
	}
	return p.cmd.ProcessState
}

// Kill ends the process with SIGKILL and waits for it.
func (p *Program) Kill() {
	_ = p.Process.Kill() // it may have ended
	<-p.ended
}
