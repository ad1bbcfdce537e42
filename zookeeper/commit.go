package zookeeper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// maxRequest bounds what is written in one transaction besides the position.
// What remains up to maxBytes is room for the position and for long names.
const maxRequest = 900_000

// limits keep a commit below maxRequest even if it is all dead letters, whose
// payload grows by a third. Their texts are clipped as they are written.
var limits = gerritstream.Limits{Items: 100, Weight: 600_000}

func (t *term) Commit(ctx context.Context, c gerritstream.Commit) error {
	t.activity.beginCommit()
	err := t.commit(ctx, &c)
	t.activity.endCommit(t.version)
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
	if err := t.checkPause(ctx); err != nil {
		return err
	}
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
	return t.store.intercept.Write(storekit.PointCommit, func() error { return a.run(ctx) })
}

// commitAttempt is one commit under way.
type commitAttempt struct {
	term        *term
	position    gerritstream.Position
	nonce       string
	entries     []gerritstream.Entry      // without those that a Python zombie has queued
	deadLetters []gerritstream.DeadLetter // likewise, and without those already held or without room
	discarded   []gerritstream.DeadLetter // those without room
	largeID     string                    // the only entry is in nodes of its own under this id; empty: it is not

	serviceNow time.Time // the service's clock had reached it when the commit began; zero: not known
	began      time.Time // local

	foreignWrites    int // how often another program wrote Zuul's checkpoint
	originChanges    int // how often the origin had changed
	pausesChanges    int // how often the pauses had
	parentsRecreated bool
	intentGone       bool
}

// timestamp dates the events by the time of writing, as Zuul's own listener
// does: Zuul counts from it how long to hold an event back until others have
// come that belong before it. It is the local clock's time, but never ahead of
// the service's, because Zuul's scheduler stops until a timestamp has come.
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

// run writes the commit.
func (a *commitAttempt) run(ctx context.Context) error {
	t := a.term
	if err := a.prepare(ctx); err != nil {
		o := outcomeOf(err)
		if ctx.Err() == nil && (o == unknown || o == notSent) && !errors.Is(err, gerritstream.ErrLeadershipLost) {
			err = fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, err) // the next attempt removes what this one wrote
		}
		return err
	}
	size := 8 << 10 // an estimate of the encoded bytes
	for i := range a.entries {
		if a.largeID == "" {
			size += a.entries[i].Weight()
		}
	}
	for i := range a.deadLetters {
		size += a.deadLetters[i].Weight() * 4 / 3
	}
	encoding := int64(min(size, maxEncoded))
	if err := t.store.encoding.Acquire(ctx, encoding); err != nil {
		return context.Cause(ctx)
	}
	defer t.store.encoding.Release(encoding)
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

// prepare does what comes before the transaction.
func (a *commitAttempt) prepare(ctx context.Context) error {
	if a.term.origin == absent {
		if err := a.term.checkEpoch(ctx); err != nil {
			return err
		}
	}
	if err := a.spill(ctx); err != nil {
		return err
	}
	return a.admitDeadLetters(ctx)
}

// submit has the transaction carried out, once. It recovers from a refusal
// where it can. If the reply was lost it reads the position back: its nonce
// shows whether the transaction was carried out. If not, the transaction is
// sent again, the same but for its timestamps. Like every commit it names the
// version of the position that it follows, so of all its copies under way, and
// of any later commit in their stead, at most one is ever carried out, in
// whatever order they arrive.
func (a *commitAttempt) submit(ctx context.Context) error {
	t := a.term
	ops := a.build()
	doubt := false // a copy whose reply was lost may have been carried out, or may yet be
	for {
		// THE COMMIT POINT.
		failed, err := t.session.multi(ctx, ops.list...)
		switch o := outcomeOf(err); {
		case o == succeeded:
			a.applied()
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case o == unknown || o == refused && doubt && ops.kind(failed) == opPosition:
			applied, e := a.readBack(ctx)
			switch {
			case e != nil:
				return fmt.Errorf("%w: %w", err, e)
			case applied:
				a.applied()
				return nil
			case o == refused:
				return errMoved
			}
			doubt = true
			ops = a.build() // with new timestamps
		case o == refused:
			if err := a.recover(ctx, ops.kind(failed), err); err != nil {
				return err
			}
			ops = a.build()
		case o == notSent:
			if !storekit.Sleep(ctx, retryPause) {
				return fmt.Errorf("%w: %w", context.Cause(ctx), err)
			}
		default:
			return err
		}
	}
}

