package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

var (
	errResigned = errors.New("resigned")
	errDeposed  = fmt.Errorf("%w: the lock node is gone", gerritstream.ErrLeadershipLost)
	errMoved    = errors.New("the position was changed by an operator or another process")
)

var _ gerritstream.Term = (*term)(nil)

// term is one leadership of one shard. It lasts as long as its lock node, which
// only this session can keep.
type term struct {
	store   *Store
	session *session
	epoch   int
	shard   gerritstream.ShardID
	lock    lockNode

	ctx    context.Context
	cancel context.CancelCauseFunc

	activity activity // shared with the guard

	// What follows belongs to the goroutine that uses the term.

	beginning gerritstream.Beginning
	after     gerritstream.SequenceNumber // of the position committed last
	version   int32                       // of our position's node
	zuul      zuulCheckpoint              // as it is known
	origin    int32                       // version of the origin's node, which is of no later epoch
	pauses    int32                       // version of the pauses' node, by which the shard is not paused
	passed    gerritstream.SequenceNumber // up to here a Python zombie has queued what this term has not
	discarded counter
}

// lockNode is the lock node of a term.
type lockNode struct {
	root      string // of the election
	candidacy string
	path      string
	number    uint64 // the transaction that made the node, which grows, and is never repeated
}

// absent is the version of a node that is not there.
const absent = -1

// version returns the node's version, or absent.
func (n *node) version() int32 {
	if !n.present {
		return absent
	}
	return n.stat.Version
}

func (t *term) Context() context.Context          { return t.ctx }
func (t *term) Number() uint64                    { return t.lock.number }
func (t *term) Beginning() gerritstream.Beginning { return t.beginning }
func (t *term) Limits() gerritstream.Limits       { return limits }

func (t *term) Resign(ctx context.Context) error {
	s := t.store
	t.finish(errResigned)
	ctx, cancel := context.WithTimeoutCause(ctx, callPatience, errAway)
	defer cancel()
	err := s.intercept.Write(storekit.PointResign, func() error {
		for { // however often the connection is lost
			err := t.session.remove(ctx, t.lock.path)
			switch o := outcomeOf(err); {
			case o == succeeded, o == sessionOver && !s.stopped(): // the lock node went with the session
				return nil
			case o == refused, o == sessionOver, !storekit.Sleep(ctx, retryPause):
				return err
			}
		}
	})
	switch {
	case err == nil:
		s.sweeper.forget(func(o *orphan) bool { return o.name == t.lock.candidacy })
		return nil
	case s.stopped():
		err = errClosed
	}
	return fmt.Errorf("resign %s: %w", t.shard, explain(err))
}

// retryPause is the pause before a request is sent again within a call.
const retryPause = 50 * time.Millisecond

// finish ends the term. The sweeper removes its lock node, unless a resignation
// does so sooner.
func (t *term) finish(why error) {
	l := &t.store.leaderships
	l.mu.Lock()
	live := l.terms[t]
	delete(l.terms, t)
	delete(l.candidacies, t.lock.candidacy)
	l.mu.Unlock()
	if !live {
		return
	}
	if !errors.Is(why, gerritstream.ErrLeadershipLost) {
		why = fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, why)
	}
	t.cancel(why)
	t.store.sweeper.add(t.session, t.lock.root, t.lock.candidacy)
}

// endTerms ends the terms of a session; nil: all terms.
func (s *Store) endTerms(sess *session, why error) {
	l := &s.leaderships
	l.mu.Lock()
	var terms []*term
	for t := range l.terms {
		if sess == nil || t.session == sess {
			terms = append(terms, t)
		}
	}
	l.mu.Unlock()
	for _, t := range terms {
		t.finish(why)
	}
}

// checkEvery is how often an idle term checks whether an operator has written
// its position. Nothing is asked unless a watch has fired.
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
			moved := t.activity.differs(func() (int32, error) {
				n, _, err := t.session.watchGet(t.ctx, t.store.at.position(t.epoch, t.shard))
				return n.version(), err
			})
			if moved {
				t.finish(errMoved)
				return
			}
			continue
		case <-t.ctx.Done():
			return
		}
		n, again, err := t.session.watchPresent(t.ctx, t.lock.path)
		switch {
		case err == nil && !n.present:
			t.finish(errDeposed)
			return
		case err == nil:
			fired = again
		case !storekit.Sleep(t.ctx, 2*retryPause):
			return
		}
	}
}

// activity is what the guard knows of the goroutine that uses the term.
type activity struct {
	mu         sync.Mutex
	committing bool  // under mu
	commits    int   // under mu: so far
	version    int32 // under mu: of the position, after the last of them
}

// differs reports whether the position has another version than the term knows
// of. A version that was read while a commit was under way, began or ended
// proves nothing.
func (a *activity) differs(read func() (version int32, err error)) bool {
	before, known, idle := a.state()
	if !idle {
		return false
	}
	version, err := read()
	if err != nil {
		return false
	}
	commits, _, idle := a.state()
	return idle && commits == before && version != known
}

func (a *activity) state() (commits int, version int32, idle bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.commits, a.version, !a.committing
}

// beginCommit notes that a commit is under way.
func (a *activity) beginCommit() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.committing = true
}

// endCommit notes that it is over, and the position's version.
func (a *activity) endCommit(version int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.committing, a.commits, a.version = false, a.commits+1, version
}
