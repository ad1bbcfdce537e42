package consumer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

const (
	planEvery    = 5 * time.Second        // upper bound for noticing changes that raise no notification
	hurriedEvery = time.Second            // the same while somebody waits to be caught up
	planDebounce = 200 * time.Millisecond // the two shards of a merge end together, and terms begin and end in groups
)

// supervisor decides which shards have a worker. Everything in it belongs to
// the goroutine of run.
//
//	list the whole stream -> settle the origin     every 30 s, or a shard ended
//	   -> read the positions -> plan the shards    every 5 s, or a member came,
//	   -> assign them to members                   left or changed, or a term or
//	   -> start and end workers                    a parent ended
type supervisor struct {
	c       *Consumer
	cfg     *Config
	view    streamView
	origin  *gerritstream.Origin
	members *membership
	foreign *foreignWatch
	tasks   *tasks

	workers map[gerritstream.ShardID]*worker
	parents map[gerritstream.ShardID]context.CancelFunc // end the waits for parents
	pauses  map[gerritstream.ShardID]*backoff           // between the terms of a shard
	atTip   shardSet                                    // shards whose worker had caught up and has ended
	retry   backoff                                     // after a round that failed
	waitLog time.Time                                   // local: when logWaits logged last, or ran first
}

// storedPositions are the positions of an epoch, as the store has them.
type storedPositions = map[gerritstream.ShardID]gerritstream.Position

type shardSet = map[gerritstream.ShardID]bool

func newSupervisor(c *Consumer) *supervisor {
	tasks := &tasks{ended: make(chan func() (time.Duration, error))}
	s := &supervisor{
		c:   c,
		cfg: &c.cfg,
		members: &membership{
			c: c, store: c.cfg.Store, tasks: tasks,
			pending: backoff{first: 250 * time.Millisecond, most: planEvery},
		},
		foreign: &foreignWatch{c: c, tasks: tasks},
		tasks:   tasks,
		workers: map[gerritstream.ShardID]*worker{},
		parents: map[gerritstream.ShardID]context.CancelFunc{},
		retry:   backoff{first: 250 * time.Millisecond, most: planEvery},
	}
	s.view.retry = backoff{first: 250 * time.Millisecond, most: 15 * time.Second}
	return s
}

// beginEpoch begins to follow a stream, or another one after it was recreated:
// nothing of the one before goes on, and the ids of its shards may return.
func (s *supervisor) beginEpoch(ctx context.Context) {
	s.endTasks()
	s.tasks.ctx, s.tasks.cancel = context.WithCancel(ctx)
	s.view.missing, s.view.reopened, s.view.ends = plan.Absences{}, plan.Absences{}, shardSet{}
	s.foreign.looks, s.members.unclaimed = nil, nil
	s.atTip, s.pauses = shardSet{}, map[gerritstream.ShardID]*backoff{}
}

// endTasks ends every task and waits for it.
func (s *supervisor) endTasks() {
	if s.tasks.cancel != nil {
		s.tasks.cancel()
	}
	for s.tasks.running > 0 {
		_, _ = s.tasks.end(<-s.tasks.ended)
	}
}

// run does one round after another until ctx ends, an error is fatal or, with
// UntilCaughtUp, everything is caught up.
func (s *supervisor) run(ctx context.Context) error {
	defer s.shutdown(ctx)
	s.beginEpoch(ctx)
	for {
		s.c.tracker.heartbeat(partPlan)
		caughtUp, err := s.round(ctx)
		if caughtUp {
			s.c.caughtUp.note()
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && s.fatal(err):
			return err
		case caughtUp && s.cfg.UntilCaughtUp:
			return nil
		}
		if err := s.wait(ctx, s.pause(err)); err != nil {
			return err
		}
	}
}

// pause returns how long to wait until the next round, after one that ended
// with err.
func (s *supervisor) pause(err error) time.Duration {
	d := planEvery
	if err == nil {
		s.retry.reset()
		s.c.tracker.passed("")
		s.c.logbook.settle("")
		if s.c.isHurried() {
			d = hurriedEvery
		}
	} else {
		grave := s.c.tracker.met("", whyOf(err, trouble.StoreAway), isGrave(err))
		s.c.logbook.noteStall(planTopic, "", err.Error(), grave)
		d = s.retry.next()
	}
	for _, at := range []time.Time{s.view.nextList, s.members.lookAt, s.c.readability.nextProbe()} {
		if until := time.Until(at); until > 0 { // what is overdue could not be done in this round
			d = min(d, until)
		}
	}
	return d
}

// fatal reports whether an error of a round will not pass by itself.
func (s *supervisor) fatal(err error) bool {
	switch {
	case errors.Is(err, gerritstream.ErrOtherStream), errors.Is(err, gerritstream.ErrFutureStart),
		errors.Is(err, gerritstream.ErrNewerFormat), errors.Is(err, gerritstream.ErrStoreGone):
		return true
	case errors.Is(err, gerritstream.ErrDenied):
		return s.view.began.IsZero()
	case errors.Is(err, gerritstream.ErrStreamNotFound):
		return s.view.began.IsZero() && !s.cfg.WaitForSetup
	case errors.Is(err, gerritstream.ErrUnusable): // waited out later: a certificate may be renewed
		return s.origin == nil && !s.cfg.WaitForSetup
	}
	return false
}

