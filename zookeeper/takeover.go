package zookeeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"
)

// begin makes a term of a candidacy that is first in line.
func (c *candidacy) newTerm(ctx context.Context, sess *session, mine string) (*term, error) {
	s := c.store
	t := &term{
		store: s, session: sess, epoch: c.epoch, shard: c.shard, root: c.root, name: c.name, lock: c.root + "/" + mine,
	}
	n, fired, err := sess.watchPresent(ctx, t.lock)
	if err != nil {
		return nil, err
	}
	if id, _ := sess.identity(); !n.present || n.stat.EphemeralOwner != id {
		return nil, errDeposed
	}
	t.number = uint64(n.stat.Czxid)
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	if sess.trustLeft(time.Now()) <= 0 {
		if err := sess.sync(ctx); err != nil {
			return nil, err
		}
	}
	t.state.end(t.version)
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if err = t.register(); err == nil && !sess.run(func() { t.guard(fired) }) {
		err = errSessionOver
		t.finish(err)
	}
	if err != nil {
		t.cancel(err)
		return nil, err
	}
	return t, nil
}

// beginTries bounds how often a term starts over because another program writes
// Zuul's checkpoint meanwhile.
const takeoverTries = 3

// prepare finds out where the term begins. What it reads is not older than the
// end of the term before: a session never sees an older state than it has seen,
// and it has seen that no lock node is before its own.
func (t *term) prepare(ctx context.Context) error {
	var err error
	for range takeoverTries {
		var found shardState
		if found, err = t.readState(ctx); err != nil {
			return err
		}
		if err = t.ensureParents(ctx); err != nil {
			return err
		}
		b := reconcile(found)
		t.beginning, t.after, t.zuul = b.found, b.found.Position.After, found.zuul
		t.fromSequence = b.found.Stored && t.after != ""
		if err = t.repairCheckpoint(ctx); err == nil {
			t.logBeginning(b)
			return nil
		}
		if !errors.Is(err, errAgain) {
			return err
		}
	}
	return err
}

// ensureParents makes what a term's nodes are below.
func (t *term) ensureParents(ctx context.Context) error {
	at := t.store.at
	return t.session.ensure(ctx, at.queue(), at.largeEvents(), at.positions(t.epoch), at.deadLetters(), at.discardedCounts(), at.intents())
}

// load reads what is stored, and clears away what a term before left half done.
// In an epoch that is over it does nothing.
func (t *term) readState(ctx context.Context) (shardState, error) {
	sess, at := t.session, t.store.at
	var ours, zuul, intent, start node
	all, reading := errgroup.WithContext(ctx)
	for path, into := range map[string]*node{
		at.position(t.epoch, t.shard): &ours, at.checkpoint(t.shard): &zuul, at.intent(t.shard): &intent, at.origin(): &start,
	} {
		all.Go(func() (err error) { *into, err = sess.get(reading, path); return err })
	}
	if err := all.Wait(); err != nil {
		return shardState{}, err
	}
	if err := t.checkOrigin(start); err != nil {
		return shardState{}, err
	}
	if intent.present {
		if err := t.clearIntent(ctx, intent.data); err != nil {
			return shardState{}, fmt.Errorf("remove what an unfinished large event has left: %w", err)
		}
	}
	found := shardState{zuul: zuulCheckpoint{zuul.present, zuul.data, zuul.stat.Version, fromMilliseconds(zuul.stat.Mtime)}}
	t.version = absent
	if ours.present {
		t.version, found.ok = ours.stat.Version, true
		var err error
		if found.position, err = decodePosition(ours.data); err != nil {
			return shardState{}, err
		}
	}
	var err error
	if t.epoch > 0 && !(found.ok && found.position.Unreadable == nil) {
		found.foreign, err = t.isFromEarlierStream(ctx, &found.zuul, start)
	}
	return found, err
}

