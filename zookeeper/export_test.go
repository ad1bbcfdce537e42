package zookeeper

import (
	"context"

	"github.com/gerritstream/gerritstream"
	"github.com/go-zookeeper/zk"
)

// For tests in package zookeeper_test.

// Point is a place at which a Store writes.
type Point = string

// Intercept makes f stand around each write of a Store. Call it before the
// Store is used.
func (s *Store) Intercept(f func(p Point, write func() error) error) {
	s.intercept = func(p point, write func() error) error { return f(string(p), write) }
}

// Intercept does the same with an Operator.
func (o *Operator) Intercept(f func(p Point, write func() error) error) { o.store.Intercept(f) }

// Kill ends a Store as SIGKILL would: nothing more is written, nothing is said
// to the servers. It does not wait.
func (s *Store) Kill() {
	s.closing.Do(func() {
		s.mu.Lock()
		sess := s.session
		s.mu.Unlock()
		s.farewell = closedContext
		if sess != nil {
			sess.markOver()
			sess.cutLink()
		}
		s.endTerms(nil, errClosed)
		close(s.stop)
		s.die()
	})
}

// Reap waits for a killed Store.
func (s *Store) Reap() { s.running.Wait() }

// Session returns the id of the session that stands.
func (s *Store) Session(ctx context.Context) (int64, error) {
	sess, err := s.await(ctx)
	if err != nil {
		return 0, err
	}
	id, _ := sess.identity()
	return id, nil
}

// Orphans returns how many lock nodes of a shard the sweeper looks for.
func (s *Store) Orphans(shard gerritstream.ShardID) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.orphans {
		if o.root == s.at.election(shard) {
			n++
		}
	}
	return n
}

// Connected reports whether the session that stands is connected.
func (s *Store) Connected() bool {
	up, _ := s.reachable()
	return up
}

// UnderWay is how many commits are being written.
func (s *Store) UnderWay() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range s.terms {
		if _, idle := t.state.get(); !idle {
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
		_, err = sess.multi(ctx, &zk.CreateRequest{Path: empty, Data: []byte{}, Acl: openACL}, &zk.CreateRequest{Path: full, Data: data, Acl: openACL})
	}
	return err
}

// DecodeLetter reads a dead letter as stored.
var DecodeLetter = decodeDeadLetter

var closedContext = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
