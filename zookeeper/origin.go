package zookeeper

import (
	"context"
	"fmt"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// readOrigin reads the origin and its version; nil: there is none.
func (s *Store) readOrigin(ctx context.Context, sess *session) (*gerritstream.Origin, int32, error) {
	n, err := sess.get(ctx, s.at.origin())
	if err != nil || !n.present {
		return nil, absent, err
	}
	origin, err := storekit.DecodeOrigin(n.data)
	if err != nil {
		err = fmt.Errorf("%s: %w", s.at.origin(), err)
	}
	return origin, n.stat.Version, err
}

// Origin implements gerritstream.Store.
func (s *Store) Origin(ctx context.Context) (origin gerritstream.Origin, ok bool, err error) {
	err = s.look(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil { // another process may have set it through another server
			return err
		}
		stored, _, err := s.readOrigin(ctx, sess)
		if stored != nil {
			origin, ok = *stored, true
		}
		return err
	})
	return origin, ok, err
}

// SetOrigin implements gerritstream.Store.
func (s *Store) SetOrigin(ctx context.Context, prev *gerritstream.Origin, next gerritstream.Origin) error {
	raw, err := storekit.EncodeOrigin(next)
	if err == nil {
		err = s.call(ctx, func(ctx context.Context, sess *session) error {
			return s.intercept.Write(storekit.PointSetOrigin, func() error { return s.setOrigin(ctx, sess, prev, raw) })
		})
	}
	if err != nil {
		return fmt.Errorf("set origin: %w", err)
	}
	return nil
}

func (s *Store) setOrigin(ctx context.Context, sess *session, prev *gerritstream.Origin, raw []byte) error {
	if err := sess.sync(ctx); err != nil {
		return err
	}
	stored, version, err := s.readOrigin(ctx, sess)
	if err != nil {
		return err
	}
	if !storekit.SameOrigin(stored, prev) {
		return gerritstream.ErrConflict
	}
	if stored != nil {
		err = sess.set(ctx, s.at.origin(), raw, version)
	} else if err = sess.ensure(ctx, s.at.own); err == nil {
		err = sess.create(ctx, s.at.origin(), raw, zk.FlagPersistent)
	} else {
		sess.forget()
		return err
	}
	if outcomeOf(err) == refused && isConflict(err) {
		sess.forget()
		return gerritstream.ErrConflict
	}
	return err
}

// followOrigin returns ErrStaleEpoch if the origin is of a later epoch than the
// term. Otherwise the term's transactions check this version of the origin.
func (t *term) followOrigin(origin node) error {
	if err := storekit.CheckEpoch(t.epoch, storekit.StoredEpoch(origin.data)); err != nil {
		return err
	}
	t.origin = origin.version()
	return nil
}

// guardEpoch has a transaction refused if the origin has changed. While there
// was none, there is nothing to check: see checkEpoch.
func (t *term) guardEpoch(x *transaction) { x.checkOrigin(t.store.at, t.origin) }

// maxOriginChanges is how often in one commit the origin may have changed.
const maxOriginChanges = 5

// errOriginChanging: nothing was written.
var errOriginChanging = fmt.Errorf("%w: the origin keeps changing", gerritstream.ErrRetryLater)

// checkEpoch reads the origin again, because a transaction was refused for it
// or the term knows of none. In that case nothing is asked until a watch
// reports one: the term heeds it from its first commit on that begins after the
// session heard of it. checkEpoch waits for the connection. ErrStaleEpoch and
// ErrLeadershipLost: the epoch is over.
func (t *term) checkEpoch(ctx context.Context) error {
	for {
		var err error
		if t.origin != absent { // another process has changed it, maybe through another server
			err = t.session.sync(ctx)
		}
		var origin node
		if err == nil {
			origin, _, err = t.session.watchGet(ctx, t.store.at.origin())
		}
		switch o := outcomeOf(err); {
		case o == succeeded:
			if err := t.followOrigin(origin); err != nil {
				return fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, err)
			}
			return nil
		case o == refused, o == sessionOver:
			return err
		case !storekit.Sleep(ctx, retryPause):
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
