package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/pauses"
)

const (
	commitEvery = 30 * time.Second // bounds the age of uncommitted progress, on an idle shard and where all is filtered
	laggingFrom = time.Minute      // distance from the tip from which the log calls a shard lagging
)

// reader is the work of one term. It belongs to the worker's goroutine.
type reader struct {
	c    *Consumer
	cfg  *Config
	w    *worker
	term gerritstream.Term

	work    context.Context // for commits and deliveries: see the package documentation
	reading context.Context // for everything else

	committed gerritstream.Position // as the store has it
	cursor    gerritstream.Position // what has been judged; past committed by the batch and by filtered records
	batch     batch
	filtered  uint64    // records filtered since the last commit
	since     time.Time // local: when committed became what it is
	seen      time.Time // until when pages have been read, also empty ones, by the service's clock
	lagging   bool      // logged as lagging
	absent    backoff   // while the shard is listed and cannot be found
}

// lead does the work of a term: see run. It returns nil when the term came to
// its natural end: the shard has ended, there is nothing to do, or ctx ended.
func lead(ctx context.Context, w *worker, term gerritstream.Term) (next, error) {
	work, cancel := context.WithCancelCause(term.Context())
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		w.drain(ctx, work)
		cancel(context.Canceled)
	})
	defer stop()
	reading, endReading := context.WithCancel(work)
	defer endReading()
	unlink := context.AfterFunc(ctx, endReading)
	defer unlink()

	from := term.Beginning().Position
	r := &reader{
		c: w.c, cfg: w.cfg, w: w, term: term, work: work, reading: reading,
		committed: from, cursor: from, since: time.Now(), absent: backoff{first: time.Second, most: 30 * time.Second},
	}
	return r.run(ctx)
}

// run does the work of a term, except while the shard is paused.
func (r *reader) run(ctx context.Context) (then next, err error) {
	if err := r.hold(); err != nil { // before anything is read or committed
		return campaignAgain, err
	}
	for step := r.prepare; ; {
		then, err = step()
		switch {
		case errors.Is(err, pauses.ErrPaused):
			if err := r.hold(); err != nil {
				return campaignAgain, err
			}
		case err != nil || then != readOn:
			return then, err
		default:
			step = func() (next, error) { return r.advance(ctx) }
		}
	}
}

// advance reads until the shard has ended, or something is in the way.
func (r *reader) advance(ctx context.Context) (then next, err error) {
	err = r.read()
	switch {
	case err == nil: // the shard has ended
		if r.w.known {
			r.c.replan()
		} else {
			r.c.relist()
		}
		return planAgain, nil
	case ctx.Err() != nil && r.term.Context().Err() == nil: // a stop: keep what can be kept
		if r.batch.size() == 0 && r.cursorMoved() {
			err = r.commit()
		}
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return campaignAgain, err
	case errors.Is(err, gerritstream.ErrShardNotFound):
		return r.awaitShard(err)
	case errors.Is(err, gerritstream.ErrBadPosition):
		return r.badCheckpoint(err)
	}
	return campaignAgain, err
}

// prepare commits a position that can be read from, if there is something to
// read in this term.
func (r *reader) prepare() (next, error) {
	began := r.term.Beginning()
	if began.Lost != nil {
		r.lost(*began.Lost)
		if err := r.commit(); err != nil {
			return campaignAgain, err
		}
	}
	pos, ok := r.committed, began.Stored || began.Lost != nil
	switch {
	case ok && pos.Ended:
		return planAgain, nil
	case r.w.closing:
		return planAgain, r.close(ok)
	case ok && errors.Is(pos.Unreadable, gerritstream.ErrNewerFormat):
		return planAgain, pos.Unreadable
	case ok && pos.Unreadable != nil:
		return r.badCheckpoint(pos.Unreadable)
	case ok && pos.Begun():
		return readOn, nil
	}
	// Plan again: while this process leads, nobody else commits for the shard.
	found, err := r.w.survey(r.reading)
	if err != nil {
		return campaignAgain, err
	}
	step, listed := found.steps[r.w.shard]
	switch {
	case !listed, step.State != plan.Runnable, r.w.recreated(&found.listing):
		return planAgain, nil
	case ok:
		return readOn, nil
	case step.From == gerritstream.StartingPosition{}: // an operator has just set the position of the next term
		return campaignAgain, nil
	}
	// The anchor is committed before the first read: from here on no change of
	// leader before the first event loses anything.
	r.cursor = gerritstream.Position{From: step.From}
	return r.commitAndReadOn()
}

