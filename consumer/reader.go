package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// commitEvery bounds the age of progress that is not committed, on an idle
// shard and on one where all is filtered.
const commitEvery = 30 * time.Second

// reader is one term's work. It belongs to the worker's goroutine.
type reader struct {
	w      *worker
	term   gerritstream.Term
	limits gerritstream.Limits

	committed gerritstream.Position // as the store has it
	stored    bool                  // the store has a position of the shard
	cursor    gerritstream.Position // what has been judged; ahead of committed by what is in chunk, and by what was filtered
	seen      time.Time             // until when pages have been read, empty ones included, as far as the service tells
	since     time.Time             // local: when committed became what it is
	filtered  uint64                // records dropped since the last commit
	lagging   bool                  // logged as behind
	absent    backoff               // while the shard is listed and cannot be found

	batch batch
}

func newReader(w *worker, term gerritstream.Term) *reader {
	began := term.Beginning()
	return &reader{w: w, term: term, limits: term.Limits(), stored: began.Stored, committed: began.Position, cursor: began.Position,
		since: time.Now(), absent: backoff{first: time.Second, most: 30 * time.Second}}
}

// lead does what a term is for. It returns nil when the term came to its
// natural end: shard ended, nothing to do, or ctx ended.
func (r *reader) lead(ctx context.Context) (next, error) {
	// Work ends with the term, and a little after a stop or a hand-over, so
	// that what is in flight may finish.
	work, cancel := context.WithCancelCause(r.term.Context())
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		r.w.drain(ctx, work)
		cancel(context.Canceled)
	})
	defer stop()
	reading, endReading := context.WithCancel(work)
	defer endReading()
	unlink := context.AfterFunc(ctx, endReading)
	defer unlink()

	if then, ready, err := r.prepare(reading, work); !ready {
		return then, err
	}
	for {
		err := r.read(reading, work)
		switch {
		case err == nil: // the shard has ended
			if r.w.known {
				r.w.replan()
			} else {
				r.w.relist()
			}
			return planAgain, nil
		case ctx.Err() != nil && r.term.Context().Err() == nil: // a stop: keep what can be kept
			if r.batch.size() == 0 && r.cursorMoved() {
				err = r.commit(work)
			}
			return campaignAgain, ignoreCanceled(err)
		case errors.Is(err, gerritstream.ErrShardNotFound):
			if there, err := r.awaitShard(reading, err); !there {
				return planAgain, err
			}
		case errors.Is(err, gerritstream.ErrBadPosition):
			if then, ready, err := r.badPosition(reading, work, err); !ready {
				return then, err
			}
		default:
			return campaignAgain, err
		}
	}
}

// awaitShard keeps the term while it is not known why the service does not
// know the shard any more: a stream that is gone may come back, and until
// then an election would change nothing. there is true when the shard is
// listed, and after a pause it may be read again.
func (r *reader) awaitShard(reading context.Context, missing error) (there bool, err error) {
	r.w.relist()
	seen, err := r.w.look(reading)
	switch {
	case reading.Err() != nil: // the next attempt to read says why
		return true, nil
	case err != nil:
		return false, err
	case seen.listing.Stream.Created.UnixMilli() != r.w.stream.Created.UnixMilli():
		return false, nil // recreated: the supervisor begins a new epoch
	}
	if _, listed := seen.steps[r.w.shard]; !listed {
		return false, missing
	}
	r.w.trouble(missing)
	r.absent.pause(reading)
	return true, nil
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// prepare brings the term to where it may read: a position that can be read
// from, committed. ready is false when there is nothing to read in this term.
func (r *reader) prepare(reading, work context.Context) (then next, ready bool, err error) {
	if lost := r.term.Beginning().Lost; lost != nil {
		r.cursor = r.cursor.WithLost(*lost)
		r.w.lost(*lost)
		if err := r.commit(work); err != nil {
			return campaignAgain, false, err
		}
	}
	pos, ok := r.committed, r.stored
	switch {
	case ok && pos.Ended:
		return planAgain, false, nil
	case r.w.closing:
		return planAgain, false, r.close(reading, work, ok)
	case ok && pos.Unreadable != nil:
		if errors.Is(pos.Unreadable, gerritstream.ErrNewerFormat) {
			return planAgain, false, pos.Unreadable
		}
		return r.badPosition(reading, work, pos.Unreadable)
	case ok && pos.Begun():
		return campaignAgain, true, nil
	}
	step, err := r.w.planInside(reading)
	switch {
	case err != nil:
		return campaignAgain, false, err
	case step.State != plan.Runnable:
		return planAgain, false, nil
	case ok:
		return campaignAgain, true, nil
	case step.From == gerritstream.StartingPosition{}: // an operator has just set a position: the next term begins with it
		return campaignAgain, false, nil
	}
	// The anchor is committed before the first read: from here on no change of
	// leader before the first event loses anything.
	r.cursor = gerritstream.Position{From: step.From}
	err = r.commit(work)
	return campaignAgain, err == nil, err
}

// close marks a shard ended that is gone, saying what may have been lost with
// it.
func (r *reader) close(reading, work context.Context, ok bool) error {
	seen, err := r.w.look(reading)
	if err != nil {
		return err
	}
	listing := seen.listing
	for _, s := range listing.Shards {
		if s.ID == r.w.shard || !ok { // it is back, or it never had a position: nothing to mark
			return nil
		}
	}
	i := gerritstream.Interval{From: r.cursor.HandledUntil(), Until: plan.HorizonOf(r.w.c.origin.Load(), listing), Why: gerritstream.WhyShardGone}
	if i.Until.Before(i.From) {
		i.Until = listing.Now
	}
	if r.cursor.Unreadable != nil {
		r.cursor = gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}
	}
	r.cursor = r.cursor.WithLost(i)
	r.cursor.Ended = true
	r.w.lost(i)
	defer r.w.relist()
	return r.commit(work)
}

