package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream/internal/storekit"
)

// newTerm begins the term of a candidacy whose lock node is the first.
func (c *candidacy) newTerm(ctx context.Context, sess *session, mine string) (*term, error) {
	t := &term{
		store: c.store, session: sess, epoch: c.epoch, shard: c.shard,
		lock: lockNode{root: c.root, candidacy: c.name, path: c.root + "/" + mine},
	}
	n, fired, err := sess.watchPresent(ctx, t.lock.path)
	if err != nil {
		return nil, err
	}
	if !n.present || n.stat.EphemeralOwner != sess.currentLease().id {
		return nil, errDeposed
	}
	t.lock.number = uint64(n.stat.Czxid)
	if err := t.takeOver(ctx); err != nil {
		return nil, err
	}
	if sess.trustLeft(time.Now()) <= 0 {
		if err := sess.sync(ctx); err != nil {
			return nil, err
		}
	}
	t.activity.endCommit(t.version)
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	if err = ctx.Err(); err == nil {
		err = t.register()
	}
	if err == nil && !sess.start(func() { t.guard(fired) }) {
		err = errSessionOver
		t.finish(err)
	}
	if err != nil {
		t.cancel(err)
		return nil, err
	}
	return t, nil
}

// register counts the term among those that end with the session, or with the
// trust in it.
func (t *term) register() error {
	l := &t.store.leaderships
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case t.store.stopped():
		return errClosed
	case t.session.isOver():
		return errSessionOver
	case t.session.trustLeft(time.Now()) <= 0:
		return errAway
	}
	l.terms[t] = true
	return nil
}

// errAgain: somebody wrote meanwhile, or may have; what was read has to be read
// again.
var errAgain = errors.New("changed meanwhile")

// takeOverTries bounds how often a term starts over because another program
// writes Zuul's checkpoint meanwhile.
const takeOverTries = 3

// takeOver finds out where the term begins. What it reads is not older than the
// end of the previous term: a session never sees an older state than it has
// seen, and it has seen that no lock node is before its own.
func (t *term) takeOver(ctx context.Context) error {
	var err error
	for range takeOverTries {
		var found shardState
		if found, err = t.readState(ctx); err != nil {
			return err
		}
		if err = t.ensureParents(ctx); err != nil {
			return err
		}
		b := reconcile(found)
		t.beginning, t.after, t.zuul = b.found, b.found.Position.After, found.zuul
		err = t.repairCheckpoint(ctx)
		if err == nil {
			log := t.store.log.With("shard", t.shard, "position", t.beginning.Position.String())
			if b.warning != "" {
				log.Warn(b.warning) //nolint:sloglint // one of a few constants
			} else if b.led {
				log.Info("continuing after Zuul's own listener")
			}
			return nil
		}
		if !errors.Is(err, errAgain) {
			return err
		}
	}
	return err
}

// ensureParents makes the nodes that a term's nodes are below.
func (t *term) ensureParents(ctx context.Context) error {
	at := t.store.at
	return t.session.ensure(ctx, at.queue(), at.largeEvents(), at.positions(t.epoch), at.deadLetters(),
		at.discardedCounts(), at.intents(), at.pauses())
}

// readState reads what is stored, and removes what the previous term has left
// unfinished. In an epoch that is over it removes nothing.
func (t *term) readState(ctx context.Context) (shardState, error) {
	sess, at := t.session, t.store.at
	nodes, err := sess.getAll(ctx,
		at.position(t.epoch, t.shard), at.checkpoint(t.shard), at.intent(t.shard), at.origin())
	if err != nil {
		return shardState{}, err
	}
	ours, zuul, intent, origin := nodes[0], nodes[1], nodes[2], nodes[3]
	if err := t.followOrigin(origin); err != nil {
		return shardState{}, err
	}
	if intent.present {
		if err := t.clearIntent(ctx, intent.data); err != nil {
			return shardState{}, fmt.Errorf("remove an unfinished large event: %w", err)
		}
	}
	t.version = ours.version()
	found := shardState{zuul: checkpointOf(zuul), stored: ours.present}
	if ours.present {
		if found.position, err = storekit.ReadPosition(ours.data); err != nil {
			return shardState{}, err
		}
	}
	if t.epoch > 0 && !(found.stored && found.position.Unreadable == nil) {
		found.earlierStream, err = t.isOfEarlierStream(ctx, &found.zuul, origin)
	}
	return found, err
}

// isOfEarlierStream reports whether Zuul's checkpoint may be of an earlier
// stream. If it was written after this stream was created, it is still of an
// earlier one if a term of an earlier epoch that had not ended yet has written
// it: then that epoch's position is the same, because both are written at once.
func (t *term) isOfEarlierStream(ctx context.Context, zuul *zuulCheckpoint, origin node) (bool, error) {
	current, err := storekit.DecodeOrigin(origin.data)
	if err != nil || !zuul.written.After(current.Stream.Created) {
		return true, nil //nolint:nilerr // without an origin nothing vouches for the checkpoint
	}
	z, err := zuul.sequence()
	if err != nil || z == "" {
		return false, nil //nolint:nilerr // an unreadable checkpoint is overwritten in any case
	}
	earlier := make([]string, t.epoch)
	for epoch := range earlier {
		earlier[epoch] = t.store.at.position(epoch, t.shard)
	}
	nodes, err := t.session.getAll(ctx, earlier...)
	return slices.ContainsFunc(nodes, func(n node) bool {
		pos, _, err := storekit.DecodePosition(n.data)
		return n.present && err == nil && pos.After == z
	}), err
}

// repairCheckpoint makes Zuul's checkpoint agree with the term's beginning
// before anything else is done: if it were absent, the next write of a Python
// process would be unconditional.
func (t *term) repairCheckpoint(ctx context.Context) error {
	want := encodeCheckpoint(t.after)
	if t.zuul.equals(want) {
		return nil
	}
	x := &transaction{}
	x.add(opLock, t.checkLock())
	x.add(opCheckpoint, t.writeCheckpoint(want))
	t.guardEpoch(x)
	failed, err := t.session.multi(ctx, x.list...)
	switch o := outcomeOf(err); {
	case o == succeeded:
		t.zuul = t.zuul.next(want)
		return nil
	case o == refused && x.kind(failed) == opLock:
		return errDeposed
	case o == refused && x.kind(failed) != opUnknown && isConflict(err), o == unknown && ctx.Err() == nil, o == notSent:
		return fmt.Errorf("set Zuul's checkpoint: %w: %w", errAgain, err)
	}
	return err
}

func (t *term) checkLock() any { return &zk.CheckVersionRequest{Path: t.lock.path, Version: -1} }

// writeCheckpoint writes Zuul's checkpoint if it still is as it is known.
func (t *term) writeCheckpoint(want []byte) any {
	return writeAt(t.store.at.checkpoint(t.shard), t.zuul.version(), want)
}
