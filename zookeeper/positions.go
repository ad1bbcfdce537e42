package zookeeper

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream"
)

// readsAtOnce bounds the requests that one call has under way.
const readsAtOnce = 32

// readAll reads the children of a node. Those that go meanwhile are left out.
func (k *session) readAll(ctx context.Context, dir string) (map[string]node, error) {
	names, err := k.children(ctx, dir)
	if err != nil {
		return nil, err
	}
	nodes := make([]node, len(names))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readsAtOnce)
	for i, name := range names {
		all.Go(func() (err error) {
			nodes[i], err = k.get(ctx, dir+"/"+name)
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

// Positions implements gerritstream.Store.
func (s *Store) Positions(ctx context.Context, epoch int) (positions map[gerritstream.ShardID]gerritstream.Position, err error) {
	err = s.call(ctx, func(ctx context.Context, k *session) error {
		if err := k.sync(ctx); err != nil {
			return err
		}
		nodes, err := k.readAll(ctx, s.at.positions(epoch))
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

// WaitEnded implements gerritstream.Store. A ZooKeeper that is away is waited for.
func (s *Store) WaitEnded(ctx context.Context, epoch int, shard gerritstream.ShardID) error {
	for {
		k, err := s.await(ctx)
		if err == nil {
			var ended bool
			if ended, err = k.waitEnded(ctx, s.at.position(epoch, shard)); ended {
				return nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case lasting(err):
			return fmt.Errorf("wait for the end of %s: %w", shard, explain(err))
		case err != nil && !wait(ctx, 200*time.Millisecond):
			return ctx.Err()
		}
	}
}

// waitEnded looks whether a position is marked ended, and if not waits until it may have changed.
func (k *session) waitEnded(ctx context.Context, path string) (bool, error) {
	n, fired, err := k.watchGet(ctx, path)
	if err != nil {
		return false, err
	}
	if n.present {
		pos, err := decodePosition(n.data)
		if err != nil || pos.Ended {
			return pos.Ended, err
		}
	}
	return false, k.waitFired(ctx, fired)
}

// waitFired waits for one of the watches, or until it is time not to trust them.
func (k *session) waitFired(ctx context.Context, fired <-chan struct{}) error {
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	select {
	case <-fired:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-k.over:
		return errSessionOver
	}
	return nil
}
