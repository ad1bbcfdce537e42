package peers

import (
	"context"
	_ "embed" // reader.py, payload.py
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

// readerScript needs what is in payloadScript.
//
//go:embed python/reader.py
var readerScript string

//go:embed python/payload.py
var payloadScript string

// Reader is a Python process that consumes a connection's event queue as Zuul's
// scheduler does, and stumbles over whatever would make any release of Zuul
// drop an event, keep it for ever, or stop. It ends with the test. Its methods
// are for one goroutine at a time; their error is a [Stumble] where it
// stumbled, after which the reader has ended, with exit code 1.
type Reader struct{ program *script }

// Stumble is what Zuul would not get past.
type Stumble struct {
	Node   string // of the queue
	Reason string
}

// Error implements error.
func (s *Stumble) Error() string { return s.Node + ": " + s.Reason }

// QueuedEvent is an event as it lies in the queue.
type QueuedEvent struct {
	Node      string  `json:"node"`     // "q0000000000"
	EventID   string  `json:"event_id"` // zuul_event_id
	Timestamp float64 `json:"timestamp"`
	Payload   []byte  `json:"payload"` // byte for byte as in the node
	SHA256    string  `json:"sha256"`  // of the payload, in hexadecimal
	SideData  string  `json:"side_data"`
}

// Pass is what one look at the queue, or a series of them, found.
type Pass struct {
	Events   []QueuedEvent // in the queue's order
	SideData int           // large events whose data lies beside the queue afterwards, in the queue or orphaned
}

// ZuulCheckpoint is a checkpoint as Zuul takes it: one of the three is set.
type ZuulCheckpoint struct {
	Sequence string `json:"sequence"`
	None     string `json:"none"`  // why there is none: Zuul begins at the tip of the shard
	Error    string `json:"error"` // why Zuul fails, time and again
}

// StartReader starts a reader of the connection whose node is root,
// "/zuul/events/connection/<name>", below the chroot. As Zuul does, it creates
// what it needs below that. It needs [Kazoo].
func StartReader(tb testing.TB, opts KazooOptions, root string) *Reader {
	tb.Helper()
	return &Reader{startScript(tb, "reader", payloadScript+readerScript, append(opts.args(), "--root", root)...)}
}

// StartObserver starts a reader that creates nothing.
func StartObserver(tb testing.TB, opts KazooOptions, root string) *Reader {
	tb.Helper()
	return &Reader{startScript(tb, "reader", payloadScript+readerScript, append(opts.args(), "--root", root, "--touch-nothing")...)}
}

// Read reads all events that are queued and leaves them there.
func (r *Reader) Read(ctx context.Context) (Pass, error) { return r.pass(ctx, "read", nil) }

// Drain reads all events that are queued and acknowledges them: they go, with
// their side data.
func (r *Reader) Drain(ctx context.Context) (Pass, error) { return r.pass(ctx, "drain", nil) }

// Follow drains the queue as events come, until enough returns true or the
// context ends, which is an error. The events that were drained before the
// reader took notice are returned, too, in both cases.
func (r *Reader) Follow(ctx context.Context, enough func(QueuedEvent) bool) (Pass, error) {
	return r.pass(ctx, "follow", enough)
}

// Judge has the reader look at bytes that are in no node, as if they were a
// queue node's. A stumble does not end it.
func (r *Reader) Judge(ctx context.Context, data []byte) (QueuedEvent, error) {
	var e QueuedEvent
	m, err := r.do(ctx, map[string]any{"do": "judge_bytes", "data": data})
	if err != nil {
		return e, err
	}
	if m.Error != "" {
		return e, &Stumble{Reason: m.Error}
	}
	if err := json.Unmarshal(m.line, &e); err != nil {
		return e, fmt.Errorf("read reader's judgement: %w", err)
	}
	return e, nil
}

// Checkpoints returns every checkpoint of the connection, by shard, as Zuul's
// listener would take it.
func (r *Reader) Checkpoints(ctx context.Context) (map[string]ZuulCheckpoint, error) {
	m, err := r.do(ctx, map[string]any{"do": "checkpoints"})
	if err != nil {
		return nil, err
	}
	var reply struct{ Shards map[string]ZuulCheckpoint }
	if err := json.Unmarshal(m.line, &reply); err != nil {
		return nil, fmt.Errorf("read reader's checkpoints: %w", err)
	}
	return reply.Shards, nil
}

// Stop closes the reader's session and ends it.
func (r *Reader) Stop(tb testing.TB) {
	tb.Helper()
	if code, err := r.program.end(); err != nil || code != 0 {
		tb.Fatalf("stop reader: exit code %d, %v", code, err)
	}
}

// pass has the reader go through the queue. With enough it is following, and
// halted when that says so.
func (r *Reader) pass(ctx context.Context, how string, enough func(QueuedEvent) bool) (Pass, error) {
	var pass Pass
	if err := r.program.send(map[string]any{"do": how}); err != nil {
		return pass, err
	}
	m, err := r.events(ctx, &pass, enough)
	if enough != nil && (err == nil && m.Is == "event" || ctx.Err() != nil) {
		err = r.halt(ctx, &pass, &m)
	}
	switch {
	case err != nil:
		r.program.kill() // it is somewhere in the middle of something
		return pass, err
	case m.Is == "done":
		return pass, errors.Join(r.finish(m, &pass), ctx.Err())
	default:
		return pass, r.stumbled(m)
	}
}

// halt ends following and takes the events that come until then.
func (r *Reader) halt(ctx context.Context, pass *Pass, last *message) error {
	if err := r.program.send(map[string]any{"do": "halt"}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	m, err := r.events(ctx, pass, nil)
	*last = m
	return err
}

// events takes events until one is enough, and returns that one's line or the
// first that is no event's.
func (r *Reader) events(ctx context.Context, pass *Pass, enough func(QueuedEvent) bool) (message, error) {
	for {
		m, err := r.program.next(ctx)
		if err != nil || m.Is != "event" {
			return m, err
		}
		var e QueuedEvent
		if err := json.Unmarshal(m.line, &e); err != nil {
			return m, fmt.Errorf("read reader's event: %w", err)
		}
		pass.Events = append(pass.Events, e)
		if enough != nil && enough(e) {
			return m, nil
		}
	}
}

// finish takes over what the reader says at the end of a pass, and holds its
// count against the events that came.
func (r *Reader) finish(m message, pass *Pass) error {
	var reply struct {
		Events   int
		SideData int `json:"side_data"`
	}
	if err := json.Unmarshal(m.line, &reply); err != nil {
		return fmt.Errorf("read reader's answer: %w", err)
	}
	pass.SideData = reply.SideData
	if reply.Events != len(pass.Events) {
		return fmt.Errorf("the reader read %d events and printed %d", reply.Events, len(pass.Events))
	}
	return nil
}

// do is for commands that print nothing but their answer.
func (r *Reader) do(ctx context.Context, command map[string]any) (message, error) {
	if err := r.program.send(command); err != nil {
		return message{}, err
	}
	m, err := r.program.next(ctx)
	if err == nil && m.Is != "done" {
		err = r.stumbled(m)
	}
	return m, err
}

// stumbled returns the error for a line that ends the reader.
func (r *Reader) stumbled(m message) error {
	if m.Is != "stumble" {
		return fmt.Errorf("the reader says %q: %s", m.Is, m.Error)
	}
	stumble := &Stumble{Reason: m.Error}
	var at struct{ Node string }
	if err := json.Unmarshal(m.line, &at); err != nil {
		return fmt.Errorf("read reader's stumble: %w", err)
	}
	stumble.Node = at.Node
	if code, err := r.program.end(); err != nil || code != 1 {
		return fmt.Errorf("the reader's exit code is %d after: %s", code, stumble.Reason)
	}
	return stumble
}
