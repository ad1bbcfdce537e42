package gerritstream

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	listEvery    = 30 * time.Second       // reshards of which nobody tells are seen by then
	listDebounce = 200 * time.Millisecond // the two shards of a merge end together
	begunError   = 10 * time.Second       // times of a Source are lower bounds: Run may have begun so much later than it says
	waitingEvery = time.Second            // how often positions of shards led elsewhere are looked at, for UntilCaughtUp
)

// supervisor decides which shards have a worker. All of its fields belong to the goroutine of run, but for the channels.
//
//	list the stream completely -> settle the start record -> read the positions -> plan -> start and end workers
//	   ^                                                                                          |
//	   +--- every 30 s; at once when a shard ended, a parent was marked ended, a worker gave up <-+
type supervisor struct {
	*Listener
	listing  Listing
	begun    time.Time // the service's time of the first listing
	start    *Start
	missing  absences
	workers  map[ShardID]*worker
	parents  map[ShardID]context.CancelFunc // the watches of parents that something waits for
	retry    backoff
	lastWarn time.Time     // of trouble with listing or planning
	kicks    chan struct{} // capacity 1: plan anew, soon
	finished chan *worker  // workers that have ended
	watched  chan ShardID  // watches that have ended
}

func newSupervisor(l *Listener) *supervisor {
	return &supervisor{
		Listener: l,
		missing:  absences{},
		workers:  map[ShardID]*worker{},
		parents:  map[ShardID]context.CancelFunc{},
		retry:    backoff{first: 250 * time.Millisecond, most: 15 * time.Second},
		kicks:    make(chan struct{}, 1),
		finished: make(chan *worker),
		watched:  make(chan ShardID),
	}
}

