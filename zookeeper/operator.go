package zookeeper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

var _ gerritstream.Operator = (*Operator)(nil)

// Operator is a gerritstream.Operator on what ZooKeeper holds of a connection.
// It has a session of its own and no nodes in it: no member info, no report, no
// lock node.
type Operator struct {
	store       *Store // for its session and its layout
	deadLetters deadLetterNames
}

// OpenOperator opens what ZooKeeper holds of a connection, which may be in use.
// It waits a few seconds for a server. The error is one line that says what is
// wrong and what to do.
func OpenOperator(ctx context.Context, config Config) (*Operator, error) {
	s, err := Open(ctx, config)
	if err != nil {
		return nil, err
	}
	o := &Operator{store: s, deadLetters: deadLetterNames{
		byID: map[gerritstream.EventID]string{}, read: map[string]bool{},
	}}
	if err := s.call(ctx, func(context.Context, *session) error { return nil }); err != nil {
		_ = o.Close(ctx) // nothing is left behind
		return nil, fmt.Errorf("open ZooKeeper store: %w", err)
	}
	return o, nil
}

// closeWithin is how long an operator's session may take to end.
const closeWithin = 3 * time.Second

// Close implements gerritstream.Operator.
func (o *Operator) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	return o.store.Close(ctx)
}

// write retries a write while others write meanwhile.
func (o *Operator) write(ctx context.Context, p storekit.Point, try func(context.Context, *session) error) error {
	return o.store.intercept.Write(p, func() error {
		return o.store.call(ctx, func(ctx context.Context, sess *session) error {
			for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
				err := try(ctx, sess)
				if !errors.Is(err, errAgain) {
					return err
				}
				if !storekit.Sleep(ctx, pause/2+mathrand.N(pause)) {
					return fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, err)
				}
			}
		})
	})
}

// conflict returns errAgain if a refusal says that something is not as it was
// read.
func (sess *session) conflict(err error) error {
	if isConflict(err) {
		sess.forget() // in case more was deleted
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	return err
}

// Stored implements gerritstream.Operator. Committed is by ZooKeeper's clock.
func (o *Operator) Stored(ctx context.Context) (stored gerritstream.Stored, err error) {
	at := o.store.at
	err = o.store.look(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		if stored.Origin, _, err = o.store.readOrigin(ctx, sess); err != nil {
			return err
		}
		nodes, err := sess.readChildren(ctx, at.positions(stored.Epoch()))
		if err != nil {
			return err
		}
		stored.Positions = make(map[gerritstream.ShardID]gerritstream.StoredPosition, len(nodes))
		for name, n := range nodes {
			stored.Positions[gerritstream.ShardID(name)] = storedPosition(n)
		}
		stored.Earlier, err = o.earlier(ctx, sess, stored.Epoch())
		return err
	})
	if err != nil {
		return gerritstream.Stored{}, fmt.Errorf("read positions: %w", err)
	}
	return stored, nil
}

func storedPosition(n node) gerritstream.StoredPosition {
	return storekit.StoredPosition(n.data, storekit.FromMillis(n.stat.Mtime))
}

// earlier returns the positions of the epochs before one, by epoch and shard.
func (o *Operator) earlier(ctx context.Context, sess *session, epoch int) (keys []gerritstream.PositionKey, err error) {
	names, err := sess.children(ctx, o.store.at.own)
	if err != nil {
		return nil, err
	}
	var epochs []int
	for _, name := range names {
		if digits, ok := strings.CutPrefix(name, "e"); ok {
			if n, err := strconv.Atoi(digits); err == nil && n >= 0 && n < epoch {
				epochs = append(epochs, n)
			}
		}
	}
	slices.Sort(epochs)
	for _, n := range epochs {
		shards, err := sess.children(ctx, o.store.at.positions(n))
		if err != nil {
			return nil, err
		}
		slices.Sort(shards)
		for _, shard := range shards {
			keys = append(keys, gerritstream.PositionKey{Epoch: n, Shard: gerritstream.ShardID(shard)})
		}
	}
	return keys, nil
}

// snapshot is what is read before a shard's position is set.
type snapshot struct {
	position, zuul, origin node
	leader, next           lockHolder
}

