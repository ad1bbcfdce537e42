package sqlite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// candidacy is one Campaign under way.
type candidacy struct {
	epoch     int
	shard     gerritstream.ShardID
	result    chan result // of capacity 1
	withdrawn bool        // under Store.mu
	waits     bool        // under Store.mu: it could not win at once, and stands in the line
}

type result struct {
	term *term
	err  error
}

// Campaign implements gerritstream.Store.
func (s *Store) Campaign(ctx context.Context, epoch int, shard gerritstream.ShardID) (gerritstream.Term, error) {
	c := &candidacy{epoch: epoch, shard: shard, result: make(chan result, 1)}
	s.mu.Lock()
	s.candidacies = append(s.candidacies, c)
	s.mu.Unlock()
	s.wakeWatcher.Set()
	var err error
	select {
	case r := <-c.result:
		if r.err == nil && ctx.Err() == nil {
			return r.term, nil
		}
		if err = r.err; err == nil {
			r.term.finish(errResigned)
			err = ctx.Err()
		}
	case <-ctx.Done():
		s.withdraw(c)
		err = ctx.Err()
	case <-s.condemned:
		s.withdraw(c)
		err = s.fate()
	case <-s.stop:
		err = errClosed
	}
	return nil, fmt.Errorf("campaign for %s: %w", shard, err)
}

// withdraw ends a candidacy whose caller waits no more. A term that was won
// meanwhile ends.
func (s *Store) withdraw(c *candidacy) {
	s.mu.Lock()
	c.withdrawn = true
	s.candidacies = slices.DeleteFunc(s.candidacies, func(o *candidacy) bool { return o == c })
	lined := s.lined[c.shard]
	s.mu.Unlock()
	if lined {
		s.wakeKeeper.Set()
	}
	select {
	case r := <-c.result:
		if r.term != nil {
			r.term.finish(errResigned)
		}
	default:
	}
}

// deliver gives a candidacy its result. A term that nobody waits for any more
// ends.
func (s *Store) deliver(c *candidacy, r result) {
	s.mu.Lock()
	withdrawn := c.withdrawn
	if !withdrawn {
		c.result <- r
		s.candidacies = slices.DeleteFunc(s.candidacies, func(o *candidacy) bool { return o == c })
	}
	lined := s.lined[c.shard]
	s.mu.Unlock()
	if lined {
		s.wakeKeeper.Set()
	}
	if withdrawn && r.term != nil {
		r.term.finish(errResigned)
	}
}

// lease is a shard's lease as it was read.
type lease struct {
	term    uint64
	process string // empty: free
	beat    uint64 // of that process
}

// sighting is a lease and since when it has been seen just so. A process' beats
// grow, so that seeing one twice means that there was none between.
type sighting struct {
	lease
	since time.Time
	ttl   time.Duration // the longer one of the holder's and the candidate's
}

// sight notes what was read, at a moment not later than now.
func sight(old sighting, seen lease, ttl time.Duration, now time.Time) sighting {
	if old.lease == seen && !old.since.IsZero() {
		return sighting{seen, old.since, ttl}
	}
	return sighting{seen, now, ttl}
}

// mayTake tells whether a candidate of the process self may take a lease.
// leading: that process has a term on it. behind: another that is alive stands
// before it in the line, and is left a TTL to take it. now is not later than
// the moment at which the lease was last read.
func (l sighting) mayTake(self string, leading, behind bool, now time.Time) bool {
	var patience time.Duration
	switch l.process {
	case "", self: // free, or of a term of ours that ended
		if leading {
			return false
		}
	default:
		patience = l.ttl
	}
	if behind {
		patience += l.ttl
	}
	return now.Sub(l.since) >= patience
}
