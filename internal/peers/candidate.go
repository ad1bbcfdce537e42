package peers

import (
	"context"
	_ "embed" // candidate.py, listener.py
	"encoding/json"
	"fmt"
	"maps"
	"testing"
)

//go:embed python/candidate.py
var candidateScript string

//go:embed python/listener.py
var listenerScript string

// Candidate is a Python process with one kazoo session that campaigns for
// leaderships and does what Zuul's Python listener does with them. It ends with
// the test. Its methods are for one goroutine at a time.
type Candidate struct {
	script *script
	leads  map[string]string // lock nodes by path
	failed error
}

// Refusal is an exception of kazoo or Python.
type Refusal struct {
	Exception string // its class: "BadVersionError"
	Detail    string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Exception + ": " + r.Detail }

// StartCandidate starts a candidate that campaigns for nothing yet. It needs
// [Kazoo].
func StartCandidate(tb testing.TB, opts KazooOptions) *Candidate {
	tb.Helper()
	script := startScript(tb, "candidate", candidateScript, opts.args()...)
	return &Candidate{script: script, leads: map[string]string{}}
}

// Campaign joins the kazoo Election at a path,
// "R/election-aws_kinesis_<ShardId>", under an identifier, and does not wait.
// Once elected it leads until Resign, whatever becomes of its session: like
// Zuul's listener, it does not check.
func (c *Candidate) Campaign(tb testing.TB, path, identifier string) {
	tb.Helper()
	c.must(tb, "campaign", map[string]any{"path": path, "identifier": identifier, "how": "election"})
}

// CampaignByLock is Campaign with a kazoo Lock, on which an Election is built.
func (c *Candidate) CampaignByLock(tb testing.TB, path, identifier string) {
	tb.Helper()
	c.must(tb, "campaign", map[string]any{"path": path, "identifier": identifier, "how": "lock"})
}

// AwaitLead waits until the candidate is elected at a path, and returns the
// name of its lock node.
func (c *Candidate) AwaitLead(tb testing.TB, path string) (node string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	for c.leads[path] == "" {
		m, err := c.script.next(ctx)
		if err != nil {
			tb.Fatalf("wait to be elected at %s: %v", path, err)
		}
		c.note(m)
		c.check(tb)
	}
	return c.leads[path]
}

// Leads reports whether the candidate believes, now, that it leads at a path.
func (c *Candidate) Leads(tb testing.TB, path string) bool {
	tb.Helper()
	c.must(tb, "session", nil) // every earlier message comes before its answer
	return c.leads[path] != ""
}

// Resign ends the leadership at a path, or the wait for it, and returns when
// the lock node is gone.
func (c *Candidate) Resign(tb testing.TB, path string) {
	tb.Helper()
	c.must(tb, "resign", map[string]any{"path": path})
	delete(c.leads, path)
}

// Candidates returns the identifiers of all candidates at a path, as kazoo sees
// them, the leader first.
func (c *Candidate) Candidates(tb testing.TB, path string) []string {
	tb.Helper()
	var reply struct{ Identifiers []string }
	c.decode(tb, c.must(tb, "candidates", map[string]any{"path": path}), &reply)
	return reply.Identifiers
}

// ReadCheckpoint reads the checkpoint at a path,
// "R/checkpoint-aws_kinesis_<ShardId>", as a Python leader does once. The
// sequence is "" where Python takes it for none. An error is a [Refusal]:
// Python would fail in the same way each time.
func (c *Candidate) ReadCheckpoint(tb testing.TB, path string) (sequence string, err error) {
	tb.Helper()
	m, err := c.do(tb, "read", map[string]any{"path": path})
	if err != nil {
		return "", err
	}
	var reply struct{ Checkpoint string }
	c.decode(tb, m, &reply)
	return reply.Checkpoint, nil
}

// WriteCheckpoint writes a checkpoint as a Python leader does, whether it leads
// or not: at the version it last read or wrote, creating the node if that is
// gone; unconditionally if it has read nothing, or a checkpoint that was absent
// or undecodable. The error is a [Refusal], such as BadVersionError where
// someone else wrote meanwhile.
func (c *Candidate) WriteCheckpoint(tb testing.TB, path, sequence string) error {
	tb.Helper()
	_, err := c.do(tb, "write", map[string]any{"path": path, "sequence": sequence})
	return err
}

// Put queues an event of a connection's root, as Python does whether it leads
// or not.
func (c *Candidate) Put(tb testing.TB, root string, payload json.RawMessage) {
	tb.Helper()
	c.must(tb, "put", map[string]any{"root": root, "payload": payload})
}

