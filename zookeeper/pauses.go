package zookeeper

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

var (
	_ pauses.Store  = (*Store)(nil)
	_ pauses.Keeper = (*Operator)(nil)
)

// knownPauses are the pauses as they were decoded last.
type knownPauses struct {
	mu    sync.Mutex
	mzxid int64      // under mu: the transaction that wrote them; 0: none
	set   pauses.Set // under mu; it does not change
}

// decode reads the node of the pauses, once.
func (k *knownPauses) decode(n *node) pauses.Set {
	if !n.present || len(n.data) == 0 {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mzxid != n.stat.Mzxid {
		k.mzxid, k.set = n.stat.Mzxid, pauses.Decode(n.data)
	}
	return k.set
}

// checkPause returns ErrPaused if the shard is paused. Otherwise a commit is
// refused as soon as the pauses are not as they were seen here: its transaction
// checks their version, whatever this process has heard. Nothing is asked until
// a watch reports a change, and then once for all terms of the session.
// checkPause waits for the connection.
func (t *term) checkPause(ctx context.Context) error {
	path := t.store.at.pauses()
	for {
		n, _, err := t.session.watchGet(ctx, path)
		if err == nil && !n.present { // somebody deleted it
			t.session.forget()
			if err = t.session.ensure(ctx, path); err == nil {
				n, _, err = t.session.watchGet(ctx, path)
			}
		}
		switch o := outcomeOf(err); {
		case o == succeeded && n.present:
			if _, paused := t.store.pauses.decode(&n).Of(t.shard); paused {
				return pauses.ErrPaused
			}
			t.pauses = n.version()
			return nil
		case o == refused, o == sessionOver:
			return fmt.Errorf("read pauses: %w", err)
		case !storekit.Sleep(ctx, retryPause):
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// maxPausesChanges is how often in one commit the pauses may have changed.
const maxPausesChanges = 5

// errPausesChanging: nothing was written.
var errPausesChanging = fmt.Errorf("%w: the pauses keep changing", gerritstream.ErrRetryLater)

// Pauses implements pauses.Keeper.
func (s *Store) Pauses(ctx context.Context) (set pauses.Set, err error) {
	err = s.look(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil { // another process may have changed them through another server
			return err
		}
		n, _, err := sess.watchGet(ctx, s.at.pauses())
		set = s.pauses.decode(&n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read pauses: %w", err)
	}
	return set, nil
}

// WaitPauses implements pauses.Store. It waits for a ZooKeeper that is away.
func (s *Store) WaitPauses(ctx context.Context, seen pauses.Set) error {
	for {
		sess, err := s.await(ctx)
		if err == nil {
			var n node
			var fired <-chan struct{}
			if n, fired, err = sess.watchGet(ctx, s.at.pauses()); err == nil {
				if !s.pauses.decode(&n).Equal(seen) {
					return nil
				}
				err = sess.waitFired(ctx, fired)
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case lasting(err):
			return fmt.Errorf("wait for pauses: %w", explain(err))
		case err != nil:
			storekit.Sleep(ctx, 200*time.Millisecond)
		}
	}
}

// ChangePauses implements pauses.Keeper.
func (s *Store) ChangePauses(
	ctx context.Context, change func(pauses.Set) (pauses.Set, error),
) (pauses.Set, error) {
	return (&Operator{store: s}).ChangePauses(ctx, change)
}

// Pauses implements pauses.Keeper.
func (o *Operator) Pauses(ctx context.Context) (pauses.Set, error) { return o.store.Pauses(ctx) }

// ChangePauses implements pauses.Keeper. The commit point of a pause is the
// write of its node: it gives that a new version, which every commit checks.
func (o *Operator) ChangePauses(
	ctx context.Context, change func(pauses.Set) (pauses.Set, error),
) (set pauses.Set, err error) {
	path := o.store.at.pauses()
	err = o.write(ctx, storekit.PointPauses, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		n, err := sess.get(ctx, path)
		if err != nil {
			return err
		}
		if set, err = change(pauses.Decode(n.data)); err != nil {
			return err
		}
		raw, err := pauses.Encode(set)
		if err != nil {
			return err
		}
		if !n.present { // an empty one first, so that no version is that of an earlier node
			sess.forget()
			if err := sess.ensure(ctx, path); err != nil {
				return sess.again(ctx, err)
			}
			return errAgain
		}
		if err := sess.set(ctx, path, raw, n.version()); err != nil {
			return sess.again(ctx, err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("change pauses: %w", err)
	}
	return set, nil
}