// round plans and acts once, with a new listing when one is due. caughtUp: in
// every shard of a listing made just now, all that had arrived before Run began
// is committed.
func (s *supervisor) round(ctx context.Context) (caughtUp bool, err error) {
	var listed bool
	var positions storedPositions
	for {
		listed, err = s.list(ctx)
		if err != nil && (s.origin == nil || s.fatal(err)) {
			return false, err
		}
		if positions, err = s.cfg.Store.Positions(ctx, s.origin.Epoch); err != nil {
			return false, err
		}
		if unlisted := s.view.unlistedEnds(positions); !unlisted || listed || s.view.err != nil {
			break
		}
		s.view.listSoon()
	}
	listing := &s.view.listing
	if listed {
		s.view.gone = s.view.missing.Note(listing.Shards, positions, s.view.listed)
		s.noteReopened(positions)
	}
	steps := plan.Steps(plan.Input{
		Shards: listing.Shards, Gone: s.view.gone, Positions: positions, Origin: s.origin.From,
	})
	s.c.frontier.plan(s.origin.Epoch, listing, steps, positions)
	s.c.tracker.plan(steps, positions, func(id gerritstream.ShardID) bool { return s.workers[id] != nil })
	actions, err := s.members.rebalance(ctx, steps)
	if err != nil {
		return false, err
	}
	s.act(steps, positions, actions)
	waits := s.waitsFor(steps, positions)
	caughtUp = len(waits) == 0
	s.logWaits(waits)
	s.c.tracker.set(func(status *gerritstream.Status) {
		status.Stream, status.Origin, status.Listed, status.CaughtUp = listing.Stream, s.origin, listing.Now, caughtUp
	})
	return caughtUp && listed, s.view.err
}

// act starts workers for shards planned for this process, and ends those of
// shards that have ended or are planned for another. A shard missing from the
// listing keeps its worker until it is known to be gone.
func (s *supervisor) act(steps []plan.Step, positions storedPositions, actions plan.Actions) {
	mine, runs, awaited := shardSet{}, shardSet{}, shardSet{}
	for _, id := range slices.Concat(actions.Campaign, actions.Keep) {
		mine[id] = true
	}
	for _, step := range steps {
		switch step.State {
		case plan.Runnable, plan.Gone:
			runs[step.Shard] = true
			if s.workers[step.Shard] == nil && mine[step.Shard] {
				s.startWorker(step)
			}
		case plan.Waiting:
			for _, parent := range step.WaitFor {
				awaited[parent] = true
			}
		}
	}
	for id, w := range s.workers {
		switch {
		case positions[id].Ended && !runs[id]: // another process handled it to its end
			w.cancel(nil)
		case slices.Contains(actions.HandOff, id):
			w.handOver(s.members.successor(id))
		case runs[id] && !mine[id]: // a leadership is kept until its planned owner has come
			w.withdraw()
		}
	}
	s.watchParents(awaited)
	s.startProbe(steps)
	s.foreign.start(s.members.standby)
}

// startWorker gives a shard its worker.
func (s *supervisor) startWorker(step plan.Step) {
	if s.pauses[step.Shard] == nil {
		s.pauses[step.Shard] = &backoff{first: 100 * time.Millisecond, most: 5 * time.Second}
	}
	ctx, cancel := context.WithCancelCause(s.tasks.ctx)
	candidacy, withdraw := context.WithCancel(ctx)
	w := &worker{
		c:        s.c,
		cfg:      s.cfg,
		log:      s.c.log.With(slog.String("shard", string(step.Shard))),
		shard:    step.Shard,
		closing:  step.State == plan.Gone,
		origin:   s.origin,
		began:    s.view.began.Add(beganError),
		known:    s.view.hasChildren(step.Shard),
		pause:    s.pauses[step.Shard],
		stop:     s.tasks.ctx.Done(),
		cancel:   cancel,
		withdraw: withdraw,
	}
	s.workers[step.Shard] = w
	var dismissed bool // the worker did not end by itself
	var err error
	s.tasks.start(func() {
		err = w.run(ctx, candidacy)
		dismissed = candidacy.Err() != nil
	}, func() (time.Duration, error) {
		w.cancel(nil)
		s.atTip[w.shard] = s.atTip[w.shard] || w.atTip.Load()
		delete(s.workers, w.shard)
		if !dismissed && !(w.known && s.c.tracker.position(w.shard).Ended) {
			s.view.listSoon()
		}
		return planDebounce, err
	})
}

// wait lets things happen until it is time for another round. Its error ends
// Run.
func (s *supervisor) wait(ctx context.Context, d time.Duration) error {
	due := time.Now().Add(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		within := planDebounce
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-s.c.relists:
			s.view.listSoon()
		case <-s.c.replans:
		case end := <-s.tasks.ended:
			var err error
			if within, err = s.tasks.end(end); err != nil {
				return err
			}
		}
		if at := time.Now().Add(within); at.Before(due) {
			due = at
			timer.Reset(within)
		}
	}
}

// shutdown ends everything and tells the other members.
func (s *supervisor) shutdown(ctx context.Context) {
	left := make(chan struct{})
	go func() {
		defer close(left)
		s.members.leave(ctx)
	}()
	s.endTasks()
	<-left
}

// tasks are the goroutines that the supervisor has started. Everything but the
// sending on ended belongs to the supervisor's goroutine.
type tasks struct {
	ctx     context.Context // of all tasks: ends with Run, or with the epoch
	cancel  context.CancelFunc
	running int
	ended   chan func() (time.Duration, error)
}

// start runs work on a goroutine of its own. Once that has ended, after runs on
// the supervisor's goroutine, and returns how soon the next round should begin
// and an error that ends Run.
func (t *tasks) start(work func(), after func() (within time.Duration, err error)) {
	t.running++
	go func() {
		work()
		t.ended <- after
	}()
}

// end finishes a task that was received from ended.
func (t *tasks) end(after func() (time.Duration, error)) (within time.Duration, err error) {
	t.running--
	return after()
}
