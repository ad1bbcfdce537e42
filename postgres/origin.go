package postgres

import (
	"context"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

const selectOrigin = `SELECT record FROM @.start`

// Origin implements gerritstream.Store.
func (s *Store) Origin(ctx context.Context) (gerritstream.Origin, bool, error) {
	if err := s.check(); err != nil {
		return gerritstream.Origin{}, false, err
	}
	var raw []byte
	ok, err := s.db.get(ctx, []any{&raw}, selectOrigin)
	if err != nil || !ok {
		return gerritstream.Origin{}, false, explainRead(err)
	}
	origin, err := storekit.DecodeOrigin(raw)
	if err != nil {
		return gerritstream.Origin{}, false, err
	}
	return *origin, true, nil
}

// replaceOrigin writes an origin ($2, of epoch $1) in place of the one that is
// stored as $3; NULL: of none. It returns the epoch if it did.
const replaceOrigin = `INSERT INTO @.start AS s (epoch, record) SELECT $1::integer, $2::text
	WHERE $3::text IS NULL OR EXISTS (SELECT FROM @.start)
	ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, record = excluded.record WHERE s.record = $3
	RETURNING epoch`

// lockFences waits for the commits whose fences have read the epoch and the
// pauses: each has a lease locked. Others wait until the transaction ends.
const lockFences = `LOCK TABLE @.leases IN EXCLUSIVE MODE`

// SetOrigin implements gerritstream.Store. The lock waits for the commits that
// have read the epoch, and holds up others until they can read the new one.
func (s *Store) SetOrigin(ctx context.Context, prev *gerritstream.Origin, next gerritstream.Origin) error {
	raw, err := storekit.EncodeOrigin(next)
	if err != nil {
		return err
	}
	stored, err := s.storedOrigin(ctx, prev)
	if err != nil {
		return err
	}
	replaced := false
	err = s.write(ctx, storekit.PointSetOrigin, func(b *batch) {
		replaced = false
		b.exec(lockFences)
		b.get([]any{new(int)}, func() { replaced = true }, replaceOrigin, next.Epoch, string(raw), stored)
	})
	if err == nil && !replaced {
		err = gerritstream.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("set origin: %w", err)
	}
	return nil
}

// storedOrigin returns the text of an origin as it is stored, perhaps by
// another version of this program; nil: of none. ErrConflict: another one is
// stored.
func (s *Store) storedOrigin(ctx context.Context, want *gerritstream.Origin) (*string, error) {
	var raw []byte
	ok, err := s.db.get(ctx, []any{&raw}, selectOrigin)
	if err != nil {
		return nil, explainRead(err)
	}
	var held *gerritstream.Origin
	if ok {
		if held, err = storekit.DecodeOrigin(raw); err != nil {
			return nil, err
		}
	}
	switch {
	case !storekit.SameOrigin(held, want):
		return nil, fmt.Errorf("set origin: %w", gerritstream.ErrConflict)
	case !ok:
		return nil, nil
	}
	return new(string(raw)), nil
}
