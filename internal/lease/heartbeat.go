package lease

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Heartbeat shows the others that this process is alive, and so keeps its
// leaderships. Several goroutines may call its methods at once.
type Heartbeat struct {
	config  Config
	watcher *Watcher
	trust   time.Duration   // a heartbeat or a won lease proves leadership for this long from when it began
	wake    storekit.Signal // for a heartbeat at once

	mu     sync.Mutex
	left   error                           // under mu: why nothing is won any more, and no heartbeat is written
	last   time.Time                       // under mu: when the last heartbeat that succeeded began
	fault  error                           // under mu: why none has succeeded since; nil: the last one did
	terms  map[gerritstream.ShardID]*Term  // under mu: those that live
	taking map[gerritstream.ShardID]uint64 // under mu: terms whose leases are being taken
	tried  map[gerritstream.ShardID]uint64 // under mu: the last term number tried: none is tried twice
}

// Run writes a heartbeat five times within the TTL, and whenever woken, for the
// life of the store. It ends terms that can no longer be trusted.
func (h *Heartbeat) Run() {
	var guard sync.WaitGroup
	guard.Go(h.guard)
	defer guard.Wait()
	life, failed := h.config.Life, false
	tick := time.NewTicker(h.config.TTL / 5)
	defer tick.Stop()
	for {
		err := h.Renew()
		if err != nil && !failed && life.Err() == nil && !h.Leaving() {
			h.config.Log.Warn("cannot write heartbeat", "err", err)
		}
		failed = err != nil
		h.failed(err)
		select {
		case <-tick.C:
		case <-h.wake:
		case <-life.Done():
			return
		}
	}
}

// Wake has a heartbeat written at once.
func (h *Heartbeat) Wake() { h.wake.Set() }

// Renew writes a heartbeat and for which shards the process is a candidate,
// ends terms whose leases others have, and frees the leases that the process
// has and does not use.
func (h *Heartbeat) Renew() error {
	began := time.Now()
	h.mu.Lock()
	live := maps.Clone(h.terms)
	h.mu.Unlock()
	// A connection that hangs must not cost the leaderships: there is time for
	// another one.
	ctx, cancel := context.WithTimeout(h.config.Life, h.config.TTL/2)
	defer cancel()
	held, err := h.config.Database.Beat(ctx, h.watcher.waiting)
	if err != nil {
		return err
	}
	h.succeeded(began)
	for shard, t := range live {
		if held[shard] != t.Number {
			t.Finish(ErrTaken)
		}
	}
	return h.freeUnused(ctx, held)
}

// freeUnused frees the leases that this process has without a term that lives,
// whatever ended the term. Otherwise the process would keep them for as long as
// its heartbeat goes on, and nobody would lead.
func (h *Heartbeat) freeUnused(ctx context.Context, held map[gerritstream.ShardID]uint64) error {
	unused := map[gerritstream.ShardID]uint64{}
	for shard, number := range held {
		if !h.uses(shard, number) {
			unused[shard] = number
		}
	}
	if len(unused) == 0 {
		return nil
	}
	err := h.config.Database.Free(ctx, unused)
	if err == nil {
		h.watcher.wake.Set()
	}
	return err
}

// uses reports whether a term of this process lives or is about to: that was
// noted before its lease was written.
func (h *Heartbeat) uses(shard gerritstream.ShardID, number uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.terms[shard]
	return t != nil && t.Number == number || h.taking[shard] == number
}

// take begins a term after one that was seen. take writes that the term has the
// lease; if it returns an error, the process may have the lease or not, and
// the heartbeat frees it if it does.
func (h *Heartbeat) take(shard gerritstream.ShardID, seen uint64, take func(*Term) error) (*Term, error) {
	t := &Term{heartbeat: h, shard: shard, began: time.Now()}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	h.mu.Lock()
	if h.left != nil {
		defer h.mu.Unlock()
		return nil, h.left
	}
	t.Number = max(seen, h.tried[shard]) + 1
	h.tried[shard], h.taking[shard] = t.Number, t.Number
	h.mu.Unlock()
	err := take(t)
	h.mu.Lock()
	delete(h.taking, shard)
	if err == nil {
		err = h.left
	}
	if err == nil {
		h.terms[shard] = t
	}
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	h.succeeded(t.began)
	return t, nil
}

// wins reports whether this process leads the shard, or is taking its lease.
func (h *Heartbeat) wins(shard gerritstream.ShardID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.terms[shard] != nil || h.taking[shard] != 0
}

// leads reports whether this process has a term of a shard.
func (h *Heartbeat) leads(shard gerritstream.ShardID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.terms[shard] != nil
}

// Idle reports whether this process has no term.
func (h *Heartbeat) Idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.terms) == 0
}

// succeeded notes when a heartbeat that succeeded had begun.
func (h *Heartbeat) succeeded(began time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if began.After(h.last) {
		h.last = began
	}
}

// failed notes why the last heartbeat was not written; nil: it was.
func (h *Heartbeat) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = err
}

// Check returns an error if this process cannot write heartbeats, for so long
// that it has lost its leaderships by that.
func (h *Heartbeat) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault == nil || h.left != nil || time.Since(h.last) < h.trust {
		return nil
	}
	return fmt.Errorf("cannot write heartbeat: %w", h.fault)
}

// guard ends terms that can no longer be trusted: other processes may have
// taken their leases.
func (h *Heartbeat) guard() {
	for wait := h.trust; storekit.Sleep(h.config.Life, wait); {
		var over []*Term
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
			t.Finish(fmt.Errorf("no heartbeat succeeded for %v", h.trust))
		}
	}
}

// Leave ends all terms for good. The store then writes no heartbeat any more,
// nor anything else that makes the process one of the group.
func (h *Heartbeat) Leave(why error) {
	h.mu.Lock()
	h.left = why
	h.mu.Unlock()
	h.EndAll(why)
}

// Leaving reports whether the process leaves, or has left.
func (h *Heartbeat) Leaving() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.left != nil
}

// EndAll ends all terms of the process.
func (h *Heartbeat) EndAll(why error) {
	h.mu.Lock()
	terms := slices.Collect(maps.Values(h.terms))
	h.mu.Unlock()
	for _, t := range terms {
		t.Finish(why)
	}
}
