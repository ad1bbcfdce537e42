package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

var (
	errResigned = errors.New("resigned")
	errTaken    = errors.New("another process has the lease, or an operator set the position")
	errMoved    = errors.New("the position is not the one that this term has committed: " +
		"another program wrote it, or the database was restored or failed over to an older state")
)

// term is one leadership of one shard.
type term struct {
	store  *Store
	epoch  int
	shard  gerritstream.ShardID
	number uint64
	began  time.Time // before the lease was taken

	ctx    context.Context
	cancel context.CancelCauseFunc

	beginning gerritstream.Beginning
	nonce     string // of the position stored last; of the goroutine that uses the term
}

// Context implements gerritstream.Term.
func (t *term) Context() context.Context { return t.ctx }

// Number implements gerritstream.Term.
func (t *term) Number() uint64 { return t.number }

// Beginning implements gerritstream.Term. Nothing is ever found lost: no
// foreign leader uses this schema.
func (t *term) Beginning() gerritstream.Beginning { return t.beginning }

// limits bound how long one commit holds up those of other processes: a few
// milliseconds.
var limits = gerritstream.Limits{Items: 500, Weight: 4 << 20}

// Limits implements gerritstream.Term.
func (t *term) Limits() gerritstream.Limits { return limits }

// Commit implements gerritstream.Term.
func (t *term) Commit(ctx context.Context, c gerritstream.Commit) error {
	err := t.commit(ctx, &c)
	if err == nil {
		return nil
	}
	if !errors.Is(err, gerritstream.ErrRetryLater) {
		t.finish(err)
	}
	return fmt.Errorf("commit to %s: %w", t.shard, err)
}

// Resign implements gerritstream.Term.
func (t *term) Resign(ctx context.Context) error {
	t.end(errResigned)
	err := t.store.write(ctx, storekit.PointResign, func(b *batch) {
		b.exec(freeLeases, t.store.id, []string{string(t.shard)}, []int64{int64(t.number)})
	})
	if err != nil {
		t.store.heartbeat.wake.Set()
		return fmt.Errorf("resign %s: %w", t.shard, err)
	}
	t.store.watcher.wake.Set()
	return nil
}

// finish ends the term. The heartbeat frees its lease at once, unless a
// resignation does so sooner.
func (t *term) finish(why error) {
	if t.end(why) {
		t.store.heartbeat.wake.Set()
	}
}

// end ends the term, whose lease is then to be freed, and reports whether it
// lived.
func (t *term) end(why error) bool {
	h := t.store.heartbeat
	h.mu.Lock()
	live := h.terms[t.shard] == t
	if live {
		delete(h.terms, t.shard)
	}
	h.mu.Unlock()
	if live {
		if !errors.Is(why, gerritstream.ErrLeadershipLost) {
			why = fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, why)
		}
		t.cancel(why)
	}
	return live
}
