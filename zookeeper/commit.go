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
	case fateOf(err) == sessionOver:
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
		if err := t.store.queue.wait(ctx, t.session); err != nil {
			return err
		}
	}
	w := &work{
		term: t, position: c.Position, entries: c.Entries, letters: c.DeadLetters, nonce: rand.Text(),
		service: c.Now, began: began,
	}
	w.dropPassed()
	return t.store.write(pointCommit, func() error { return w.do(ctx) })
}

// work is one commit on its way.
type work struct {
	term     *term
	position gerritstream.Position
	nonce    string
	entries  []gerritstream.Entry      // without those that a Python zombie has queued
	letters  []gerritstream.DeadLetter // likewise, and without those that are held already or that there is no room for
	side     string                    // id of the side data that the only entry is in; empty: it is not there

	discarded []gerritstream.DeadLetter // for which there is no room

	service time.Time // the service's clock had reached it when the commit began; zero: not known
	began   time.Time // local

	zombies int  // how often Zuul's checkpoint was written by another
	starts  int  // how often the start record was found changed
	parents bool // parents were made anew
	unsaid  bool // the intent was gone
}

// writing is the timestamp of what is written now, the time of writing as in
// Zuul's own listener: Zuul counts from it how long to hold an event back until
// others have come that belong before it. It is the local clock's, but not
// ahead of the service's: Zuul's scheduler stands still until a timestamp has
// come.
func (w *work) writing() time.Time {
	local := w.term.store.config.Now()
	if w.service.IsZero() {
		return local
	}
	if service := w.service.Add(time.Since(w.began)); service.Before(local) {
		return service
	}
	return local
}

// do writes the commit.
func (w *work) do(ctx context.Context) error {
	t := w.term
	if err := w.ready(ctx); err != nil {
		if f := fateOf(err); ctx.Err() == nil && (f == unknown || f == unsent) && !errors.Is(err, gerritstream.ErrLeadershipLost) {
			err = fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, err) // what there is of it, the next attempt clears away
		}
		return err
	}
	size := int64(min(w.size(), maxEncoded))
	if err := t.store.encoded.Acquire(ctx, size); err != nil {
		return context.Cause(ctx)
	}
	defer t.store.encoded.Release(size)
	if err := w.submit(ctx); err != nil {
		return err
	}
	t.store.queue.add(int64(len(w.entries)))
	t.store.discards.Log(w.discarded)
	if w.side != "" && len(w.entries) == 0 { // a zombie has queued it meanwhile
		return t.clearIntent(ctx, []byte(w.side))
	}
	return nil
}

// ready does what comes before the transaction.
func (w *work) ready(ctx context.Context) error {
	if w.term.start == absent {
		if err := w.term.checkEpoch(ctx); err != nil {
			return err
		}
	}
	if err := w.layAside(ctx); err != nil {
		return err
	}
	return w.admit(ctx)
}

