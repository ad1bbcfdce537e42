package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Consumer follows one stream into one store, together with other Consumers on
// the same store. Its parts share the fields below.
type Consumer struct {
	cfg         Config
	log         *slog.Logger
	tracker     *tracker
	frontier    frontier
	logbook     *logbook
	clock       serviceClock
	readability *readability
	surveys     *surveys
	sideReads   *sideReads
	paused      *knownPauses
	caughtUp    caughtUp
	relists     chan struct{}                       // capacity 1: list and plan again, soon
	replans     chan struct{}                       // capacity 1: plan again, soon
	ran         atomic.Bool                         // Run was called
	origin      atomic.Pointer[gerritstream.Origin] // nil: not known yet
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Consumer, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Consumer{
		cfg:       cfg,
		log:       cfg.Logger,
		logbook:   newLogbook(cfg.Logger),
		surveys:   newSurveys(),
		sideReads: &sideReads{reads: map[gerritstream.ShardID]*sideRead{}},
		paused:    &knownPauses{turn: make(chan struct{}, 1), changed: make(chan struct{})},
		caughtUp:  caughtUp{reached: make(chan struct{}), ended: make(chan struct{})},
		relists:   make(chan struct{}, 1),
		replans:   make(chan struct{}, 1),
	}
	c.tracker = newTracker(cfg.Process, &c.clock)
	c.readability = &readability{
		c: c, retry: backoff{first: time.Second, most: 30 * time.Second}, retries: map[gerritstream.ShardID]retries{},
	}
	return c, nil
}

// Status returns what this process sees now. It may be called at any time.
func (c *Consumer) Status() gerritstream.Status { return c.tracker.status() }

// Alive returns nil while everything that Run started makes progress. Otherwise
// it returns which parts are stuck, and for how long. A watchdog should ask it:
// only a restart helps then.
//
// Waiting is not being stuck: for a sink, a commit, memory, a leadership, or a
// service that fails and is retried. That is trouble, see Status, and passes
// without a restart.
func (c *Consumer) Alive() error { return c.tracker.alive() }

// Run lists, elects, reads, judges and commits until ctx ends. It returns once
// everything it started has ended and every leadership is given up, which takes
// a second or so if the store answers. It returns nil after a clean stop and,
// with UntilCaughtUp, once caught up.
//
// Run waits out trouble that may pass; Status shows it. What ends Run is
// ErrDenied and ErrStreamNotFound before the first listing, ErrUnusable before
// the origin is known (but see WaitForSetup), ErrOtherStream, ErrNewerFormat,
// ErrStoreGone, and ErrFutureStart.
//
// Run may be called once: another call does nothing and returns ErrAlreadyRun.
func (c *Consumer) Run(ctx context.Context) error {
	if c.ran.Swap(true) {
		return ErrAlreadyRun
	}
	defer close(c.caughtUp.ended)
	ctx, cancel := context.WithCancel(ctx)
	c.tracker.set(func(s *gerritstream.Status) { s.Began = time.Now() })
	var reporting sync.WaitGroup
	reporting.Go(func() { c.report(ctx) })
	reporting.Go(func() { c.logbook.run(ctx) })
	reporting.Go(func() { c.watchPauses(ctx) })
	defer func() { cancel(); reporting.Wait(); c.tracker.endHeartbeats() }()

	err := newSupervisor(c).run(ctx)
	if err != nil && context.Cause(ctx) == nil {
		return err
	}
	return nil
}

// relist asks the supervisor to list and plan again, soon.
func (c *Consumer) relist() { request(c.relists) }

// replan asks the supervisor to plan again, soon.
func (c *Consumer) replan() { request(c.replans) }

