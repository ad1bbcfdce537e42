package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// errMoved: the term does not go on from the position that is stored.
var errMoved = errors.New("the position is not the one that this term has committed: " +
	"another program wrote it, or the database was restored or failed over to an older state")

// term is one leadership of one shard, or one lease of a consumer.
type term struct {
	store *Store
	epoch int
	shard gerritstream.ShardID
	held  *lease.Term

	beginning gerritstream.Beginning
	nonce     string // of the position stored last; of the goroutine that uses the term
}

// Context implements gerritstream.Term.
func (t *term) Context() context.Context { return t.held.Context() }

// Number implements gerritstream.Term.
func (t *term) Number() uint64 { return t.held.Number }

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
		t.held.Finish(err)
	}
	return fmt.Errorf("commit to %s: %w", t.shard, err)
}

// Resign implements gerritstream.Term.
func (t *term) Resign(ctx context.Context) error {
	return t.held.Resign(func() error {
		return t.store.write(ctx, storekit.PointResign, func(b *batch) {
			b.exec(freeLeases, t.store.id, []string{string(t.shard)}, []int64{int64(t.held.Number)})
		})
	})
}
