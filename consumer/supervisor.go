package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/trouble"
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
	c         *Consumer
	listing   gerritstream.Listing
	listed    time.Time                     // local: when that was made
	nextList  time.Time                     // local
	listErr   error                         // of the last attempt to list
	ends      map[gerritstream.ShardID]bool // that the listing does not show yet, and for which it was repeated
	gone      map[gerritstream.ShardID]bool
	reopened  plan.Absences                 // of shards that have ended, from the listings' ends: since when they are listed as open
	parental  map[gerritstream.ShardID]bool // shards whose children are listed: their end is no reason to list again
	begun     time.Time                     // the service's time of the first listing
	origin    *gerritstream.Origin
	missing   plan.Absences
	workers   map[gerritstream.ShardID]*worker
	parents   map[gerritstream.ShardID]context.CancelFunc // the watches of parents that something waits for
	tips      map[gerritstream.ShardID]bool               // at which a worker was that has ended
	pauses    map[gerritstream.ShardID]*backoff           // between the terms of a shard; a worker's while it runs
	retry     backoff                                     // after a round that failed
	listRetry backoff
	saidWaits time.Time // local: when the log was told last what UntilCaughtUp waits for, or the first round

	advertised   *gerritstream.MemberInfo // nil: nothing, or not known
	group        gerritstream.GroupState  // as planned with last
	groupWatch   *groupWatch              // of the muster's members; nil: none
	groupWatches int                      // that have not ended, those that are of no use any more included
	warned       map[string]bool          // members about which something was said
	unclaimed    map[gerritstream.ShardID]unclaimed
	pending      backoff   // of looks whether those have come to whom shards are to go
	unsettled    bool      // shards were not led as planned when they were looked at last
	moveAt       time.Time // local: when to look; zero: nothing is to move

	unreadable bool // unreadable, as announced
	probing    *probe
	probes     int
	probeAt    time.Time // local: when to probe next
	probeRetry backoff

	standby   []gerritstream.ShardID // that other programs lead, and that this process is to stand by for
	foreign   *foreignRound
	foreignAt time.Time                             // local: when to look at them next
	looks     map[gerritstream.ShardID]*foreignLook // of the round that is under way, or was last

	relists      chan struct{}             // capacity 1: list and plan anew, soon
	replans      chan struct{}             // capacity 1: plan anew, soon
	finished     chan *worker              // workers that have ended
	watched      chan gerritstream.ShardID // watches that have ended
	groupChanges chan *groupWatch          // likewise
	probed       chan *probe               // likewise
}

func newSupervisor(l *Consumer) *supervisor {
	s := &supervisor{
		c:            l,
		missing:      plan.Absences{},
		reopened:     plan.Absences{},
		workers:      map[gerritstream.ShardID]*worker{},
		parents:      map[gerritstream.ShardID]context.CancelFunc{},
		ends:         map[gerritstream.ShardID]bool{},
		tips:         map[gerritstream.ShardID]bool{},
		pauses:       map[gerritstream.ShardID]*backoff{},
		warned:       map[string]bool{},
		retry:        backoff{first: 250 * time.Millisecond, most: planEvery},
		listRetry:    backoff{first: 250 * time.Millisecond, most: 15 * time.Second},
		pending:      backoff{first: 250 * time.Millisecond, most: planEvery},
		probeRetry:   backoff{first: time.Second, most: 30 * time.Second},
		relists:      make(chan struct{}, 1),
		replans:      make(chan struct{}, 1),
		finished:     make(chan *worker),
		watched:      make(chan gerritstream.ShardID),
		groupChanges: make(chan *groupWatch),
		probed:       make(chan *probe),
	}
	l.readability.regained = s.replan
	return s
}

