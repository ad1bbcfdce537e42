package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"os/user"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/admin"
	"github.com/gerritstream/gerritstream/internal/api"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/internal/telemetry"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sink"
	"github.com/gerritstream/gerritstream/webhook"
)

const (
	listTimeout   = 30 * time.Second       // for a listing with all its pages, in a command
	probeTimeout  = 10 * time.Second       // for a first listing, before a queue is created for the stream
	openEvery     = time.Second            // for a store whose server is away
	closeTimeout  = time.Second            // for a store: others then wait for leases or a session to expire
	outputTimeout = 250 * time.Millisecond // for the reader of standard output
	tracesTimeout = 500 * time.Millisecond // for the last spans, after everything else
)

// makeTraces begins to send spans of commits, if that is asked for.
func (d *Daemon) makeTraces(context.Context) error {
	c := d.options.Traces
	if c == nil || !c.On() {
		return nil
	}
	system, _, _ := strings.Cut(d.options.Config.Store.String(), ":")
	traces, err := telemetry.New(c, telemetry.Options{
		Version: d.options.Version, Process: d.process, Host: hostname(), Connection: d.options.Config.Connection,
		Stream: d.options.Config.Kinesis.Stream, System: system, Logger: d.log,
	})
	if err != nil {
		return &ConfigError{err}
	}
	d.traces = traces
	d.cleanup.add("send the last spans", func() error {
		traces.Close(tracesTimeout)
		return nil
	})
	return nil
}

// countSpans returns what counts the spans; nil: traces are off.
func (d *Daemon) countSpans() func() (made, sent int64) {
	if d.traces == nil {
		return nil
	}
	return func() (made, sent int64) {
		n := d.traces.Counts()
		return n.Made, n.Sent
	}
}

// makeSource creates the metrics and the source.
func (d *Daemon) makeSource(ctx context.Context) error {
	d.metrics = admin.NewMetrics(admin.MetricsOptions{
		Version:    d.options.Version,
		Connection: d.options.Config.Connection,
		Stream:     d.options.Config.Kinesis.Stream,
		Store:      d.options.Config.Store.String(),
		TypeLabel:  func(eventType string) string { return gerrit.Label([]byte(eventType)) },
		Reasons:    DeadLetterReasons(),
		Rules:      append(gerrit.Rules(), RuleForeign),
		Webhooks:   slices.Sorted(maps.Keys(d.options.Config.Receivers())),
	})
	c := d.options.Config.Kinesis
	c.Budget = kinesis.NewBudget(d.options.Config.Memory)
	c.Logger = d.log
	c.Observer = d.metrics
	c.Transport, c.Isolated = d.options.Transport, d.options.Transport != nil
	source, err := kinesis.New(ctx, c)
	if err != nil {
		return sourceFault(err)
	}
	d.source = &loggedSource{Source: source, first: func(ctx context.Context) { d.logFollowing(ctx, source) }}
	return nil
}

// sourceFault returns a ConfigError, under the name of the setting if it is
// about one.
func sourceFault(err error) error {
	if fault, ok := errors.AsType[*kinesis.Fault](err); ok {
		err = config.KinesisFault(fault)
	}
	return &ConfigError{err}
}

// loggedSource is a Source that calls first after its first listing.
type loggedSource struct {
	gerritstream.Source
	first func(context.Context)
	once  sync.Once
}

// List passes a listing on.
func (s *loggedSource) List(ctx context.Context) (gerritstream.Listing, error) {
	listing, err := s.Source.List(ctx)
	if err == nil {
		s.once.Do(func() { s.first(ctx) })
	}
	return listing, err
}

// logFollowing logs which stream is followed, with whose credentials, and into
// which store.
func (d *Daemon) logFollowing(ctx context.Context, source *kinesis.Source) {
	is, err := source.Describe(ctx)
	if err != nil { // it was listed a moment ago: a lasting error shows again
		d.log.Debug("cannot describe the stream", "err", err)
		return
	}
	d.log.Info("following", "account", is.Account, "stream", is.StreamARN, "region", is.Region,
		"store", d.options.Config.Store.String(), "credentials", is.Credentials)
}

