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
// scheduler does. It stumbles, with exit code 1, over anything that would make
// any release of Zuul drop an event, keep it for ever, or stop; the error is
// then a [Stumble]. It ends with the test. Its methods are for one goroutine at
// a time.
type Reader struct{ script *script }

// Stumble is something that Zuul would not get past.
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
	Span      string  `json:"span"` // traceparent of the span that Zuul links to; empty: none
}

// Pass is the result of one pass over the queue, or of a series.
type Pass struct {
	Events   []QueuedEvent // in the queue's order
	SideData int           // large events whose data is beside the queue afterwards, still queued or orphaned
}

// ZuulCheckpoint is a checkpoint as Zuul takes it: one of the three is set.
type ZuulCheckpoint struct {
	Sequence string `json:"sequence"`
	None     string `json:"none"`  // why there is none: Zuul begins at the tip of the shard
	Error    string `json:"error"` // why Zuul fails, time and again
}

// StartReader starts a reader of the connection whose node is root,
// "/zuul/events/connection/<name>", in the chroot. As Zuul does, it creates the
// nodes that it needs. It needs [Kazoo].
func StartReader(tb testing.TB, opts KazooOptions, root string) *Reader {
	tb.Helper()
	args := append(opts.args(), "--root", root)
	return &Reader{startScript(tb, "reader", payloadScript+readerScript, args...)}
}

// StartObserver starts a reader that creates no nodes.
func StartObserver(tb testing.TB, opts KazooOptions, root string) *Reader {
	tb.Helper()
	args := append(opts.args(), "--root", root, "--touch-nothing")
	return &Reader{startScript(tb, "reader", payloadScript+readerScript, args...)}
}

// Read reads all events that are queued and leaves them there.
func (r *Reader) Read(ctx context.Context) (Pass, error) { return r.pass(ctx, "read", nil) }

// Drain reads all events that are queued and acknowledges them, which removes
// them and their side data.
func (r *Reader) Drain(ctx context.Context) (Pass, error) { return r.pass(ctx, "drain", nil) }

// Follow drains the queue as events come, until enough returns true or the
// context ends, which is an error. In both cases it returns every event that
// was drained.
func (r *Reader) Follow(ctx context.Context, enough func(QueuedEvent) bool) (Pass, error) {
	return r.pass(ctx, "follow", enough)
}

// Judge has the reader judge bytes as if they were a queue node's. A stumble
// does not end it.
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
// listener understands it.
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
	if code, err := r.script.end(); err != nil || code != 0 {
		tb.Fatalf("stop reader: exit code %d, %v", code, err)
	}
}

// pass has the reader go through the queue. With enough it follows the queue
// until that returns true.
func (r *Reader) pass(ctx context.Context, how string, enough func(QueuedEvent) bool) (Pass, error) {
	var pass Pass
	if err := r.script.send(map[string]any{"do": how}); err != nil {
		return pass, err
	}
	m, err := r.events(ctx, &pass, enough)
	if enough != nil && (err == nil && m.Is == "event" || ctx.Err() != nil) {
		err = r.halt(ctx, &pass, &m)
	}
	switch {
	case err != nil:
		r.script.kill() // it is in the middle of something
		return pass, err
	case m.Is == "done":
		return pass, errors.Join(r.finish(m, &pass), ctx.Err())
	default:
		return pass, r.stumbled(m)
	}
}

// halt ends following and takes the events that arrive until then.
func (r *Reader) halt(ctx context.Context, pass *Pass, last *message) error {
	if err := r.script.send(map[string]any{"do": "halt"}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	m, err := r.events(ctx, pass, nil)
	*last = m
	return err
}

// events takes events until one is enough, and returns its message or the first
// that is no event.
func (r *Reader) events(ctx context.Context, pass *Pass, enough func(QueuedEvent) bool) (message, error) {
	for {
		m, err := r.script.next(ctx)
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

// finish takes the reader's result of a pass, and checks its count of events.
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

// do runs a command that prints only its answer.
func (r *Reader) do(ctx context.Context, command map[string]any) (message, error) {
	if err := r.script.send(command); err != nil {
		return message{}, err
	}
	m, err := r.script.next(ctx)
	if err == nil && m.Is != "done" {
		err = r.stumbled(m)
	}
	return m, err
}

// stumbled returns the error for a message that ends the reader.
func (r *Reader) stumbled(m message) error {
	if m.Is != "stumble" {
		return fmt.Errorf("unexpected message %q of the reader: %s", m.Is, m.Error)
	}
	var at struct{ Node string }
	if err := json.Unmarshal(m.line, &at); err != nil {
		return fmt.Errorf("read reader's stumble: %w", err)
	}
	stumble := &Stumble{Node: at.Node, Reason: m.Error}
	if code, err := r.script.end(); err != nil || code != 1 {
		return fmt.Errorf("the reader's exit code is %d after: %s", code, stumble.Reason)
	}
	return stumble
}
