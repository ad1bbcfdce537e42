package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// heartbeat shows the others that this process is alive, and so keeps its
// leaderships.
type heartbeat struct {
	store   *Store
	trust   time.Duration   // a heartbeat or a won lease proves leadership for this long from when it began
	wake    storekit.Signal // for a heartbeat at once
	leaving atomic.Bool     // set by Close: nothing is won any more, and no heartbeat is written
	swept   time.Time       // of run: when processes that stopped without leaving were removed last

	mu     sync.Mutex
	last   time.Time                       // under mu: when the last heartbeat that succeeded began
	terms  map[gerritstream.ShardID]*term  // under mu: those that live
	taking map[gerritstream.ShardID]uint64 // under mu: terms whose leases are being taken
	tried  map[gerritstream.ShardID]uint64 // under mu: the last term number tried: none is tried twice
}

func newHeartbeat(s *Store) *heartbeat {
	return &heartbeat{
		store: s, trust: s.config.LeaseTTL - s.config.LeaseTTL/5, wake: storekit.NewSignal(),
		terms: map[gerritstream.ShardID]*term{}, taking: map[gerritstream.ShardID]uint64{},
		tried: map[gerritstream.ShardID]uint64{},
	}
}

// run writes a heartbeat five times within the TTL, and whenever woken.
func (h *heartbeat) run() {
	s := h.store
	tick := time.NewTicker(s.config.LeaseTTL / 5)
	defer tick.Stop()
	failed := false
	for {
		err := h.renew()
		if err != nil && !failed && s.life.Err() == nil && !h.leaving.Load() {
			s.log.Warn("cannot write heartbeat", "err", err)
		}
		failed = err != nil
		select {
		case <-tick.C:
		case <-h.wake:
		case <-s.life.Done():
			return
		}
	}
}

// beat is a heartbeat (of $1, $2, $3). The number grows with each one.
const beat = `INSERT INTO @.processes AS p (id, name, beat, ttl, beaten)
	SELECT $1::text, $2::text, 1, $3::bigint, clock_timestamp() WHERE true
	ON CONFLICT (id) DO UPDATE SET beat = p.beat + 1, beaten = excluded.beaten`

// beaten returns the arguments of beat, and others.
func (h *heartbeat) beaten(others ...any) []any {
	c := &h.store.config
	return append([]any{h.store.id, c.Process, c.LeaseTTL.Milliseconds()}, others...)
}

// renewal writes a heartbeat and for which shards ($4) this process is a
// candidate. It returns the leases that the process has, and how many
// candidacies were added or removed.
const renewal = `WITH b AS (` + beat + `),
	removed AS (DELETE FROM @.candidates WHERE process = $1 AND NOT shard = ANY ($4::text[]) RETURNING 1),
	added AS (INSERT INTO @.candidates (process, shard) SELECT $1, w.shard FROM unnest($4::text[]) w (shard)
		WHERE NOT EXISTS (SELECT FROM @.candidates c WHERE c.process = $1 AND c.shard = w.shard)
			AND NOT EXISTS (SELECT FROM @.leases l WHERE l.process = $1 AND l.shard = w.shard)
		ON CONFLICT DO NOTHING RETURNING 1)
	SELECT coalesce(l.shard, ''), coalesce(l.term, 0)
	FROM (SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM added)) n
		LEFT JOIN @.leases l ON l.process = $1`

// renew writes a heartbeat and for which shards the process is a candidate,
// frees the leases that it has and does not use, and ends terms whose leases
// others have.
func (h *heartbeat) renew() error {
	s, began := h.store, time.Now()
	if h.leaving.Load() {
		return errClosed
	}
	h.mu.Lock()
	live := maps.Clone(h.terms)
	h.mu.Unlock()
	// A connection that hangs must not cost the leaderships: there is time for
	// another one.
	ctx, cancel := context.WithTimeout(s.life, s.config.LeaseTTL/2)
	defer cancel()
	held := map[gerritstream.ShardID]uint64{}
	err := s.control.each(ctx, func(rows pgx.Rows) error {
		var shard gerritstream.ShardID
		var number uint64
		err := rows.Scan(&shard, &number)
		if shard != "" {
			held[shard] = number
		}
		return err
	}, renewal, h.beaten(s.watcher.waiting())...)
	if err != nil {
		return err
	}
	h.succeeded(began)
	for shard, t := range live {
		if held[shard] != t.number {
			t.finish(errTaken)
		}
	}
	if err := h.freeUnused(ctx, held); err != nil {
		return err
	}
	return h.forget(ctx)
}

