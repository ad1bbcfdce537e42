package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/spf13/cobra"
)

// demonstration is what `demo` is told.
type demonstration struct {
	process
	events int    // 0: until interrupted
	shards int    // at first
	db     string // as given; "": a file in a new folder
	json   bool
}

const (
	// maxDemoEvents bounds the memory of a demonstration: the stream is kept in
	// it, at two kilobytes or so an event.
	maxDemoEvents = 500_000

	// maxDemoShards is as many as one process may poll, with a read under way
	// for each, without getting slow.
	maxDemoShards = 64
)

func newDemo(p process) *cobra.Command {
	d := demonstration{process: p}
	output := outputFlag("text", "json")
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it at work on made-up traffic: no account, no server",
		Long: `Show gerritstream at work: made-up Gerrit traffic goes into an embedded Kinesis, in this process and with the limits of the
real one, and what "gerritstream run" runs queues it in a SQLite file.

Without --events it goes on until interrupted, with a line for each event on standard output.

With --events it publishes so many as fast as the stream takes them; half-way one shard is split and two are merged. In
the end a separate reader opens the file, and what the stream acknowledged to the producer is compared with what was
queued, put aside as a dead letter or filtered: each record must be found once, with the verdict it was made for. If
one is lost, doubled or misjudged the exit code is 3.

The file is kept. Each demo has a new stream, so that it needs a file of its own.`,
		Example: `  gerritstream demo
  gerritstream demo --events 20000
  gerritstream demo --events 20000 --shards 4 --db demo.db -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.json = output.is("json")
			if err := d.check(cmd.Flags().Changed("events")); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			return d.run(ctx)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&d.events, "events", 0, "publish this `number` of events, then compare what came of them (default: go on until interrupted)")
	f.IntVar(&d.shards, "shards", 4, "`number` of shards that the stream begins with")
	f.StringVar(&d.db, "db", "", "database `file`, which holds nothing yet (default: one in a new temporary folder)")
	output.register(cmd)
	return cmd
}

// check looks at what was asked for; counted: --events was given.
func (d *demonstration) check(counted bool) error {
	switch {
	case counted && (d.events < 1 || d.events > maxDemoEvents):
		return fmt.Errorf("--events %d is not between 1 and %d: the stream is kept in memory", d.events, maxDemoEvents)
	case d.shards < 1 || d.shards > maxDemoShards:
		return fmt.Errorf("--shards %d is not between 1 and %d", d.shards, maxDemoShards)
	case d.json && !counted:
		return errors.New("-o json needs --events: without it the demo does not end by itself")
	}
	return nil
}

// run makes the stream and shows it.
func (d *demonstration) run(ctx context.Context) error {
	signal.Ignore(syscall.SIGPIPE) // a reader of the output that goes away ends the demo in order
	path, err := demoDatabase(ctx, d.db)
	if err != nil {
		return err
	}
	stream, err := newDemoStream(d.shards)
	if err != nil {
		return err
	}
	b := bench{stream: stream, database: path, log: newDemoLogger(d.stderr)}
	if d.events > 0 {
		return d.count(ctx, &b)
	}
	return d.watch(ctx, &b)
}

// demoDatabase returns the path of the database to make. Of a file that is
// there it must be sure that nobody's events are in it.
func demoDatabase(ctx context.Context, path string) (string, error) {
	if path == "" {
		folder, err := os.MkdirTemp("", "gerritstream-demo-")
		if err != nil {
			return "", fmt.Errorf("make a folder for the demo: %w", err)
		}
		return filepath.Join(folder, "demo.db"), nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		return path, nil
	}
	in, err := sqlite.Inspect(ctx, path)
	switch {
	case err != nil:
		return "", &daemon.ConfigError{Err: err}
	case in.Origin == nil:
		return path, nil
	case in.Origin.Stream.ARN == demoARN:
		return "", &daemon.ConfigError{Err: fmt.Errorf("%s holds the %d events of an earlier demo, and the stream of a demo is new each time: "+
			"choose another --db, or remove this file", path, in.Queue)}
	}
	return "", &daemon.ConfigError{Err: fmt.Errorf("%s holds what came from %s: choose another --db for the demo",
		path, in.Origin.Stream.ARN)}
}