// ListStream lists the configured stream once, for commands that do not read
// it. Its errors are those of gerritstream.Source.List, and *ConfigError.
func ListStream(ctx context.Context, c *config.Config) (gerritstream.Listing, error) {
	_, listing, err := OpenStream(ctx, c)
	return listing, err
}

// OpenStream is ListStream for commands that read the stream without leading a
// shard of it: they Peek.
func OpenStream(ctx context.Context, c *config.Config) (gerritstream.Source, gerritstream.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	source, err := kinesis.New(ctx, c.Kinesis)
	if err != nil {
		return nil, gerritstream.Listing{}, sourceFault(err)
	}
	listing, err := source.List(ctx)
	if err != nil {
		return nil, gerritstream.Listing{}, fmt.Errorf("list the stream: %w", err)
	}
	return source, listing, nil
}

// probeStream lists the stream before a new file is created for its queue, so
// that a mistake which ends Run at its first listing leaves no file behind. All
// other errors are retried later.
func (d *Daemon) probeStream(ctx context.Context) error {
	if underSystemd() || !d.options.Config.Store.Absent() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := d.source.Source.List(ctx)
	if errors.Is(err, gerritstream.ErrDenied) || errors.Is(err, gerritstream.ErrStreamNotFound) {
		return err
	}
	return nil
}