// size is an estimate of the bytes that the commit takes.
func (w *work) size() int {
	size := 0
	for i := range w.entries {
		if w.side == "" {
			size += w.entries[i].Weight()
		}
	}
	for i := range w.letters {
		size += w.letters[i].Weight() * 4 / 3
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
func (w *work) submit(ctx context.Context) error {
	t := w.term
	ops := w.build()
	doubt := false // a copy whose reply was lost may have been carried out, or may yet be
	for {
		// THE COMMIT POINT.
		failed, err := t.session.multi(ctx, ops.list...)
		switch f := fateOf(err); {
		case f == answered:
			ops.free()
			w.done()
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case f == unknown || f == refused && doubt && ops.kind(failed) == opPosition:
			applied, e := w.readBack(ctx)
			switch {
			case e != nil:
				return fmt.Errorf("%w: %w", err, e)
			case applied:
				w.done()
				return nil
			case f == refused:
				return errMoved
			}
			doubt = true
			ops = w.build() // in memory of its own: the library may yet send the copy
		case f == refused:
			if err := w.putRight(ctx, ops.kind(failed), err); err != nil {
				return err
			}
			ops = w.build()
		case f == unsent:
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
func (w *work) readBack(ctx context.Context) (applied bool, err error) {
	t := w.term
	for {
		n, err := t.session.get(ctx, t.store.at.position(t.epoch, t.shard))
		switch f := fateOf(err); {
		case f == answered && !n.present:
			return false, nil
		case f == answered:
			_, stamp, err := storekit.DecodePosition(n.data)
			return err == nil && stamp.Nonce == w.nonce, nil
		case f == refused, f == sessionOver:
			return false, err
		case !wait(ctx, 50*time.Millisecond):
			return false, context.Cause(ctx)
		}
	}
}

// done takes over what the transaction has changed.
func (w *work) done() {
	t := w.term
	t.version++ // from absent to 0 as well
	if want := w.checkpoint(); !t.knows(want) {
		t.wroteCheckpoint(want)
	}
	if len(w.discarded) > 0 {
		t.discards.wrote(len(w.discarded))
	}
}

// knows tells whether Zuul's checkpoint says so already.
func (t *term) knows(want []byte) bool { return t.zuul.present && bytes.Equal(t.zuul.raw, want) }

// checkpoint is what Zuul's checkpoint says with this commit: never less than
// what a Python zombie has queued.
func (w *work) checkpoint() []byte {
	after := w.position.After
	if passed := w.term.passed; after.Compare(passed) < 0 {
		after = passed
	}
	return encodeCheckpoint(after)
}

// putRight does what can be done about a refusal. nil: the commit is to be
// built and sent again.
func (w *work) putRight(ctx context.Context, of opKind, err error) error {
	t := w.term
	switch {
	case of == opLock:
		return errDeposed
	case of == opPosition && isConflict(err) && !(t.version == absent && errors.Is(err, zk.ErrNoNode)):
		t.session.forget() // in case more than the position was deleted
		return errMoved
	case of == opZuul && isConflict(err):
		return w.meetZombie(ctx)
	case of == opStart && isConflict(err):
		if w.starts++; w.starts > maxStarts {
			return errStartMoves
		}
		return t.checkEpoch(ctx)
	case of == opDiscarded && isConflict(err):
		return t.discards.read(ctx, t)
	case of == opLetter && errors.Is(err, zk.ErrNodeExists):
		return w.dropHeld(ctx)
	case of == opIntent && errors.Is(err, zk.ErrNoNode) && !w.unsaid:
		w.unsaid = true
		return nil
	case errors.Is(err, zk.ErrNoNode) && !w.parents: // what it is to be below is gone
		w.parents = true
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
func (w *work) meetZombie(ctx context.Context) error {
	t := w.term
	if w.zombies++; w.zombies >= maxZombies {
		return errors.New("another program keeps writing Zuul's checkpoint")
	}
	n, err := t.session.get(ctx, t.store.at.checkpoint(t.shard))
	if err != nil {
		return err
	}
	ours := t.after
	t.zuul = checkpoint{n.present, n.data, n.stat.Version, fromMilliseconds(n.stat.Mtime)}
	theirs, err := t.zuul.sequence()
	if err == nil && t.fromSequence && theirs.Compare(ours) > 0 {
		t.passed = theirs
		w.dropPassed()
	}
	t.store.log.Warn("Zuul's checkpoint was changed by another program while this process leads",
		"shard", t.shard, "checkpoint", theirs, "ours", ours)
	return nil
}

// dropPassed leaves out what a Python zombie has queued.
func (w *work) dropPassed() {
	passed := w.term.passed
	if passed == "" {
		return
	}
	var entries []gerritstream.Entry
	for i := range w.entries {
		if w.entries[i].Seq.Compare(passed) > 0 {
			entries = append(entries, w.entries[i])
		}
	}
	w.entries = entries
	keep := func(letters []gerritstream.DeadLetter) (kept []gerritstream.DeadLetter) {
		for i := range letters {
			if letters[i].Seq.Compare(passed) > 0 {
				kept = append(kept, letters[i])
			}
		}
		return kept
	}
	w.letters, w.discarded = keep(w.letters), keep(w.discarded)
}
