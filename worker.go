package gerritstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
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
	*Listener
	log     *slog.Logger
	shard   ShardID
	closing bool // the shard is gone: only to be marked ended
	stream  Stream
	epoch   int
	from    StartPoint      // of the stream
	known   bool            // its children were listed when the worker was made
	kick    func()          // asks the supervisor to list and plan anew
	nudge   func()          // asks it to plan anew: a term has begun or ended
	pause   *backoff        // between the terms of the shard; kept from one worker to the next
	stop    <-chan struct{} // closed when the process is to stop

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
		term, err := w.cfg.Store.Campaign(candidacy, w.epoch, w.shard)
		if err != nil {
			if candidacy.Err() != nil {
				return nil
			}
			if errors.Is(err, ErrStaleEpoch) { // the listing will show the new stream
				w.kick()
				w.pause.pause(candidacy)
				return nil
			}
			if errors.Is(err, ErrUnusable) {
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
		case errors.Is(err, ErrNewerFormat):
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
func (w *worker) serve(ctx context.Context, term Term) (then next, err error) {
	pos, ok := term.Position()
	if known := w.board.position(w.shard); !ok && known.begun() {
		w.log.Warn("the position was deleted from the store: the shard starts over", "was", known.String(), "handled_until", known.HandledUntil())
	}
	w.cfg.Observer.Elected(w.shard, term.Number(), pos, ok)
	w.board.elected(w.shard, term.Number(), pos)
	w.nudge()
	w.log.Info("elected", "term", term.Number(), "position", pos.String())

	w.beside.stop(w.shard)
	r := newReader(w, term, pos)
	then, err = r.lead(ctx)
	if errors.Is(err, context.Canceled) && term.Context().Err() != nil {
		err = context.Cause(term.Context()) // what was under way says only that it was cut short
	}

	w.resign(ctx, term)
	if ctx.Err() != nil && !errors.Is(err, ErrLeadershipLost) {
		err = nil
	}
	w.board.resigned(w.shard)
	w.book.settle(w.shard)
	w.nudge()
	w.cfg.Observer.TermEnded(w.shard, term.Number(), err)
	switch {
	case err == nil:
		w.log.Info("resigned", "term", term.Number())
	default:
		w.log.Debug("the term ended", "term", term.Number(), "err", err)
		w.board.met(w.shard, err.Error(), false)
		w.board.shard(w.shard, func(s *ShardStatus) { s.Trouble = err.Error() })
		w.book.note(event{
			topic: termTopic, cause: CauseOf(err.Error()), shard: w.shard, grave: true, sample: []any{"err", err},
		})
	}
	return then, err
}

// ended reports whether the shard was handled to its end, as far as this
// process knows.
func (w *worker) ended() bool {
	pos := w.board.position(w.shard)
	return pos.Ended
}

// linger waits, once the worker has been told to end, for as long as what is in
// flight may take.
func (w *worker) linger(ctx, work context.Context) {
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
func (w *worker) resign(ctx context.Context, term Term) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignGrace)
	defer cancel()
	retry := backoff{first: 20 * time.Millisecond, most: 500 * time.Millisecond}
	for {
		err := term.Resign(ctx)
		if err == nil || errors.Is(err, ErrLeadershipLost) {
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
func (w *worker) planInside(ctx context.Context) (Step, error) {
	seen, err := w.look(ctx)
	if err != nil {
		return Step{}, err
	}
	if seen.listing.Stream.Created.UnixMilli() != w.stream.Created.UnixMilli() {
		return Step{Shard: w.shard, Action: ActionWait}, nil // made anew: the supervisor starts a new epoch
	}
	if step, ok := seen.steps[w.shard]; ok {
		return step, nil
	}
	return Step{Shard: w.shard, Action: ActionWait}, nil
}

// look returns a round that begins within the term, however long that takes.
// Its errors are the context's and ErrNewerFormat.
func (w *worker) look(ctx context.Context) (round, error) {
	for {
		seen, err := w.rounds.next(ctx, w.epoch, w.makeRound)
		switch {
		case err != nil:
			return round{}, err
		case errors.Is(seen.err, ErrNewerFormat):
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
	if !errors.Is(err, ErrStreamNotFound) {
		w.trouble(err)
		return
	}
	w.board.met(w.shard, vanished(err).Error(), true)
	w.board.shard(w.shard, func(s *ShardStatus) { s.AtTip = false })
}

// makeRound lists, then reads the positions, and plans.
func (w *worker) makeRound(ctx context.Context) (made round) {
	if made.listing, made.err = w.cfg.Source.List(ctx); made.err != nil {
		return made
	}
	positions, err := w.cfg.Store.Positions(ctx, w.epoch)
	if err != nil {
		made.err = err
		return made
	}
	made.steps = map[ShardID]Step{}
	for _, step := range Plan(View{Shards: made.listing.Shards, Positions: positions, Start: w.from}) {
		made.steps[step.Shard] = step
	}
	return made
}

// trouble notes why the shard does not go on: for the status once it counts
// (see hold), and for the log.
func (w *worker) trouble(err error) {
	grave := w.board.met(w.shard, err.Error(), isGrave(err))
	w.book.note(event{
		topic: troubleTopic, cause: CauseOf(err.Error()), shard: w.shard, holds: true, grave: grave, sample: []any{"err", err},
	})
}

// fine takes back what trouble noted.
func (w *worker) fine() {
	w.board.passed(w.shard)
	w.book.settle(w.shard)
}

// lost reports a possible loss. That it is kept as well is the business of the
// commit that carries it.
func (w *worker) lost(i Interval) { w.reportLost(w.log, w.shard, i) }
