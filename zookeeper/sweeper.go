package zookeeper

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream/internal/storekit"
)

// sweeper removes the lock nodes that this process no longer answers for: they
// would keep every other process from leading their shards for as long as this
// session lives.
type sweeper struct {
	wake storekit.Signal

	mu      sync.Mutex
	orphans []*orphan // under mu
}

// orphan is a lock node that may still be there, or may yet appear.
type orphan struct {
	session *session
	root    string
	name    string // of the candidacy
	since   time.Time
}

const (
	sweepEvery = 2 * time.Second

	// sweepFor is for how long an absent orphan is looked for: a request whose
	// connection was lost is carried out within moments or never.
	sweepFor = 10 * time.Second
)

// add has a lock node removed.
func (w *sweeper) add(sess *session, root, name string) {
	w.mu.Lock()
	w.orphans = append(w.orphans, &orphan{sess, root, name, time.Now()})
	w.mu.Unlock()
	w.wake.Set()
}

// forget drops orphans that will not come again.
func (w *sweeper) forget(gone func(*orphan) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orphans = slices.DeleteFunc(w.orphans, gone)
}

// sweep removes orphans until Close. Those of a session that is over are gone
// already.
func (s *Store) sweep() {
	w := &s.sweeper
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.wake:
		case <-s.life.ctx.Done():
			return
		}
		w.mu.Lock()
		orphans := slices.Clone(w.orphans)
		w.mu.Unlock()
		for _, o := range orphans {
			if !o.session.isOver() {
				ctx, cancel := context.WithTimeout(s.life.ctx, callPatience)
				err := o.session.removeLockNodes(ctx, o.root, o.name)
				cancel()
				if err != nil || time.Since(o.since) <= sweepFor {
					continue
				}
			}
			w.forget(func(p *orphan) bool { return p == o })
		}
	}
}

// removeLockNodes removes the lock nodes of a candidacy.
func (sess *session) removeLockNodes(ctx context.Context, root, name string) error {
	children, err := sess.children(ctx, root)
	if err != nil {
		return err
	}
	for _, c := range candidatesOf(children) {
		if c.candidacy() == name {
			if err := sess.remove(ctx, root+"/"+c.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepStale has the sweeper remove the stale lock nodes among candidates.
// There should be none, but one would keep the shard from every process for as
// long as this one lives.
func (s *Store) sweepStale(sess *session, root string, candidates []candidate) {
	for _, c := range s.staleNodes(candidates) {
		name := c.candidacy()
		s.sweeper.mu.Lock()
		known := slices.ContainsFunc(s.sweeper.orphans, func(o *orphan) bool { return o.name == name })
		s.sweeper.mu.Unlock()
		if !known {
			s.log.Debug("lock node of no live candidacy", "node", root+"/"+c.name)
			s.sweeper.add(sess, root, name)
		}
	}
}

// staleNodes returns the lock nodes of this process that belong to no live
// candidacy.
func (s *Store) staleNodes(candidates []candidate) (stale []candidate) {
	l := &s.leaderships
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range candidates {
		if c.process() == s.process && !l.candidacies[c.candidacy()] {
			stale = append(stale, c)
		}
	}
	return stale
}
