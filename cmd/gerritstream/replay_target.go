package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/queue"
)

// target is where a replay's events go.
type target interface {
	// put hands a batch on, all of it or nothing.
	put(ctx context.Context, events []queue.Event) error

	// said is for people: what has become of what was put.
	said() string

	close(ctx context.Context) error
}

// outputTarget writes events.
type outputTarget struct {
	w       io.Writer
	output  *output
	written int
}

func (t *outputTarget) put(_ context.Context, events []queue.Event) error {
	var lines bytes.Buffer
	if err := writeEvents(&lines, t.output, events); err != nil {
		return err
	}
	if _, err := t.w.Write(lines.Bytes()); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	t.written += len(events)
	return nil
}

func (t *outputTarget) said() string { return "replayed " + plural(t.written, "event") }

func (t *outputTarget) close(context.Context) error { return nil }

// consumerTarget appends events to the queue of a consumer.
type consumerTarget struct {
	q        config.OpenQueue
	name     string
	given    int
	appended int
}

func (t *consumerTarget) put(ctx context.Context, events []queue.Event) error {
	entries := make([]gerritstream.Entry, len(events))
	for i := range events {
		entries[i] = events[i].Entry
	}
	n, err := t.q.Append(ctx, t.name, entries)
	if err == nil {
		t.given, t.appended = t.given+len(events), t.appended+n
	}
	return err
}

func (t *consumerTarget) said() string {
	said := fmt.Sprintf("appended %s for %s", plural(t.appended, "event"), t.name)
	if waited := t.given - t.appended; waited > 0 {
		said += fmt.Sprintf("; %s waited for it already", thousands(waited))
	}
	return said
}

func (t *consumerTarget) close(ctx context.Context) error { return t.q.Close(ctx) }

// The bounds of a batch, and how often progress is reported.
const (
	replayBatch   = 100
	replayBytes   = 1 << 20
	pacedFor      = 100 * time.Millisecond
	progressEvery = 10 * time.Second
)

// pacer hands events on in batches, no faster than at a rate.
type pacer struct {
	each     time.Duration // from one event to the next; 0: no pause
	target   target
	progress func(done int64, last *queue.Event)

	batch []queue.Event
	size  int
	due   time.Time // when the next batch may go
	told  time.Time // of the last progress
	done  int64
	last  time.Time // the greatest arrival of what was handed on
}

// add hands an event on, now or with those that follow.
func (p *pacer) add(ctx context.Context, e *queue.Event) error {
	p.batch = append(p.batch, *e)
	p.size += e.Entry.Weight()
	full := len(p.batch) >= replayBatch || p.size >= replayBytes
	if !full && (p.each == 0 || time.Duration(len(p.batch))*p.each < pacedFor) {
		return nil
	}
	return p.flush(ctx)
}

// flush hands on what is left.
func (p *pacer) flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	timer := time.NewTimer(time.Until(p.due))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	now := time.Now()
	if err := p.target.put(ctx, p.batch); err != nil {
		return err
	}
	p.due = now.Add(time.Duration(len(p.batch)) * p.each)
	p.done += int64(len(p.batch))
	for i := range p.batch {
		if at := p.batch[i].Entry.Arrived; at.After(p.last) {
			p.last = at
		}
	}
	switch {
	case p.told.IsZero():
		p.told = now
	case now.Sub(p.told) >= progressEvery:
		p.told = now
		p.progress(p.done, &p.batch[len(p.batch)-1])
	}
	p.batch, p.size = p.batch[:0], 0
	return nil
}

// first returns the first event that was not handed on; nil: there is none.
func (p *pacer) first() *queue.Event {
	if len(p.batch) == 0 {
		return nil
	}
	return &p.batch[0]
}