// run plans again and again until ctx ends, the tip is reached where that is wanted, or something will not pass.
func (s *supervisor) run(ctx context.Context) error {
	defer s.endAll()
	for {
		caughtUp, err := s.round(ctx)
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

// pause says how long to wait until the next round, after one that ended with err.
func (s *supervisor) pause(err error) time.Duration {
	if err == nil {
		s.retry.reset()
		s.lastWarn = time.Time{}
		s.board.set(func(b *Status) { b.Trouble = "" })
		if s.cfg.UntilCaughtUp {
			return waitingEvery
		}
		return listEvery
	}
	s.board.set(func(b *Status) { b.Trouble = err.Error() })
	if time.Since(s.lastWarn) >= time.Minute {
		s.lastWarn = time.Now()
		s.log.Warn("cannot plan, trying again", "err", err)
	}
	return s.retry.next()
}

// fatal reports whether an error of a round will not pass by itself.
func (s *supervisor) fatal(err error) bool {
	var future *FutureStartError
	switch {
	case errors.Is(err, ErrOtherStream), errors.Is(err, ErrNewerFormat), errors.As(err, &future):
		return true
	case errors.Is(err, ErrDenied), errors.Is(err, ErrStreamNotFound):
		return s.begun.IsZero()
	case errors.Is(err, ErrUnusable): // later it is waited for: a certificate may be renewed
		return s.start == nil
	}
	return false
}

// round lists, plans and acts once. caughtUp: every shard of a listing made just now was at its tip, or has ended.
func (s *supervisor) round(ctx context.Context) (caughtUp bool, err error) {
	listing, err := s.cfg.Source.List(ctx)
	if err != nil {
		return false, err
	}
	if s.begun.IsZero() {
		s.begun = listing.Now
	}
	if err := s.settleStart(ctx, listing); err != nil {
		return false, err
	}
	s.listing = listing
	s.keeps.Store(int64(listing.Retention))
	positions, err := s.cfg.Store.Positions(ctx, s.start.Epoch)
	if err != nil {
		return false, err
	}
	gone := s.missing.note(listing.Shards, positions, time.Now())
	steps := Plan(View{Shards: listing.Shards, Gone: gone, Positions: positions, Start: s.start.From})
	s.act(ctx, steps, positions)
	s.board.plan(steps, positions, func(id ShardID) bool { return s.workers[id] != nil })
	caughtUp = s.caughtUp(steps, positions)
	s.board.set(func(b *Status) {
		b.Stream, b.Start, b.Listed, b.CaughtUp = listing.Stream, s.start, listing.Now, caughtUp
	})
	return caughtUp, nil
}

// settleStart sees to it that the stream has a start record, and that it is the listed stream's.
func (s *supervisor) settleStart(ctx context.Context, l Listing) error {
	for {
		stored, ok, err := s.cfg.Store.Start(ctx)
		if err != nil {
			return err
		}
		var prev *Start
		var handled time.Time
		if ok {
			prev = &stored
			if stored.Stream.ARN == l.Stream.ARN && stored.Stream.Created.Before(l.Stream.Created) {
				positions, err := s.cfg.Store.Positions(ctx, stored.Epoch)
				if err != nil {
					return err
				}
				handled = handledUntil(positions)
			}
		}
		next, err := nextStart(prev, l, s.cfg.StartAt, handled)
		if err != nil {
			return err
		}
		if next != prev {
			if err := s.cfg.Store.SetStart(ctx, prev, *next); errors.Is(err, ErrConflict) {
				continue // another process was faster: its record counts
			} else if err != nil {
				return err
			}
		}
		s.adopt(next, prev != next, l)
		return nil
	}
}

// adopt takes a start record over: one that was there (made false) or one that this process just made.
func (s *supervisor) adopt(start *Start, made bool, l Listing) {
	known := s.start
	s.start = start
	switch {
	case known != nil && known.Epoch == start.Epoch:
	case start.Epoch > 0 && (made || known != nil):
		lost := start.Lost[len(start.Lost)-1]
		s.log.Warn("the stream was deleted and made anew: starting over at its trim horizon",
			"epoch", start.Epoch, "possibly_lost_from", lost.From, "possibly_lost_until", lost.Until)
		s.cfg.Observer.Lost("", lost)
		s.endAll()
		s.missing = absences{}
	case made && !start.From.TrimHorizon:
		unread := min(l.Retention, start.From.Time.Sub(l.Stream.Created))
		s.log.Info("the stream is followed from here on", "from", start.From.Time,
			"retained_and_left_unread", max(0, unread).Round(time.Second))
	case made:
		s.log.Info("the stream is followed from its trim horizon on")
	default:
		s.log.Info("the store has a start record: what was said of the start is not needed",
			"epoch", start.Epoch, "from", start.From.Time, "trim_horizon", start.From.TrimHorizon)
	}
}

// act starts workers for shards that are to be run or closed, and ends those for shards that have ended. A shard that is
// missing from the listing keeps its worker until it is known to be gone.
func (s *supervisor) act(ctx context.Context, steps []Step, positions map[ShardID]Position) {
	wanted := map[ShardID]bool{}
	waitFor := map[ShardID]bool{}
	for _, step := range steps {
		switch step.Action {
		case ActionRun, ActionClose:
			wanted[step.Shard] = true
			if w := s.workers[step.Shard]; w == nil {
				s.startWorker(ctx, step)
			}
		case ActionWait:
			for _, parent := range step.WaitFor {
				waitFor[parent] = true
			}
		}
	}
	for id, w := range s.workers {
		if positions[id].Ended && !wanted[id] { // by another process: the candidacy is pointless
			w.cancel()
		}
	}
	s.watch(ctx, waitFor)
}

// startWorker gives a shard its worker.
func (s *supervisor) startWorker(ctx context.Context, step Step) {
	ctx, cancel := context.WithCancel(ctx)
	w := &worker{
		Listener: s.Listener,
		log:      s.log.With(slog.String("shard", string(step.Shard))),
		shard:    step.Shard,
		closing:  step.Action == ActionClose,
		stream:   s.listing.Stream,
		epoch:    s.start.Epoch,
		from:     s.start.From,
		kick:     s.kick,
		cancel:   cancel,
	}
	s.workers[step.Shard] = w
	go func() {
		w.err = w.run(ctx)
		s.finished <- w
	}()
}

// watch has one watch for each parent that a shard waits for, and ends those that are not needed any more.
func (s *supervisor) watch(ctx context.Context, parents map[ShardID]bool) {
	for parent, cancel := range s.parents {
		if !parents[parent] {
			cancel()
		}
	}
	for parent := range parents {
		if s.parents[parent] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		s.parents[parent] = cancel
		epoch := s.start.Epoch
		go func() {
			if err := s.cfg.Store.WaitEnded(ctx, epoch, parent); err != nil && ctx.Err() == nil {
				sleep(ctx, waitingEvery) // the plan finds out; only not too often
			}
			s.watched <- parent
		}()
	}
}

// kick asks for another round, soon.
func (s *supervisor) kick() {
	select {
	case s.kicks <- struct{}{}:
	default:
	}
}

// wait lets things happen until it is time for another round. Its error ends Run.
func (s *supervisor) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-s.kicks:
			timer.Reset(listDebounce)
		case w := <-s.finished:
			s.drop(w)
			if w.err != nil {
				return w.err
			}
			timer.Reset(listDebounce)
		case parent := <-s.watched:
			s.unwatch(parent)
			timer.Reset(listDebounce)
		}
	}
}

func (s *supervisor) drop(w *worker) {
	w.cancel()
	delete(s.workers, w.shard)
}

func (s *supervisor) unwatch(parent ShardID) {
	s.parents[parent]()
	delete(s.parents, parent)
}

// endAll ends every worker and watch, and waits for them.
func (s *supervisor) endAll() {
	for _, w := range s.workers {
		w.cancel()
	}
	for _, cancel := range s.parents {
		cancel()
	}
	for len(s.workers)+len(s.parents) > 0 {
		select {
		case w := <-s.finished:
			s.drop(w)
		case parent := <-s.watched:
			s.unwatch(parent)
		}
	}
}

// caughtUp reports whether every shard has ended or was at its tip since Run began: read here, or said so by the position
// that another process committed. A shard that ended but was listed as open has children that were not listed yet.
func (s *supervisor) caughtUp(steps []Step, positions map[ShardID]Position) bool {
	for _, shard := range s.listing.Shards {
		if shard.Last == "" && positions[shard.ID].Ended {
			return false
		}
	}
	for _, step := range steps {
		switch step.Action {
		case ActionEnded:
		case ActionRun:
			w := s.workers[step.Shard]
			elsewhere := positions[step.Shard].CaughtUp.After(s.begun.Add(begunError))
			if (w == nil || !w.wasAtTip.Load()) && !elsewhere {
				return false
			}
		default:
			return false
		}
	}
	return true
}
