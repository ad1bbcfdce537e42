package consumer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/pauses"
)

// knownPauses are the pauses as this process knows them. They say when to stop
// reading; that nothing is committed meanwhile the store sees to.
type knownPauses struct {
	turn  chan struct{} // capacity 1: held by who reads them from the store
	begun atomic.Uint64 // reads so far
	done  uint64        // belongs to the holder of the turn: the last read that succeeded

	mu      sync.Mutex
	set     pauses.Set    // under mu
	changed chan struct{} // under mu: closed and replaced when set changes
}

// of reports whether a shard is paused, and returns what is closed when that
// may have changed.
func (k *knownPauses) of(shard gerritstream.ShardID) (paused bool, changed <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, paused = k.set.Of(shard)
	return paused, k.changed
}

// now returns the pauses.
func (k *knownPauses) now() pauses.Set {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// refresh reads the pauses, in a read that begins after the call. Terms that
// begin together share one.
func (k *knownPauses) refresh(ctx context.Context, c *Consumer) error {
	first := k.begun.Load() + 1
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if k.done >= first {
		return nil
	}
	number := k.begun.Add(1)
	set, err := c.cfg.Pauses.Pauses(ctx)
	if err != nil {
		return err
	}
	k.done = number
	k.mu.Lock()
	was := k.set
	if !set.Equal(was) {
		k.set = set
		close(k.changed)
		k.changed = make(chan struct{})
	}
	k.mu.Unlock()
	c.logPauses(was, set)
	return nil
}

// Pauses returns the pauses in force, as this process knows them. It may be
// called at any time.
func (c *Consumer) Pauses() pauses.Set { return slices.Clone(c.paused.now()) }

// logPauses logs what was paused and what goes on, a line for each reason.
func (c *Consumer) logPauses(was, is pauses.Set) {
	log := func(text string, from, to pauses.Set) {
		var gone []trouble.Trouble
		for _, p := range from {
			if same, ok := to.Has(p.Shard); !ok || !(pauses.Set{same}).Equal(pauses.Set{p}) {
				shard := string(p.Shard)
				if p.Shard == pauses.All {
					shard = "all"
				}
				gone = append(gone, trouble.Trouble{Of: []string{shard}, Text: p.String()})
			}
		}
		for _, t := range trouble.Group(gone) {
			c.log.Info(text, "shards", trouble.SomeOf(t.Of), "why", t.Text) //nolint:sloglint // one of two constants
		}
	}
	log("reading no longer paused", was, is)
	log("reading paused", is, was)
}

const (
	pauseRetry  = time.Second      // after the store did not answer
	pauseLookIn = 30 * time.Second // the longest wait before the end of a pause is looked at again
	pauseNoEnd  = time.Hour        // the same where no pause has an end
)

// watchPauses follows the pauses, and ends those whose time is past, until ctx
// ends.
func (c *Consumer) watchPauses(ctx context.Context) {
	if c.cfg.Pauses == nil {
		return
	}
	for ctx.Err() == nil {
		err := c.paused.refresh(ctx, c)
		set := c.paused.now()
		if err == nil {
			err = c.endPauses(ctx, set)
		}
		if err == nil {
			waiting, cancel := context.WithTimeout(ctx, c.untilPauseEnds(set))
			if err = c.cfg.Pauses.WaitPauses(waiting, set); waiting.Err() != nil {
				err = nil
			}
			cancel()
		}
		if err != nil && ctx.Err() == nil {
			c.log.Debug("pauses not read", "err", err)
			sleep(ctx, pauseRetry)
		}
	}
}

// untilPauseEnds returns how long to wait for changes before ends are looked at
// again.
func (c *Consumer) untilPauseEnds(set pauses.Set) time.Duration {
	wait, now := pauseNoEnd, c.clock.now()
	for _, p := range set {
		switch {
		case p.Until.IsZero():
		case now.IsZero():
			return pauseRetry
		default:
			wait = min(wait, pauseLookIn, max(p.Until.Sub(now), pauseRetry/10))
		}
	}
	return wait
}

// errNoneEnded: there is nothing to change.
var errNoneEnded = errors.New("no pause has ended")

// endPauses takes the pauses out of the store whose end is past by the stream's
// clock. Before that no process goes on; so it does not matter whose clock is
// how wrong.
func (c *Consumer) endPauses(ctx context.Context, set pauses.Set) error {
	now := c.clock.now()
	if _, ended := set.Past(now); ended == 0 {
		return nil
	}
	_, err := c.cfg.Pauses.ChangePauses(ctx, func(stored pauses.Set) (pauses.Set, error) {
		left, ended := stored.Past(now)
		if ended == 0 { // another process was faster, or an operator has moved the end
			return nil, errNoneEnded
		}
		return left, nil
	})
	if errors.Is(err, errNoneEnded) {
		err = nil
	}
	if err == nil {
		err = c.paused.refresh(ctx, c)
	}
	return err
}

// hold waits while the shard is paused. It returns an error if the term, or the
// worker, has ended. What was not committed is dropped, and read again: the
// pause may be long, and the memory is for others.
func (r *reader) hold() error {
	if r.cfg.Pauses == nil {
		return nil
	}
	r.batch, r.cursor, r.filtered, r.seen = batch{}, r.committed, 0, time.Time{}
	retry := backoff{first: 50 * time.Millisecond, most: 5 * time.Second}
	for {
		err := r.c.paused.refresh(r.reading, r.c)
		if r.reading.Err() != nil {
			return context.Cause(r.reading)
		}
		if err == nil {
			break
		}
		r.w.trouble(whyOf(err, trouble.StoreAway), isGrave(err))
		retry.pause(r.reading)
	}
	paused, changed := r.c.paused.of(r.w.shard)
	if !paused {
		return nil
	}
	r.w.fine()
	r.c.tracker.pause(r.w.shard, true)
	for paused {
		select {
		case <-changed:
			paused, changed = r.c.paused.of(r.w.shard)
		case <-r.reading.Done():
			return context.Cause(r.reading)
		}
	}
	r.c.tracker.pause(r.w.shard, false)
	return nil
}

// isHeld reports whether a commit failed because the shard is paused. The store
// may know of the pause sooner than this process, and of its end later.
func (r *reader) isHeld(err error) bool {
	if r.cfg.Pauses == nil || !errors.Is(err, pauses.ErrPaused) {
		return false
	}
	if r.c.paused.refresh(r.work, r.c) != nil {
		return false
	}
	paused, _ := r.c.paused.of(r.w.shard)
	return paused
}