// request leaves a request on a channel of capacity 1. A pending one stands for
// any number.
func request(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// reportLost reports a possible loss; every report goes through here. An empty
// shard means the whole stream.
func (c *Consumer) reportLost(log *slog.Logger, shard gerritstream.ShardID, i gerritstream.Interval) {
	log.Warn("records may have been lost", "why", i.Why, "arrived_from", i.From, "arrived_until", i.Until)
	c.cfg.Observer.Lost(shard, i)
}

const (
	reportEvery  = 5 * time.Second
	summaryEvery = time.Minute

	// A report says about half a kilobyte of each shard. With many shards it is
	// published less often: every time up to reportShards of them, every second
	// time up to twice as many, and so on.
	reportShards   = 200
	reportAtMostIn = 6
)

// reportIn returns in how many times reportEvery the next report is due, after
// one on so many shards.
func reportIn(shards int) int { return min(1+shards/reportShards, reportAtMostIn) }

// report publishes the status, first at once and then every reportEvery or
// less often (see reportIn), and logs a summary every summaryEvery, until ctx
// ends.
func (c *Consumer) report(ctx context.Context) {
	reports := time.NewTicker(reportEvery)
	defer reports.Stop()
	summaries := time.NewTicker(summaryEvery)
	defer summaries.Stop()
	before := c.Status()
	c.tracker.heartbeat(partReport)
	in := reportIn(c.publish(ctx))
	for {
		select {
		case <-ctx.Done():
			return
		case <-reports.C:
			for shard, what := range c.tracker.stuck() { // the next page logs that it has resumed
				c.logbook.noteStall(stallTopic, shard, what, true)
			}
			if in--; in == 0 {
				in = reportIn(c.publish(ctx))
			}
			c.tracker.heartbeat(partReport)
		case <-summaries.C:
			now := c.Status()
			logSummary(c.log, before, now)
			before = now
		}
	}
}

// publish reports the status to the store, and returns of how many shards. A
// store that does not answer must not delay the next report.
func (c *Consumer) publish(ctx context.Context) (shards int) {
	limited, cancel := context.WithTimeout(ctx, reportEvery)
	defer cancel()
	status := c.tracker.report()
	if c.cfg.Extra != nil {
		status.Extra = c.cfg.Extra()
	}
	err := c.cfg.Store.Report(limited, status)
	if ctx.Err() != nil {
		return len(status.Shards)
	}
	if c.tracker.reported(err); err != nil {
		c.log.Debug("report not published", "err", err)
	}
	return len(status.Shards)
}

// logSummary logs in one line what happened between two statuses.
func logSummary(log *slog.Logger, before, now gerritstream.Status) {
	sum := func(s gerritstream.Status) (t gerritstream.ShardCounts) {
		for _, shard := range s.Shards {
			t.Read += shard.Counts.Read
			t.Queued += shard.Counts.Queued
			t.Filtered += shard.Counts.Filtered
			t.Dead += shard.Counts.Dead
		}
		return t
	}
	a, b := sum(before), sum(now)
	reading := 0
	for _, shard := range now.Shards {
		if shard.State == gerritstream.StateReading {
			reading++
		}
	}
	log.Info("summary", "read", b.Read-a.Read, "queued", b.Queued-a.Queued, "filtered", b.Filtered-a.Filtered,
		"dead_lettered", b.Dead-a.Dead, "shards", len(now.Shards), "reading", reading, "lagging", now.Lagging)
}

// ErrAlreadyRun is what a second call of Run returns.
var ErrAlreadyRun = errors.New("the consumer has run already")

// ErrEnded is what WaitCaughtUp returns when Run ended first.
var ErrEnded = errors.New("the consumer has ended")

// caughtUp is what WaitCaughtUp waits for.
type caughtUp struct {
	waiting atomic.Int32 // callers
	once    sync.Once
	reached chan struct{} // closed once everything is caught up
	ended   chan struct{} // closed when Run returns
}

// note wakes the callers: everything is caught up.
func (c *caughtUp) note() { c.once.Do(func() { close(c.reached) }) }

// WaitCaughtUp returns nil once all that had arrived in any shard when Run
// began is queued, filtered or dead-lettered: when a Consumer with
// UntilCaughtUp ends. It notices the progress of other processes within half a
// minute or so.
//
// It may be called at any time, also before Run, and by several goroutines at
// once; once it has returned nil it always does. It returns ErrEnded if Run
// ended first, and otherwise the error of ctx.
func (c *Consumer) WaitCaughtUp(ctx context.Context) error {
	c.caughtUp.waiting.Add(1)
	defer c.caughtUp.waiting.Add(-1)
	c.replan()
	select {
	case <-c.caughtUp.reached:
		return nil
	case <-c.caughtUp.ended:
	case <-ctx.Done():
	}
	select {
	case <-c.caughtUp.reached: // both happened at once
		return nil
	default:
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait until caught up: %w", context.Cause(ctx))
	}
	return fmt.Errorf("wait until caught up: %w", ErrEnded)
}

// isHurried reports whether anybody waits for WaitCaughtUp, or for
// UntilCaughtUp.
func (c *Consumer) isHurried() bool {
	if c.cfg.UntilCaughtUp {
		return true
	}
	select {
	case <-c.caughtUp.reached:
		return false
	default:
		return c.caughtUp.waiting.Load() > 0
	}
}
