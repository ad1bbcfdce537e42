package gerritstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

const (
	listEvery    = 30 * time.Second       // reshards of which nobody tells are seen by then
	listDebounce = 200 * time.Millisecond // the two shards of a merge end together, and terms begin and end in groups
	begunError   = 10 * time.Second       // times of a Source are lower bounds: Run may have begun so much later than it says
	waitingEvery = time.Second            // how often positions of shards led elsewhere are looked at, for those who wait for the tip
)

// supervisor decides which shards have a worker. All of its fields belong to
// the goroutine of run, but for the channels.
//
//	list the stream completely -> settle the start record                  every 30 s; at once when a shard ended
//	   -> read the positions -> what is to be run -> whose it is to be     every 5 s; soon when a member has come, gone
//	   -> start and end workers                                            or changed, a term ended, a parent was marked ended
type supervisor struct {
	*Listener
	listing   Listing
	listed    time.Time        // local: when that was made
	nextList  time.Time        // local
	listErr   error            // of the last attempt to list
	ends      map[ShardID]bool // that the listing does not show yet, and for which it was repeated
	gone      map[ShardID]bool
	reopened  absences         // of shards that have ended, from the listings' ends: since when they are listed as open
	parental  map[ShardID]bool // shards whose children are listed: their end is no reason to list again
	begun     time.Time        // the service's time of the first listing
	start     *Start
	missing   absences
	workers   map[ShardID]*worker
	parents   map[ShardID]context.CancelFunc // the watches of parents that something waits for
	tips      map[ShardID]bool               // at which a worker was that has ended
	pauses    map[ShardID]*backoff           // between the terms of a shard; a worker's while it runs
	retry     backoff                        // after a round that failed
	listRetry backoff
	saidWaits time.Time // local: when the log was told last what UntilCaughtUp waits for, or the first round

	said      *Announcement   // nil: nothing, or not known
	muster    Muster          // as planned with last
	watching  *musterWatch    // of the muster's members; nil: none
	watches   int             // that have not ended, those that are of no use any more included
	warned    map[string]bool // members about which something was said
	vacant    map[ShardID]vacancy
	pending   backoff   // of looks whether those have come to whom shards are to go
	unsettled bool      // shards were not led as planned when they were looked at last
	moveAt    time.Time // local: when to look; zero: nothing is to move

	blind      bool // unreadable, as announced
	probing    *probe
	probes     int
	probeAt    time.Time // local: when to probe next
	probeRetry backoff

	standby   []ShardID // that other programs lead, and that this process is to stand by for
	foreign   *foreignRound
	foreignAt time.Time                // local: when to look at them next
	looks     map[ShardID]*foreignLook // of the round that is under way, or was last

	kicks    chan struct{}     // capacity 1: list and plan anew, soon
	nudges   chan struct{}     // capacity 1: plan anew, soon
	finished chan *worker      // workers that have ended
	watched  chan ShardID      // watches that have ended
	mustered chan *musterWatch // likewise
	probed   chan *probe       // likewise
}

func newSupervisor(l *Listener) *supervisor {
	s := &supervisor{
		Listener:   l,
		missing:    absences{},
		reopened:   absences{},
		workers:    map[ShardID]*worker{},
		parents:    map[ShardID]context.CancelFunc{},
		ends:       map[ShardID]bool{},
		tips:       map[ShardID]bool{},
		pauses:     map[ShardID]*backoff{},
		warned:     map[string]bool{},
		retry:      backoff{first: 250 * time.Millisecond, most: planEvery},
		listRetry:  backoff{first: 250 * time.Millisecond, most: 15 * time.Second},
		pending:    backoff{first: 250 * time.Millisecond, most: planEvery},
		probeRetry: backoff{first: time.Second, most: 30 * time.Second},
		kicks:      make(chan struct{}, 1),
		nudges:     make(chan struct{}, 1),
		finished:   make(chan *worker),
		watched:    make(chan ShardID),
		mustered:   make(chan *musterWatch),
		probed:     make(chan *probe),
	}
	l.reach.regained = s.nudge
	return s
}

