package zookeeper

import (
	"context"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// For tests in package zookeeper_test.

// Intercept wraps each write of a Store with f. Call it before the Store is
// used.
func (s *Store) Intercept(f storekit.Intercept) { s.intercept = f }

// Intercept does the same with an Operator.
func (o *Operator) Intercept(f storekit.Intercept) { o.store.Intercept(f) }

// Kill ends a Store as SIGKILL would: it writes nothing more and does not end
// its session on the servers. It does not wait.
func (s *Store) Kill() {
	s.life.closing.Do(func() {
		s.current.mu.Lock()
		sess := s.current.session
		s.current.mu.Unlock()
		var cancel context.CancelFunc
		s.life.leave, cancel = context.WithCancel(context.Background())
		cancel()
		if sess != nil {
			sess.markOver()
			sess.cutLink()
		}
		s.endTerms(nil, errClosed)
		s.life.end()
	})
}

// Reap waits for a killed Store.
func (s *Store) Reap() { s.life.running.Wait() }

// Session returns the id of the established session.
func (s *Store) Session(ctx context.Context) (int64, error) {
	sess, err := s.await(ctx)
	if err != nil {
		return 0, err
	}
	return sess.currentLease().id, nil
}

// Orphans returns how many lock nodes of a shard the sweeper looks for.
func (s *Store) Orphans(shard gerritstream.ShardID) (n int) {
	s.sweeper.mu.Lock()
	defer s.sweeper.mu.Unlock()
	for _, o := range s.sweeper.orphans {
		if o.root == s.at.election(shard) {
			n++
		}
	}
	return n
}

// Connected reports whether a server answers.
func (s *Store) Connected() bool {
	up, _ := s.reachable()
	return up
}

// UnderWay returns how many commits are being written.
func (s *Store) UnderWay() (n int) {
	s.leaderships.mu.Lock()
	defer s.leaderships.mu.Unlock()
	for t := range s.leaderships.terms {
		if _, _, idle := t.activity.state(); !idle {
			n++
		}
	}
	return n
}

// MaxBytes is the largest request.
const MaxBytes = maxBytes

// ErrTooLarge is the error of a larger one.
var ErrTooLarge = errTooLarge

// Put makes a node.
func (s *Store) Put(ctx context.Context, path string, data []byte) error {
	sess, err := s.await(ctx)
	if err == nil {
		err = sess.create(ctx, path, data, 0)
	}
	return err
}

// PutAll makes two nodes in a transaction, one of them empty.
func (s *Store) PutAll(ctx context.Context, empty, full string, data []byte) error {
	sess, err := s.await(ctx)
	if err == nil {
		_, err = sess.multi(ctx,
			&zk.CreateRequest{Path: empty, Data: []byte{}, Acl: openACL},
			&zk.CreateRequest{Path: full, Data: data, Acl: openACL})
	}
	return err
}

// DecodeDeadLetter reads a dead letter as stored.
var DecodeDeadLetter = decodeDeadLetter

// StandIn returns the path of a stand-in.
func StandIn() string { return new(deposits).put(encode(nil)) }
