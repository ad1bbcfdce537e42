// Package daemon turns a configuration into a running process: it builds every
// part, joins them, runs them, and takes them apart again. It is the only place
// that knows all of them.
//
//   - New builds and binds; nothing reads yet.
//   - Run reads until its context ends, then commits what is in flight, gives
//     up its leaderships and closes everything.
//   - Stop releases what New made, for a daemon that is never run.
package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/admin"
	"github.com/gerritstream/gerritstream/internal/api"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/telemetry"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// Options are the parts of a Daemon that are not settings.
type Options struct {
	Config        config.Config
	UntilCaughtUp bool              // end Run, with nil, once everything that had arrived before it began is queued
	Version       string            // for metrics, logs and the status page
	Stdout        io.Writer         // where the sink of that name writes
	Logger        *slog.Logger      // nil: nothing is logged
	Observer      consumer.Observer // called after the metrics; nil: none
	Now           func() time.Time  // dates events and commits; nil: time.Now
	Traces        *telemetry.Config // which spans of commits are sent, and where to; nil: none

	// Transport, if not nil, answers every request to Kinesis: an embedded one.
	// The user's setup for AWS is then ignored, and the configuration names the
	// region.
	Transport http.RoundTripper
}

// The bounds of a stop. A process ends within 5 s of a signal.
const (
	stopConsumer = 3 * time.Second         // for commits in flight and resignations
	stopAll      = 4800 * time.Millisecond // for these and everything else
)

// Daemon is one process' part in one stream.
type Daemon struct {
	options    Options
	log        *slog.Logger
	process    string // names this process for people
	cleanup    cleanup
	store      gerritstream.Store
	source     *loggedSource
	metrics    *admin.Metrics
	admin      *admin.Server   // nil: switched off
	seen       *inspector      // nil: likewise
	feed       *api.Feed       // nil: nobody asks for verdicts
	api        *api.Server     // nil: switched off
	readerGone <-chan struct{} // closed when nobody reads standard output; nil: nothing writes to it
	consumer   *consumer.Consumer
	webhooks   []*webhook.Dispatcher
	traces     *telemetry.Traces // nil: switched off
}

// ConfigError is a mistake in how the process was set up. Trying again does not
// help.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *ConfigError) Unwrap() error { return e.Err }

// New builds everything. When it fails, nothing of it is left.
func New(ctx context.Context, o Options) (*Daemon, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	start := strings.ToLower(rand.Text()[:4]) // tells this start from others with the same process id
	d := &Daemon{options: o, log: o.Logger, process: fmt.Sprintf("%s-%d-%s", hostname(), os.Getpid(), start)}
	limitMemory(o.Config.Memory, d.log)
	for _, build := range []func(context.Context) error{
		d.makeTraces, d.makeSource, d.probeStream, d.openStore, d.makeConsumer, d.makeWebhooks, d.serve, d.serveAPI,
	} {
		if err := build(ctx); err != nil {
			return nil, errors.Join(err, d.Stop())
		}
	}
	return d, nil
}

func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return host
}

// Addr returns where health and metrics are served; "": they are switched off.
func (d *Daemon) Addr() string {
	if d.admin == nil {
		return ""
	}
	return d.admin.Addr().String()
}

// Stop releases everything that New made, the newest first, in bounded time.
// Run does so at its end; further calls return the result of the first.
func (d *Daemon) Stop() error { return d.stop(time.Now()) }

// stop is Stop for a process that has been stopping since began.
func (d *Daemon) stop(began time.Time) error {
	if err := d.cleanup.run(stopAll - time.Since(began)); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// Run reads until ctx ends, the tip is reached where UntilCaughtUp asks for
// that, or a permanent error occurs. It then stops everything, within 5 s of
// the end of ctx. A clean stop is nil. It is called once.
func (d *Daemon) Run(ctx context.Context) error {
	c := &d.options.Config
	d.log.Info("starting", "version", d.options.Version, "process", d.process, "connection", c.Connection,
		"stream", c.Kinesis.Stream, "store", c.Store.String(), "admin", d.Addr(), "socket", c.Socket.Path())
	if d.traces != nil {
		d.log.Info("sending spans of commits", "traces", d.options.Traces.String())
	}
	for _, note := range c.Notes {
		d.log.Info("a setting is not used", "why", note)
	}
	for _, doubt := range c.Doubts() {
		d.log.Warn("a setting may be a mistake", "why", doubt)
	}
	d.log.Debug("configuration", "config", c)
	run, cancel := context.WithCancelCause(ctx)
	manager := systemd{status: d.consumer.Status, alive: d.consumer.Alive, log: d.log}
	var beside sync.WaitGroup
	beside.Go(func() { manager.run(run) })
	d.runBeside(run, cancel, &beside)
	awaitWebhooks := d.runWebhooks(run)
	manager.notify(daemon.SdNotifyReady)

	began, err := d.consume(run, &manager)
	if cause := context.Cause(run); err == nil && ctx.Err() == nil && cause != nil {
		err = cause
	}
	cancel(nil)
	beside.Wait()
	err = errors.Join(err, awaitWebhooks(began))
	if err = errors.Join(err, d.stop(began)); err == nil {
		d.log.Info("stopped")
	}
	return err
}

// consume runs the consumer, and waits for it after ctx has ended, but no
// longer than stopConsumer. It returns when the stop began.
func (d *Daemon) consume(ctx context.Context, manager *systemd) (began time.Time, err error) {
	done := make(chan error, 1)
	go func() { done <- d.consumer.Run(ctx) }()
	select {
	case err := <-done:
		manager.notify(daemon.SdNotifyStopping)
		return time.Now(), err
	case <-ctx.Done():
	}
	began = time.Now()
	d.log.Info("stopping")
	manager.notify(daemon.SdNotifyStopping)
	if err := within(stopConsumer, func() error { return <-done }); err != nil {
		return began, fmt.Errorf("stop the consumer: %w", err)
	}
	return began, nil
}

// runBeside runs what is not the consumer until ctx ends. If a part of it
// fails, it ends the run with the cause.
func (d *Daemon) runBeside(ctx context.Context, end context.CancelCauseFunc, beside *sync.WaitGroup) {
	if d.admin != nil {
		beside.Go(func() {
			if err := d.admin.Run(ctx); err != nil {
				end(err)
			}
		})
		beside.Go(func() { d.seen.sample(ctx) })
	}
	if q, ok := d.store.(queue.Store); ok {
		beside.Go(func() {
			q.ShareFrontier(ctx, func() queue.Frontier {
				epoch, until := d.consumer.Frontier()
				return queue.Frontier{Epoch: epoch, Until: until}
			})
		})
	}
	if d.api != nil {
		beside.Go(func() {
			if err := d.api.Run(ctx); err != nil {
				end(err)
			}
		})
	}
	if d.readerGone != nil {
		beside.Go(func() {
			select {
			case <-d.readerGone:
				end(errReaderGone)
			case <-ctx.Done():
			}
		})
	}
}

// errReaderGone ends a process whose standard output is no longer read.
var errReaderGone = errors.New("nobody reads standard output any more; what was not delivered is not committed either")