// readBack reports whether the commit was carried out although its reply was
// lost. It waits for the connection.
func (a *commitAttempt) readBack(ctx context.Context) (applied bool, err error) {
	t := a.term
	for {
		n, err := t.session.get(ctx, t.store.at.position(t.epoch, t.shard))
		switch o := outcomeOf(err); {
		case o == succeeded && !n.present:
			return false, nil
		case o == succeeded:
			_, stamp, err := storekit.DecodePosition(n.data)
			return err == nil && stamp.Nonce == a.nonce, nil
		case o == refused, o == sessionOver:
			return false, err
		case !storekit.Sleep(ctx, retryPause):
			return false, context.Cause(ctx)
		}
	}
}

// applied notes what the transaction has changed.
func (a *commitAttempt) applied() {
	t := a.term
	t.version++ // from absent to 0 as well
	if want := a.zuulCheckpoint(); !t.zuul.equals(want) {
		t.zuul = t.zuul.next(want)
	}
	if n := len(a.discarded); n > 0 {
		t.discarded.count, t.discarded.version = t.discarded.count+int64(n), t.discarded.version+1
	}
}

// zuulCheckpoint is Zuul's checkpoint with this commit: never before what a
// Python zombie has queued.
func (a *commitAttempt) zuulCheckpoint() []byte {
	after := a.position.After
	if passed := a.term.passed; after.Compare(passed) < 0 {
		after = passed
	}
	return encodeCheckpoint(after)
}

// recover does what can be done about a refusal. It returns nil if the
// transaction should be built and sent again.
func (a *commitAttempt) recover(ctx context.Context, of opKind, err error) error {
	t := a.term
	switch {
	case of == opLock:
		return errDeposed
	case of == opPosition && isConflict(err) && !(t.version == absent && errors.Is(err, zk.ErrNoNode)):
		t.session.forget() // in case more than the position was deleted
		return errMoved
	case of == opCheckpoint && isConflict(err):
		return a.handleForeignWrite(ctx)
	case of == opOrigin && isConflict(err):
		if a.originChanges++; a.originChanges > maxOriginChanges {
			return errOriginChanging
		}
		return t.checkEpoch(ctx)
	case of == opPauses && isConflict(err):
		if a.pausesChanges++; a.pausesChanges > maxPausesChanges {
			return errPausesChanging
		}
		return t.checkPause(ctx) // the watch has fired before this answer came
	case of == opDiscarded && isConflict(err):
		return t.readDiscarded(ctx)
	case of == opDeadLetter && errors.Is(err, zk.ErrNodeExists):
		return a.dropHeldDeadLetters(ctx)
	case of == opIntent && errors.Is(err, zk.ErrNoNode) && !a.intentGone:
		a.intentGone = true
		return nil
	case errors.Is(err, zk.ErrNoNode) && !a.parentsRecreated:
		a.parentsRecreated = true
		t.store.log.Warn("nodes were deleted under a running process; recreating them", "shard", t.shard)
		t.session.forget()
		if err := t.checkEpoch(ctx); err != nil { // in an epoch that is over nothing is created
			return err
		}
		return t.ensureParents(ctx)
	}
	return err
}

// maxForeignWrites is how often in one commit Zuul's checkpoint may have
// changed.
const maxForeignWrites = 3

// handleForeignWrite reads what another program has written to Zuul's
// checkpoint: a Python process that has lost its session and does not know it
// yet. What such a zombie has queued is not queued again if this term began at
// a sequence number. A term that began at an anchor drops nothing, because the
// zombie has begun somewhere else.
func (a *commitAttempt) handleForeignWrite(ctx context.Context) error {
	t := a.term
	if a.foreignWrites++; a.foreignWrites >= maxForeignWrites {
		return errors.New("another program keeps writing Zuul's checkpoint")
	}
	n, err := t.session.get(ctx, t.store.at.checkpoint(t.shard))
	if err != nil {
		return err
	}
	t.zuul = checkpointOf(n)
	theirs, err := t.zuul.sequence()
	if err == nil && t.beginning.Position.After != "" && theirs.Compare(t.after) > 0 {
		t.passed = theirs
		a.dropPassed()
	}
	t.store.log.Warn("another program changed Zuul's checkpoint while this process leads",
		"shard", t.shard, "checkpoint", theirs, "ours", t.after)
	return nil
}

// dropPassed leaves out what a Python zombie has queued.
func (a *commitAttempt) dropPassed() {
	passed := a.term.passed
	if passed == "" {
		return
	}
	a.entries = slices.DeleteFunc(slices.Clone(a.entries), func(e gerritstream.Entry) bool {
		return e.Seq.Compare(passed) <= 0
	})
	covered := func(d gerritstream.DeadLetter) bool { return d.Seq.Compare(passed) <= 0 }
	a.deadLetters = slices.DeleteFunc(slices.Clone(a.deadLetters), covered)
	a.discarded = slices.DeleteFunc(slices.Clone(a.discarded), covered)
}
