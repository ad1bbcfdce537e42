package lease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

var (
	// ErrChanged says that a lease is not as it was seen.
	ErrChanged = errors.New("another candidate was faster")

	// ErrUnknownOutcome says that something may have been written or not.
	ErrUnknownOutcome = errors.New("unknown whether it was written")

	errWithdrawn = errors.New("the candidacy was withdrawn")
)

// Take writes that a term has its lease, if that is still as it was seen, and
// that the process is no candidate for it any more; with a heartbeat.
// ErrChanged, ErrRetryLater and ErrUnknownOutcome: it is tried again, in a
// later term. Any other error ends the campaign. Whatever the error is, the
// process may have the lease or not: the heartbeat frees it if it does.
type Take func(t *Term, seen Lease) error

// candidacy is one Campaign under way.
type candidacy struct {
	shard gerritstream.ShardID
	take  Take
	done  chan struct{} // closed when it was decided

	// Under Watcher.mu:
	decided bool // the Campaign has its result, or was withdrawn
	term    *Term
	err     error
	waits   bool // it could not win at once: the database is to have it as a candidate
}

// Campaign waits for a term of a shard.
func (w *Watcher) Campaign(ctx context.Context, shard gerritstream.ShardID, take Take) (*Term, error) {
	c, life := &candidacy{shard: shard, take: take, done: make(chan struct{})}, w.config.Life
	w.mu.Lock()
	w.candidacies = append(w.candidacies, c)
	w.mu.Unlock()
	w.wake.Set()
	select {
	case <-c.done:
	case <-ctx.Done():
	case <-life.Done():
	}
	w.decide(c, nil, nil) // withdrawn, unless it has a result
	err := c.err
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && life.Err() != nil {
		err = context.Cause(life)
	}
	if err == nil {
		return c.term, nil
	}
	if c.term != nil {
		c.term.Finish(errWithdrawn)
	}
	return nil, err
}

// decide ends a candidacy with a term, an error, or, when it is withdrawn,
// neither. If it was decided before, a term that was won nevertheless ends.
func (w *Watcher) decide(c *candidacy, t *Term, err error) {
	w.mu.Lock()
	first := !c.decided
	if first {
		c.decided, c.term, c.err = true, t, err
		close(c.done)
		w.candidacies = without(w.candidacies, c)
	}
	listed := w.listed[c.shard]
	w.mu.Unlock()
	if listed {
		w.heartbeat.wake.Set()
	}
	if !first && t != nil {
		t.Finish(errWithdrawn)
	}
}

// takeLeases takes the leases that may be taken, for the oldest candidacy of
// each shard, all at once. The other candidacies wait.
func (w *Watcher) takeLeases(candidacies []*candidacy, now time.Time) {
	var takes sync.WaitGroup
	taking, news := map[gerritstream.ShardID]bool{}, false
	for _, c := range candidacies {
		seen, leading := w.leases[c.shard], w.heartbeat.leads(c.shard)
		if taking[c.shard] || !seen.mayTake(w.config.Process, leading, w.preceded(c.shard, now), now) {
			w.mu.Lock()
			news = news || !c.waits && !c.decided
			c.waits = true
			w.mu.Unlock()
			continue
		}
		taking[c.shard] = true
		takes.Go(func() { w.take(c, seen.lease) })
	}
	takes.Wait()
	if news {
		w.heartbeat.wake.Set() // writes the candidates
	}
}

// preceded reports whether another live process is before this one among the
// candidates for a shard.
func (w *Watcher) preceded(shard gerritstream.ShardID, now time.Time) bool {
	for _, id := range w.state.Candidates[shard] {
		if id == w.config.Process {
			return false
		}
		if w.liveness.alive(id, now) {
			return true
		}
	}
	return false
}

// take tries to win a lease that was seen free or expired, and decides the
// candidacy if it did, or cannot.
func (w *Watcher) take(c *candidacy, seen Lease) {
	h := w.heartbeat
	t, err := h.take(c.shard, seen.Term, func(t *Term) error { return c.take(t, seen) })
	switch {
	case err == nil:
		w.config.Log.Debug("won leadership", "shard", c.shard, "term", t.Number)
		w.decide(c, t, nil)
	case errors.Is(err, ErrChanged):
		w.wake.Set()
	case errors.Is(err, gerritstream.ErrRetryLater): // the next look tries again
	case errors.Is(err, ErrUnknownOutcome):
		h.wake.Set() // to free the lease, should the process have it
	default:
		h.wake.Set()
		w.decide(c, nil, err)
	}
}

// waiting is the Waiting of the heartbeat.
func (w *Watcher) waiting() (keep, add []gerritstream.ShardID) {
	waiting := map[gerritstream.ShardID]bool{}
	w.mu.Lock()
	for _, c := range w.candidacies {
		if c.waits {
			waiting[c.shard] = true
		}
	}
	w.listed = waiting // if this is not written after all, the next heartbeat does it
	w.mu.Unlock()
	for _, shard := range slices.Sorted(maps.Keys(waiting)) {
		keep = append(keep, shard)
		if !w.heartbeat.wins(shard) { // one that has just taken the lease is not decided yet
			add = append(add, shard)
		}
	}
	return keep, add
}
