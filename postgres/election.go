package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
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
	epoch int                  // anyEpoch: of no stream
	shard gerritstream.ShardID // of a consumer: storekit.ConsumerLease

	// enter adds to the transaction that takes the lease, after that, what
	// reads where the term begins. entered is called once all of it has been
	// read, and may refuse; the lease is freed then.
	enter   func(*term, *batch)
	entered func(*term) error

	done chan struct{} // closed when it was decided

	decided bool // the Campaign has its result, or was withdrawn
	term    *term
	err     error
	waits   bool // it could not win at once: the schema is to have it as a candidate
}

// anyEpoch is never over.
const anyEpoch = math.MaxInt32

// Campaign implements gerritstream.Store.
func (s *Store) Campaign(ctx context.Context, epoch int, shard gerritstream.ShardID) (gerritstream.Term, error) {
	begin := &beginning{}
	t, err := s.campaign(ctx, &candidacy{epoch: epoch, shard: shard, enter: begin.read, entered: begin.entered})
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
		return t.take(seen, c)
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

// takeLease takes a lease ($4) in a term ($5) if it still is as it was seen,
// with the term, the process and its heartbeat ($6 to $8; a term of 0: there
// was none), and the epoch ($9) is not over. With it comes a heartbeat, and the
// end of the candidacy. Whatever lock it waits for, it compares what is stored
// then.
//
// A heartbeat that the former holder writes at this very moment may be missed.
// That is no matter: its lease was left alone for its time to live, and the
// fence tells it.
const takeLease = `WITH w AS (INSERT INTO @.leases AS l (shard, term, process) SELECT $4::text, $5::bigint, $1
			WHERE $9::integer >= ` + currentEpoch + ` AND
				($6::bigint = 0 OR EXISTS (SELECT FROM @.leases h WHERE h.shard = $4))
			ON CONFLICT (shard) DO UPDATE SET term = excluded.term, process = excluded.process
			WHERE l.term = $6 AND l.process = $7::text
				AND coalesce((SELECT beat FROM @.processes WHERE id = $7), 0) = $8::bigint
			RETURNING l.shard),
		b AS (` + beatOfWinner + `),
		c AS (DELETE FROM @.candidates WHERE process = $1 AND shard IN (SELECT shard FROM w))
	SELECT shard FROM w`

// beatOfWinner is beat for takeLease.
const beatOfWinner = `INSERT INTO @.processes AS p (id, name, beat, ttl, beaten)
	SELECT $1::text, $2::text, 1, $3::bigint, clock_timestamp() FROM w
	ON CONFLICT (id) DO UPDATE SET beat = p.beat + 1, beaten = excluded.beaten`

// take writes that the term has the lease, if that is still as it was seen, and
// reads where the term begins: the former holder has finished by then.
func (t *term) take(seen lease.Lease, c *candidacy) error {
	s := t.store
	won, epoch := false, 0
	err := s.write(s.life, storekit.PointCampaign, func(b *batch) {
		won = false
		b.get([]any{new(string)}, func() { won = true }, takeLease, s.beaten(string(t.shard),
			int64(t.held.Number), int64(seen.Term), seen.Process, int64(seen.Heartbeat), t.epoch)...)
		b.get([]any{&epoch}, nil, `SELECT `+currentEpoch)
		c.enter(t, b)
	})
	if err == nil && !won {
		if err = storekit.CheckEpoch(t.epoch, epoch); err == nil {
			err = errLeaseChanged
		}
	}
	if err == nil {
		err = c.entered(t)
	}
	return err
}

// beginning is where a term of a shard begins.
type beginning struct {
	raw   []byte
	nonce string
	found bool
}

func (o *beginning) read(t *term, b *batch) {
	o.found = false
	b.get([]any{&o.raw, &o.nonce}, func() { o.found = true },
		`SELECT position, nonce FROM @.positions WHERE epoch = $1 AND shard = $2`, t.epoch, string(t.shard))
}

func (o *beginning) entered(t *term) (err error) {
	if !o.found {
		return nil
	}
	t.nonce = o.nonce
	t.beginning.Stored = true
	if t.beginning.Position, err = storekit.ReadPosition(o.raw); err != nil {
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