func (r *reader) commitAndReadOn() (next, error) {
	if err := r.commit(); err != nil {
		return campaignAgain, err
	}
	return readOn, nil
}

// close marks a shard that is gone as ended, with what may have been lost.
func (r *reader) close(ok bool) error {
	found, err := r.w.survey(r.reading)
	if err != nil {
		return err
	}
	for _, s := range found.listing.Shards {
		if s.ID == r.w.shard || !ok { // it is back, or it never had a position: nothing to mark
			return nil
		}
	}
	i := gerritstream.Interval{
		From: r.cursor.HandledUntil(), Until: plan.Horizon(r.c.origin.Load(), found.listing),
		Why: gerritstream.WhyShardGone,
	}
	if i.Until.Before(i.From) {
		i.Until = found.listing.Now
	}
	if r.cursor.Unreadable != nil {
		r.cursor = gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}
	}
	r.lost(i)
	r.cursor.Ended = true
	defer r.c.relist()
	return r.commit()
}

// lost adds an interval to the position and reports it.
func (r *reader) lost(i gerritstream.Interval) {
	r.cursor = r.cursor.WithLost(i)
	r.c.reportLost(r.w.log, r.w.shard, i)
}

// awaitShard keeps the term while it is not known why the service does not find
// the shard: a stream that is gone may come back, and an election would change
// nothing. A shard that is listed may be read again, after a pause.
func (r *reader) awaitShard(missing error) (next, error) {
	r.c.relist()
	seen, err := r.w.survey(r.reading)
	switch {
	case r.reading.Err() != nil: // the next attempt to read returns why
		return readOn, nil
	case err != nil:
		return planAgain, err
	case r.w.recreated(&seen.listing): // the supervisor begins a new epoch
		return planAgain, nil
	}
	if _, listed := seen.steps[r.w.shard]; !listed {
		return planAgain, missing
	}
	r.w.trouble(whyOf(missing, trouble.SourceFails), isGrave(missing))
	r.absent.pause(r.reading)
	return readOn, nil
}

// badCheckpoint follows the policy for a checkpoint that is damaged or not
// accepted. If the stream was recreated meanwhile, that is the reason, and the
// supervisor begins a new epoch.
func (r *reader) badCheckpoint(bad error) (next, error) {
	found, err := r.w.survey(r.reading)
	if err != nil {
		return campaignAgain, err
	}
	listing, policy := found.listing, r.cfg.OnBadCheckpoint
	if r.w.recreated(&listing) {
		r.c.relist()
		return planAgain, bad
	}
	if policy == BadCheckpointHalt {
		return campaignAgain, r.halt(bad)
	}
	i := gerritstream.Interval{From: r.cursor.HandledUntil(), Until: listing.Now, Why: gerritstream.WhyBadPosition}
	from := gerritstream.StartingPosition{Time: listing.Now} // no earlier: that may be queued already
	if policy == BadCheckpointTrimHorizon {
		i.Until = plan.Horizon(r.c.origin.Load(), listing)
		from = gerritstream.StartingPosition{TrimHorizon: true}
	}
	r.w.log.Error("bad checkpoint; continuing by policy", "policy", string(policy), "err", bad)
	r.cursor = gerritstream.Position{From: from, Lost: r.cursor.Lost}
	if i.From.Before(i.Until) {
		r.lost(i)
	}
	return r.commitAndReadOn()
}

// halt keeps the leadership and reads nothing until the term ends or the
// process is stopped.
func (r *reader) halt(bad error) error {
	r.w.log.Error("bad checkpoint; halted by policy until an operator acts", "err", bad)
	r.c.tracker.shard(r.w.shard, func(s *gerritstream.ShardStatus) {
		become(s, gerritstream.StateHalted)
		s.Trouble = fmt.Sprintf("halted: %v", bad)
	})
	<-r.reading.Done()
	if term := r.term.Context(); term.Err() != nil {
		return context.Cause(term)
	}
	return nil
}

// errSourceEnded: a Source broke its contract.
var errSourceEnded = trouble.Mark(errors.New("the source stopped reading without a reason"), trouble.SourceFails)

