package zookeeper

import (
	"context"
	"slices"
	"time"
)

// orphan is a lock node that nobody answers for any more and that may still be
// there, or may yet appear: it would keep everybody else from leading the shard
// for as long as the session lives.
type orphan struct {
	session *session
	root    string
	name    string    // of the candidacy
	since   time.Time // when nobody answered for it any more
}

const (
	sweepEvery = 2 * time.Second

	// sweepFor is for how long an orphan is looked for after it was not there:
	// a request whose connection was lost is carried out within moments or
	// never.
	sweepFor = 10 * time.Second
)

// orphan has the sweeper remove a lock node.
func (s *Store) addOrphan(sess *session, root, name string) {
	s.mu.Lock()
	s.orphans = append(s.orphans, &orphan{sess, root, name, time.Now()})
	s.mu.Unlock()
	wake(s.wakeSweeper)
}

// sweep removes orphans until Close. Those of a session that is over have gone
// with it.
func (s *Store) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.wakeSweeper:
		case <-s.stop:
			return
		}
		s.mu.Lock()
		orphans := slices.Clone(s.orphans)
		s.mu.Unlock()
		for _, o := range orphans {
			if s.removeOrphan(o) {
				s.mu.Lock()
				s.orphans = slices.DeleteFunc(s.orphans, func(p *orphan) bool { return p == o })
				s.mu.Unlock()
			}
		}
	}
}

// swept removes an orphan and tells whether that was the last of it.
func (s *Store) removeOrphan(o *orphan) bool {
	if o.session.isOver() {
		return true
	}
	ctx, cancel := context.WithTimeout(s.life, callPatience)
	defer cancel()
	err := s.removeNodes(ctx, o.session, o.root, o.name)
	return err == nil && time.Since(o.since) > sweepFor
}

// removeNodes removes the lock nodes of a candidacy.
func (s *Store) removeNodes(ctx context.Context, sess *session, root, name string) error {
	children, err := sess.children(ctx, root)
	if err != nil {
		return err
	}
	for _, c := range candidatesOf(children) {
		if c.candidacy() != name {
			continue
		}
		if err := sess.remove(ctx, root+"/"+c.name); err != nil {
			return err
		}
	}
	return nil
}

// abandon has the sweeper remove the nodes in a line that are of this process
// and belong to no living candidacy. There should be none; but one would keep
// the shard from everybody for as long as this process lives.
func (s *Store) sweepStale(sess *session, root string, waiting []candidate) {
	for _, ghost := range s.staleNodes(waiting) {
		if !s.isOrphan(ghost.candidacy()) {
			s.log.Debug("a lock node that no candidacy answers for", "node", root+"/"+ghost.name)
			s.addOrphan(sess, root, ghost.candidacy())
		}
	}
}

func (s *Store) isOrphan(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.orphans, func(o *orphan) bool { return o.name == name })
}

// ghosts returns the nodes of this process that belong to no living candidacy.
func (s *Store) staleNodes(waiting []candidate) (ghosts []candidate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range waiting {
		if c.process() == s.process && !s.candidacies[c.candidacy()] {
			ghosts = append(ghosts, c)
		}
	}
	return ghosts
}
