package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// demonstration is a run of `demo`.
type demonstration struct {
	process  process
	events   int    // 0: until interrupted
	shards   int    // at first
	database string // for people: the file, or the address without a password
	address  string // of the store
	beside   string // files of processes have names that begin with this
	json     bool
	served   bool          // until interrupted, by processes that others can reach
	every    time.Duration // between two faults, of --serve; 0: none
	traffic  traffic       // of --serve
	stream   *demoStream
	level    slog.LevelVar // of the log, which reports only what goes wrong
}

const (
	// maxDemoEvents bounds the memory of a demonstration: the stream is kept in
	// memory, about two kilobytes an event.
	maxDemoEvents = 500_000

	// maxDemoShards is how many shards one process can poll quickly, with a
	// read under way for each.
	maxDemoShards = 64

	// demoSeed makes every demonstration the same.
	demoSeed = 20

	// When the shards of a demonstration without --events change, in events
	// published.
	splitAfter = 60
	mergeAfter = 120

	// lastLines is how long a blocked output is waited for at the end.
	lastLines = 250 * time.Millisecond
)

func newDemo(p process) *cobra.Command {
	d := demonstration{process: p, traffic: 20}
	output := outputFlag("text", "json")
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it at work on made-up traffic: no account, no server",
		Long: `Show gerritstream at work: made-up Gerrit traffic goes into an embedded Kinesis, in this process and with
the limits of the real one, and what "gerritstream run" runs queues it in a SQLite file, or in a database of PostgreSQL.

Without --events it runs until interrupted and prints a line for each event.

With --serve it runs until interrupted as well, for commands in other terminals, which it prints: three processes of
"gerritstream run" share the file and have status pages, metrics and sockets. Keys, and --every, kill one of them, split
and merge shards, and make Kinesis refuse or vanish.

With --events it publishes that many as fast as the stream takes them; half-way one shard is split and two are merged.
Then a separate reader opens the file, and what the stream acknowledged to the producer is compared with what was
queued, dead-lettered or filtered: each record must be found once, in order, with the verdict it was made for. If
one is lost, duplicated, misjudged or out of order the exit code is 3.

The file is kept. Each demo has a new stream, and therefore needs a file of its own.`,
		Example: `  gerritstream demo
  gerritstream demo --serve --every 30s
  gerritstream demo --events 20000
  gerritstream demo --events 20000 --shards 4 --db demo.db -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.json = output.is("json")
			if cmd.Flags().Changed("traffic") && !d.served {
				return &usageError{cmd.CommandPath(), errors.New("--traffic needs --serve")}
			}
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
	f.IntVar(&d.events, "events", 0,
		"publish this `number` of events and check what became of them (default: run until interrupted)")
	f.BoolVar(&d.served, "serve", false, "run until interrupted, with three processes, for commands in other terminals")
	f.DurationVar(&d.every, "every", 0, "with --serve: make a fault after each such `duration` (default: on keys only)")
	f.Var(&d.traffic, "traffic", "with --serve: publish at this `rate`")
	f.IntVar(&d.shards, "shards", 4, "`number` of shards that the stream begins with")
	f.StringVar(&d.database, "db", "", "new or empty database `file`, or postgres://USER@HOST/DATABASE "+
		"(default: a file in a new temporary folder)")
	output.register(cmd)
	return cmd
}

// check validates the flags; counted: --events was given.
func (d *demonstration) check(counted bool) error {
	switch {
	case d.served && counted:
		return errors.New("--serve runs until interrupted: give it or --events")
	case d.every != 0 && !d.served:
		return errors.New("--every needs --serve")
	case d.every < 0:
		return fmt.Errorf("--every %v is below 0", d.every)
	case counted && (d.events < 1 || d.events > maxDemoEvents):
		return fmt.Errorf("--events %d is not between 1 and %d: the stream is kept in memory", d.events, maxDemoEvents)
	case d.shards < 1 || d.shards > maxDemoShards:
		return fmt.Errorf("--shards %d is not between 1 and %d", d.shards, maxDemoShards)
	case d.json && !counted:
		return errors.New("-o json needs --events: without it the demo does not end by itself")
	}
	return nil
}

func (d *demonstration) run(ctx context.Context) (err error) {
	signal.Ignore(syscall.SIGPIPE) // a reader of the output that goes away is a normal end
	if err := d.choose(ctx); err != nil {
		return err
	}
	if d.stream, err = newDemoStream(d.shards); err != nil {
		return err
	}
	switch {
	case d.events > 0:
		return d.count(ctx)
	case d.served:
		return d.serve(ctx)
	}
	return d.watch(ctx)
}

// choose sets the store to make, and refuses one that holds anyone's events.
// Only a file has a folder; what lies beside it is in a temporary one
// otherwise.
func (d *demonstration) choose(ctx context.Context) (err error) {
	remote := strings.Contains(d.database, "://")
	d.beside = d.database
	if d.database == "" || remote {
		folder, err := os.MkdirTemp("", "gerritstream-demo-")
		if err != nil {
			return fmt.Errorf("make a folder for the demo: %w", err)
		}
		d.beside = filepath.Join(folder, "demo.db")
	}
	if !remote {
		d.database = d.beside
	}
	if d.address = d.database; !remote {
		d.address = "sqlite:" + d.database
	}
	c, err := d.config()
	if err != nil {
		return &usageError{"gerritstream demo", fmt.Errorf("--db: %w", err)}
	}
	d.database = strings.TrimPrefix(c.Store.String(), "sqlite:") // without a password
	info, err := os.Stat(d.database)
	if !remote && (errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() && info.Size() == 0) {
		return nil
	}
	return d.checkEmpty(ctx, &c)
}

// checkEmpty refuses a store that holds anyone's events.
func (d *demonstration) checkEmpty(ctx context.Context, c *config.Config) error {
	missing, err := c.Missing(ctx)
	var in gerritstream.Inspection
	if err == nil && !missing {
		in, err = c.Inspect(ctx)
	}
	switch {
	case err != nil:
		return &daemon.ConfigError{Err: err}
	case in.Origin == nil:
		return nil
	case in.Origin.Stream.ARN == demoARN:
		return &daemon.ConfigError{Err: fmt.Errorf("%s holds the %d events of an earlier demo, "+
			"and each demo has a new stream: choose another --db, or remove this %s", d.database, in.Queue, d.thing())}
	}
	return &daemon.ConfigError{Err: fmt.Errorf("%s holds events of %s: choose another --db for the demo",
		d.database, in.Origin.Stream.ARN)}
}

// isFile reports whether the store is a SQLite file.
func (d *demonstration) isFile() bool { return strings.HasPrefix(d.address, "sqlite:") }

// thing is what holds the store.
func (d *demonstration) thing() string {
	if d.isFile() {
		return "file"
	}
	return "schema, " + demoSchema
}

// kind says what the store is.
func (d *demonstration) kind() string {
	if d.isFile() {
		return "a SQLite file"
	}
	return "in PostgreSQL"
}

// demoSchema is that of the connection "gerrit".
const demoSchema = "gerritstream_gerrit"

// config returns settings with the store.
func (d *demonstration) config() (config.Config, error) {
	c := config.Defaults()
	err := c.Store.Set(d.address)
	return c, err
}

// inspect looks at the store.
func (d *demonstration) inspect(ctx context.Context) (gerritstream.Inspection, error) {
	c, err := d.config()
	if err != nil {
		return gerritstream.Inspection{}, err
	}
	return c.Inspect(ctx)
}

// daemon returns what `run` runs, on the embedded stream.
func (d *demonstration) daemon(ctx context.Context, observer consumer.Observer, untilCaughtUp bool) (
	*daemon.Daemon, error,
) {
	c, err := d.config()
	if err != nil {
		return nil, err
	}
	c.Kinesis.Stream, c.Kinesis.Region = demoStreamName, demoRegion
	c.StartAt.TrimHorizon = true
	c.Admin = config.AdminOff
	d.level.Set(slog.LevelError) // a temporary folder or little memory is no news here
	defer d.level.Set(slog.LevelWarn)
	return daemon.New(ctx, daemon.Options{
		Config:        c,
		UntilCaughtUp: untilCaughtUp,
		Version:       readBuild().Version,
		Logger:        slog.New(slog.NewTextHandler(d.process.stderr, &slog.HandlerOptions{Level: &d.level})),
		Observer:      observer,
		Transport:     d.stream.server.Transport(),
	})
}

// watch shows a line for each event until ctx ends or nobody reads the output
// any more.
func (d *demonstration) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := newScreen(d.process.stdout)
	go func() {
		out.run()
		cancel() // a failed write ends everything
	}()
	colour := d.process.hasColour()
	lines := newVerdictLines(colour, func(line string) { out.show(ctx, line) })
	lines.show(fmt.Sprintf(`Made-up Gerrit traffic, through Kinesis, into a queue: each event once. Ctrl-C ends it.
  traffic  every type of event in lifelike proportions, and a few bad records
  stream   an embedded Kinesis with %s and the limits of the real one; no account, no server
  reader   what "gerritstream run" runs, with its filter for Zuul
  queue    %s, %s, which is kept
`, plural(d.shards, "shard"), d.database, d.kind()))

	err := d.follow(ctx, lines, func(ctx context.Context) error { return d.stroll(ctx, lines) })
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	count := lines.total()
	lines.show(fmt.Sprintf("\nStopped after %s: %s.", plural(count.events(), "event"), count))
	lines.show(strings.TrimRight(d.nextSteps(), "\n"))
	if failed := out.finish(lastLines); failed != nil && !errors.Is(failed, syscall.EPIPE) {
		err = errors.Join(err, fmt.Errorf("write a line: %w", failed))
	}
	return err
}

// follow runs a daemon while publish runs.
func (d *demonstration) follow(ctx context.Context, observer consumer.Observer,
	publish func(context.Context) error) error {
	daemon, err := d.daemon(ctx, observer, false)
	if err != nil {
		return err
	}
	both, ctx := errgroup.WithContext(ctx)
	following, stop := context.WithCancel(ctx)
	both.Go(func() error { return daemon.Run(following) })
	both.Go(func() error {
		defer stop()
		return publish(ctx)
	})
	return both.Wait()
}

// stroll publishes at a calm pace until ctx ends, and changes the shards on the
// way.
func (d *demonstration) stroll(ctx context.Context, lines *verdictLines) error {
	p := newProducer(d.stream, gerrittest.Options{Within: gerrittest.MinWithin},
		func(*gerrittest.Record, *putAnswer) {})
	changes := map[int64]func() (string, error){splitAfter: d.stream.split, mergeAfter: d.stream.merge}
	for {
		if err := p.publish(ctx, 1); err != nil {
			return err
		}
		if change := changes[p.published.Load()]; change != nil {
			summary, err := change()
			if err != nil {
				return err
			}
			lines.show(paint(lines.colour, bold, "-- "+summary))
		}
		// as long as a person takes to read a line
		if err := pause(ctx, 120*time.Millisecond+rand.N(260*time.Millisecond)); err != nil {
			return err
		}
	}
}
