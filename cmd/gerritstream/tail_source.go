package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"syscall"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/api"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/queue"
)

// ofStream yields what the stream has.
func (t *tailing) ofStream(ctx context.Context, c *config.Config) iter.Seq2[api.Verdict, error] {
	t.say("showing the stream %s itself, at one read a second of each shard; all its readers share them",
		c.Kinesis.Stream)
	last := ""
	o := daemon.WatchOptions{Config: c, Since: t.begin, Stop: t.stop, Trouble: func(err error) {
		if text := trouble.OneLine(err.Error()); trouble.Cause(text) != last {
			t.say("%s", text)
			last = trouble.Cause(text)
		}
	}}
	return func(yield func(api.Verdict, error) bool) {
		for w, err := range daemon.Watch(ctx, o) {
			var v api.Verdict
			if err == nil {
				v = api.NewVerdict(&w.Entry, &w.Verdict, w.Entry.Arrived)
				v.Queued = time.Time{} // nobody queued it here
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// reconnectEvery is how often a process that ended its tail is tried again.
const reconnectEvery = time.Second

// ofProcess yields the verdicts of the process that serves the socket. It
// returns nil if there is no socket, or nobody serves it.
func (t *tailing) ofProcess(ctx context.Context, c *config.Config) (iter.Seq2[api.Verdict, error], error) {
	if c.Socket.Address == "" {
		return nil, nil
	}
	q := api.TailQuery{
		N: t.last, Filter: t.filter, Verdicts: t.verdicts, Stop: t.stop,
		Payload: t.template != nil || !t.output.is("pretty"),
	}
	if t.since != "" {
		q.Since = t.begin.Format(time.RFC3339Nano)
	}
	if q.N > api.Remembered {
		q.N = api.Remembered
		t.say("a process remembers %d verdicts", api.Remembered)
	}
	lines, err := api.Tail(ctx, c.Socket.Path(), &q)
	switch {
	case isUnserved(err):
		t.say("no process serves %s (%v)", c.Socket.Path(), err)
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("ask the process at %s: %w; socket_group says which group may", c.Socket.Path(), err)
	case err != nil:
		return nil, fmt.Errorf("ask the process at %s: %w", c.Socket.Path(), err)
	}
	t.say("showing the verdicts of the process at %s", c.Socket.Path())
	return t.reconnecting(ctx, c.Socket.Path(), &q, lines), nil
}

// isUnserved reports whether an error says that nobody serves a socket.
func isUnserved(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// reconnecting yields verdicts, and goes on when the process ended and is back.
func (t *tailing) reconnecting(ctx context.Context, path string, q *api.TailQuery, lines iter.Seq2[api.Line, error],
) iter.Seq2[api.Verdict, error] {
	return func(yield func(api.Verdict, error) bool) {
		for {
			for l, err := range lines {
				switch {
				case l.Note != nil:
					t.say("%s", printable(l.Note.Note))
				case l.Verdict != nil:
					q.Since = l.Verdict.At.Add(1).Format(time.RFC3339Nano)
					if !yield(*l.Verdict, nil) {
						return
					}
				case !errors.Is(err, io.EOF) && ctx.Err() == nil:
					t.say("the connection broke: %v", err)
				}
			}
			if t.stop || ctx.Err() != nil {
				return
			}
			t.say("waiting for a process at %s", path)
			lines = nil
			for lines == nil {
				if !sleep(ctx, reconnectEvery) {
					return
				}
				var err error
				if lines, err = api.Tail(ctx, path, q); err != nil && !isUnserved(err) && ctx.Err() == nil {
					yield(api.Verdict{}, fmt.Errorf("ask the process at %s: %w", path, err))
					return
				}
			}
		}
	}
}

// sleep waits, and returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// showQueue shows what is in the store's queue, and what comes.
func (t *tailing) showQueue(ctx context.Context, c *config.Config) (err error) {
	if len(t.verdicts) > 0 && !slices.Contains(t.verdicts, api.Queued) {
		return &usageError{"gerritstream tail", errors.New("the store's queue has no such events; --socket asks a " +
			"running process, and --from-stream reads the stream")}
	}
	r, err := c.OpenQueueReader(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close(context.WithoutCancel(ctx))) }()
	t.say("showing the events queued in %s", &c.Store)
	events, err := t.ofQueue(ctx, r)
	if err != nil {
		return err
	}
	return t.show(ctx, func(yield func(api.Verdict, error) bool) {
		for e, err := range events {
			v := api.NewVerdict(&e.Entry, &gerritstream.Verdict{}, e.Queued)
			v.Event = api.NewEvent(&e)
			if !yield(v, err) {
				return
			}
		}
	})
}

// ofQueue returns the queue's events, those that the filter drops among them.
func (t *tailing) ofQueue(ctx context.Context, r config.QueueReader) (_ iter.Seq2[queue.Event, error], err error) {
	var after int64
	if t.since == "" {
		after, err = r.Last(ctx, t.last, t.matcher)
	} else if after, err = r.Since(ctx, t.begin); err == nil {
		after--
	}
	if err != nil {
		return nil, err
	}
	if t.stop {
		return r.Events(ctx, after), nil
	}
	return r.Follow(ctx, after), nil
}
