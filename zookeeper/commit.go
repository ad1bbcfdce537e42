package zookeeper

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/go-zookeeper/zk"
)

// maxRequest is the budget of what is written in one transaction besides the
// position. What remains up to maxBytes is room for that, and for long names.
const maxRequest = 900_000

// limits keep a commit below maxRequest even if all of it is dead letters,
// whose payload grows by a third. What their texts take is bounded as they are
// written.
var limits = gerritstream.Limits{Items: 100, Weight: 600_000}

// Commit implements gerritstream.Term.
func (t *term) Commit(ctx context.Context, c gerritstream.Commit) error {
	t.state.begin()
	err := t.commit(ctx, &c)
	t.state.end(t.version)
	switch {
	case err == nil:
		t.after = c.Position.After
		return nil
	case outcomeOf(err) == sessionOver:
		err = fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, err)
	}
	if !errors.Is(err, gerritstream.ErrRetryLater) {
		t.finish(err)
	}
	return fmt.Errorf("commit to %s: %w", t.shard, explain(err))
}

func (t *term) commit(ctx context.Context, c *gerritstream.Commit) error {
	began := time.Now()
	if t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	if err := c.Check(limits); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })()
	if len(c.Entries) > 0 {
		if err := t.store.queueLimit.wait(ctx, t.session); err != nil {
			return err
		}
	}
	a := &commitAttempt{
		term: t, position: c.Position, entries: c.Entries, deadLetters: c.DeadLetters, nonce: rand.Text(),
		serviceNow: c.Now, began: began,
	}
	a.dropPassed()
	return t.store.write(pointCommit, func() error { return a.run(ctx) })
}

// work is one commit on its way.
type commitAttempt struct {
	term        *term
	position    gerritstream.Position
	nonce       string
	entries     []gerritstream.Entry      // without those that a Python zombie has queued
	deadLetters []gerritstream.DeadLetter // likewise, and without those that are held already or that there is no room for
	largeID     string                    // id of the side data that the only entry is in; empty: it is not there

	discarded []gerritstream.DeadLetter // for which there is no room

	serviceNow time.Time // the service's clock had reached it when the commit began; zero: not known
	began      time.Time // local

	foreignWrites    int  // how often Zuul's checkpoint was written by another
	originChanges    int  // how often the start record was found changed
	parentsRecreated bool // parents were made anew
	intentGone       bool // the intent was gone
}

// writing is the timestamp of what is written now, the time of writing as in
// Zuul's own listener: Zuul counts from it how long to hold an event back until
// others have come that belong before it. It is the local clock's, but not
// ahead of the service's: Zuul's scheduler stands still until a timestamp has
// come.
func (a *commitAttempt) timestamp() time.Time {
	local := a.term.store.config.Now()
	if a.serviceNow.IsZero() {
		return local
	}
	if service := a.serviceNow.Add(time.Since(a.began)); service.Before(local) {
		return service
	}
	return local
}

// do writes the commit.
func (a *commitAttempt) run(ctx context.Context) error {
	t := a.term
	if err := a.prepare(ctx); err != nil {
		if f := outcomeOf(err); ctx.Err() == nil && (f == unknown || f == notSent) && !errors.Is(err, gerritstream.ErrLeadershipLost) {
			err = fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, err) // what there is of it, the next attempt clears away
		}
		return err
	}
	size := int64(min(a.size(), maxEncoded))
	if err := t.store.encoded.Acquire(ctx, size); err != nil {
		return context.Cause(ctx)
	}
	defer t.store.encoded.Release(size)
	if err := a.submit(ctx); err != nil {
		return err
	}
	t.store.queueLimit.add(int64(len(a.entries)))
	t.store.discards.Log(a.discarded)
	if a.largeID != "" && len(a.entries) == 0 { // a zombie has queued it meanwhile
		return t.clearIntent(ctx, []byte(a.largeID))
	}
	return nil
}

// ready does what comes before the transaction.
func (a *commitAttempt) prepare(ctx context.Context) error {
	if a.term.originVersion == absent {
		if err := a.term.checkEpoch(ctx); err != nil {
			return err
		}
	}
	if err := a.spill(ctx); err != nil {
		return err
	}
	return a.admitDeadLetters(ctx)
}

// size is an estimate of the bytes that the commit takes.
func (a *commitAttempt) size() int {
	size := 0
	for i := range a.entries {
		if a.largeID == "" {
			size += a.entries[i].Weight()
		}
	}
	for i := range a.deadLetters {
		size += a.deadLetters[i].Weight() * 4 / 3
	}
	return size + 8<<10
}

// submit has the transaction carried out, once. A refusal is put right where it
// can be. When the reply was lost, the position is read back: the nonce in it
// tells whether it was. If not, the transaction is sent again, the same but for
// its timestamps. It names the version of the position that it follows, as
// every commit does; so of all its copies that are under way, and of any later
// commit in their stead, at most one is ever carried out, in whatever order
// they arrive.
func (a *commitAttempt) submit(ctx context.Context) error {
	t := a.term
	ops := a.build()
	doubt := false // a copy whose reply was lost may have been carried out, or may yet be
	for {
		// THE COMMIT POINT.
		failed, err := t.session.multi(ctx, ops.list...)
		switch f := outcomeOf(err); {
		case f == succeeded:
			ops.free()
			a.applied()
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case f == unknown || f == refused && doubt && ops.kind(failed) == opPosition:
			applied, e := a.readBack(ctx)
			switch {
			case e != nil:
				return fmt.Errorf("%w: %w", err, e)
			case applied:
				a.applied()
				return nil
			case f == refused:
				return errMoved
			}
			doubt = true
			ops = a.build() // in memory of its own: the library may yet send the copy
		case f == refused:
			if err := a.recover(ctx, ops.kind(failed), err); err != nil {
				return err
			}
			ops = a.build()
		case f == notSent:
			if !wait(ctx, 50*time.Millisecond) {
				return fmt.Errorf("%w: %w", context.Cause(ctx), err)
			}
		default:
			return err
		}
	}
}

