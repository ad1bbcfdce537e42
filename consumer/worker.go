package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

const (
	stopGrace   = 150 * time.Millisecond // a stop waits so long for the commit in flight
	moveGrace   = time.Second            // a hand-over so long
	resignGrace = 2 * time.Second        // and either so long for the store to confirm the resignation
)

// errHandOver is the cause with which a worker's context ends when its shard
// goes to another process.
var errHandOver = errors.New("the shard goes to another process")

// worker is a process' part in one shard that is planned for it: candidacy, and
// term after term.
//
//	campaign -> [plan again, inside the term] -> commit the anchor -> read, judge, deliver, commit ... -> end or resign
//	   ^                                                                                                   |
//	   +------------------ leadership lost, outcome of a commit unknown <----------------------------------+
type worker struct {
	c       *Consumer
	log     *slog.Logger
	shard   gerritstream.ShardID
	closing bool // the shard is gone: only to be marked ended
	stream  gerritstream.Stream
	epoch   int
	from    gerritstream.StartingPosition // of the stream
	known   bool                          // its children were listed when the worker was made
	relist  func()                        // asks the supervisor to list and plan anew
	replan  func()                        // asks it to plan anew: a term has begun or ended
	pause   *backoff                      // between the terms of the shard; kept from one worker to the next
	stop    <-chan struct{}               // closed when the process is to stop

	cancel    context.CancelCauseFunc // ends the worker
	withdraw  context.CancelFunc      // ends its candidacy; a term that it has is left alone
	leaving   bool                    // it is handing the shard over; of the supervisor's goroutine
	dismissed bool                    // it was told to end; set once run has returned
	err       error                   // of run, once it has returned

	began    time.Time   // the service's, not earlier than the beginning of Run
	wasAtTip atomic.Bool // everything that had arrived before Run began is committed
}

// verdicts of a term on what comes next.
type next int

const (
	campaignAgain next = iota
	planAgain          // the shard is not for reading now
)

// run campaigns and leads until ctx ends, the shard has ended, or the plan has
// to be made anew: nil. Its error ends Run. It campaigns until candidacy ends,
// which is a part of ctx.
func (w *worker) run(ctx, candidacy context.Context) error {
	for {
		term, err := w.c.cfg.Store.Campaign(candidacy, w.epoch, w.shard)
		if err != nil {
			if candidacy.Err() != nil {
				return nil
			}
			if errors.Is(err, gerritstream.ErrStaleEpoch) { // the listing will show the new stream
				w.relist()
				w.pause.pause(candidacy)
				return nil
			}
			if errors.Is(err, gerritstream.ErrUnusable) {
				w.trouble(err)
				if !w.pause.pause(candidacy) {
					return nil
				}
				continue
			}
			return err
		}
		began := time.Now()
		then, err := w.serve(ctx, term)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, gerritstream.ErrNewerFormat):
			return fmt.Errorf("shard %s: %w", w.shard, err)
		case then == planAgain && w.ended():
			return nil
		}
		if time.Since(began) > time.Minute {
			w.pause.reset()
		}
		if !w.pause.pause(candidacy) || then == planAgain {
			return nil
		}
	}
}

// serve is one term, from its election to its confirmed resignation.
func (w *worker) serve(ctx context.Context, term gerritstream.Term) (then next, err error) {
	began := term.Beginning()
	pos := began.Position
	if known := w.c.tracker.position(w.shard); !began.Stored && known.Begun() {
		w.log.Warn("the position was deleted from the store: the shard starts over", "was", known.String(), "handled_until", known.HandledUntil())
	}
	w.c.cfg.Observer.Elected(w.shard, term.Number(), pos, began.Stored)
	w.c.tracker.elected(w.shard, term.Number(), pos)
	w.replan()
	w.log.Info("elected", "term", term.Number(), "position", pos.String())

	w.c.beside.stop(w.shard)
	r := newReader(w, term)
	then, err = r.lead(ctx)
	if errors.Is(err, context.Canceled) && term.Context().Err() != nil {
		err = context.Cause(term.Context()) // what was under way says only that it was cut short
	}

	w.resign(ctx, term)
	if ctx.Err() != nil && !errors.Is(err, gerritstream.ErrLeadershipLost) {
		err = nil
	}
	w.c.tracker.resigned(w.shard)
	w.c.book.settle(w.shard)
	w.replan()
	w.c.cfg.Observer.TermEnded(w.shard, term.Number(), err)
	switch {
	case err == nil:
		w.log.Info("resigned", "term", term.Number())
	default:
		w.log.Debug("the term ended", "term", term.Number(), "err", err)
		w.c.tracker.met(w.shard, err.Error(), false)
		w.c.tracker.shard(w.shard, func(s *gerritstream.ShardStatus) { s.Trouble = err.Error() })
		w.c.book.note(event{
			topic: termTopic, cause: trouble.Cause(err.Error()), shard: w.shard, grave: true, sample: []any{"err", err},
		})
	}
	return then, err
}

