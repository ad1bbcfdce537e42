package peers

import (
	"context"
	_ "embed" // candidate.py
	"encoding/json"
	"fmt"
	"testing"
)

//go:embed python/candidate.py
var candidateScript string

// Candidate is a Python process with one kazoo session that stands for
// leaderships and does what Zuul's Python listener does with them. It ends with
// the test. Its methods are for one goroutine at a time.
type Candidate struct {
	program *script
	leads   map[string]string // lock nodes by path
	failed  error
}

// Refusal is an exception of kazoo's, or of Python's.
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
	return &Candidate{program: startScript(tb, "candidate", candidateScript, opts.args()...), leads: map[string]string{}}
}

// Campaign joins the kazoo Election at a path,
// "R/election-aws_kinesis_<ShardId>", under an identifier, and does not wait.
// Once elected it leads until Resign, whatever becomes of its session: it is
// for Zuul's own checks to stop a zombie, and there are none.
func (c *Candidate) Campaign(tb testing.TB, path, identifier string) {
	tb.Helper()
	c.must(tb, "campaign", map[string]any{"path": path, "identifier": identifier, "how": "election"})
}

// CampaignByLock is Campaign with a kazoo Lock, which is what an Election is made
// of.
func (c *Candidate) CampaignByLock(tb testing.TB, path, identifier string) {
	tb.Helper()
	c.must(tb, "campaign", map[string]any{"path": path, "identifier": identifier, "how": "lock"})
}

// AwaitLead returns once the candidate has been elected at a path, with the
// name of its lock node.
func (c *Candidate) AwaitLead(tb testing.TB, path string) (node string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	for c.leads[path] == "" {
		m, err := c.program.next(ctx)
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
	c.must(tb, "session", nil) // all that came before its answer has been said
	return c.leads[path] != ""
}

// Resign ends the leadership at a path, or the wait for it, and returns when
// the lock node is gone.
func (c *Candidate) Resign(tb testing.TB, path string) {
	tb.Helper()
	c.must(tb, "resign", map[string]any{"path": path})
	delete(c.leads, path)
}

// Candidates returns the identifiers of all candidates at a path, as kazoo
// sees them, the leader first.
func (c *Candidate) Candidates(tb testing.TB, path string) []string {
	tb.Helper()
	var reply struct{ Identifiers []string }
	c.decode(tb, c.must(tb, "candidates", map[string]any{"path": path}), &reply)
	return reply.Identifiers
}

// ReadCheckpoint reads the checkpoint at a path,
// "R/checkpoint-aws_kinesis_<ShardId>", as a Python leader does once. The
// sequence is "" where Python takes it for none. An error is a [Refusal]:
// Python would fail so time and again.
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

// WriteCheckpoint writes a checkpoint as a Python leader does, at whatever
// time: at the version it last read or wrote, which it creates when the node is
// gone; unconditionally when it has read nothing, or what it took for none
// because it was absent or undecodable. The error is a [Refusal]:
// BadVersionError where another one wrote meanwhile.
func (c *Candidate) WriteCheckpoint(tb testing.TB, path, sequence string) error {
	tb.Helper()
	_, err := c.do(tb, "write", map[string]any{"path": path, "sequence": sequence})
	return err
}

// Put queues an event below a connection's root, as Python does whether it
// leads or not.
func (c *Candidate) Put(tb testing.TB, root string, payload json.RawMessage) {
	tb.Helper()
	c.must(tb, "put", map[string]any{"root": root, "payload": payload})
}

// Freeze stops the process where it stands: its session expires, and it will
// not know when it thaws. That makes a zombie.
func (c *Candidate) Freeze(tb testing.TB) {
	tb.Helper()
	if err := freeze(c.program.child.cmd.Process); err != nil {
		tb.Fatalf("freeze candidate: %v", err)
	}
}

// Thaw lets a frozen process go on.
func (c *Candidate) Thaw(tb testing.TB) {
	tb.Helper()
	if err := c.program.child.signal(thawSignal); err != nil {
		tb.Fatalf("thaw candidate: %v", err)
	}
}

// Stop closes the session, which ends all that it led and waited for, and the
// process.
func (c *Candidate) Stop(tb testing.TB) {
	tb.Helper()
	if code, err := c.program.end(); err != nil || code != 0 {
		tb.Fatalf("stop candidate: exit code %d, %v", code, err)
	}
}

// Kill ends the process, frozen or not. Its session lasts until it expires.
func (c *Candidate) Kill() { c.program.kill() }

// must is do for what is never refused.
func (c *Candidate) must(tb testing.TB, name string, args map[string]any) message {
	tb.Helper()
	m, err := c.do(tb, name, args)
	if err != nil {
		tb.Fatalf("candidate: %s: %v", name, err)
	}
	return m
}

// do has the candidate do something. The error is a *Refusal; all others fail
// the test.
func (c *Candidate) do(tb testing.TB, name string, args map[string]any) (message, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	command := map[string]any{"do": name}
	for k, v := range args {
		command[k] = v
	}
	m, err := c.program.do(ctx, command, c.note)
	if err != nil {
		tb.Fatalf("candidate: %s: %v", name, err)
	}
	c.check(tb)
	if m.Is == "refused" {
		return m, &Refusal{m.Error, m.Detail}
	}
	return m, nil
}

// note keeps what the candidate says by itself.
func (c *Candidate) note(m message) {
	var at struct{ Path, Node string }
	if err := json.Unmarshal(m.line, &at); err != nil {
		c.failed = err
		return
	}
	switch m.Is {
	case "leads":
		c.leads[at.Path] = at.Node
	default:
		c.failed = fmt.Errorf("%s at %s: %s", m.Is, at.Path, m.Error)
	}
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
