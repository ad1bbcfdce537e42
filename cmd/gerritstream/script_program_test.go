package main

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long something may take that should be there soon, on a busy
// machine.
const patience = 30 * time.Second

// program is a gerritstream that runs beside a script.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed once it is gone; cmd.ProcessState is then set
}

func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "start NAME ARGS...")
	path, err := exec.LookPath("gerritstream")
	ts.Check(err)
	p := &program{cmd: exec.Command(path, args[1:]...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = outputFile(ts, args[0]+".out"), outputFile(ts, args[0]+".err")
	p.begin(ts, args[0])
}

// cmdUnread starts a program whose standard output is a full pipe that nobody
// reads, and with "all" its standard error as well.
func cmdUnread(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "unread output|all NAME ARGS...")
	path, err := exec.LookPath("gerritstream")
	ts.Check(err)
	reader, writer, err := os.Pipe()
	ts.Check(err)
	ts.Defer(func() { _, _ = reader.Close(), writer.Close() })
	ts.Check(writer.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)))
	_, err = writer.Write(make([]byte, 1<<20)) // as much as it takes
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		ts.Fatalf("the pipe is not full: %v", err)
	}
	p := &program{cmd: exec.Command(path, args[2:]...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = writer, outputFile(ts, args[1]+".err")
	if args[0] == "all" {
		p.cmd.Stderr = writer
	}
	p.begin(ts, args[1])
}

// begin starts the program.
func (p *program) begin(ts *testscript.TestScript, name string) {
	p.cmd.Env, p.cmd.Dir = environ(ts), ts.MkAbs(".")
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState tells
	}()
	ts.Defer(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	})
	worldOf(ts).programs[name] = p
}

// outputFile makes a file for what a program writes.
func outputFile(ts *testscript.TestScript, name string) *os.File {
	f, err := os.Create(ts.MkAbs(name))
	ts.Check(err)
	ts.Defer(func() { _ = f.Close() })
	return f
}

func programOf(ts *testscript.TestScript, name string) *program {
	p := worldOf(ts).programs[name]
	if p == nil {
		ts.Fatalf("no program %q was started", name)
	}
	return p
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "signal NAME TERM|INT|KILL")
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}
	ts.Check(programOf(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

func cmdEnds(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "ends NAME CODE [WITHIN]")
	p := programOf(ts, args[0])
	within := patience
	if len(args) > 2 {
		var err error
		within, err = time.ParseDuration(args[2])
		ts.Check(err)
	}
	select {
	case <-p.ended:
	case <-time.After(within):
		ts.Fatalf("%s goes on:\n%s", args[0], ts.ReadFile(args[0]+".err"))
	}
	if got := p.cmd.ProcessState.ExitCode(); got != number(ts, args[1]) {
		ts.Fatalf("exit code %d, want %s:\n%s", got, args[1], ts.ReadFile(args[0]+".err"))
	}
}

func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "until FILE PATTERN")
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	eventually(ts, func() (bool, string) {
		text := ts.ReadFile(args[0])
		return pattern.MatchString(text), args[0] + " has no " + args[1] + ":\n" + text
	})
}

// eventually waits until a condition holds, looking every 50 ms: other
// processes tell nobody when they get somewhere.
func eventually(ts *testscript.TestScript, holds func() (bool, string)) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		ok, why := holds()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("not within %v: %s", patience, why)
		}
	}
}
