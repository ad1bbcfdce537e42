package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// readPosition reads one position. ok is false when there is none.
func readPosition(ctx context.Context, q querier, epoch int, shard gerritstream.ShardID) (pos gerritstream.Position, ok bool, err error) {
	row := q.QueryRowContext(ctx, `SELECT position FROM positions WHERE epoch = ? AND shard = ?`, epoch, shard)
	return scanPosition(row)
}

// positionOf does the same in the writer's transaction.
func positionOf(st *statements, epoch int, shard gerritstream.ShardID) (pos gerritstream.Position, ok bool, err error) {
	return scanPosition(st.getPosition.QueryRowContext(context.Background(), epoch, shard))
}

func scanPosition(row *sql.Row) (pos gerritstream.Position, ok bool, err error) {
	var raw []byte
	err = row.Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return gerritstream.Position{}, false, nil
	}
	if err == nil {
		pos, err = storekit.ReadPosition(raw)
	}
	return pos, err == nil, err
}

// Positions implements gerritstream.Store.
func (s *Store) Positions(ctx context.Context, epoch int) (map[gerritstream.ShardID]gerritstream.Position, error) {
	if err := s.inPlace(); err != nil {
		return nil, err
	}
	positions := map[gerritstream.ShardID]gerritstream.Position{}
	rows, err := s.reading.QueryContext(ctx, `SELECT shard, position FROM positions WHERE epoch = ?`, epoch)
	if err != nil {
		return nil, explainRead(s.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var shard gerritstream.ShardID
		var raw []byte
		if err := rows.Scan(&shard, &raw); err != nil {
			return nil, explainRead(s.path, err)
		}
		if positions[shard], err = storekit.ReadPosition(raw); err != nil {
			return nil, fmt.Errorf("read position of %s: %w", shard, err)
		}
	}
	return positions, explainRead(s.path, rows.Err())
}

// Checkpoints implements gerritstream.Store: no other program leads shards in a
// file of ours.
func (s *Store) Checkpoints(context.Context, []gerritstream.ShardID) (map[gerritstream.ShardID]gerritstream.SequenceNumber, error) {
	return nil, nil
}