// accepts returns ErrForeignLeader if a Python process would lead next and not
// begin at a position, because it knows sequence numbers only and begins at the
// tip without one. The next leader is the candidate after the leader, which
// loses its place, or else the leader itself.
func (is *snapshot) accepts(shard gerritstream.ShardID, pos *gerritstream.Position) error {
	python := is.next.foreign() || is.next.name == "" && is.leader.foreign()
	if pos.After == "" && python {
		return fmt.Errorf("%w: Zuul's own listener would lead %s next and begin at the tip, for it knows no times: "+
			"give a sequence number, or restart or stop the schedulers so that a process of gerritstream is next",
			gerritstream.ErrForeignLeader, shard)
	}
	return nil
}

// CheckPosition implements gerritstream.Operator.
func (o *Operator) CheckPosition(
	ctx context.Context, epoch int, shard gerritstream.ShardID, to gerritstream.Position,
) error {
	return o.store.look(ctx, func(ctx context.Context, sess *session) error {
		is, err := o.readShard(ctx, sess, epoch, shard)
		if err != nil {
			return err
		}
		return is.accepts(shard, &to)
	})
}

// SetPosition implements gerritstream.Operator.
//
// Zuul's checkpoint is written even if it is the same already, because its
// version is what stops a Python leader. The lock node of a leader of ours is
// removed, so that it notices at once. A Python leader's is kept: Python would
// not notice, and is stopped when it writes its next checkpoint. The candidate
// after the leader leads next; where that would be Python, a point to start
// from is refused. An unfinished large event is left to the next term.
func (o *Operator) SetPosition(ctx context.Context, epoch int, shard gerritstream.ShardID,
	change func(*gerritstream.StoredPosition) (gerritstream.Position, error),
) error {
	return o.write(ctx, storekit.PointSetPosition, func(ctx context.Context, sess *session) error {
		is, err := o.readShard(ctx, sess, epoch, shard)
		if err != nil {
			return err
		}
		var stored *gerritstream.StoredPosition
		stamp := gerritstream.Stamp{Nonce: rand.Text()}
		if is.position.present {
			s := storedPosition(is.position)
			stored, stamp.Term = &s, s.Stamp.Term
			if errors.Is(s.Position.Unreadable, gerritstream.ErrNewerFormat) {
				return s.Position.Unreadable
			}
		}
		pos, err := change(stored)
		if err != nil {
			return err
		}
		if err := is.accepts(shard, &pos); err != nil {
			return err
		}
		at := o.store.at
		if err := sess.ensure(ctx, at.zuul, at.positions(epoch)); err != nil {
			return sess.conflict(err)
		}
		path := at.position(epoch, shard)
		x := &transaction{} // the position comes first, as in a commit: see build
		x.add(opPosition, writeAt(path, is.position.version(), storekit.EncodePosition(pos, stamp)))
		x.add(opCheckpoint, writeAt(at.checkpoint(shard), is.zuul.version(), encodeCheckpoint(pos.After)))
		if is.leader.term != 0 {
			x.add(opLock, &zk.DeleteRequest{Path: is.leader.path, Version: -1})
		}
		if pos.After == "" && is.next.term != 0 { // it must still be there: see accepts
			x.add(opLock, &zk.CheckVersionRequest{Path: is.next.path, Version: -1})
		}
		x.checkOrigin(at, is.origin.version())
		return o.submit(ctx, sess, x, path, stamp.Nonce)
	})
}

// readShard reads what a shard's position depends on. ErrConflict: the epoch is
// not the current one.
func (o *Operator) readShard(
	ctx context.Context, sess *session, epoch int, shard gerritstream.ShardID,
) (is snapshot, err error) {
	at := o.store.at
	if err := sess.sync(ctx); err != nil {
		return is, err
	}
	all, reading := errgroup.WithContext(ctx)
	all.Go(func() error {
		nodes, err := sess.getAll(reading, at.position(epoch, shard), at.checkpoint(shard), at.origin())
		is.position, is.zuul, is.origin = nodes[0], nodes[1], nodes[2]
		return err
	})
	all.Go(func() error {
		holders, err := sess.lockHolders(reading, at.election(shard), 2)
		is.leader, is.next = holders[0], holders[1]
		return err
	})
	if err := all.Wait(); err != nil {
		return is, err
	}
	current, err := o.epochOf(is.origin)
	if err == nil && current != epoch {
		err = fmt.Errorf("epoch %d is not the current one, %d: %w", epoch, current, gerritstream.ErrConflict)
	}
	return is, err
}

