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
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// Options say what a Daemon is made of.
type Options struct {
	Config        config.Config
	UntilCaughtUp bool      // end Run, with nil, once what had arrived before is queued
	Version       string    // for metrics, logs and the status page
	Stdout        io.Writer // where the sink of that name writes
	Logger        *slog.Logger

	// Observer, if not nil, is told what the Consumer does, after the metrics
	// are.
	Observer consumer.Observer

	// Transport, if not nil, answers every request to Kinesis: an embedded one.
	// Nothing that the user has set up for AWS is then looked at; the
	// configuration names the region.
	Transport http.RoundTripper

	// Now is the clock that events and commits are dated by. nil: time.Now.
	Now func() time.Time
}

// The bounds of a stop. A process that was told to stop is gone within 5 s.
const (
	stopListener = 3 * time.Second         // for commits in flight and resignations
	stopAll      = 4800 * time.Millisecond // for these and everything else
)

// Daemon is one process' part in one stream.
type Daemon struct {
	options  Options
	log      *slog.Logger
	process  string
	cleanup  cleanup
	store    gerritstream.Store
	source   *watchedSource
	metrics  *admin.Metrics
	admin    *admin.Server // nil: switched off
	gone     <-chan struct{}
	listener *consumer.Consumer
}

// ConfigError is an error that goes back to how the process was set up: trying
// again does not help.
type ConfigError struct{ Err error }

// Error implements error.
func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *ConfigError) Unwrap() error { return e.Err }

// New builds everything. When it fails, nothing of it is left.
func New(ctx context.Context, o Options) (*Daemon, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Daemon{options: o, log: o.Logger, process: processName()}
	limitMemory(o.Config.Memory, d.log)
	for _, build := range []func(context.Context) error{d.makeSource, d.lookFirst, d.openStore, d.makeListener, d.serve} {
		if err := build(ctx); err != nil {
			return nil, errors.Join(err, d.Stop())
		}
	}
	return d, nil
}

// processName names this process for people: the host, the process id, and
// something that no other start of it had.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:4]))
}

// Addr returns where health and metrics are served; "" when they are switched
// off.
func (d *Daemon) Addr() string {
	if d.admin == nil {
		return ""
	}
	return d.admin.Addr().String()
}

// Stop gives back everything that New made, the newest first, in bounded time.
// Run does it at its end; further calls return what the first did.
func (d *Daemon) Stop() error {
	return d.stop(time.Now())
}

// stop is Stop for a process that began to stop at some time before.
func (d *Daemon) stop(began time.Time) error {
	if err := d.cleanup.run(stopAll - time.Since(began)); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// Run reads until ctx ends, the tip is reached where that is wanted, or
// something happens that will not pass; then it stops and takes everything
// apart, within 5 s of the end of ctx. A clean stop is nil. It is called once.
func (d *Daemon) Run(ctx context.Context) error {
	d.log.Info("starting", "version", d.options.Version, "process", d.process, "connection", d.options.Config.Connection,
		"stream", d.options.Config.Kinesis.Stream, "store", d.options.Config.Store.String(), "admin", d.Addr())
	for _, note := range d.options.Config.Notes {
		d.log.Info("a setting is not used", "why", note)
	}
	for _, doubt := range d.options.Config.Doubts() {
		d.log.Warn("a setting may be a mistake", "why", doubt)
	}
	d.log.Debug("configuration", "config", &d.options.Config)
	work, cancel := context.WithCancelCause(ctx)
	manager := systemd{status: d.listener.Status, alive: d.listener.Alive, log: d.log}
	var beside sync.WaitGroup
	beside.Go(func() { manager.run(work) })
	d.runBeside(work, cancel, &beside)
	manager.tell(daemon.SdNotifyReady)

	began, err := d.listen(work, &manager)
	if cause := context.Cause(work); err == nil && ctx.Err() == nil && cause != nil {
		err = cause
	}
	cancel(nil)
	beside.Wait()
	if err = errors.Join(err, d.stop(began)); err == nil {
		d.log.Info("stopped")
	}
	return err
}

// listen runs the listener, and after a stop waits for it for so long and no
// longer. It returns when the stop began.
func (d *Daemon) listen(ctx context.Context, manager *systemd) (began time.Time, err error) {
	done := make(chan error, 1)
	go func() { done <- d.listener.Run(ctx) }()
	select {
	case err := <-done:
		manager.tell(daemon.SdNotifyStopping)
		return time.Now(), err
	case <-ctx.Done():
	}
	began = time.Now()
	d.log.Info("stopping")
	manager.tell(daemon.SdNotifyStopping)
	if err := within(stopListener, func() error { return <-done }); err != nil {
		return began, fmt.Errorf("stop the listener: %w", err)
	}
	return began, nil
}

// runBeside runs what is not the listener until ctx ends. When a part of it
// cannot go on, it ends the work with the cause.
func (d *Daemon) runBeside(ctx context.Context, end context.CancelCauseFunc, running *sync.WaitGroup) {
	if d.admin != nil {
		running.Go(func() {
			if err := d.admin.Run(ctx); err != nil {
				end(err)
			}
		})
	}
	if d.gone != nil {
		running.Go(func() {
			select {
			case <-d.gone:
				end(errReaderGone)
			case <-ctx.Done():
			}
		})
	}
}

// errReaderGone ends a process whose output nobody reads any more.
var errReaderGone = errors.New("nobody reads standard output any more: what was not delivered is not committed either")
