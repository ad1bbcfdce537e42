package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

var (
	_ pauses.Store  = (*Store)(nil)
	_ pauses.Keeper = (*Operator)(nil)
)

// readPauses reads the pauses in force.
func readPauses(ctx context.Context, q querier) (set pauses.Set, err error) {
	err = each(ctx, q, func(rows *sql.Rows) error {
		var raw []byte
		err := rows.Scan(&raw)
		for _, p := range pauses.Decode(raw) {
			set = set.With(p)
		}
		return err
	}, `SELECT pause FROM pauses ORDER BY shard`)
	return set, err
}

// changePauses replaces the pauses in force. From the end of the transaction on
// the fence of each commit finds them: see term.commit.
func changePauses(tx *transaction, change func(pauses.Set) (pauses.Set, error)) (pauses.Set, error) {
	set, err := readPauses(context.Background(), tx)
	if err == nil {
		set, err = change(set)
	}
	if err == nil {
		_, err = pauses.Encode(set)
	}
	if err == nil {
		err = tx.exec(`DELETE FROM pauses`)
	}
	for i := range set {
		if err != nil {
			break
		}
		var raw []byte
		if raw, err = pauses.Encode(set[i : i+1]); err == nil {
			err = tx.exec(`INSERT INTO pauses (shard, pause) VALUES (?, ?)`, string(set[i].Shard), string(raw))
		}
	}
	return set, err
}

// Pauses implements pauses.Keeper.
func (s *Store) Pauses(ctx context.Context) (pauses.Set, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	set, err := readPauses(ctx, s.reading)
	return set, explainRead(s.place.path, err)
}

// ChangePauses implements pauses.Keeper.
func (s *Store) ChangePauses(
	ctx context.Context, change func(pauses.Set) (pauses.Set, error),
) (set pauses.Set, err error) {
	err = s.writer.write(ctx, storekit.PointPauses, func(tx *transaction) (err error) {
		set, err = changePauses(tx, change)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("change pauses: %w", err)
	}
	s.watcher.Wake()
	s.touches.touch()
	return set, nil
}

// WaitPauses implements pauses.Store.
func (s *Store) WaitPauses(ctx context.Context, seen pauses.Set) error {
	return s.watcher.Await(ctx, func(bool, time.Time) (bool, error) { return !s.tables.pauses.Equal(seen), nil })
}

// Pauses implements pauses.Keeper. A file that no version with pauses has
// opened yet has none.
func (o *Operator) Pauses(ctx context.Context) (set pauses.Set, err error) {
	s, err := readSchema(ctx, o.db)
	if err == nil && s.version >= pausesSince {
		set, err = readPauses(ctx, o.db)
	}
	return set, explainRead(o.path, err)
}

// ChangePauses implements pauses.Keeper. The file of an older version is
// refused: its processes would not keep to a pause.
func (o *Operator) ChangePauses(
	ctx context.Context, change func(pauses.Set) (pauses.Set, error),
) (set pauses.Set, err error) {
	s, err := readSchema(ctx, o.db)
	if err == nil && s.version < pausesSince {
		err = fmt.Errorf("%s has schema version %d, and pauses came with %d: run this version's processes on it first",
			o.path, s.version, pausesSince)
	}
	if err != nil {
		return nil, explainRead(o.path, err)
	}
	err = o.write(ctx, storekit.PointPauses, func(tx *transaction) (err error) {
		set, err = changePauses(tx, change)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("change pauses: %w", err)
	}
	_ = touch(o.path + beside[0]) // processes notice by themselves as well
	return set, nil
}

// Pauses returns the pauses in force. A file that no version with pauses has
// opened yet has none.
func (r *Reader) Pauses(ctx context.Context) (set pauses.Set, err error) {
	s, err := readSchema(ctx, r.db)
	if err == nil && s.version >= pausesSince {
		set, err = readPauses(ctx, r.db)
	}
	if err != nil {
		return nil, fmt.Errorf("read pauses of %s: %w", r.path, explainRead(r.path, err))
	}
	return set, nil
}