// badPosition does what the policy says about a position that is damaged or not
// accepted. If the stream was made anew meanwhile, that is the reason, and the
// supervisor begins a new epoch.
func (r *reader) badPosition(reading, work context.Context, bad error) (then next, ready bool, err error) {
	seen, err := r.w.look(reading)
	if err != nil {
		return campaignAgain, false, err
	}
	listing := seen.listing
	if listing.Stream.Created.UnixMilli() != r.w.stream.Created.UnixMilli() {
		r.w.relist()
		return planAgain, false, bad
	}
	i := gerritstream.Interval{From: r.cursor.HandledUntil(), Until: listing.Now, Why: gerritstream.WhyBadPosition}
	to := gerritstream.Position{Lost: r.cursor.Lost}
	switch r.w.c.cfg.OnBadCheckpoint {
	case BadCheckpointHalt:
		return campaignAgain, false, r.halt(reading, bad)
	case BadCheckpointTrimHorizon:
		i.Until = plan.HorizonOf(r.w.c.origin.Load(), listing)
		to.From = gerritstream.StartingPosition{TrimHorizon: true}
	default:
		to.From = gerritstream.StartingPosition{Time: listing.Now} // without slack: what came just before may be queued already
	}
	r.w.log.Error("the position is bad: going on by policy", "policy", string(r.w.c.cfg.OnBadCheckpoint), "err", bad)
	if i.From.Before(i.Until) {
		to = to.WithLost(i)
		r.w.lost(i)
	}
	r.cursor = to
	err = r.commit(work)
	return campaignAgain, err == nil, err
}

// halt keeps the leadership and reads nothing until the term ends or the
// process is stopped.
func (r *reader) halt(reading context.Context, bad error) error {
	r.w.log.Error("the position is bad: halted by policy, waiting for an operator", "err", bad)
	r.w.c.tracker.shard(r.w.shard, func(s *gerritstream.ShardStatus) {
		become(s, gerritstream.StateHalted)
		s.Trouble = fmt.Sprintf("halted: %v", bad)
	})
	<-reading.Done()
	if r.term.Context().Err() != nil {
		return context.Cause(r.term.Context())
	}
	return nil
}

// read reads from the cursor on, page after page, running ahead of the commits
// by one page. It returns nil when the shard has been handled to its end.
func (r *reader) read(reading, work context.Context) error {
	pages := prefetch(reading, r.w.c.watchedRead, r.w.shard, r.cursor)
	defer pages.close()
	for p := range pages.ch {
		switch {
		case errors.Is(p.err, gerritstream.ErrRetrying):
			r.w.trouble(p.err)
			if err := r.commitIfDue(work); err != nil {
				return err
			}
			continue
		case p.err != nil && reading.Err() != nil:
			return context.Cause(reading)
		case p.err != nil:
			return p.err
		}
		err := r.handle(work, &p.batch)
		pages.done(&p.batch)
		if err != nil || r.committed.Ended {
			return err
		}
	}
	if reading.Err() == nil {
		return errSourceEnded
	}
	return context.Cause(reading)
}