// freeUnused frees the leases that this process has without a term that lives,
// whatever ended the term. Otherwise the process would keep them for as long as
// its heartbeat goes on, and nobody would lead.
func (h *heartbeat) freeUnused(ctx context.Context, held map[gerritstream.ShardID]uint64) error {
	var shards []string
	var numbers []int64
	for _, shard := range slices.Sorted(maps.Keys(held)) {
		if number := held[shard]; !h.uses(shard, number) {
			shards, numbers = append(shards, string(shard)), append(numbers, int64(number))
		}
	}
	if len(shards) == 0 {
		return nil
	}
	err := h.store.control.write(ctx, func(b *batch) { b.exec(freeLeases, h.store.id, shards, numbers) })
	if err == nil {
		h.store.watcher.wake.Set()
	}
	return err
}

// freeLeases frees the leases that this process ($1) still has in these terms.
const freeLeases = `UPDATE @.leases l SET process = '' FROM unnest($2::text[], $3::bigint[]) u (shard, term)
	WHERE l.shard = u.shard AND l.term = u.term AND l.process = $1`

const (
	// forgetAfter is when the row of a process that stopped without leaving is
	// removed.
	forgetAfter = time.Hour
	forgetEvery = time.Minute
)

// forget removes, now and then, the processes that stopped without leaving.
func (h *heartbeat) forget(ctx context.Context) error {
	if time.Since(h.swept) < forgetEvery {
		return nil
	}
	h.swept = time.Now()
	return h.store.control.write(ctx, func(b *batch) {
		b.exec(`DELETE FROM @.processes WHERE beaten < clock_timestamp() - $1 * interval '1 second' AND id <> $2
			AND id NOT IN (SELECT process FROM @.leases)`, int64(forgetAfter/time.Second), h.store.id)
	})
}

// uses reports whether a term of this process lives or is about to: that was
// noted before its lease was written.
func (h *heartbeat) uses(shard gerritstream.ShardID, number uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.terms[shard]
	return t != nil && t.number == number || h.taking[shard] == number
}

// wins reports whether this process leads the shard, or is taking its lease.
func (h *heartbeat) wins(shard gerritstream.ShardID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.terms[shard] != nil || h.taking[shard] != 0
}

// leads reports whether this process has a term of a shard.
func (h *heartbeat) leads(shard gerritstream.ShardID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.terms[shard] != nil
}

// succeeded notes when a heartbeat that succeeded had begun.
func (h *heartbeat) succeeded(began time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if began.After(h.last) {
		h.last = began
	}
}

// guard ends terms that can no longer be trusted: other processes may have
// taken their leases.
func (h *heartbeat) guard() {
	for wait := h.trust; storekit.Sleep(h.store.life, wait); {
		var over []*term
		wait = h.trust
		h.mu.Lock()
		for _, t := range h.terms {
			proof := t.began
			if h.last.After(proof) {
				proof = h.last
			}
			if left := h.trust - time.Since(proof); left <= 0 {
				over = append(over, t)
			} else {
				wait = min(wait, left)
			}
		}
		h.mu.Unlock()
		for _, t := range over {
			t.finish(fmt.Errorf("no heartbeat succeeded for %v", h.trust))
		}
	}
}

// endAll ends all terms of the process.
func (h *heartbeat) endAll(why error) {
	h.mu.Lock()
	terms := slices.Collect(maps.Values(h.terms))
	h.mu.Unlock()
	for _, t := range terms {
		t.finish(why)
	}
}