// patiently asks a store until it answers, or with an error that does not pass
// by itself: its server may be away, such as during a fail-over.
func (d *Daemon) patiently(ctx context.Context, ask func() error) error {
	store := &d.options.Config.Store
	err := ask()
	if err == nil || !store.MayPass(err) {
		return err
	}
	d.log.Warn("the store does not answer, trying again", "err", err)
	tick := time.NewTicker(openEvery)
	defer tick.Stop()
	for err != nil && store.MayPass(err) && ctx.Err() == nil {
		select {
		case <-tick.C:
			err = ask()
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
	return err
}

// openStore opens the configured store.
func (d *Daemon) openStore(ctx context.Context) error {
	var store config.OpenStore
	err := d.patiently(ctx, func() (err error) {
		r := config.Runtime{Process: d.process, Logger: d.log, Now: d.options.Now}
		store, err = d.options.Config.OpenStore(ctx, r)
		return err
	})
	switch {
	case errors.Is(err, gerritstream.ErrRetryLater), errors.Is(err, gerritstream.ErrDenied),
		err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		return &ConfigError{err}
	}
	d.store = store
	d.cleanup.add("close the store", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		return store.Close(ctx)
	})
	return nil
}

// makeConsumer joins source, store, classifier and sinks.
func (d *Daemon) makeConsumer(context.Context) error {
	c := &d.options.Config
	filter, err := gerrit.NewFilter(c.Filter)
	if err != nil {
		return &ConfigError{fmt.Errorf("make filter: %w", err)}
	}
	all := observers{d.metrics}
	if c.Socket.Address != "" || c.Admin != config.AdminOff { // tails and the page show verdicts
		d.feed = api.NewFeed()
		all = append(all, d.feed)
	}
	if d.options.Observer != nil {
		all = append(all, d.options.Observer)
	}
	var observer consumer.Observer = all
	if len(all) == 1 {
		observer = d.metrics
	}
	store, _ := d.store.(pauses.Store) // nil: shards of this store cannot be paused
	var tracer consumer.Tracer
	if d.traces != nil {
		tracer = d.traces
	}
	d.consumer, err = consumer.New(consumer.Config{
		Pauses:          store,
		Source:          d.source,
		Store:           d.store,
		Classify:        NewClassifier(filter, d.warnUnused),
		Sinks:           d.makeSinks(),
		StartAt:         c.StartAt,
		OnBadCheckpoint: c.OnBadCheckpoint,
		UntilCaughtUp:   d.options.UntilCaughtUp,
		WaitForSetup:    underSystemd() && !d.options.UntilCaughtUp,
		Self: gerritstream.MemberInfo{
			Host: hostname(), PID: os.Getpid(), Version: d.options.Version, Config: c.Hash(),
		},
		Process:  d.process,
		Logger:   d.log,
		Observer: observer,
		Extra:    d.shared,
		Tracer:   tracer,
	})
	return err
}

// makeSinks creates the configured sinks.
func (d *Daemon) makeSinks() []gerritstream.Sink {
	var sinks []gerritstream.Sink
	for _, name := range d.options.Config.Sinks {
		if name == config.SinkStdout {
			out := sink.NewStdoutOfJSON(d.options.Stdout, d.options.Config.Kinesis.Stream)
			d.readerGone = out.Gone()
			d.cleanup.add("close standard output", func() error {
				ctx, cancel := context.WithTimeout(context.Background(), outputTimeout)
				defer cancel()
				if err := out.Close(ctx); err != nil { // what it did not take is not committed either
					d.log.Warn("standard output is blocked; its last line may be cut", "err", err)
				}
				return nil
			})
			sinks = append(sinks, out)
		}
	}
	return sinks
}

// serve binds the address of health and metrics.
func (d *Daemon) serve(context.Context) error {
	c := &d.options.Config
	seen := &inspector{
		store: d.store, status: d.consumer.Status, pauses: d.consumer.Pauses, letters: d.readLetters, feed: d.feed,
		metrics: d.metrics, history: overview.NewHistory(), delay: overview.Unknown,
		setup: overview.Setup{
			Connection: c.Connection, Store: c.Store.String(), Version: d.options.Version,
			QueueLimit: c.Store.QueueLimit(), PollInterval: c.Kinesis.PollInterval,
		},
	}
	seen.queue, _ = d.store.(webhook.Store) // Zuul reads the one in ZooKeeper
	seen.hooks.Receivers = c.Receivers()
	d.metrics.Follow(admin.Gauges{
		Status: d.consumer.Status, Inspect: seen.inspect, Consumers: seen.consumers, Webhooks: seen.webhooks,
		Causes: seen.causes, Pauses: d.consumer.Pauses, Spans: d.countSpans(),
	})
	if c.Admin == config.AdminOff {
		return nil
	}
	d.seen = seen
	server, err := admin.New(admin.Options{
		Address: c.Admin,
		Hosts:   c.AdminHosts,
		Status:  d.consumer.Status,
		Alive:   d.consumer.Alive,
		View:    seen.view,
		Metrics: d.metrics,
		Pprof:   c.Pprof,
		Logger:  d.log,
	})
	if err != nil {
		return err
	}
	d.admin = server
	d.cleanup.add("release the admin address", server.Close)
	return nil
}

// serveAPI makes the socket for consumers and tail.
func (d *Daemon) serveAPI(ctx context.Context) error {
	if d.options.Config.Socket.Address == "" {
		return nil
	}
	o := api.Options{
		Path:   d.options.Config.Socket.Path(),
		Group:  d.options.Config.Socket.Group,
		Feed:   d.feed,
		Status: d.consumer.Status,
		Acked:  d.metrics.EventAcked,
		Logger: d.log,
	}
	o.Queue, _ = d.store.(queue.Store) // Zuul reads the one in ZooKeeper
	server, err := api.New(ctx, o)
	if unknown, ok := errors.AsType[user.UnknownGroupError](err); ok {
		return &ConfigError{fmt.Errorf("socket_group: %w", unknown)}
	}
	if err != nil {
		return err
	}
	d.api = server
	d.cleanup.add("remove the socket", server.Close)
	return nil
}

// besidesPages is the memory that a process may use besides pages before the
// garbage collector works harder: 64 shards hold about 20 MiB, and the rest is
// garbage between two collections.
const besidesPages = 64 << 20

// limitMemory makes the garbage collector respect the cgroup's memory limit,
// unless $GOMEMLIMIT sets another, and warns when the budget for pages leaves
// too little for everything else. Without a limit, or with a generous one, the
// collector respects the budget: pages are large, and by its own rule as much
// garbage as there are pages in use could pile up.
func limitMemory(budget int64, log *slog.Logger) {
	limit, err := memlimit.Set()
	if err != nil {
		log.Warn("cannot read the cgroup's memory limit", "err", err)
		return
	}
	if limit != math.MaxInt64 && budget > limit/2 {
		log.Warn("memory setting is more than half of the process' limit", "memory", budget, "limit", limit)
	}
	if own := budget + besidesPages; own < limit && os.Getenv("GOMEMLIMIT") == "" {
		limit = own
		debug.SetMemoryLimit(limit)
	}
	log.Debug("memory limit", "bytes", limit)
}
