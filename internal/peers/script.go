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

// KazooOptions configures how a program with kazoo connects to ZooKeeper.
type KazooOptions struct {
	Hosts          string        // as in zuul.conf: "HOST:PORT,HOST:PORT/CHROOT"
	SessionTimeout time.Duration // 0: 10 s; the server may choose another one

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

// script is a running Python program that takes one command a line and answers
// each with a line; session.py has the protocol. It is for one goroutine at a
// time, and has none of its own.
type script struct {
	name  string
	child *child // nil: it has ended
	in    *os.File
	out   *os.File
	rest  []byte // read and not yet returned
	seen  int    // bytes at the start of rest that hold no newline
	log   string
}

// message is a line of a script, decoded as far as all of them agree.
type message struct {
	Is string `json:"is"` // "ready", "done", "refused", or an unsolicited one
	// Error is the name of the exception if refused, and a description
	// otherwise.
	Error  string `json:"error"`
	Detail string `json:"detail"`

	line []byte
}

// startScript starts a script, which ends with the test, and waits for its
// session.
func startScript(tb testing.TB, name, text string, args ...string) *script {
	tb.Helper()
	Require(tb, Kazoo)
	s := &script{name: name, log: filepath.Join(tb.TempDir(), name+".log")}
	if err := s.start(text, args); err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	tb.Cleanup(func() {
		s.kill()
		if tb.Failed() {
			tb.Logf("%s, the end of its log:\n%s", name, tail(s.log))
		}
	})
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	if m, err := s.next(ctx); err != nil || m.Is != "ready" {
		tb.Fatalf("start %s: %q, %v: %s", name, m.Is, err, tail(s.log))
	}
	return s
}

func (s *script) start(text string, args []string) error {
	log, err := os.Create(s.log)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close() // the child has its own
	childIn, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer childIn.Close() // likewise
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
	s.child, s.in, s.out = child, in, out
	return nil
}

// send sends a command.
func (s *script) send(command map[string]any) error {
	if s.child == nil {
		return fmt.Errorf("%s has ended", s.name)
	}
	b, err := json.Marshal(command)
	if err == nil {
		_, err = s.in.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("send a command to %s: %w", s.name, err)
	}
	return nil
}

// next waits for the next line.
func (s *script) next(ctx context.Context) (message, error) {
	for s.child != nil {
		if line, ok := s.cutLine(); ok {
			m := message{line: line}
			if err := json.Unmarshal(line, &m); err != nil {
				return m, fmt.Errorf("read a line of %s: %w", s.name, err)
			}
			return m, nil
		}
		if err := ctx.Err(); err != nil {
			return message{}, fmt.Errorf("wait for %s: %w", s.name, err)
		}
		_ = s.out.SetReadDeadline(time.Now().Add(poll))
		b := make([]byte, 64<<10)
		n, err := s.out.Read(b)
		s.rest = append(s.rest, b[:n]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return message{}, fmt.Errorf("wait for %s: %w: %s", s.name, err, tail(s.log))
		}
	}
	return message{}, fmt.Errorf("%s has ended", s.name)
}

// cutLine takes one line from what was read.
func (s *script) cutLine() ([]byte, bool) {
	i := bytes.IndexByte(s.rest[s.seen:], '\n')
	if i < 0 {
		s.seen = len(s.rest) // a large event comes in many parts
		return nil, false
	}
	line := s.rest[:s.seen+i]
	s.rest, s.seen = s.rest[s.seen+i+1:], 0
	return line, true
}

func (s *script) freeze(tb testing.TB) {
	tb.Helper()
	if err := freeze(s.child.cmd.Process); err != nil {
		tb.Fatalf("freeze %s: %v", s.name, err)
	}
}

func (s *script) thaw(tb testing.TB) {
	tb.Helper()
	if err := s.child.signal(thawSignal); err != nil {
		tb.Fatalf("thaw %s: %v", s.name, err)
	}
}

// end lets the script close its session and end, and returns its exit code.
func (s *script) end() (int, error) {
	_ = s.in.Close()
	if !s.child.ended(startTimeout) {
		return 0, fmt.Errorf("%s does not end", s.name)
	}
	code := s.child.wait()
	s.kill()
	return code, nil
}

func (s *script) kill() {
	if s.child == nil {
		return
	}
	s.child.kill()
	s.child = nil
	_, _ = s.in.Close(), s.out.Close()
}
