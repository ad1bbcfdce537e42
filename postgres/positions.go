package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Positions implements gerritstream.Store.
func (s *Store) Positions(ctx context.Context, epoch int) (map[gerritstream.ShardID]gerritstream.Position, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	positions := map[gerritstream.ShardID]gerritstream.Position{}
	err := s.db.each(ctx, func(rows pgx.Rows) error {
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
	}, `SELECT shard, position FROM @.positions WHERE epoch = $1`, epoch)
	if err != nil {
		return nil, explainRead(err)
	}
	return positions, nil
}

// Checkpoints implements gerritstream.Store: no foreign leader uses this
// schema.
func (s *Store) Checkpoints(
	context.Context, []gerritstream.ShardID,
) (map[gerritstream.ShardID]gerritstream.SequenceNumber, error) {
	return nil, nil
}