// readBack tells whether the commit was carried out although its reply was
// lost. It waits for the connection.
func (a *commitAttempt) readBack(ctx context.Context) (applied bool, err error) {
	t := a.term
	for {
		n, err := t.session.get(ctx, t.store.at.position(t.epoch, t.shard))
		switch f := outcomeOf(err); {
		case f == succeeded && !n.present:
			return false, nil
		case f == succeeded:
			_, stamp, err := storekit.DecodePosition(n.data)
			return err == nil && stamp.Nonce == a.nonce, nil
		case f == refused, f == sessionOver:
			return false, err
		case !wait(ctx, 50*time.Millisecond):
			return false, context.Cause(ctx)
		}
	}
}

// done takes over what the transaction has changed.
func (a *commitAttempt) applied() {
	t := a.term
	t.version++ // from absent to 0 as well
	if want := a.zuulCheckpoint(); !t.knows(want) {
		t.wroteCheckpoint(want)
	}
	if len(a.discarded) > 0 {
		t.discards.wrote(len(a.discarded))
	}
}

// knows tells whether Zuul's checkpoint says so already.
func (t *term) knows(want []byte) bool { return t.zuul.present && bytes.Equal(t.zuul.raw, want) }

// checkpoint is what Zuul's checkpoint says with this commit: never less than
// what a Python zombie has queued.
func (a *commitAttempt) zuulCheckpoint() []byte {
	after := a.position.After
	if passed := a.term.passed; after.Compare(passed) < 0 {
		after = passed
	}
	return encodeCheckpoint(after)
}

// putRight does what can be done about a refusal. nil: the commit is to be
// built and sent again.
func (a *commitAttempt) recover(ctx context.Context, of opKind, err error) error {
	t := a.term
	switch {
	case of == opLock:
		return errDeposed
	case of == opPosition && isConflict(err) && !(t.version == absent && errors.Is(err, zk.ErrNoNode)):
		t.session.forget() // in case more than the position was deleted
		return errMoved
	case of == opCheckpoint && isConflict(err):
		return a.adoptForeignCheckpoint(ctx)
	case of == opOrigin && isConflict(err):
		if a.originChanges++; a.originChanges > maxOriginChanges {
			return errOriginChanging
		}
		return t.checkEpoch(ctx)
	case of == opDiscarded && isConflict(err):
		return t.discards.read(ctx, t)
	case of == opDeadLetter && errors.Is(err, zk.ErrNodeExists):
		return a.dropHeldDeadLetters(ctx)
	case of == opIntent && errors.Is(err, zk.ErrNoNode) && !a.intentGone:
		a.intentGone = true
		return nil
	case errors.Is(err, zk.ErrNoNode) && !a.parentsRecreated: // what it is to be below is gone
		a.parentsRecreated = true
		t.store.log.Warn("nodes were deleted under a running process: they are made anew", "shard", t.shard)
		t.session.forget()
		if err := t.checkEpoch(ctx); err != nil { // in an epoch that is over nothing is made
			return err
		}
		return t.ensureParents(ctx)
	}
	return err
}

// maxZombies is how often in one commit Zuul's checkpoint may be found changed.
const maxZombies = 3

// meetZombie looks at what another program has written to Zuul's checkpoint: a
// Python process that has lost its session and does not know it yet. What it
// has queued is not queued again, as far as that can be told: if the term began
// from an anchor, the zombie has begun somewhere else.
func (a *commitAttempt) adoptForeignCheckpoint(ctx context.Context) error {
	t := a.term
	if a.foreignWrites++; a.foreignWrites >= maxZombies {
		return errors.New("another program keeps writing Zuul's checkpoint")
	}
	n, err := t.session.get(ctx, t.store.at.checkpoint(t.shard))
	if err != nil {
		return err
	}
	ours := t.after
	t.zuul = zuulCheckpoint{n.present, n.data, n.stat.Version, fromMilliseconds(n.stat.Mtime)}
	theirs, err := t.zuul.sequence()
	if err == nil && t.fromSequence && theirs.Compare(ours) > 0 {
		t.passed = theirs
		a.dropPassed()
	}
	t.store.log.Warn("Zuul's checkpoint was changed by another program while this process leads",
		"shard", t.shard, "checkpoint", theirs, "ours", ours)
	return nil
}

// dropPassed leaves out what a Python zombie has queued.
func (a *commitAttempt) dropPassed() {
	passed := a.term.passed
	if passed == "" {
		return
	}
	var entries []gerritstream.Entry
	for i := range a.entries {
		if a.entries[i].Seq.Compare(passed) > 0 {
			entries = append(entries, a.entries[i])
		}
	}
	a.entries = entries
	keep := func(letters []gerritstream.DeadLetter) (kept []gerritstream.DeadLetter) {
		for i := range letters {
			if letters[i].Seq.Compare(passed) > 0 {
				kept = append(kept, letters[i])
			}
		}
		return kept
	}
	a.deadLetters, a.discarded = keep(a.deadLetters), keep(a.discarded)
}
