package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// candidacy is one Campaign under way, or one wait for the lease of a consumer.
// watcher.mu guards all below done.
type candidacy struct {
	epoch int
	shard gerritstream.ShardID            // of a consumer: storekit.ConsumerLease
	enter func(*term, *transaction) error // checks in the transaction that takes the lease, and reads
	done  chan struct{}                   // closed when it was decided

	decided bool // the Campaign has its result, or was withdrawn
	term    *term
	err     error
	waits   bool // it could not win at once: the file is to have it as a candidate
}

// Campaign implements gerritstream.Store.
func (s *Store) Campaign(ctx context.Context, epoch int, shard gerritstream.ShardID) (gerritstream.Term, error) {
	t, err := s.campaign(ctx, &candidacy{epoch: epoch, shard: shard, enter: (*term).readBeginning})
	if err != nil {
		return nil, fmt.Errorf("campaign for %s: %w", shard, err)
	}
	return t, nil
}

// campaign waits for a candidacy's term.
func (s *Store) campaign(ctx context.Context, c *candidacy) (*term, error) {
	w := s.watcher
	c.done = make(chan struct{})
	w.mu.Lock()
	w.candidacies = append(w.candidacies, c)
	w.mu.Unlock()
	w.wake.Set()
	select {
	case <-c.done:
	case <-ctx.Done():
	case <-s.life.Done():
	}
	w.decide(c, nil, nil) // withdrawn, unless it has a result
	err := c.err
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && s.life.Err() != nil {
		err = context.Cause(s.life)
	}
	if err == nil {
		return c.term, nil
	}
	if c.term != nil {
		c.term.held.Finish(errWithdrawn)
	}
	return nil, err
}

// errWithdrawn: nobody waits for the term any more.
var errWithdrawn = errors.New("the candidacy was withdrawn")

// decide ends a candidacy with a term, an error, or, when it is withdrawn,
// neither. If it was decided before, a term that was won nevertheless ends.
func (w *watcher) decide(c *candidacy, t *term, err error) {
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
		w.store.heartbeat.Wake()
	}
	if !first && t != nil {
		t.held.Finish(errWithdrawn)
	}
}

// takeLeases takes the leases that may be taken, for the oldest candidacy of
// each shard, all at once. The other candidacies wait.
func (w *watcher) takeLeases(candidacies []*candidacy, now time.Time) {
	var takes sync.WaitGroup
	taking, news := map[gerritstream.ShardID]bool{}, false
	for _, c := range candidacies {
		seen, leading := w.leases[c.shard], w.store.heartbeat.Leads(c.shard)
		if taking[c.shard] || !seen.MayTake(w.store.id, leading, w.preceded(c.shard, now), now) {
			w.mu.Lock()
			news = news || !c.waits && !c.decided
			c.waits = true
			w.mu.Unlock()
			continue
		}
		taking[c.shard] = true
		takes.Go(func() { w.take(c, seen.Lease) })
	}
	takes.Wait()
	if news {
		w.store.heartbeat.Wake() // writes the candidates
	}
}

// preceded reports whether another live process is before this one among the
// candidates for a shard.
func (w *watcher) preceded(shard gerritstream.ShardID, now time.Time) bool {
	for _, id := range w.seen.candidates[shard] {
		if id == w.store.id {
			return false
		}
		if w.store.liveness.Alive(id, now) {
			return true
		}
	}
	return false
}

// errLeaseChanged: the lease is not as it was seen.
var errLeaseChanged = errors.New("another candidate was faster")

// take tries to win a lease that was seen free or expired, and decides the
// candidacy if it did, or cannot.
func (w *watcher) take(c *candidacy, seen lease.Lease) {
	s, h := w.store, w.store.heartbeat
	t := &term{store: s, epoch: c.epoch, shard: c.shard}
	_, err := h.Take(c.shard, seen.Term, func(held *lease.Term) error {
		t.held = held
		return s.writer.write(context.Background(), storekit.PointCampaign, func(tx *transaction) error {
			return t.take(tx, seen, c.enter)
		})
	})
	switch {
	case err == nil:
		s.log.Debug("won leadership", "shard", c.shard, "term", t.held.Number)
		w.decide(c, t, nil)
	case errors.Is(err, errLeaseChanged):
		w.wake.Set()
	case errors.Is(err, gerritstream.ErrRetryLater): // the next look tries again
	case errors.Is(err, errUnknownOutcome):
		h.Wake() // to free the lease, should the process have it
	default:
		h.Wake()
		w.decide(c, nil, err)
	}
}

// take writes that the term has the lease, if that is still as it was seen.
func (t *term) take(tx *transaction, seen lease.Lease, enter func(*term, *transaction) error) error {
	var now lease.Lease
	_, err := get(context.Background(), tx, []any{&now.Term, &now.Process, &now.Heartbeat},
		`SELECT l.term, l.process, coalesce(p.beat, 0)
		FROM leases l LEFT JOIN processes p ON p.id = l.process WHERE l.shard = ?`, t.shard)
	if err != nil {
		return err
	}
	if now != seen {
		return errLeaseChanged
	}
	if err := enter(t, tx); err != nil {
		return err
	}
	if err := t.store.beat(tx); err != nil {
		return err
	}
	if err := tx.exec(removeCandidate, t.store.id, t.shard); err != nil {
		return err
	}
	return tx.exec(`INSERT INTO leases (shard, term, process) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET term = excluded.term, process = excluded.process`, t.shard, t.held.Number, t.store.id)
}

// readBeginning reads where a term of a shard begins.
func (t *term) readBeginning(tx *transaction) (err error) {
	if err := checkEpoch(tx, t.epoch); err != nil {
		return err
	}
	b := &t.beginning
	if b.Position, b.Stored, err = readPosition(context.Background(), tx, t.epoch, t.shard); err != nil {
		return fmt.Errorf("read position of %s: %w", t.shard, err)
	}
	return nil
}

// waiting is a lease.Waiting.
func (w *watcher) waiting() (keep, add []gerritstream.ShardID) {
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
		if !w.store.heartbeat.Wins(shard) { // one that has just taken the lease is not decided yet
			add = append(add, shard)
		}
	}
	return keep, add
}
