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

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"
)

// Operator is a gerritstream.Operator on what ZooKeeper holds of a connection.
// It has a session of its own and nothing that goes with it: no announcement,
// no report, no lock node.
type Operator struct {
	store           *Store // for its session and its layout
	deadLetterNames deadLetterNames
}

var _ gerritstream.Operator = (*Operator)(nil)

// The places at which an operator writes.
const (
	pointSetPosition     point = "set position"
	pointRemovePositions point = "remove positions"
	pointDropDeadLetters point = "drop dead letters"
	pointRedrive         point = "redrive"
)

// OpenOperator opens what ZooKeeper holds of a connection, which may be in use.
// It waits for a server for a few seconds. The error is one line that says what
// is wrong and what to do.
func OpenOperator(ctx context.Context, config Config) (*Operator, error) {
	s, err := Open(ctx, config)
	if err != nil {
		return nil, err
	}
	o := &Operator{store: s}
	if err := s.call(ctx, func(context.Context, *session) error { return nil }); err != nil {
		_ = o.Close(ctx) // there is nothing that it would leave behind
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

// write has something written, trying again as long as others write meanwhile.
func (o *Operator) write(ctx context.Context, p point, try func(context.Context, *session) error) error {
	return o.store.write(p, func() error {
		return o.store.call(ctx, func(ctx context.Context, sess *session) error {
			for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
				err := try(ctx, sess)
				if !errors.Is(err, errAgain) {
					return err
				}
				if !wait(ctx, pause/2+mathrand.N(pause)) {
					return fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, err)
				}
			}
		})
	})
}

