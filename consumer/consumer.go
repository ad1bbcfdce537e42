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
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// BadCheckpointPolicy says what becomes of a shard whose stored position is
// damaged, or is not accepted by the service.
type BadCheckpointPolicy string

// The policies. What is given up is reported as a possible loss, with log,
// metric and status.
const (
	BadCheckpointLatest      BadCheckpointPolicy = "latest"       // go on with what arrives from now on, as Zuul does
	BadCheckpointTrimHorizon BadCheckpointPolicy = "trim-horizon" // read everything that is kept again
	BadCheckpointHalt        BadCheckpointPolicy = "halt"         // keep the leadership, read nothing, and say so
)

// ErrAlreadyRun is what a second call of a Consumer's Run returns.
var ErrAlreadyRun = errors.New("the consumer has run already")

// Config says what a Consumer is made of.
type Config struct {
	Source   gerritstream.Source
	Store    gerritstream.Store
	Classify gerritstream.Classifier // nil: every record is queued as it is
	Sinks    []gerritstream.Sink     // besides the store's queue

	// StartAt is where a stream begins that has no origin yet. The zero value
	// means about 10 s before now; beside a foreign leader, from now on.
	StartAt gerritstream.StartingPosition

	OnBadCheckpoint BadCheckpointPolicy // empty: BadCheckpointLatest
	UntilCaughtUp   bool                // end Run, with nil, once what had arrived before it began is committed

	// WaitForSetup has Run wait for what may still be in the making when it
	// begins, instead of ending with ErrStreamNotFound or ErrUnusable: the
	// stream, or the store's chroot or certificates.
	WaitForSetup bool

	// Self is what this process says of itself to the others. Host, PID and
	// Version are filled in where they are empty, and what can change always
	// (Process, Leads, Readable).
	Self gerritstream.MemberInfo

	Process  string       // names this process in Status; empty: its host and id
	Logger   *slog.Logger // nil: nothing is logged
	Observer Observer     // nil: NopObserver
}

// Consumer follows one stream into one store, together with other Consumers on
// the same store.
type Consumer struct {
	cfg         Config
	log         *slog.Logger
	tracker     *tracker
	book        *logbook
	readability readability
	clock       serviceClock
	rounds      *rounds
	beside      besides
	tip         tip
	ran         atomic.Bool                         // Run was called
	origin      atomic.Pointer[gerritstream.Origin] // the start record; nil: not known yet
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Consumer, error) {
	if cfg.Source == nil || cfg.Store == nil {
		return nil, errors.New("new listener: a source and a store are needed")
	}
	switch cfg.OnBadCheckpoint {
	case "":
		cfg.OnBadCheckpoint = BadCheckpointLatest
	case BadCheckpointLatest, BadCheckpointTrimHorizon, BadCheckpointHalt:
	default:
		return nil, fmt.Errorf("new listener: unknown policy for bad positions %q", cfg.OnBadCheckpoint)
	}
	if cfg.Classify == nil {
		cfg.Classify = func(gerritstream.ShardID, *gerritstream.Record) gerritstream.Verdict { return gerritstream.Verdict{} }
	}
	if cfg.Observer == nil {
		cfg.Observer = NopObserver{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	introduce(&cfg)
	l := &Consumer{cfg: cfg, log: cfg.Logger, book: newLogbook(cfg.Logger), rounds: newRounds(), tip: newTip()}
	l.tracker = newTracker(cfg.Process, &l.clock)
	return l, nil
}

// reportLost is the one way by which a possible loss is reported. An empty
// shard means the stream as a whole.
func (l *Consumer) reportLost(log *slog.Logger, shard gerritstream.ShardID, i gerritstream.Interval) {
	log.Warn("records may have been lost", "why", i.Why, "arrived_from", i.From, "arrived_until", i.Until)
	l.cfg.Observer.Lost(shard, i)
}

// Status returns what this process sees now. It may be called at any time.
func (l *Consumer) Status() gerritstream.Status { return l.tracker.status() }

// Run lists, elects, reads, judges and commits until ctx ends, and returns once
// everything it started has ended and every leadership is given up: within a
// second or so, if the store answers. A clean stop, and with UntilCaughtUp the
// tip, is nil.
//
// Trouble that may pass is waited out and shown by Status. What ends Run is
// trouble that will not pass: ErrDenied and ErrStreamNotFound before the first
// listing, ErrUnusable before the start record is known (but see WaitForSetup),
// ErrOtherStream, ErrNewerFormat, ErrStoreGone, ErrFutureStart.
//
// Run is called once: a further call does nothing and returns ErrAlreadyRun.
func (l *Consumer) Run(ctx context.Context) error {
	if l.ran.Swap(true) {
		return ErrAlreadyRun
	}
	defer close(l.tip.ended)
	ctx, cancel := context.WithCancel(ctx)
	l.tracker.set(func(s *gerritstream.Status) { s.Began = time.Now() })
	var beside sync.WaitGroup
	beside.Go(func() { l.report(ctx) })
	beside.Go(func() { l.book.run(ctx) })
	defer func() { cancel(); beside.Wait(); l.tracker.endHeartbeats() }()

	err := newSupervisor(l).run(ctx)
	if err != nil && context.Cause(ctx) == nil {
		return err
	}
	return nil
}

const (
	reportEvery  = 5 * time.Second
	summaryEvery = time.Minute
)

// report publishes the status, at once and again and again, and logs a summary,
// each in its time, until ctx ends.
func (l *Consumer) report(ctx context.Context) {
	reports := time.NewTicker(reportEvery)
	defer reports.Stop()
	summaries := time.NewTicker(summaryEvery)
	defer summaries.Stop()
	before := l.Status()
	l.tracker.heartbeat(partReport)
	l.publish(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-reports.C:
			l.tellStuck()
			l.publish(ctx)
			l.tracker.heartbeat(partReport)
		case <-summaries.C:
			now := l.Status()
			logSummary(l.log, before, now)
			before = now
		}
	}
}

// publish reports the status to the store. A store that does not answer does
// not hold up the next report.
func (l *Consumer) publish(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, reportEvery)
	defer cancel()
	if err := l.cfg.Store.Report(within, l.tracker.report()); err != nil && ctx.Err() == nil {
		l.log.Debug("report not published", "err", err)
	}
}

// tellStuck logs what holds up shards without an error: a sink that blocks, a
// commit that does not return. That they go on again is logged with their next
// page.
func (l *Consumer) tellStuck() {
	for shard, what := range l.tracker.stuck() {
		l.book.note(event{
			topic: troubleTopic, cause: trouble.Cause(what), shard: shard, holds: true, grave: true, sample: []any{"err", what},
		})
	}
}

// logSummary says in one line what happened between two looks.
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
	log.Info("the last minute", "read", b.Read-a.Read, "queued", b.Queued-a.Queued, "filtered", b.Filtered-a.Filtered,
		"dead_lettered", b.Dead-a.Dead, "shards", len(now.Shards), "reading", reading, "behind", now.Lagging)
}