// epochOf returns the epoch of an origin's node.
func (o *Operator) epochOf(n node) (int, error) {
	if !n.present {
		return 0, nil
	}
	origin, err := storekit.DecodeOrigin(n.data)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", o.store.at.origin(), err)
	}
	return origin.Epoch, nil
}

// submit has a transaction that sets a position carried out, once. If the reply
// was lost it sends the very same transaction again: that names the version of
// the position that it follows, so that of all copies at most one is carried
// out. Once a copy is refused for the position, the nonce in the position shows
// whether another copy has written it.
func (o *Operator) submit(ctx context.Context, sess *session, x *transaction, path, nonce string) error {
	for doubt := false; ; {
		failed, err := sess.multi(ctx, x.list...)
		switch result := outcomeOf(err); {
		case result == succeeded:
			return nil
		case result == refused && doubt && x.kind(failed) == opPosition:
			n, err := sess.get(ctx, path)
			if err != nil {
				return err
			}
			if _, stamp, err := storekit.DecodePosition(n.data); err == nil && stamp.Nonce == nonce {
				return nil
			}
			return fmt.Errorf("the connection was lost, and others have written since: %w", errUnknownOutcome)
		case result == refused:
			return sess.conflict(err)
		case result == sessionOver || ctx.Err() != nil:
			return err
		case result == unknown:
			doubt = true
		}
		if !storekit.Sleep(ctx, retryPause) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// RemovePositions implements gerritstream.Operator. Zuul's checkpoints are
// kept: without them Python would write unconditionally. More than fit into one
// request, some thousands, are removed in several transactions, those of the
// current epoch first.
func (o *Operator) RemovePositions(
	ctx context.Context, which []gerritstream.PositionKey,
) (removed int, err error) {
	at := o.store.at
	which = slices.Clone(which)
	slices.SortStableFunc(which, func(a, b gerritstream.PositionKey) int { return b.Epoch - a.Epoch })
	paths := make([]string, len(which))
	for i, key := range which {
		paths[i] = at.position(key.Epoch, key.Shard)
	}
	read := func(ctx context.Context, sess *session) (nodes []node, origin int32, err error) {
		if err := sess.sync(ctx); err != nil {
			return nil, absent, err
		}
		record, err := sess.get(ctx, at.origin())
		if err != nil {
			return nil, absent, err
		}
		epoch, err := o.epochOf(record)
		if err != nil {
			return nil, absent, err
		}
		nodes, err = sess.getAll(ctx, paths...)
		for i, n := range nodes {
			if key := which[i]; n.present && key.Epoch >= epoch && !storedPosition(n).Position.Ended {
				return nil, absent, fmt.Errorf("remove position of %s: it is not marked ended: %w",
					key.Shard, gerritstream.ErrConflict)
			}
		}
		return nodes, record.version(), err
	}
	return o.remove(ctx, storekit.PointRemovePositions, paths, read)
}

// remove removes nodes, with as many in each transaction as fit into a request,
// and returns how many of them there were. If one of them, or the origin, is no
// longer as it was read, they are read again.
func (o *Operator) remove(ctx context.Context, point storekit.Point, paths []string,
	read func(context.Context, *session) (nodes []node, origin int32, err error),
) (removed int, err error) {
	seen := map[string]bool{}
	err = o.write(ctx, point, func(ctx context.Context, sess *session) error {
		nodes, origin, err := read(ctx, sess)
		if err != nil {
			return err
		}
		var left []int // of the nodes
		for i := range nodes {
			if nodes[i].present {
				left = append(left, i)
			}
		}
		for len(left) > 0 {
			x := &transaction{}
			x.checkOrigin(o.store.at, origin)
			for size := 0; len(left) > 0 && size < maxRequest/2; left = left[1:] {
				path := paths[left[0]]
				x.add(opUnknown, &zk.DeleteRequest{Path: path, Version: nodes[left[0]].stat.Version})
				size += len(path) + 64
				seen[path] = true
			}
			if _, err := sess.multi(ctx, x.list...); err != nil {
				return sess.again(ctx, err)
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(seen), nil
}

// again returns errAgain if a failed transaction may have been carried out, or
// was refused because something had changed: reading again shows which.
func (sess *session) again(ctx context.Context, err error) error {
	o := outcomeOf(err)
	switch {
	case o == refused:
		return sess.conflict(err)
	case ctx.Err() == nil && (o == unknown || o == notSent):
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	return err
}
