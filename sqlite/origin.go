package sqlite

import (
	"context"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// readOrigin reads the origin; nil: there is none.
func readOrigin(ctx context.Context, q querier) (*gerritstream.Origin, error) {
	var raw []byte
	if ok, err := get(ctx, q, []any{&raw}, `SELECT record FROM start`); err != nil || !ok {
		return nil, err
	}
	return storekit.DecodeOrigin(raw)
}

// Origin implements gerritstream.Store.
func (s *Store) Origin(ctx context.Context) (gerritstream.Origin, bool, error) {
	if err := s.check(); err != nil {
		return gerritstream.Origin{}, false, err
	}
	origin, err := readOrigin(ctx, s.reading)
	if err != nil || origin == nil {
		return gerritstream.Origin{}, false, explainRead(s.place.path, err)
	}
	return *origin, true, nil
}

// SetOrigin implements gerritstream.Store.
func (s *Store) SetOrigin(ctx context.Context, prev *gerritstream.Origin, next gerritstream.Origin) error {
	raw, err := storekit.EncodeOrigin(next)
	if err != nil {
		return err
	}
	return s.writer.write(ctx, storekit.PointSetOrigin, func(tx *transaction) error {
		held, err := readOrigin(context.Background(), tx)
		if err != nil {
			return err
		}
		if !storekit.SameOrigin(held, prev) {
			return fmt.Errorf("set origin: %w", gerritstream.ErrConflict)
		}
		return tx.exec(`INSERT INTO start (one, record) VALUES (1, ?)
			ON CONFLICT DO UPDATE SET record = excluded.record`, string(raw))
	})
}

// currentEpoch is the epoch of the origin; 0 while there is none that can be
// read.
const currentEpoch = `(SELECT coalesce(max(json_extract(CASE WHEN json_valid(record) THEN record END, '$.epoch')), 0)
	FROM start)`

// checkEpoch returns ErrStaleEpoch if the origin is of a later epoch.
func checkEpoch(tx *transaction, epoch int) error {
	var current int
	if _, err := get(context.Background(), tx, []any{&current}, `SELECT `+currentEpoch); err != nil {
		return err
	}
	return storekit.CheckEpoch(epoch, current)
}
