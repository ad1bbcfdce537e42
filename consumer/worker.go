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
	stopGrace     = 150 * time.Millisecond // how long a stop waits for the commit in flight
	handOverGrace = time.Second            // how long a hand-over does
	resignGrace   = 2 * time.Second        // how long the store may take to confirm a resignation after either
)

// errHandOver is the cause with which a worker's context ends when the
// leadership of its shard goes to another member.
var errHandOver = errors.New("the shard goes to another process")

// worker campaigns for one shard that is planned for this process, and serves
// one term after another. See the package documentation for its states and
// lifetimes.
type worker struct {
	c       *Consumer
	cfg     *Config
	log     *slog.Logger
	shard   gerritstream.ShardID
	closing bool                 // the shard is gone: only mark it ended
	known   bool                 // its children were listed when the worker started
	origin  *gerritstream.Origin // when the worker started: its Retention may be out of date
	began   time.Time            // the service's: not before the beginning of Run
	pause   *backoff             // between terms; outlives the worker, so that workers that end at once are spaced

	stop     <-chan struct{}         // closed when the process stops
	cancel   context.CancelCauseFunc // ends the worker
	withdraw context.CancelFunc      // ends its candidacy; a term already won goes on
	leaving  bool                    // a hand-over has begun; belongs to the supervisor's goroutine

	atTip atomic.Bool // all that had arrived before Run began is committed
}

// next is what a worker does after a term.
type next int

const (
	campaignAgain next = iota
	planAgain          // the shard need not be read for now
	readOn             // within a term: it is not over
)

// run campaigns and leads. It returns nil when ctx ends, the shard has ended,
// or the supervisor has to plan again; an error ends Run. It campaigns until
// candidacy ends, which ends with ctx or earlier.
func (w *worker) run(ctx, candidacy context.Context) error {
	for {
		term, err := w.cfg.Store.Campaign(candidacy, w.origin.Epoch, w.shard)
		switch {
		case err == nil:
		case candidacy.Err() != nil:
			return nil
		case errors.Is(err, gerritstream.ErrStaleEpoch): // the listing will show the new stream
			w.c.relist()
			w.pause.pause(candidacy)
			return nil
		case errors.Is(err, gerritstream.ErrUnusable), errors.Is(err, gerritstream.ErrDenied): // somebody must mend it
			w.trouble(whyOf(err, trouble.StoreAway), isGrave(err))
			if !w.pause.pause(candidacy) {
				return nil
			}
			continue
		default:
			return err
		}
		began := time.Now()
		then, err := w.serve(ctx, term)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, gerritstream.ErrNewerFormat):
			return fmt.Errorf("shard %s: %w", w.shard, err)
		case then == planAgain && w.c.tracker.position(w.shard).Ended:
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

// serve runs one term, from its election to its confirmed resignation.
func (w *worker) serve(ctx context.Context, term gerritstream.Term) (then next, err error) {
	began, tracker, observer := term.Beginning(), w.c.tracker, w.cfg.Observer
	if known := tracker.position(w.shard); !began.Stored && known.Begun() {
		w.log.Warn("checkpoint was deleted from the store; starting the shard over",
			"was", known.String(), "handled_until", known.HandledUntil())
	}
	observer.Elected(w.shard, term.Number(), began.Position, began.Stored)
	tracker.elected(w.shard, term.Number(), began.Position)
	w.c.replan()
	w.log.Info("elected", "term", term.Number(), "position", began.Position.String())

	w.c.sideReads.stop(w.shard)
	then, err = lead(ctx, w, term)
	if errors.Is(err, context.Canceled) && term.Context().Err() != nil {
		err = context.Cause(term.Context()) // the error only says that something was cut short
	}

	w.resign(ctx, term)
	if ctx.Err() != nil && !errors.Is(err, gerritstream.ErrLeadershipLost) {
		err = nil
	}
	tracker.resigned(w.shard)
	w.c.logbook.settle(w.shard)
	w.c.replan()
	observer.TermEnded(w.shard, term.Number(), err)
	if err == nil {
		w.log.Info("resigned", "term", term.Number())
		return then, nil
	}
	w.log.Debug("term ended", "term", term.Number(), "err", err)
	tracker.met(w.shard, whyOf(err, trouble.StoreAway), false)
	tracker.shard(w.shard, func(s *gerritstream.ShardStatus) { s.Trouble = err.Error() })
	w.c.logbook.note(happening{
		topic: termTopic, cause: trouble.Cause(err.Error()), shard: w.shard, grave: true, sample: []any{"err", err},
	})
	return then, err
}

// handOver ends the worker so that the next candidate gets its leadership. It
// is called by the supervisor.
func (w *worker) handOver(to string) {
	if !w.leaving {
		w.leaving = true
		w.log.Info("handing over the shard", "to", to)
		w.cancel(errHandOver)
	}
}

// drain waits, once the worker has been told to end, for as long as the work in
// flight may take.
func (w *worker) drain(ctx, work context.Context) {
	if errors.Is(context.Cause(ctx), errHandOver) {
		timer := time.NewTimer(handOverGrace)
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

// resign gives a term up. It retries for a while when the store does not
// confirm: the next leader waits for that.
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

// recreated reports whether a listing shows a newer stream than the worker's.
func (w *worker) recreated(l *gerritstream.Listing) bool {
	return l.Stream.Created.UnixMilli() != w.origin.Stream.Created.UnixMilli()
}

// survey returns a survey that begins within the term, however long that takes.
// Its errors are the context's and ErrNewerFormat.
func (w *worker) survey(ctx context.Context) (survey, error) {
	for {
		found, err := w.c.surveys.next(ctx, w.origin.Epoch, w.makeSurvey)
		switch {
		case err != nil:
			return survey{}, err
		case errors.Is(found.err, gerritstream.ErrNewerFormat):
			return survey{}, found.err
		case found.err == nil:
			return found, nil
		case errors.Is(found.err, gerritstream.ErrStreamNotFound): // the supervisor logs it, once for all shards
			w.c.tracker.met(w.shard, whyOf(vanished(found.err), trouble.StreamGone), true)
			w.c.tracker.shard(w.shard, func(s *gerritstream.ShardStatus) { s.AtTip = false })
		default:
			w.trouble(whyOf(found.err, trouble.StoreAway), isGrave(found.err))
		}
	}
}

// makeSurvey lists, then reads the positions, and plans.
func (w *worker) makeSurvey(ctx context.Context) (made survey) {
	made.listing, made.err = w.cfg.Source.List(ctx)
	if made.err = trouble.Mark(made.err, trouble.SourceFails); made.err != nil {
		return made
	}
	positions, err := w.cfg.Store.Positions(ctx, w.origin.Epoch)
	if err != nil {
		made.err = err
		return made
	}
	made.steps = map[gerritstream.ShardID]plan.Step{}
	input := plan.Input{Shards: made.listing.Shards, Positions: positions, Origin: w.origin.From}
	for _, step := range plan.Steps(input) {
		made.steps[step.Shard] = step
	}
	return made
}

// trouble notes why the shard is stalled: for the status once that counts (see
// stall), and for the log.
func (w *worker) trouble(found why, grave bool) {
	counts := w.c.tracker.met(w.shard, found, grave)
	w.c.logbook.noteStall(stallTopic, w.shard, found.text, counts)
}

// fine takes back what trouble noted.
func (w *worker) fine() {
	w.c.tracker.passed(w.shard)
	w.c.logbook.settle(w.shard)
}
