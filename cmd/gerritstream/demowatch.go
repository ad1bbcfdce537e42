package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream/gerrittest"
)

// When the stream of a demonstration that is watched is changed, in events
// published.
const (
	splitAfter = 60
	mergeAfter = 120
)

// lastLines is how long an output that takes nothing is waited for at the end.
const lastLines = 250 * time.Millisecond

// watch shows a line for each event until ctx ends or nobody reads the lines
// any more.
func (d *demonstration) watch(ctx context.Context, b *bench) error {
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	out := newScreen(d.stdout)
	go func() {
		out.run()
		cancel() // a write that failed ends everything
	}()
	say := func(line string) { out.print(work, line) }
	say(introduction(d.shards, b.database))
	lines := newVerdictLines(d.colourful(), say)

	err := d.present(work, b, lines, say)
	if work.Err() != nil && errors.Is(err, work.Err()) {
		err = nil
	}
	count := lines.total()
	out.print(work, fmt.Sprintf("\nStopped after %s: %s.", plural(count.events(), "event"), count))
	out.print(work, strings.TrimRight(nextSteps(b.database), "\n"))
	if wrote := out.finish(lastLines); wrote != nil && !errors.Is(wrote, syscall.EPIPE) {
		err = errors.Join(err, fmt.Errorf("write a line: %w", wrote))
	}
	return err
}

// present publishes at a calm pace, and has a daemon read what is published,
// until ctx ends.
func (d *demonstration) present(ctx context.Context, b *bench, lines *verdictLines, say func(string)) error {
	daemon, err := b.daemon(ctx, lines, false)
	if err != nil {
		return err
	}
	traffic := gerrittest.New(demoSeed, gerrittest.Options{
		SpreadKeys: true, // by type, as Gerrit's plugin has it, two thirds would go to one shard
		Within:     gerrittest.MinWithin,
		Clock:      time.Now,
	})
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return daemon.Run(ctx) })
	both.Go(func() error {
		p := producer{put: b.stream.put, next: traffic.Next, acked: func(*gerrittest.Record, *putAnswer) {}}
		return d.stroll(ctx, &p, b.stream, say)
	})
	return both.Wait()
}

// stroll publishes until ctx ends, and changes the stream's shards on its way.
func (d *demonstration) stroll(ctx context.Context, p *producer, stream *demoStream, say func(string)) error {
	for {
		if err := p.stroll(ctx); err != nil {
			return err
		}
		var change func() (string, error)
		switch p.published.Load() {
		case splitAfter:
			change = stream.split
		case mergeAfter:
			change = stream.merge
		default:
			continue
		}
		said, err := change()
		if err != nil {
			return err
		}
		say(paint(d.colourful(), bold, "-- "+said))
	}
}

// introduction says in five lines what is going on.
func introduction(shards int, database string) string {
	return fmt.Sprintf(`Made-up Gerrit traffic, through a Kinesis stream, into a queue: each event once. Ctrl-C ends it.
  traffic  every type of event in lifelike proportions, and a few bad records
  stream   an embedded Kinesis with %s and the limits of the real one; no account, no server
  reader   what "gerritstream run" runs, with its filter for Zuul
  queue    %s, a SQLite file, which is kept
`, plural(shards, "shard"), database)
}

// colourful: lines may have colours (see no-color.org).
func (d *demonstration) colourful() bool {
	return isTerminal(d.stdout) && d.getenv("NO_COLOR") == "" && d.getenv("TERM") != "dumb" //nolint:misspell // its name
}
