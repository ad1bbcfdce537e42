package zookeeper

import (
	"context"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Positions implements gerritstream.Store.
func (s *Store) Positions(
	ctx context.Context, epoch int,
) (positions map[gerritstream.ShardID]gerritstream.Position, err error) {
	err = s.look(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		nodes, err := sess.viewChildNodes(ctx, s.at.positions(epoch))
		if err != nil {
			return err
		}
		positions = make(map[gerritstream.ShardID]gerritstream.Position, len(nodes))
		for name, n := range nodes {
			shard := gerritstream.ShardID(name)
			if positions[shard], err = storekit.ReadPosition(n.data); err != nil {
				return fmt.Errorf("read position of %s: %w", shard, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read positions: %w", err)
	}
	return positions, nil
}

// endedPause bounds the time between two looks at the position of a shard that
// commits all the time.
const endedPause = 500 * time.Millisecond

// WaitEnded implements gerritstream.Store. It waits for a ZooKeeper that is
// away.
func (s *Store) WaitEnded(ctx context.Context, epoch int, shard gerritstream.ShardID) error {
	var pause time.Duration // so that a busy shard is not read with each of its commits
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
			pause = endedPause
		case time.Since(began) > 2*endedPause:
			pause = 0
		}
		storekit.Sleep(ctx, pause)
		pause = min(2*pause+endedPause/8, endedPause)
	}
}

// waitEnded reports whether a position is marked ended. If not it waits until
// the position may have changed.
func (sess *session) waitEnded(ctx context.Context, path string) (bool, error) {
	n, fired, err := sess.watchGet(ctx, path)
	if err != nil {
		return false, err
	}
	if n.present {
		pos, err := storekit.ReadPosition(n.data)
		if err != nil || pos.Ended {
			return pos.Ended, err
		}
	}
	return false, sess.waitFired(ctx, fired)
}

// Checkpoints implements gerritstream.Store. They are Zuul's.
func (s *Store) Checkpoints(
	ctx context.Context, shards []gerritstream.ShardID,
) (map[gerritstream.ShardID]gerritstream.SequenceNumber, error) {
	found := make(map[gerritstream.ShardID]gerritstream.SequenceNumber, len(shards))
	err := s.look(ctx, func(ctx context.Context, sess *session) error {
		for _, shard := range shards {
			n, err := sess.get(ctx, s.at.checkpoint(shard))
			if err != nil {
				return err
			}
			z := checkpointOf(n)
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
