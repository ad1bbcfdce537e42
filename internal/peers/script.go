package peers

import (
	"bytes"
	"context"
	_ "embed" // session.py
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

//go:embed python/session.py
var sessionScript string

// KazooOptions says how a program with kazoo connects to ZooKeeper.
type KazooOptions struct {
	Hosts          string        // as in zuul.conf: "HOST:PORT,HOST:PORT/CHROOT"
	SessionTimeout time.Duration // 0: 10 s; the server has the last word

	// CA and Client are files for TLS, as [MakeCertificates] makes them.
	// Without a client's certificate the session is plain.
	CA     string
	Client KeyPair
}

func (o KazooOptions) args() []string {
	args := []string{"--hosts", o.Hosts}
	if o.SessionTimeout > 0 {
		args = append(args, "--timeout", strconv.FormatFloat(o.SessionTimeout.Seconds(), 'f', -1, 64))
	}
	if o.Client.Cert != "" {
		args = append(args, "--ca", o.CA, "--cert", o.Client.Cert, "--key", o.Client.Key)
	}
	return args
}

// program is a Python program that takes a command a line and answers each with
// one: session.py has the protocol. It is for one goroutine at a time, and none
// belongs to it.
type script struct {
	name  string
	child *child // nil: it has ended
	in    *os.File
	out   *os.File
	rest  []byte // read and not yet returned
	seen  int    // bytes of rest, from its start, that hold no line's end
	log   string
}

// message is a line of a program's, decoded as far as all of them go.
type message struct {
	Is string `json:"is"` // "ready", "done", "refused", or what came by itself
	// Error is the name of the exception for what was refused, and says what is
	// wrong for the others.
	Error  string `json:"error"`
	Detail string `json:"detail"`

	line []byte
}

// startProgram starts a program, which ends with the test, and waits for its
// session.
func startScript(tb testing.TB, name, text string, args ...string) *script {
	tb.Helper()
	Require(tb, Kazoo)
	p := &script{name: name, log: filepath.Join(tb.TempDir(), name+".log")}
	if err := p.start(text, args); err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	tb.Cleanup(func() {
		p.kill()
		if tb.Failed() {
			tb.Logf("%s, the end of its log:\n%s", name, tail(p.log))
		}
	})
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	if m, err := p.next(ctx); err != nil || m.Is != "ready" {
		tb.Fatalf("start %s: %q, %v: %s", name, m.Is, err, tail(p.log))
	}
	return p
}

func (p *script) start(text string, args []string) error {
	log, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	childIn, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer func() { _ = childIn.Close() }()
	out, childOut, err := os.Pipe()
	if err != nil {
		_ = in.Close()
		return fmt.Errorf("make pipe: %w", err)
	}
	defer func() { _ = childOut.Close() }()
	cmd := PythonCommand(context.Background(), sessionScript+text, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, log
	child, err := startChild(cmd, "")
	if err != nil {
		_, _ = in.Close(), out.Close()
		return err
	}
	p.child, p.in, p.out = child, in, out
	return nil
}

// do sends a command and returns the line that answers it. Those that come by
// themselves before are handed to other.
func (p *script) do(ctx context.Context, command map[string]any, other func(message)) (message, error) {
	if err := p.send(command); err != nil {
		return message{}, err
	}
	return p.answer(ctx, other)
}

func (p *script) send(command map[string]any) error {
	if p.child == nil {
		return fmt.Errorf("%s has ended", p.name)
	}
	b, err := json.Marshal(command)
	if err != nil {
		return fmt.Errorf("tell %s: %w", p.name, err)
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("tell %s: %w", p.name, err)
	}
	return nil
}

func (p *script) answer(ctx context.Context, other func(message)) (message, error) {
	for {
		m, err := p.next(ctx)
		if err != nil || m.Is == "done" || m.Is == "refused" {
			return m, err
		}
		other(m)
	}
}

// next waits for the next line.
func (p *script) next(ctx context.Context) (message, error) {
	for p.child != nil {
		if line, ok := p.cutLine(); ok {
			m := message{line: line}
			if err := json.Unmarshal(line, &m); err != nil {
				return m, fmt.Errorf("read what %s says: %w", p.name, err)
			}
			return m, nil
		}
		if err := ctx.Err(); err != nil {
			return message{}, fmt.Errorf("wait for %s: %w", p.name, err)
		}
		if err := p.fill(); err != nil {
			return message{}, fmt.Errorf("wait for %s: %w: %s", p.name, err, tail(p.log))
		}
	}
	return message{}, fmt.Errorf("%s has ended", p.name)
}

// cutLine takes one line out of what was read.
func (p *script) cutLine() ([]byte, bool) {
	i := bytes.IndexByte(p.rest[p.seen:], '\n')
	if i < 0 {
		p.seen = len(p.rest) // a large event comes in many parts
		return nil, false
	}
	line := p.rest[:p.seen+i]
	p.rest, p.seen = p.rest[p.seen+i+1:], 0
	return line, true
}

// fill reads more, for as long as a poll.
func (p *script) fill() error {
	if err := p.out.SetReadDeadline(time.Now().Add(poll)); err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	n, err := p.out.Read(b)
	p.rest = append(p.rest, b[:n]...)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// end lets the program end by itself, its session closed, and returns its exit
// code.
func (p *script) end() (int, error) {
	_ = p.in.Close()
	if !p.child.ended(startTimeout) {
		return 0, fmt.Errorf("%s does not end", p.name)
	}
	cmd := p.child.cmd
	p.kill()
	return cmd.ProcessState.ExitCode(), nil
}

func (p *script) kill() {
	if p.child == nil {
		return
	}
	p.child.kill()
	p.child = nil
	_, _ = p.in.Close(), p.out.Close()
}
