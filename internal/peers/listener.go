package peers

import (
	_ "embed" // listener.py
	"testing"
)

//go:embed python/listener.py
var listenerScript string

// ListenerOptions says what a Listener listens to.
type ListenerOptions struct {
	Kazoo    KazooOptions
	Root     string // of Zuul's connection: "/zuul/events/connection/<name>"
	Shard    string
	Stream   string
	Endpoint string // of Kinesis
	Process  string // its name in its history
	History  string // the file that it appends to what it does, in the form of internal/history
}

// Listener is a Python process that stands in a shard's election with kazoo,
// and while it leads reads the shard with boto3, queues and writes its
// checkpoint by the steps of Zuul's Python listener, with that one's mistakes:
// its history tells which. It ends with the test. Its methods are for one
// goroutine at a time.
type Listener struct{ program *script }

// StartListener starts a listener, which stands in the election soon after. It
// needs [Kazoo] and [Boto3].
func StartListener(tb testing.TB, opts ListenerOptions) *Listener {
	tb.Helper()
	Require(tb, Kazoo, Boto3)
	args := append(opts.Kazoo.args(), "--root", opts.Root, "--shard", opts.Shard, "--stream", opts.Stream,
		"--endpoint", opts.Endpoint, "--process", opts.Process, "--history", opts.History)
	return &Listener{startScript(tb, "listener", listenerScript, args...)}
}

// Freeze stops the process where it stands: its session expires, and it will
// not know when it thaws.
func (l *Listener) Freeze(tb testing.TB) {
	tb.Helper()
	if err := freeze(l.program.child.cmd.Process); err != nil {
		tb.Fatalf("freeze listener: %v", err)
	}
}

// Thaw lets a frozen process go on.
func (l *Listener) Thaw(tb testing.TB) {
	tb.Helper()
	if err := l.program.child.signal(thawSignal); err != nil {
		tb.Fatalf("thaw listener: %v", err)
	}
}

// GiveBack has it finish its page, resign, and end. One that does not come to
// it, because ZooKeeper is away, is killed.
func (l *Listener) GiveBack(tb testing.TB) {
	tb.Helper()
	if _, err := l.program.end(); err != nil {
		tb.Logf("the listener is killed: %v", err)
		l.Kill()
	}
}

// Kill ends the process, frozen or not. Its session lasts until it expires.
func (l *Listener) Kill() { l.program.kill() }
