package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

var (
	errResigned = errors.New("resigned")
	errDeposed  = fmt.Errorf("%w: the lock node is gone", gerritstream.ErrLeadershipLost)
	errMoved    = errors.New("the position was changed by an operator or another process")
)

// term is one leadership of one shard: as long as its lock node, which only
// this session can keep.
type term struct {
	store   *Store
	session *session
	epoch   int
	shard   gerritstream.ShardID
	root    string // of the election
	name    string // of the candidacy
	lock    string // the lock node's path
	number  uint64 // the transaction that made it: they grow, and a lock node is never made twice

	ctx    context.Context
	cancel context.CancelCauseFunc

	state state // shared with the guard

	// What follows belongs to the goroutine that uses the term.

	beginning gerritstream.Beginning
	after     gerritstream.SequenceNumber // of the position, as committed last

	version       int32          // of our position's node; absent: there is none
	zuul          zuulCheckpoint // as we know it
	originVersion int32          // version of the start record's node, whose epoch is not later; absent: there is none

	fromSequence bool                        // the term began from a sequence number
	passed       gerritstream.SequenceNumber // up to here a Python zombie has queued what this term has not
	discards     counter
}

// absent is the version of a node that is not there.
const absent = -1

// Context implements gerritstream.Term.
func (t *term) Context() context.Context { return t.ctx }

// Number implements gerritstream.Term.
func (t *term) Number() uint64 { return t.number }

// Beginning implements gerritstream.Term.
func (t *term) Beginning() gerritstream.Beginning { return t.beginning }

// Limits implements gerritstream.Term.
func (t *term) Limits() gerritstream.Limits { return limits }

// Resign implements gerritstream.Term.
func (t *term) Resign(ctx context.Context) error {
	t.finish(errResigned)
	ctx, cancel := context.WithTimeoutCause(ctx, callPatience, errAway)
	defer cancel()
	err := t.store.write(pointResign, func() error { return t.removeLock(ctx) })
	switch {
	case err == nil:
		t.store.dropOrphan(t.name)
		return nil
	case t.store.stopped():
		err = errClosed
	}
	return fmt.Errorf("resign %s: %w", t.shard, explain(err))
}

// removeLock deletes the lock node, however often the connection is lost
// meanwhile.
func (t *term) removeLock(ctx context.Context) error {
	for {
		err := t.session.remove(ctx, t.lock)
		switch f := outcomeOf(err); {
		case f == succeeded, f == sessionOver && !t.store.stopped(): // with the session the lock node went
			return nil
		case f == refused, f == sessionOver, !wait(ctx, 50*time.Millisecond):
			return err
		}
	}
}

// finish ends the term. The sweeper removes its lock node, unless a resignation
// does so sooner.
func (t *term) finish(why error) {
	s := t.store
	s.mu.Lock()
	live := s.terms[t]
	delete(s.terms, t)
	delete(s.candidacies, t.name)
	s.mu.Unlock()
	if !live {
		return
	}
	if !errors.Is(why, gerritstream.ErrLeadershipLost) {
		why = fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, why)
	}
	t.cancel(why)
	s.addOrphan(t.session, t.root, t.name)
}

// noOrphan notes that a lock node is known to be gone.
func (s *Store) dropOrphan(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans = slices.DeleteFunc(s.orphans, func(o *orphan) bool { return o.name == name })
}

// endTerms ends the terms of a session; nil: all terms.
func (s *Store) endTerms(sess *session, why error) {
	s.mu.Lock()
	var terms []*term
	for t := range s.terms {
		if sess == nil || t.session == sess {
			terms = append(terms, t)
		}
	}
	s.mu.Unlock()
	for _, t := range terms {
		t.finish(why)
	}
}

// register counts the term among those that the session's end, and the end of
// the trust in it, end.
func (t *term) register() error {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped():
		return errClosed
	case t.session.isOver():
		return errSessionOver
	case t.session.trustLeft(time.Now()) <= 0:
		return errAway
	}
	s.terms[t] = true
	return nil
}

// checkEvery is how often an idle term looks whether an operator has written
// its position. A watch tells: nothing is asked while it has not fired.
const checkEvery = 2 * time.Second

// guard ends the term as soon as its lock node is gone, and soon after somebody
// else has written its position. fired is a watch of the lock node.
func (t *term) guard(fired <-chan struct{}) {
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case <-fired:
		case <-check.C:
			if t.moved() {
				t.finish(errMoved)
				return
			}
			continue
		case <-t.ctx.Done():
			return
		}
		n, again, err := t.session.watchPresent(t.ctx, t.lock)
		switch {
		case err == nil && !n.present:
			t.finish(errDeposed)
			return
		case err == nil:
			fired = again
		case !wait(t.ctx, 100*time.Millisecond):
			return
		}
	}
}

// moved tells whether somebody else has written the position. A term that is
// committing learns it from that.
func (t *term) moved() bool {
	return t.state.differs(func() (version int32, err error) {
		n, _, err := t.session.watchGet(t.ctx, t.store.at.position(t.epoch, t.shard))
		if err != nil || !n.present {
			return absent, err
		}
		return n.stat.Version, nil
	})
}

// state is what the guard knows of the goroutine that uses the term.
type state struct {
	mu    sync.Mutex
	known settled // under mu
	busy  bool    // under mu; a commit is under way
}

// settled is the term as of its last commit.
type settled struct {
	commits int
	version int32 // of the position
}

// differs reports whether the position has another version than the term knows
// of. A version that was looked at while the term committed, or began or ended
// to, says nothing.
func (s *state) differs(look func() (version int32, err error)) bool {
	known, idle := s.get()
	if !idle {
		return false
	}
	is, err := look()
	if err != nil {
		return false
	}
	again, idle := s.get()
	return idle && again == known && is != known.version
}

func (s *state) get() (known settled, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known, !s.busy
}

// begin notes that a commit is under way.
func (s *state) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = true
}

// end notes that it is over, and what the position's version is then.
func (s *state) end(version int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	s.known = settled{s.known.commits + 1, version}
}