// run plans again and again until ctx ends, the tip is reached where that is
// wanted, or something will not pass.
func (s *supervisor) run(ctx context.Context) error {
	defer s.leave(ctx)
	for {
		s.board.beat(partPlan)
		caughtUp, err := s.round(ctx)
		if caughtUp {
			s.tip.note()
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

// pause says how long to wait until the next round, after one that ended with
// err.
func (s *supervisor) pause(err error) time.Duration {
	d := planEvery
	if err == nil {
		s.retry.reset()
		s.board.passed("")
		s.book.settle("")
		if s.isHurried() {
			d = waitingEvery
		}
	} else {
		grave := s.board.met("", err.Error(), isGrave(err))
		s.book.note(event{
			topic: planTopic, cause: CauseOf(err.Error()), holds: true, grave: grave, sample: []any{"err", err},
		})
		d = s.retry.next()
	}
	due := []time.Time{s.nextList, s.moveAt}
	if s.blind && s.probing == nil {
		due = append(due, s.probeAt)
	}
	for _, at := range due { // what has passed could not be done in this round
		if until := time.Until(at); until > 0 {
			d = min(d, until)
		}
	}
	return d
}

// fatal reports whether an error of a round will not pass by itself.
func (s *supervisor) fatal(err error) bool {
	var future *FutureStartError
	switch {
	case errors.Is(err, ErrOtherStream), errors.Is(err, ErrNewerFormat), errors.Is(err, ErrStoreGone), errors.As(err, &future):
		return true
	case errors.Is(err, ErrDenied):
		return s.begun.IsZero()
	case errors.Is(err, ErrStreamNotFound):
		return s.begun.IsZero() && !s.cfg.WaitForSetup
	case errors.Is(err, ErrUnusable): // later it is waited for: a certificate may be renewed
		return s.start == nil && !s.cfg.WaitForSetup
	}
	return false
}

// round plans and acts once, by a new listing if it is time for one. caughtUp:
// of every shard of a listing made just now what had arrived before Run began
// is committed.
func (s *supervisor) round(ctx context.Context) (caughtUp bool, err error) {
	listed, err := s.list(ctx)
	if err != nil && (s.start == nil || s.fatal(err)) {
		return false, err
	}
	positions, err := s.cfg.Store.Positions(ctx, s.start.Epoch)
	if err != nil {
		return false, err
	}
	if s.unlistedEnds(positions) && !listed && s.listErr == nil {
		s.listSoon()
		return s.round(ctx)
	}
	if listed {
		s.gone = s.missing.note(s.listing.Shards, positions, s.listed)
		s.noteReopened(positions)
	}
	steps := Plan(View{Shards: s.listing.Shards, Gone: s.gone, Positions: positions, Start: s.start.From})
	s.board.plan(steps, positions, func(id ShardID) bool { return s.workers[id] != nil })
	orders, err := s.share(ctx, steps)
	if err != nil {
		return false, err
	}
	s.act(ctx, steps, positions, orders)
	waits := s.waitsFor(steps, positions)
	caughtUp = len(waits) == 0
	s.sayWaits(waits)
	s.board.set(func(b *Status) {
		b.Stream, b.Start, b.Listed, b.CaughtUp = s.listing.Stream, s.start, s.listing.Now, caughtUp
	})
	return caughtUp && listed, s.listErr
}

// list lists the stream and settles the start record, when it is time to. After
// a failure what was listed before is planned with: who leads is decided all
// the same.
func (s *supervisor) list(ctx context.Context) (done bool, err error) {
	if time.Now().Before(s.nextList) && (s.listErr != nil || !s.isHurried()) {
		return false, s.listErr
	}
	began := time.Now()
	listing, err := s.cfg.Source.List(ctx)
	if errors.Is(err, ErrStreamNotFound) && !s.begun.IsZero() {
		err = vanished(err)
	}
	if err == nil {
		s.clock.saw(listing.Now)
		if s.begun.IsZero() {
			s.begun = listing.Now
		}
		err = s.settleStart(ctx, listing)
	}
	if s.listErr = err; err != nil {
		s.nextList = time.Now().Add(s.listRetry.next())
		return false, err
	}
	s.listRetry.reset()
	s.listing, s.listed, s.nextList = listing, began, time.Now().Add(listEvery)
	s.parental = parentsOf(listing.Shards)
	return true, nil
}

// parentsOf returns the shards that others came from.
func parentsOf(shards []Shard) map[ShardID]bool {
	parents := map[ShardID]bool{}
	for _, shard := range shards {
		for _, parent := range shard.Parents {
			parents[parent] = true
		}
	}
	return parents
}

// listSoon has the next round list. It does not override the back-off after
// a listing that failed.
func (s *supervisor) listSoon() {
	if s.listErr == nil {
		s.nextList = time.Now()
	}
}

// vanished says of a stream that was there before that it is not found.
func vanished(err error) error { return fmt.Errorf("the stream is gone: %w", err) }

// unlistedEnds reports whether shards have ended that were open when they were
// listed, and for which that was not noted yet: they have children that were
// not listed.
func (s *supervisor) unlistedEnds(positions map[ShardID]Position) (news bool) {
	for _, shard := range s.listing.Shards {
		if shard.Last == "" && positions[shard.ID].Ended && !s.ends[shard.ID] {
			s.ends[shard.ID] = true
			news = true
		}
	}
	return news
}

// noteReopened finds shards that have ended here and that the stream lists as
// open, in two listings at least 30 s apart: a reply that ended them was wrong.
// Nobody reads them, and what is in them is not lost yet.
func (s *supervisor) noteReopened(positions map[ShardID]Position) {
	parents, open, fresh := parentsOf(s.listing.Shards), map[ShardID]bool{}, []string(nil)
	for _, shard := range s.listing.Shards {
		if shard.Last != "" || parents[shard.ID] || !positions[shard.ID].Ended {
			delete(s.reopened, shard.ID)
			continue
		}
		first, ok := s.reopened[shard.ID]
		if !ok {
			s.reopened[shard.ID] = s.listed
			continue
		}
		open[shard.ID] = s.listed.Sub(first) >= goneAfter
		if open[shard.ID] && !s.board.isReopened(shard.ID) {
			fresh = append(fresh, string(shard.ID))
		}
	}
	s.board.reopened(open)
	if len(fresh) > 0 {
		s.log.Error("shards that ended here are open in the stream: nothing reads them until their positions are set", "shards", someOf(fresh))
	}
}

// act starts workers for shards that are planned for this process, and ends
// those for shards that are not, or have ended. A shard that is missing from
// the listing keeps its worker until it is known to be gone.
func (s *supervisor) act(ctx context.Context, steps []Step, positions map[ShardID]Position, o Orders) {
	mine, runs := map[ShardID]bool{}, map[ShardID]bool{}
	for _, shards := range [][]ShardID{o.Contend, o.Keep} {
		for _, id := range shards {
			mine[id] = true
		}
	}
	waitFor := map[ShardID]bool{}
	for _, step := range steps {
		switch step.Action {
		case ActionRun, ActionClose:
			runs[step.Shard] = true
			if s.workers[step.Shard] == nil && mine[step.Shard] {
				s.startWorker(ctx, step)
			}
		case ActionWait:
			for _, parent := range step.WaitFor {
				waitFor[parent] = true
			}
		}
	}
	for id, w := range s.workers {
		switch {
		case positions[id].Ended && !runs[id]: // by another process: the candidacy is pointless
			w.cancel(nil)
		case slices.Contains(o.Release, id):
			s.handOver(w)
		case runs[id] && !mine[id]: // a leadership stays until the one it is planned for has come
			w.withdraw()
		}
	}
	s.moveAt = time.Time{}
	if !s.unsettled {
		s.pending.reset()
	} else {
		s.moveAt = time.Now().Add(s.pending.next())
	}
	s.watch(ctx, waitFor)
	s.startProbe(ctx, steps)
	s.endForeign(false)
	s.startForeign(ctx)
}

// startWorker gives a shard its worker.
func (s *supervisor) startWorker(ctx context.Context, step Step) {
	if s.probing != nil && s.probing.shard == step.Shard {
		s.endProbe() // a shard is read once at a time
	}
	stop := ctx.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	candidacy, withdraw := context.WithCancel(ctx)
	w := &worker{
		Listener: s.Listener,
		log:      s.log.With(slog.String("shard", string(step.Shard))),
		shard:    step.Shard,
		closing:  step.Action == ActionClose,
		stream:   s.listing.Stream,
		epoch:    s.start.Epoch,
		from:     s.start.From,
		began:    s.begun.Add(begunError),
		known:    s.parental[step.Shard],
		kick:     s.kick,
		nudge:    s.nudge,
		pause:    s.pauseOf(step.Shard),
		stop:     stop,
		cancel:   cancel,
		withdraw: withdraw,
	}
	s.workers[step.Shard] = w
	go func() {
		w.err = w.run(ctx, candidacy)
		w.dismissed = candidacy.Err() != nil
		s.finished <- w
	}()
}

// pauseOf returns the back-off between the terms of a shard. It outlives the
// shard's workers: one that ends at once, again and again, is not started
// without a pause.
func (s *supervisor) pauseOf(shard ShardID) *backoff {
	if s.pauses[shard] == nil {
		s.pauses[shard] = &backoff{first: 100 * time.Millisecond, most: 5 * time.Second}
	}
	return s.pauses[shard]
}

// watch has one watch for each parent that a shard waits for, and ends those
// that are not needed any more.
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

// kick asks for another round with a new listing, soon.
func (s *supervisor) kick() { ask(s.kicks) }

// nudge asks for another round, soon.
func (s *supervisor) nudge() { ask(s.nudges) }

// ask leaves a request; one stands for any number.
func ask(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wait lets things happen until it is time for another round. Its error ends
// Run.
func (s *supervisor) wait(ctx context.Context, d time.Duration) error {
	due := time.Now().Add(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	within := func(d time.Duration) {
		if at := time.Now().Add(d); at.Before(due) {
			due = at
			timer.Reset(d)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-s.kicks:
			s.listSoon()
			within(listDebounce)
		case <-s.nudges:
			within(listDebounce)
		case <-s.tip.wanted:
			within(listDebounce)
		case w := <-s.finished:
			s.drop(w)
			if w.err != nil {
				return w.err
			}
			if !w.dismissed && !(w.known && s.board.position(w.shard).Ended) {
				s.listSoon()
			}
			within(listDebounce)
		case parent := <-s.watched:
			s.unwatch(parent)
			within(listDebounce)
		case w := <-s.mustered:
			if d, ok := s.unwatchMuster(w); ok {
				within(d)
			}
		case p := <-s.probed:
			s.dropProbe(p)
			within(listDebounce)
		}
	}
}

func (s *supervisor) drop(w *worker) {
	w.cancel(nil)
	s.tips[w.shard] = s.tips[w.shard] || w.wasAtTip.Load()
	delete(s.workers, w.shard)
}

func (s *supervisor) unwatch(parent ShardID) {
	s.parents[parent]()
	delete(s.parents, parent)
}

// leave ends everything, and says so to the others.
func (s *supervisor) leave(ctx context.Context) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		s.farewell(ctx)
	}()
	s.endAll()
	<-said
}

// endAll ends every worker, watch and probe, and waits for them.
func (s *supervisor) endAll() {
	for _, w := range s.workers {
		w.cancel(nil)
	}
	for _, cancel := range s.parents {
		cancel()
	}
	s.endForeign(true)
	if s.watching != nil {
		s.watching.cancel()
	}
	if s.probing != nil {
		s.probing.cancel()
	}
	for len(s.workers)+len(s.parents)+s.watches > 0 || s.probing != nil {
		select {
		case w := <-s.finished:
			s.drop(w)
		case parent := <-s.watched:
			s.unwatch(parent)
		case w := <-s.mustered:
			s.unwatchMuster(w)
		case p := <-s.probed:
			s.dropProbe(p)
		}
	}
}