// refusedFor says what a refusal of a transaction means for an operator:
// errAgain when something was not as it was read.
func (sess *session) refusedFor(err error) error {
	if isConflict(err) {
		sess.forget() // in case more was deleted
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	return err
}

// Stored implements gerritstream.Operator. Committed is by ZooKeeper's clock.
func (o *Operator) Stored(ctx context.Context) (stored gerritstream.Stored, err error) {
	err = o.store.call(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		if stored.Origin, _, err = o.store.readOrigin(ctx, sess); err != nil {
			return err
		}
		nodes, err := sess.readAll(ctx, o.store.at.positions(stored.Epoch()))
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

// earlier names the positions of the epochs before one, by epoch and shard.
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

// storedPosition reads a position's node, which is there.
func storedPosition(n node) (s gerritstream.StoredPosition) {
	var err error
	if s.Position, s.Stamp, err = storekit.DecodePosition(n.data); err != nil {
		s.Position = gerritstream.Position{Unreadable: err}
	}
	s.Committed = fromMilliseconds(n.stat.Mtime)
	return s
}

// standing is what a shard's position is set beside.
type shardStanding struct {
	position, zuul node
	epoch          node // of the start record; not there: the epoch is 0
	leader, next   lockHolder
}

// heedless tells that a Python process would lead next: the one behind a leader
// that loses its place, or that one itself. It knows records, and begins at the
// tip where it is told of none.
func (is *shardStanding) heedless() bool {
	return is.next.foreign() || is.next.name == "" && is.leader.foreign()
}

// obeys tells whether whoever leads next would begin at a position.
func (is *shardStanding) obeys(shard gerritstream.ShardID, pos *gerritstream.Position) error {
	if pos.After == "" && is.heedless() {
		return fmt.Errorf("%w: Zuul's own listener would lead %s next, and begin at the tip, for it knows no times: "+
			"give a sequence number, or restart or stop the schedulers so that a process of gerritstream is next", gerritstream.ErrForeignLeader, shard)
	}
	return nil
}

// CheckPosition implements gerritstream.Operator.
func (o *Operator) CheckPosition(ctx context.Context, epoch int, shard gerritstream.ShardID, to gerritstream.Position) error {
	return o.store.call(ctx, func(ctx context.Context, sess *session) error {
		is, err := o.look(ctx, sess, epoch, shard)
		if err != nil {
			return err
		}
		return is.obeys(shard, &to)
	})
}

// SetPosition implements gerritstream.Operator.
//
// Zuul's checkpoint is written even if it says so already: its version is what
// stops a Python leader. If one of ours leads, its lock node goes, so that it
// learns of it at once; a Python leader's stays, for Python would not notice,
// and is stopped by its next checkpoint. Whoever stands behind the leader leads
// next. Where that would be Python a point to start from is refused. What a
// large event has left half written is for the next term.
func (o *Operator) SetPosition(ctx context.Context, epoch int, shard gerritstream.ShardID,
	change func(*gerritstream.StoredPosition) (gerritstream.Position, error),
) error {
	return o.write(ctx, pointSetPosition, func(ctx context.Context, sess *session) error {
		is, err := o.look(ctx, sess, epoch, shard)
		if err != nil {
			return err
		}
		var stored *gerritstream.StoredPosition
		if is.position.present {
			s := storedPosition(is.position)
			stored = &s
		}
		if stored != nil && errors.Is(stored.Position.Unreadable, gerritstream.ErrNewerFormat) {
			return stored.Position.Unreadable
		}
		pos, err := change(stored)
		if err != nil {
			return err
		}
		if err := is.obeys(shard, &pos); err != nil {
			return err
		}
		stamp := gerritstream.Stamp{Nonce: rand.Text()}
		if stored != nil {
			stamp.Term = stored.Stamp.Term
		}
		if err := sess.ensure(ctx, o.store.at.zuul, o.store.at.positions(epoch)); err != nil {
			return sess.refusedFor(err)
		}
		return o.setPosition(ctx, sess, o.setting(is, epoch, shard, pos, stamp), stamp.Nonce)
	})
}

// look reads what a shard's position is set beside. ErrConflict: the epoch is
// not the current one.
func (o *Operator) look(ctx context.Context, sess *session, epoch int, shard gerritstream.ShardID) (is shardStanding, err error) {
	at := o.store.at
	if err := sess.sync(ctx); err != nil {
		return is, err
	}
	all, reading := errgroup.WithContext(ctx)
	for path, into := range map[string]*node{
		at.origin(): &is.epoch, at.position(epoch, shard): &is.position, at.checkpoint(shard): &is.zuul,
	} {
		all.Go(func() (err error) { *into, err = sess.get(reading, path); return err })
	}
	all.Go(func() error {
		front, err := sess.firstInLine(reading, at.election(shard), 2)
		is.leader, is.next = front[0], front[1]
		return err
	})
	if err := all.Wait(); err != nil {
		return is, err
	}
	current, err := epochOf(is.epoch)
	if err != nil {
		return is, fmt.Errorf("%s: %w", at.origin(), err)
	}
	if current != epoch {
		return is, fmt.Errorf("epoch %d is not the current one, %d: %w", epoch, current, gerritstream.ErrConflict)
	}
	return is, nil
}

// epochOf returns the epoch that a start record says.
func epochOf(start node) (int, error) {
	if !start.present {
		return 0, nil
	}
	record, err := decodeOrigin(start.data)
	if err != nil {
		return 0, err
	}
	return record.Epoch, nil
}

// setting is the transaction that sets a position. The position comes first:
// when a copy was carried out whose reply was lost, the next one is refused for
// it and for nothing else.
func (o *Operator) setting(is shardStanding, epoch int, shard gerritstream.ShardID, pos gerritstream.Position, s gerritstream.Stamp) *transaction {
	at := o.store.at
	x := &transaction{}
	x.add(opPosition, put(at.position(epoch, shard), is.position, storekit.EncodePosition(pos, s)))
	x.add(opCheckpoint, put(at.checkpoint(shard), is.zuul, encodeCheckpoint(pos.After)))
	if is.leader.term != 0 {
		x.add(opLock, &zk.DeleteRequest{Path: is.leader.path, Version: -1})
	}
	if pos.After == "" && is.next.term != 0 { // it must still be there: see heedless
		x.add(opLock, &zk.CheckVersionRequest{Path: is.next.path, Version: -1})
	}
	o.guardEpoch(x, is.epoch)
	return x
}

// put writes a node if it still is as it was read.
func put(path string, was node, data []byte) any {
	if !was.present {
		return &zk.CreateRequest{Path: path, Data: data, Acl: openACL}
	}
	return &zk.SetDataRequest{Path: path, Data: data, Version: was.stat.Version}
}

// guardEpoch has a transaction refused if the start record is not the one that
// was read. Where there was none the epoch is 0, and so is that of the first
// one.
func (o *Operator) guardEpoch(x *transaction, start node) {
	if start.present {
		x.add(opOrigin, &zk.CheckVersionRequest{Path: o.store.at.origin(), Version: start.stat.Version})
	}
}

// setPosition has the transaction carried out, once. When the reply was lost
// the very same one is sent again: it names the version of the position that it
// follows, so that of all copies at most one is carried out.
func (o *Operator) setPosition(ctx context.Context, sess *session, x *transaction, nonce string) error {
	for doubt := false; ; {
		failed, err := sess.multi(ctx, x.list...)
		switch f := outcomeOf(err); {
		case f == succeeded:
			return nil
		case f == refused && doubt && x.kind(failed) == opPosition:
			return o.settle(ctx, sess, x.list[failed], nonce)
		case f == refused:
			return sess.refusedFor(err)
		case f == sessionOver || ctx.Err() != nil:
			return err
		case f == unknown:
			doubt = true
		}
		if !wait(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// settle tells whether it was a copy of the transaction that has changed the
// position. If it is not to be seen any more, because others have written
// since, what became of it is not known.
func (o *Operator) settle(ctx context.Context, sess *session, position any, nonce string) error {
	path := ""
	switch op := position.(type) {
	case *zk.CreateRequest:
		path = op.Path
	case *zk.SetDataRequest:
		path = op.Path
	}
	n, err := sess.get(ctx, path)
	if err != nil {
		return err
	}
	if _, stamp, err := storekit.DecodePosition(n.data); err == nil && stamp.Nonce == nonce {
		return nil
	}
	return fmt.Errorf("the connection was lost, and others have written since: %w", errUnknownOutcome)
}

// RemovePositions implements gerritstream.Operator. Zuul's checkpoints stay: an
// absent one would let Python write as it likes. More than fit into one
// request, some thousands, are removed in several transactions, those of the
// current epoch first.
func (o *Operator) RemovePositions(ctx context.Context, which []gerritstream.PositionKey) (removed int, err error) {
	which = slices.Clone(which)
	slices.SortStableFunc(which, func(a, b gerritstream.PositionKey) int { return b.Epoch - a.Epoch })
	seen := map[string]bool{}
	err = o.write(ctx, pointRemovePositions, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil {
			return err
		}
		start, err := sess.get(ctx, o.store.at.origin())
		if err != nil {
			return err
		}
		nodes, err := o.removable(ctx, sess, start, which)
		if err != nil {
			return err
		}
		return o.remove(ctx, sess, start, nodes, seen)
	})
	if err != nil {
		return 0, err
	}
	return len(seen), nil
}

// removable reads the positions that are to be removed, as far as they are
// there. ErrConflict: one is needed for reading.
func (o *Operator) removable(ctx context.Context, sess *session, start node, which []gerritstream.PositionKey) ([]removal, error) {
	epoch, err := epochOf(start)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.store.at.origin(), err)
	}
	paths := make([]string, len(which))
	for i, key := range which {
		paths[i] = o.store.at.position(key.Epoch, key.Shard)
	}
	nodes, err := sess.getAll(ctx, paths)
	if err != nil {
		return nil, err
	}
	var found []removal
	for i, n := range nodes {
		if !n.present {
			continue
		}
		if key := which[i]; key.Epoch >= epoch && !storedPosition(n).Position.Ended {
			return nil, fmt.Errorf("remove position of %s: it is not marked ended: %w", key.Shard, gerritstream.ErrConflict)
		}
		found = append(found, removal{paths[i], n.stat.Version})
	}
	return found, nil
}

// removal is a node to be removed, as it was read.
type removal struct {
	path    string
	version int32
}

// remove removes nodes if they are as they were read, and the epoch is: as many
// as fit into a request in each transaction. seen gets those that there were.
func (o *Operator) remove(ctx context.Context, sess *session, start node, nodes []removal, seen map[string]bool) error {
	for len(nodes) > 0 {
		x := &transaction{}
		o.guardEpoch(x, start)
		n := 0
		for size := 0; n < len(nodes) && size < maxRequest/2; n++ {
			x.add(opUnknown, &zk.DeleteRequest{Path: nodes[n].path, Version: nodes[n].version})
			size += len(nodes[n].path) + 64
			seen[nodes[n].path] = true
		}
		if _, err := sess.multi(ctx, x.list...); err != nil {
			return sess.lookAgain(ctx, err)
		}
		nodes = nodes[n:]
	}
	return nil
}

// lookAgain says what the failure of a transaction means that removes what was
// read: where it may have been carried out, a second look tells.
func (sess *session) lookAgain(ctx context.Context, err error) error {
	f := outcomeOf(err)
	switch {
	case f == refused:
		return sess.refusedFor(err)
	case ctx.Err() == nil && (f == unknown || f == notSent):
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	return err
}

// getAll reads nodes, a number of them at once.
func (sess *session) getAll(ctx context.Context, paths []string) ([]node, error) {
	return sess.eachOf(ctx, paths, sess.get)
}

// statAll looks at nodes without reading them.
func (sess *session) statAll(ctx context.Context, paths []string) ([]node, error) {
	return sess.eachOf(ctx, paths, sess.stat)
}

func (sess *session) eachOf(ctx context.Context, paths []string, ask func(context.Context, string) (node, error)) ([]node, error) {
	nodes := make([]node, len(paths))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readsAtOnce)
	for i, path := range paths {
		all.Go(func() (err error) { nodes[i], err = ask(ctx, path); return err })
	}
	return nodes, all.Wait()
}
