package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// term is one leadership of one shard, or one lease of a consumer.
type term struct {
	store *Store
	epoch int
	shard gerritstream.ShardID
	held  *lease.Term

	beginning gerritstream.Beginning
}

// Context implements gerritstream.Term.
func (t *term) Context() context.Context { return t.held.Context() }

// Number implements gerritstream.Term.
func (t *term) Number() uint64 { return t.held.Number }

// Beginning implements gerritstream.Term. Nothing is ever found lost: no
// foreign leader uses this file.
func (t *term) Beginning() gerritstream.Beginning { return t.beginning }

// limits bound how long one commit holds the file's only write lock: a few
// milliseconds.
var limits = gerritstream.Limits{Items: 500, Weight: 4 << 20}

// Limits implements gerritstream.Term.
func (t *term) Limits() gerritstream.Limits { return limits }

// Commit implements gerritstream.Term.
func (t *term) Commit(ctx context.Context, c gerritstream.Commit) error {
	err := t.commit(ctx, &c)
	if err == nil {
		if c.Position.Ended { // others wait to read its children
			t.store.touches.touch()
		}
		return nil
	}
	if !errors.Is(err, gerritstream.ErrRetryLater) {
		t.held.Finish(err)
	}
	return fmt.Errorf("commit to %s: %w", t.shard, err)
}

// Resign implements gerritstream.Term.
func (t *term) Resign(ctx context.Context) error {
	err := t.held.Resign(func() error {
		return t.store.writer.write(ctx, storekit.PointResign, func(tx *transaction) error {
			return tx.exec(freeLease, t.shard, t.held.Number, t.store.id)
		})
	})
	if err == nil {
		t.store.touches.touch()
	}
	return err
}
