package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/admin"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/sink"
)

// outputWithin is how long a reader of the output is waited for.
const outputWithin = 250 * time.Millisecond

// makeListener joins source, store, classifier and sinks.
func (d *Daemon) makeListener(context.Context) error {
	c := &d.options.Config
	filter, err := gerrit.NewFilter(c.Filter)
	if err != nil {
		return &ConfigError{fmt.Errorf("make filter: %w", err)}
	}
	d.listener, err = consumer.New(consumer.Config{
		Source:          d.source,
		Store:           d.store,
		Classify:        NewClassifier(filter, d.warnUnused),
		Sinks:           d.makeSinks(),
		StartAt:         c.StartAt,
		OnBadCheckpoint: c.OnBadCheckpoint,
		UntilCaughtUp:   d.options.UntilCaughtUp,
		WaitForSetup:    underSystemd() && !d.options.UntilCaughtUp,
		Self:            d.self(),
		Process:         d.process,
		Logger:          d.log,
		Observer:        d.observer(),
	})
	return err
}

// observer is who is told what the listener does.
func (d *Daemon) observer() consumer.Observer {
	if d.options.Observer == nil {
		return d.metrics
	}
	return observers{d.metrics, d.options.Observer}
}

// self is what the process says of itself to the others on the store.
func (d *Daemon) self() gerritstream.MemberInfo {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return gerritstream.MemberInfo{
		Host: host, PID: os.Getpid(), Version: d.options.Version, Config: d.options.Config.Hash(),
	}
}

// makeSinks makes the sinks that the configuration names.
func (d *Daemon) makeSinks() []gerritstream.Sink {
	var sinks []gerritstream.Sink
	for _, name := range d.options.Config.Sinks {
		if name == config.SinkStdout {
			out := sink.NewStdout(d.options.Stdout, d.options.Config.Kinesis.Stream)
			d.gone = out.Gone()
			d.cleanup.add("end the output", func() error {
				ctx, cancel := context.WithTimeout(context.Background(), outputWithin)
				defer cancel()
				if err := out.Close(ctx); err != nil { // what it did not take is not committed either
					d.log.Warn("the output is blocked: its last line may be cut", "err", err)
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
	queue := &queueDepth{store: d.store}
	d.metrics.Follow(admin.Gauges{Status: d.listener.Status, Queue: queue.events, Stored: queue.look})
	if d.options.Config.Admin == config.AdminOff {
		return nil
	}
	server, err := admin.New(admin.Options{
		Address: d.options.Config.Admin,
		Hosts:   d.options.Config.AdminHosts,
		Status:  d.listener.Status,
		Alive:   d.listener.Alive,
		Metrics: d.metrics,
		Version: d.options.Version,
		Logger:  d.log,
	})
	if err != nil {
		return err
	}
	d.admin = server
	d.cleanup.add("give the admin address back", server.Close)
	return nil
}

// makeSource makes the source, in the process' budget.
func (d *Daemon) makeSource(ctx context.Context) error {
	d.metrics = admin.NewMetrics(admin.MetricsOptions{
		Version: d.options.Version, TypeLabel: typeLabel, Reasons: deadLetterReasons(), Rules: rules(),
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
	d.source = &watchedSource{Source: source, first: func(ctx context.Context) { d.logFollowing(ctx, source) }}
	return nil
}

// sourceFault makes a ConfigError of what is wrong with a source, under the
// name of the setting where it is about one.
func sourceFault(err error) error {
	if fault, ok := errors.AsType[*kinesis.Fault](err); ok {
		err = config.KinesisFault(fault)
	}
	return &ConfigError{err}
}

// logFollowing says in one line whose stream is followed, as whom, and into
// which store.
func (d *Daemon) logFollowing(ctx context.Context, source *kinesis.Source) {
	is, err := source.Describe(ctx)
	if err != nil { // it has just been listed: what is wrong will show again
		d.log.Debug("the stream cannot be described", "err", err)
		return
	}
	d.log.Info("following", "account", is.Account, "stream", is.StreamARN, "region", is.Region,
		"store", d.options.Config.Store.String(), "credentials", is.Credentials)
}

// oneLine puts an error of several lines on one.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