// isForeign tells whether Zuul's checkpoint may be of an earlier stream. That
// it was written since this one was made proves nothing where a term of an
// earlier epoch, which had not ended yet, has written it: then that epoch's
// position is the same, for both are written at once.
func (t *term) isFromEarlierStream(ctx context.Context, zuul *zuulCheckpoint, start node) (bool, error) {
	if !writtenSince(zuul.written, start) {
		return true, nil
	}
	z, err := zuul.sequence()
	if err != nil || z == "" {
		return false, nil //nolint:nilerr // what cannot be understood is written over in any case
	}
	earlier := make([]string, t.epoch)
	for epoch := range earlier {
		earlier[epoch] = t.store.at.position(epoch, t.shard)
	}
	nodes, err := t.session.getAll(ctx, earlier)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(nodes, func(n node) bool {
		pos, _, err := storekit.DecodePosition(n.data)
		return n.present && err == nil && pos.After == z
	}), nil
}

// writtenSince tells whether something was written after the stream of the
// start record was made.
func writtenSince(written time.Time, start node) bool {
	if !start.present {
		return false
	}
	record, err := decodeOrigin(start.data)
	return err == nil && written.After(record.Stream.Created)
}

// errAgain: somebody wrote meanwhile, or may have; what was read is to be read
// again.
var errAgain = errors.New("changed meanwhile")

// repair sees to it that Zuul's checkpoint is there and says what the term
// begins with, before anything else is done: where it is absent, the next write
// of a Python process would be unconditional.
func (t *term) repairCheckpoint(ctx context.Context) error {
	want := encodeCheckpoint(t.after)
	if t.zuul.present && bytes.Equal(t.zuul.raw, want) {
		return nil
	}
	x := &transaction{}
	x.add(opLock, t.checkLock())
	x.add(opCheckpoint, t.setCheckpoint(want))
	t.guardEpoch(x)
	failed, err := t.session.multi(ctx, x.list...)
	switch f := outcomeOf(err); {
	case f == succeeded:
		t.wroteCheckpoint(want)
		return nil
	case f == refused && x.kind(failed) == opLock:
		return errDeposed
	case f == refused && x.kind(failed) != opUnknown && isConflict(err), f == unknown && ctx.Err() == nil, f == notSent:
		return fmt.Errorf("set Zuul's checkpoint: %w: %w", errAgain, err)
	}
	return err
}

// isConflict tells that a node is not as it was believed to be.
func isConflict(err error) bool {
	return errors.Is(err, zk.ErrBadVersion) || errors.Is(err, zk.ErrNodeExists) || errors.Is(err, zk.ErrNoNode)
}

func (t *term) checkLock() any { return &zk.CheckVersionRequest{Path: t.lock, Version: -1} }

// setCheckpoint writes Zuul's checkpoint if it still is what we know.
func (t *term) setCheckpoint(want []byte) any {
	path := t.store.at.checkpoint(t.shard)
	if !t.zuul.present {
		return &zk.CreateRequest{Path: path, Data: want, Acl: openACL}
	}
	return &zk.SetDataRequest{Path: path, Data: want, Version: t.zuul.version}
}

// wroteCheckpoint notes that setCheckpoint was carried out.
func (t *term) wroteCheckpoint(want []byte) {
	version := t.zuul.version + 1
	if !t.zuul.present {
		version = 0
	}
	t.zuul = zuulCheckpoint{present: true, raw: want, version: version}
}

// tell logs what an operator should know about the beginning.
func (t *term) logBeginning(b beginning) {
	log := t.store.log.With("shard", t.shard)
	if b.warning != "" {
		log.Warn(b.warning, "position", t.beginning.Position.String())
	} else if b.led {
		log.Info("going on behind Zuul's own listener", "position", t.beginning.Position.String())
	}
}

func fromMilliseconds(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// decodePosition reads a stored position. One that is damaged is a position
// with Unreadable set; one of a newer version is an error.
func decodePosition(raw []byte) (gerritstream.Position, error) {
	pos, _, err := storekit.DecodePosition(raw)
	switch {
	case errors.Is(err, gerritstream.ErrNewerFormat):
		return gerritstream.Position{}, err
	case err != nil:
		return gerritstream.Position{Unreadable: err}, nil
	}
	return pos, nil
}
