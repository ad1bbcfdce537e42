package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// forgetAfter is when the row of a process that stopped without leaving is
// removed.
const forgetAfter = time.Hour

// heartbeat shows the others that this process is alive, and so keeps its
// leaderships.
type heartbeat struct {
	store   *Store
	trust   time.Duration   // a heartbeat or a won lease proves leadership for this long from when it began
	wake    storekit.Signal // for a heartbeat at once
	count   uint64          // of the writer: the heartbeats written
	leaving atomic.Bool     // set by Close: nothing is won any more, and no heartbeat is written

	mu     sync.Mutex
	last   time.Time                       // under mu: when the last heartbeat that succeeded began
	fault  error                           // under mu: why none has succeeded since; nil: the last one did
	terms  map[gerritstream.ShardID]*term  // under mu: those that live
	taking map[gerritstream.ShardID]uint64 // under mu: terms whose leases are being taken
	tried  map[gerritstream.ShardID]uint64 // under mu: the last term number tried: none is tried twice
}

// run writes a heartbeat five times within the TTL, and whenever woken.
func (h *heartbeat) run() {
	s := h.store
	tick := time.NewTicker(s.config.LeaseTTL / 5)
	defer tick.Stop()
	failed := false
	for {
		err := s.check()
		if err == nil {
			err = h.renew()
		}
		if err != nil && !failed && s.life.Err() == nil && !h.leaving.Load() {
			s.log.Warn("cannot write heartbeat", "err", err)
		}
		failed = err != nil
		h.failed(err)
		select {
		case <-tick.C:
		case <-h.wake:
		case <-s.life.Done():
			return
		}
	}
}

// renew writes a heartbeat and for which shards the process is a candidate,
// frees the leases that it has and does not use, and ends terms whose leases
// others have.
func (h *heartbeat) renew() error {
	s, began := h.store, time.Now()
	h.mu.Lock()
	live := maps.Clone(h.terms)
	h.mu.Unlock()
	var held map[gerritstream.ShardID]uint64
	var freed, listed bool
	err := s.writer.doUrgent(func(tx *transaction) (err error) {
		if err := h.write(tx); err != nil {
			return err
		}
		if listed, err = s.watcher.writeCandidates(tx); err != nil {
			return err
		}
		held = map[gerritstream.ShardID]uint64{}
		err = each(context.Background(), tx, func(rows *sql.Rows) error {
			var shard gerritstream.ShardID
			var number uint64
			err := rows.Scan(&shard, &number)
			held[shard] = number
			return err
		}, `SELECT shard, term FROM leases WHERE process = ?`, s.id)
		if err != nil {
			return err
		}
		freed, err = h.freeUnused(tx, held)
		return err
	})
	if err != nil {
		return err
	}
	h.succeeded(began)
	if freed {
		s.watcher.wake.Set()
	}
	if freed || listed {
		s.touches.touch()
	}
	for shard, t := range live {
		if held[shard] != t.number {
			t.finish(errTaken)
		}
	}
	return nil
}

// write writes a heartbeat. It is part of everything that adds the process to
// the file, so that nothing does once the process has left.
func (h *heartbeat) write(tx *transaction) error {
	s := h.store
	if h.leaving.Load() {
		return errClosed
	}
	now := s.config.Now()
	forgotten, err := tx.change(`DELETE FROM processes
		WHERE beaten < ? AND id <> ? AND id NOT IN (SELECT process FROM leases)`,
		now.Add(-forgetAfter).UnixMilli(), s.id)
	if err == nil && forgotten > 0 {
		err = tx.exec(`DELETE FROM candidates WHERE process NOT IN (SELECT id FROM processes)`)
	}
	if err != nil {
		return err
	}
	h.count++
	return tx.exec(`INSERT INTO processes (id, name, beat, ttl, beaten) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET beat = excluded.beat, beaten = excluded.beaten`,
		s.id, s.config.Process, h.count, s.config.LeaseTTL.Milliseconds(), now.UnixMilli())
}

// freeUnused frees the leases that this process has without a term that lives,
// whatever ended the term. Otherwise the process would keep them for as long as
// its heartbeat goes on, and nobody would lead.
func (h *heartbeat) freeUnused(tx *transaction, held map[gerritstream.ShardID]uint64) (freed bool, err error) {
	for shard, number := range held {
		if h.uses(shard, number) {
			continue
		}
		if err := tx.exec(freeLease, shard, number, h.store.id); err != nil {
			return freed, err
		}
		freed = true
	}
	return freed, nil
}

// freeLease frees a lease if this process still has it in this term.
const freeLease = `UPDATE leases SET process = '' WHERE shard = ? AND term = ? AND process = ?`

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

// failed notes why the last heartbeat was not written; nil: it was.
func (h *heartbeat) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = err
}

// check returns an error if this process cannot write to the file, for so long
// that it has lost its leaderships by that.
func (h *heartbeat) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault == nil || h.leaving.Load() || time.Since(h.last) < h.trust {
		return nil
	}
	return fmt.Errorf("cannot write heartbeat: %w", h.fault)
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