// Freeze stops the process where it stands: its session expires, and it does
// not notice when it thaws. That makes a zombie.
func (c *Candidate) Freeze(tb testing.TB) { tb.Helper(); c.script.freeze(tb) }

// Thaw resumes a frozen process.
func (c *Candidate) Thaw(tb testing.TB) { tb.Helper(); c.script.thaw(tb) }

// Stop closes the session, which ends all leaderships and candidacies, and the
// process.
func (c *Candidate) Stop(tb testing.TB) {
	tb.Helper()
	if code, err := c.script.end(); err != nil || code != 0 {
		tb.Fatalf("stop candidate: exit code %d, %v", code, err)
	}
}

// Kill ends the process, frozen or not. Its session lasts until it expires.
func (c *Candidate) Kill() { c.script.kill() }

// must is do for what is never refused.
func (c *Candidate) must(tb testing.TB, name string, args map[string]any) message {
	tb.Helper()
	m, err := c.do(tb, name, args)
	if err != nil {
		tb.Fatalf("candidate: %s: %v", name, err)
	}
	return m
}

// do runs a command. The error is a *Refusal; all others fail the test.
func (c *Candidate) do(tb testing.TB, name string, args map[string]any) (message, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	command := map[string]any{"do": name}
	maps.Copy(command, args)
	err := c.script.send(command)
	for err == nil {
		var m message
		if m, err = c.script.next(ctx); err != nil {
			break
		}
		switch m.Is {
		case "done":
			c.check(tb)
			return m, nil
		case "refused":
			c.check(tb)
			return m, &Refusal{m.Error, m.Detail}
		}
		c.note(m)
	}
	tb.Fatalf("candidate: %s: %v", name, err)
	panic("not reached")
}

// note keeps an unsolicited message.
func (c *Candidate) note(m message) {
	var at struct{ Path, Node string }
	if err := json.Unmarshal(m.line, &at); err != nil {
		c.failed = err
		return
	}
	if m.Is != "leads" {
		c.failed = fmt.Errorf("%s at %s: %s", m.Is, at.Path, m.Error)
		return
	}
	c.leads[at.Path] = at.Node
}

func (c *Candidate) check(tb testing.TB) {
	tb.Helper()
	if c.failed != nil {
		tb.Fatalf("candidate: %v", c.failed)
	}
}

func (c *Candidate) decode(tb testing.TB, m message, into any) {
	tb.Helper()
	if err := json.Unmarshal(m.line, into); err != nil {
		tb.Fatalf("candidate: %v", err)
	}
}

// ListenerOptions configures a Listener.
type ListenerOptions struct {
	Kazoo    KazooOptions
	Root     string // of Zuul's connection: "/zuul/events/connection/<name>"
	Shard    string
	Stream   string
	Endpoint string // of Kinesis
	Process  string // its name in its history
	History  string // the file to which it appends its history, in the form of internal/history
}

// Listener is a Python process that campaigns for a shard with kazoo. While it
// leads it reads the shard with boto3, queues events and writes its checkpoint
// in the steps of Zuul's Python listener, mistakes included; its history shows
// them. It ends with the test. Its methods are for one goroutine at a time.
type Listener struct{ script *script }

// StartListener starts a listener, which campaigns soon after. It needs [Kazoo]
// and [Boto3].
func StartListener(tb testing.TB, opts ListenerOptions) *Listener {
	tb.Helper()
	Require(tb, Boto3)
	args := append(opts.Kazoo.args(), "--root", opts.Root, "--shard", opts.Shard, "--stream", opts.Stream,
		"--endpoint", opts.Endpoint, "--process", opts.Process, "--history", opts.History)
	return &Listener{startScript(tb, "listener", listenerScript, args...)}
}

// Freeze stops the process where it stands: its session expires, and it does
// not notice when it thaws.
func (l *Listener) Freeze(tb testing.TB) { tb.Helper(); l.script.freeze(tb) }

// Thaw resumes a frozen process.
func (l *Listener) Thaw(tb testing.TB) { tb.Helper(); l.script.thaw(tb) }

// GiveBack has the listener finish its page, resign, and end. If it cannot,
// because ZooKeeper is away, it is killed.
func (l *Listener) GiveBack(tb testing.TB) {
	tb.Helper()
	if _, err := l.script.end(); err != nil {
		tb.Logf("the listener is killed: %v", err)
		l.Kill()
	}
}

// Kill ends the process, frozen or not. Its session lasts until it expires.
func (l *Listener) Kill() { l.script.kill() }
