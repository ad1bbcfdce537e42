package zookeeper

import (
	"context"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"golang.org/x/sync/errgroup"
)

// readsAtOnce bounds the requests that one call has under way.
const readsAtOnce = 100

// readAll reads the children of a node. Those that go meanwhile are left out.
func (sess *session) readAll(ctx context.Context, dir string) (map[string]node, error) {
	names, err := sess.children(ctx, dir)
	if err != nil {
		return nil, err
	}
	nodes := make([]node, len(names))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readsAtOnce)
	for i, name := range names {
		all.Go(func() (err error) {
			nodes[i], err = sess.get(ctx, dir+"/"+name)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	read := make(map[string]node, len(names))
	for i, name := range names {
		if nodes[i].present {
			read[name] = nodes[i]
		}
	}
	return read, nil
}

// viewAll returns the children of a node, as far as possible without asking.
func (sess *session) viewAll(ctx context.Context, dir string) (map[string]node, error) {
	names, _, err := sess.watchChildren(ctx, dir)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = dir + "/" + name
	}
	views, err := sess.viewEach(ctx, viewNode, paths)
	if err != nil {
		return nil, err
	}
	nodes := make(map[string]node, len(names))
	for i, name := range names {
		if views[i].present {
			nodes[name] = views[i].node
		}
	}
	return nodes, nil
}

// viewEach returns what nodes are, in the order of their paths. What has been
// read stays, should it end before it has read all.
func (sess *session) viewEach(ctx context.Context, kind viewKind, paths []string) ([]seen, error) {
	found := make([]seen, len(paths))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readsAtOnce)
	for i, path := range paths {
		key := viewKey{path, kind}
		var known bool
		if found[i], known = sess.views.peek(key); known {
			continue
		}
		all.Go(func() (err error) {
			found[i], _, err = sess.see(ctx, key, kind == viewChildren)
			return err
		})
	}
	return found, all.Wait()
}

// Positions implements gerritstream.Store.
func (s *Store) Positions(ctx context.Context, epoch int) (positions map[gerritstream.ShardID]gerritstream.Position, err error) {
	err = s.call(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		nodes, err := sess.viewAll(ctx, s.at.positions(epoch))
		if err != nil {
			return err
		}
		positions = make(map[gerritstream.ShardID]gerritstream.Position, len(nodes))
		for name, n := range nodes {
			pos, err := decodePosition(n.data)
			if err != nil {
				return fmt.Errorf("read position of %s: %w", name, err)
			}
			positions[gerritstream.ShardID(name)] = pos
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read positions: %w", err)
	}
	return positions, nil
}

// endedMost bounds for how long a shard that moves all the time is not looked
// at.
const endedMost = 500 * time.Millisecond

// WaitEnded implements gerritstream.Store. A ZooKeeper that is away is waited
// for.
func (s *Store) WaitEnded(ctx context.Context, epoch int, shard gerritstream.ShardID) error {
	var pause time.Duration // so that a shard that is busy is not read with each of its commits
	for {
		began := time.Now()
		sess, err := s.await(ctx)
		if err == nil {
			var ended bool
			if ended, err = sess.waitEnded(ctx, s.at.position(epoch, shard)); ended {
				return nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case lasting(err):
			return fmt.Errorf("wait for the end of %s: %w", shard, explain(err))
		case err != nil:
			pause = endedMost
		case time.Since(began) > 2*endedMost:
			pause = 0
		}
		if !wait(ctx, pause) {
			return ctx.Err()
		}
		pause = min(2*pause+endedMost/8, endedMost)
	}
}

// waitEnded looks whether a position is marked ended, and if not waits until it
// may have changed.
func (sess *session) waitEnded(ctx context.Context, path string) (bool, error) {
	n, fired, err := sess.watchGet(ctx, path)
	if err != nil {
		return false, err
	}
	if n.present {
		pos, err := decodePosition(n.data)
		if err != nil || pos.Ended {
			return pos.Ended, err
		}
	}
	return false, sess.waitFired(ctx, fired)
}

// waitFired waits for one of the watches, or until it is time not to trust
// them.
func (sess *session) waitFired(ctx context.Context, fired <-chan struct{}) error {
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	select {
	case <-fired:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-sess.over:
		return errSessionOver
	}
	return nil
}

// Checkpoints implements gerritstream.Store: Zuul's own.
func (s *Store) Checkpoints(ctx context.Context, shards []gerritstream.ShardID) (map[gerritstream.ShardID]gerritstream.SequenceNumber, error) {
	found := make(map[gerritstream.ShardID]gerritstream.SequenceNumber, len(shards))
	err := s.call(ctx, func(ctx context.Context, sess *session) error {
		for _, shard := range shards {
			n, err := sess.get(ctx, s.at.checkpoint(shard))
			if err != nil {
				return err
			}
			z := zuulCheckpoint{present: n.present, raw: n.data}
			if at, err := z.sequence(); err == nil && at != "" {
				found[shard] = at
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read Zuul's checkpoints: %w", err)
	}
	return found, nil
}