// run plans again and again until ctx ends, the tip is reached where that is
// wanted, or something will not pass.
func (s *supervisor) run(ctx context.Context) error {
	defer s.shutdown(ctx)
	for {
		s.c.tracker.heartbeat(partPlan)
		caughtUp, err := s.round(ctx)
		if caughtUp {
			s.c.tip.note()
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && s.fatal(err):
			return err
		case caughtUp && s.c.cfg.UntilCaughtUp:
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
		s.c.tracker.passed("")
		s.c.book.settle("")
		if s.c.isHurried() {
			d = waitingEvery
		}
	} else {
		grave := s.c.tracker.met("", err.Error(), isGrave(err))
		s.c.book.note(event{
			topic: planTopic, cause: trouble.Cause(err.Error()), holds: true, grave: grave, sample: []any{"err", err},
		})
		d = s.retry.next()
	}
	due := []time.Time{s.nextList, s.moveAt}
	if s.unreadable && s.probing == nil {
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
	switch {
	case errors.Is(err, gerritstream.ErrOtherStream), errors.Is(err, gerritstream.ErrFutureStart),
		errors.Is(err, gerritstream.ErrNewerFormat), errors.Is(err, gerritstream.ErrStoreGone):
		return true
	case errors.Is(err, gerritstream.ErrDenied):
		return s.begun.IsZero()
	case errors.Is(err, gerritstream.ErrStreamNotFound):
		return s.begun.IsZero() && !s.c.cfg.WaitForSetup
	case errors.Is(err, gerritstream.ErrUnusable): // later it is waited for: a certificate may be renewed
		return s.origin == nil && !s.c.cfg.WaitForSetup
	}
	return false
}

// round plans and acts once, by a new listing if it is time for one. caughtUp:
// of every shard of a listing made just now what had arrived before Run began
// is committed.
func (s *supervisor) round(ctx context.Context) (caughtUp bool, err error) {
	listed, err := s.list(ctx)
	if err != nil && (s.origin == nil || s.fatal(err)) {
		return false, err
	}
	positions, err := s.c.cfg.Store.Positions(ctx, s.origin.Epoch)
	if err != nil {
		return false, err
	}
	if s.unlistedEnds(positions) && !listed && s.listErr == nil {
		s.listSoon()
		return s.round(ctx)
	}
	if listed {
		s.gone = s.missing.Note(s.listing.Shards, positions, s.listed)
		s.noteReopened(positions)
	}
	steps := plan.Steps(plan.Input{Shards: s.listing.Shards, Gone: s.gone, Positions: positions, Origin: s.origin.From})
	s.c.tracker.plan(steps, positions, func(id gerritstream.ShardID) bool { return s.workers[id] != nil })
	orders, err := s.rebalance(ctx, steps)
	if err != nil {
		return false, err
	}
	s.act(ctx, steps, positions, orders)
	waits := s.waitsFor(steps, positions)
	caughtUp = len(waits) == 0
	s.sayWaits(waits)
	s.c.tracker.set(func(b *gerritstream.Status) {
		b.Stream, b.Origin, b.Listed, b.CaughtUp = s.listing.Stream, s.origin, s.listing.Now, caughtUp
	})
	return caughtUp && listed, s.listErr
}

// list lists the stream and settles the start record, when it is time to. After
// a failure what was listed before is planned with: who leads is decided all
// the same.
func (s *supervisor) list(ctx context.Context) (done bool, err error) {
	if time.Now().Before(s.nextList) && (s.listErr != nil || !s.c.isHurried()) {
		return false, s.listErr
	}
	began := time.Now()
	listing, err := s.c.cfg.Source.List(ctx)
	if errors.Is(err, gerritstream.ErrStreamNotFound) && !s.begun.IsZero() {
		err = vanished(err)
	}
	if err == nil {
		s.c.clock.saw(listing.Now)
		if s.begun.IsZero() {
			s.begun = listing.Now
		}
		err = s.settleOrigin(ctx, listing)
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
func parentsOf(shards []gerritstream.Shard) map[gerritstream.ShardID]bool {
	parents := map[gerritstream.ShardID]bool{}
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
func (s *supervisor) unlistedEnds(positions map[gerritstream.ShardID]gerritstream.Position) (news bool) {
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
func (s *supervisor) noteReopened(positions map[gerritstream.ShardID]gerritstream.Position) {
	parents, open, fresh := parentsOf(s.listing.Shards), map[gerritstream.ShardID]bool{}, []string(nil)
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
		open[shard.ID] = s.listed.Sub(first) >= plan.GoneAfter
		if open[shard.ID] && !s.c.tracker.isReopened(shard.ID) {
			fresh = append(fresh, string(shard.ID))
		}
	}
	s.c.tracker.reopened(open)
	if len(fresh) > 0 {
		s.c.log.Error("shards that ended here are open in the stream: nothing reads them until their positions are set", "shards", trouble.SomeOf(fresh))
	}
}

// act starts workers for shards that are planned for this process, and ends
// those for shards that are not, or have ended. A shard that is missing from
// the listing keeps its worker until it is known to be gone.
func (s *supervisor) act(ctx context.Context, steps []plan.Step, positions map[gerritstream.ShardID]gerritstream.Position, o plan.Actions) {
	mine, runs := map[gerritstream.ShardID]bool{}, map[gerritstream.ShardID]bool{}
	for _, shards := range [][]gerritstream.ShardID{o.Campaign, o.Keep} {
		for _, id := range shards {
			mine[id] = true
		}
	}
	waitFor := map[gerritstream.ShardID]bool{}
	for _, step := range steps {
		switch step.State {
		case plan.Runnable, plan.Gone:
			runs[step.Shard] = true
			if s.workers[step.Shard] == nil && mine[step.Shard] {
				s.startWorker(ctx, step)
			}
		case plan.Waiting:
			for _, parent := range step.WaitFor {
				waitFor[parent] = true
			}
		}
	}
	for id, w := range s.workers {
		switch {
		case positions[id].Ended && !runs[id]: // by another process: the candidacy is pointless
			w.cancel(nil)
		case slices.Contains(o.HandOff, id):
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
func (s *supervisor) startWorker(ctx context.Context, step plan.Step) {
	if s.probing != nil && s.probing.shard == step.Shard {
		s.endProbe() // a shard is read once at a time
	}
	stop := ctx.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	candidacy, withdraw := context.WithCancel(ctx)
	w := &worker{
		c:        s.c,
		log:      s.c.log.With(slog.String("shard", string(step.Shard))),
		shard:    step.Shard,
		closing:  step.State == plan.Gone,
		stream:   s.listing.Stream,
		epoch:    s.origin.Epoch,
		from:     s.origin.From,
		began:    s.begun.Add(begunError),
		known:    s.parental[step.Shard],
		relist:   s.relist,
		replan:   s.replan,
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
func (s *supervisor) pauseOf(shard gerritstream.ShardID) *backoff {
	if s.pauses[shard] == nil {
		s.pauses[shard] = &backoff{first: 100 * time.Millisecond, most: 5 * time.Second}
	}
	return s.pauses[shard]
}

// watch has one watch for each parent that a shard waits for, and ends those
// that are not needed any more.
func (s *supervisor) watch(ctx context.Context, parents map[gerritstream.ShardID]bool) {
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
		epoch := s.origin.Epoch
		go func() {
			if err := s.c.cfg.Store.WaitEnded(ctx, epoch, parent); err != nil && ctx.Err() == nil {
				sleep(ctx, waitingEvery) // the plan finds out; only not too often
			}
			s.watched <- parent
		}()
	}
}

// relist asks for another round with a new listing, soon.
func (s *supervisor) relist() { ask(s.relists) }

// replan asks for another round, soon.
func (s *supervisor) replan() { ask(s.replans) }

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
		case <-s.relists:
			s.listSoon()
			within(listDebounce)
		case <-s.replans:
			within(listDebounce)
		case <-s.c.tip.wanted:
			within(listDebounce)
		case w := <-s.finished:
			s.drop(w)
			if w.err != nil {
				return w.err
			}
			if !w.dismissed && !(w.known && s.c.tracker.position(w.shard).Ended) {
				s.listSoon()
			}
			within(listDebounce)
		case parent := <-s.watched:
			s.unwatch(parent)
			within(listDebounce)
		case w := <-s.groupChanges:
			if d, ok := s.unwatchGroup(w); ok {
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

func (s *supervisor) unwatch(parent gerritstream.ShardID) {
	s.parents[parent]()
	delete(s.parents, parent)
}

// shutdown ends everything, and says so to the others.
func (s *supervisor) shutdown(ctx context.Context) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		s.leave(ctx)
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
	if s.groupWatch != nil {
		s.groupWatch.cancel()
	}
	if s.probing != nil {
		s.probing.cancel()
	}
	for len(s.workers)+len(s.parents)+s.groupWatches > 0 || s.probing != nil {
		select {
		case w := <-s.finished:
			s.drop(w)
		case parent := <-s.watched:
			s.unwatch(parent)
		case w := <-s.groupChanges:
			s.unwatchGroup(w)
		case p := <-s.probed:
			s.dropProbe(p)
		}
	}
}