// read reads on from the cursor, page after page; one page is read ahead of the
// commits. It returns nil when the shard has been handled to its end, and
// ErrPaused when it is paused.
func (r *reader) read() error {
	ahead := r.c.readAhead(r.reading, r.w.shard, r.cursor)
	defer ahead.close()
	for {
		paused, changed := r.c.paused.of(r.w.shard)
		if paused {
			return pauses.ErrPaused
		}
		var p yielded
		select {
		case next, ok := <-ahead.ch:
			if p = next; !ok && r.reading.Err() == nil {
				return errSourceEnded
			} else if !ok {
				return context.Cause(r.reading)
			}
		case <-changed:
			continue
		}
		switch {
		case errors.Is(p.err, gerritstream.ErrRetrying):
			r.w.trouble(whyOf(p.err, trouble.SourceFails), isGrave(p.err))
			if err := r.commitIfDue(); err != nil {
				return err
			}
			continue
		case p.err != nil && r.reading.Err() != nil:
			return context.Cause(r.reading)
		case p.err != nil:
			return p.err
		}
		err := r.handle(&p.page)
		release(&p.page)
		if err != nil || r.committed.Ended {
			return err
		}
	}
}

// handle judges a page, and commits what is due.
func (r *reader) handle(p *gerritstream.Page) error {
	r.w.fine()
	r.absent.reset()
	r.cfg.Observer.PageRead(r.w.shard, p)
	lost := r.noteTrimmed(p)
	if err := r.judge(p); err != nil {
		return err
	}
	atTip := len(p.Records) == 0 && p.Lag == 0 && !p.End
	if atTip {
		r.cursor.CaughtUp = p.Now
	}
	if until := p.Now.Add(-p.Lag - gerritstream.ArrivalError); until.After(r.seen) {
		r.seen = until
	}
	if p.End {
		r.cursor.Ended, r.cursor.Partial = true, nil
	}
	r.c.tracker.read(r.w.shard, p)
	if p.Lag >= laggingFrom && !r.lagging {
		r.lagging = true
		r.w.log.Info("shard lagging", "lag", p.Lag.Round(time.Second))
	}
	// On a shard where records come all the time no page is empty. One that
	// reaches the tip and ends with a record that arrived after Run began will
	// do.
	n := len(p.Records)
	caughtUp := atTip || n > 0 && p.Lag == 0 && !p.End && p.Records[n-1].Arrived.After(r.w.began)
	var err error
	if p.End || lost || r.batch.size() > 0 || caughtUp && r.c.isHurried() && !r.w.atTip.Load() {
		err = r.commit()
	} else {
		err = r.commitIfDue()
	}
	if err == nil { // nothing of what was judged is left to commit
		r.c.frontier.reached(r.w.origin.Epoch, r.w.shard, r.cursor.HandledUntil())
	}
	if err == nil && p.Lag == 0 && !p.End {
		r.noteTip(caughtUp)
	}
	return err
}

// commitIfDue commits progress that has been uncommitted for commitEvery.
func (r *reader) commitIfDue() error {
	if time.Since(r.since) < commitEvery || !r.cursorMoved() {
		return nil
	}
	return r.commit()
}

// cursorMoved reports whether there is uncommitted progress.
func (r *reader) cursorMoved() bool {
	a, b := &r.cursor, &r.committed
	return a.After != b.After || !a.CaughtUp.Equal(b.CaughtUp) || a.Ended != b.Ended
}

// noteTrimmed compares what has been handled with what the stream still keeps,
// and reports whether records may have been trimmed before they were read.
func (r *reader) noteTrimmed(p *gerritstream.Page) bool {
	handled := r.cursor.HandledUntil()
	horizon := r.c.origin.Load().Horizon(p.Now)
	bound := handled
	if bound.IsZero() { // not known after a foreign leader, whose last checkpoint is later than what it handled
		bound = r.cursor.CheckpointedAt
	}
	if bound.IsZero() || !bound.Before(horizon) || !r.seen.Before(horizon) {
		return false
	}
	r.seen = horizon.Add(gerritstream.ArrivalError) // once is enough while the reading gets away from the horizon
	r.lost(gerritstream.Interval{From: handled, Until: horizon, Why: gerritstream.WhyTrimmed})
	return true
}

// noteTip shows that the tip was reached. caughtUp: all that had arrived before
// Run began has been handled; that counts once it is committed.
func (r *reader) noteTip(caughtUp bool) {
	r.c.tracker.shard(r.w.shard, func(s *gerritstream.ShardStatus) { s.AtTip = true })
	if r.lagging {
		r.lagging = false
		r.w.log.Info("shard caught up")
	}
	if !caughtUp || r.cursor.After != r.committed.After {
		return // only filtered records are left to commit: commitIfDue will
	}
	if !r.w.atTip.Swap(true) {
		r.c.replan()
	}
}
