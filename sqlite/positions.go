package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// readPosition reads one position. ok is false when there is none.
func readPosition(
	ctx context.Context, q querier, epoch int, shard gerritstream.ShardID,
) (pos gerritstream.Position, ok bool, err error) {
	var raw []byte
	ok, err = get(ctx, q, []any{&raw}, `SELECT position FROM positions WHERE epoch = ? AND shard = ?`, epoch, shard)
	if ok {
		pos, err = storekit.ReadPosition(raw)
	}
	return pos, ok && err == nil, err
}

// Positions implements gerritstream.Store.
func (s *Store) Positions(ctx context.Context, epoch int) (map[gerritstream.ShardID]gerritstream.Position, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	positions := map[gerritstream.ShardID]gerritstream.Position{}
	err := each(ctx, s.reading, func(rows *sql.Rows) error {
		var shard gerritstream.ShardID
		var raw []byte
		err := rows.Scan(&shard, &raw)
		if err != nil {
			return err
		}
		if positions[shard], err = storekit.ReadPosition(raw); err != nil {
			return fmt.Errorf("read position of %s: %w", shard, err)
		}
		return nil
	}, `SELECT shard, position FROM positions WHERE epoch = ?`, epoch)
	if err != nil {
		return nil, explainRead(s.place.path, err)
	}
	return positions, nil
}

// Checkpoints implements gerritstream.Store: no foreign leader uses this file.
func (s *Store) Checkpoints(
	context.Context, []gerritstream.ShardID,
) (map[gerritstream.ShardID]gerritstream.SequenceNumber, error) {
	return nil, nil
}