// errSourceEnded: a Source broke its contract.
var errSourceEnded = errors.New("the source stopped reading without a reason")

// handle takes a page to the store, as far as it has to go there now.
func (r *reader) handle(work context.Context, b *gerritstream.Page) error {
	r.w.fine()
	r.absent.reset()
	r.w.c.cfg.Observer.PageRead(r.w.shard, b)
	lost := r.noteTrimmed(b)
	if err := r.judge(work, b); err != nil {
		return err
	}
	atTip := len(b.Records) == 0 && b.Lag == 0 && !b.End
	if atTip {
		r.cursor.CaughtUp = b.Now
	}
	if reached := b.Now.Add(-b.Lag - gerritstream.ArrivalError); reached.After(r.seen) {
		r.seen = reached
	}
	if b.End {
		r.cursor.Ended, r.cursor.Partial = true, nil
	}
	r.notePage(b)
	reached := atTip || r.passesTheBeginning(b)
	var err error
	if b.End || lost || r.batch.size() > 0 || reached && r.w.c.isHurried() && !r.w.wasAtTip.Load() {
		err = r.commit(work)
	} else {
		err = r.commitIfDue(work)
	}
	if err == nil && b.Lag == 0 && !b.End {
		r.noteTip(reached)
	}
	return err
}

// passesTheBeginning reports whether a page that is not empty reaches the tip
// and ends with a record that arrived after Run began: what had arrived before
// is in this page or in one before it. On a shard where records come all the
// time no page is empty.
func (r *reader) passesTheBeginning(b *gerritstream.Page) bool {
	n := len(b.Records)
	return n > 0 && b.Lag == 0 && !b.End && b.Records[n-1].Arrived.After(r.w.began)
}

// commitIfDue commits progress that has not been committed for long.
func (r *reader) commitIfDue(work context.Context) error {
	if time.Since(r.since) < commitEvery || !r.cursorMoved() {
		return nil
	}
	return r.commit(work)
}

// cursorMoved reports whether there is progress that is not committed.
func (r *reader) cursorMoved() bool {
	a, b := &r.cursor, &r.committed
	return a.After != b.After || !a.CaughtUp.Equal(b.CaughtUp) || a.Ended != b.Ended
}

// noteTrimmed compares what has been handled with what the stream still keeps,
// and reports whether records may have been trimmed before they were read.
func (r *reader) noteTrimmed(b *gerritstream.Page) bool {
	handled := r.cursor.HandledUntil()
	horizon := r.w.c.origin.Load().Horizon(b.Now)
	bound := handled
	if bound.IsZero() { // not known after a foreign leader, whose last checkpoint is later than what it handled
		bound = r.cursor.CheckpointedAt
	}
	if bound.IsZero() || !bound.Before(horizon) || !r.seen.Before(horizon) {
		return false
	}
	i := gerritstream.Interval{From: handled, Until: horizon, Why: gerritstream.WhyTrimmed}
	r.cursor = r.cursor.WithLost(i)
	r.seen = horizon.Add(gerritstream.ArrivalError) // once is enough while the reading gets away from the horizon
	r.w.lost(i)
	return true
}

// laggingFrom is the distance from the tip from which on a shard is called
// behind.
const laggingFrom = time.Minute

// notePage shows a page in the status, and logs when the shard falls behind.
func (r *reader) notePage(b *gerritstream.Page) {
	r.w.c.tracker.read(r.w.shard, func(s *gerritstream.ShardStatus) {
		s.Lag, s.Last.Page = b.Lag, time.Now()
		s.Counts.Read += uint64(len(b.Records))
		if n := len(b.Records); n > 0 {
			s.Last.Event = b.Records[n-1].Arrived
		}
		if b.Lag > 0 {
			s.AtTip = false
		}
	})
	if b.Lag >= laggingFrom && !r.lagging {
		r.lagging = true
		r.w.log.Info("behind", "by", b.Lag.Round(time.Second))
	}
}

// noteTip shows that the tip was reached. reached: everything that had arrived
// before Run began has been handled; that counts once it is committed.
func (r *reader) noteTip(reached bool) {
	r.w.c.tracker.shard(r.w.shard, func(s *gerritstream.ShardStatus) { s.AtTip = true })
	if r.lagging {
		r.lagging = false
		r.w.log.Info("caught up")
	}
	if !reached || r.cursor.After != r.committed.After {
		return // only filtered records are left to commit; their time comes
	}
	if !r.w.wasAtTip.Swap(true) {
		r.w.replan()
	}
}