// ended reports whether the shard was handled to its end, as far as this
// process knows.
func (w *worker) ended() bool {
	pos := w.c.tracker.position(w.shard)
	return pos.Ended
}

// drain waits, once the worker has been told to end, for as long as what is in
// flight may take.
func (w *worker) drain(ctx, work context.Context) {
	if errors.Is(context.Cause(ctx), errHandOver) {
		timer := time.NewTimer(moveGrace)
		defer timer.Stop()
		select {
		case <-timer.C:
			return
		case <-work.Done():
			return
		case <-w.stop:
		}
	}
	sleep(work, stopGrace)
}

// resign gives a term up. What is not confirmed is tried again for a while: the
// one whom the shard is handed to waits for it.
func (w *worker) resign(ctx context.Context, term gerritstream.Term) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignGrace)
	defer cancel()
	retry := backoff{first: 20 * time.Millisecond, most: 500 * time.Millisecond}
	for {
		err := term.Resign(ctx)
		if err == nil || errors.Is(err, gerritstream.ErrLeadershipLost) {
			return
		}
		w.log.Debug("resignation not confirmed", "term", term.Number(), "err", err)
		if !retry.pause(ctx) {
			return
		}
	}
}

// planInside plans again under the leadership: the stream is listed once more
// and completely, and only then are the positions read. Terms that begin
// together share that.
func (w *worker) planInside(ctx context.Context) (plan.Step, error) {
	seen, err := w.look(ctx)
	if err != nil {
		return plan.Step{}, err
	}
	if seen.listing.Stream.Created.UnixMilli() != w.stream.Created.UnixMilli() {
		return plan.Step{Shard: w.shard, State: plan.Waiting}, nil // made anew: the supervisor starts a new epoch
	}
	if step, ok := seen.steps[w.shard]; ok {
		return step, nil
	}
	return plan.Step{Shard: w.shard, State: plan.Waiting}, nil
}

// look returns a round that begins within the term, however long that takes.
// Its errors are the context's and ErrNewerFormat.
func (w *worker) look(ctx context.Context) (round, error) {
	for {
		seen, err := w.c.rounds.next(ctx, w.epoch, w.makeRound)
		switch {
		case err != nil:
			return round{}, err
		case errors.Is(seen.err, gerritstream.ErrNewerFormat):
			return round{}, seen.err
		case seen.err == nil:
			return seen, nil
		}
		w.heldUp(seen.err)
	}
}

// heldUp shows why a term cannot look. That the stream is gone is logged by
// the supervisor, once for all shards.
func (w *worker) heldUp(err error) {
	if !errors.Is(err, gerritstream.ErrStreamNotFound) {
		w.trouble(err)
		return
	}
	w.c.tracker.met(w.shard, vanished(err).Error(), true)
	w.c.tracker.shard(w.shard, func(s *gerritstream.ShardStatus) { s.AtTip = false })
}

// makeRound lists, then reads the positions, and plans.
func (w *worker) makeRound(ctx context.Context) (made round) {
	if made.listing, made.err = w.c.cfg.Source.List(ctx); made.err != nil {
		return made
	}
	positions, err := w.c.cfg.Store.Positions(ctx, w.epoch)
	if err != nil {
		made.err = err
		return made
	}
	made.steps = map[gerritstream.ShardID]plan.Step{}
	for _, step := range plan.Steps(plan.Input{Shards: made.listing.Shards, Positions: positions, Origin: w.from}) {
		made.steps[step.Shard] = step
	}
	return made
}

// trouble notes why the shard does not go on: for the status once it counts
// (see hold), and for the log.
func (w *worker) trouble(err error) {
	grave := w.c.tracker.met(w.shard, err.Error(), isGrave(err))
	w.c.book.note(event{
		topic: troubleTopic, cause: trouble.Cause(err.Error()), shard: w.shard, holds: true, grave: grave, sample: []any{"err", err},
	})
}

// fine takes back what trouble noted.
func (w *worker) fine() {
	w.c.tracker.passed(w.shard)
	w.c.book.settle(w.shard)
}

// lost reports a possible loss. That it is kept as well is the business of the
// commit that carries it.
func (w *worker) lost(i gerritstream.Interval) { w.c.reportLost(w.log, w.shard, i) }
