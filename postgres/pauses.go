package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

var (
	_ pauses.Store  = (*Store)(nil)
	_ pauses.Keeper = (*Operator)(nil)
)

// selectPauses reads the pauses in force as they are stored.
const selectPauses = `SELECT pause FROM @.pauses ORDER BY shard`

// storedPauses are the pauses in force, and the texts that they were read from.
type storedPauses struct {
	set  pauses.Set
	raws []string
}

// scan reads one row of selectPauses.
func (p *storedPauses) scan(rows pgx.Rows) error {
	var raw string
	err := rows.Scan(&raw)
	p.raws = append(p.raws, raw)
	for _, pause := range pauses.Decode([]byte(raw)) {
		p.set = p.set.With(pause)
	}
	return err
}

// isPaused reports whether a shard (of a table c) is paused, for the fence.
const isPaused = `EXISTS (SELECT FROM @.pauses b WHERE b.shard IN ('', c.shard))`

// replacePauses replaces the pauses in force by those of shards ($2; $3), if
// they still are stored as $1, and returns whether it did.
const replacePauses = `WITH same AS MATERIALIZED (
		SELECT coalesce(array_agg(pause ORDER BY shard), '{}') = $1::text[] AS yes FROM @.pauses),
	gone AS (DELETE FROM @.pauses WHERE NOT shard = ANY ($2::text[]) AND (SELECT yes FROM same)),
	put AS (INSERT INTO @.pauses (shard, pause) SELECT * FROM unnest($2::text[], $3::text[]) u
		WHERE (SELECT yes FROM same) ON CONFLICT (shard) DO UPDATE SET pause = excluded.pause)
	SELECT yes FROM same`

// changePauses replaces the pauses in force. The lock waits for the commits
// that have found none, and holds up others until they can read the new ones.
func changePauses(
	ctx context.Context, db *database, change func(pauses.Set) (pauses.Set, error),
	write func(context.Context, storekit.Point, func(*batch)) error,
) (pauses.Set, error) {
	for ctx.Err() == nil {
		read := storedPauses{raws: []string{}}
		if err := db.each(ctx, read.scan, selectPauses); err != nil {
			return nil, explain(err)
		}
		set, err := change(read.set)
		if err != nil {
			return nil, err
		}
		shards, raws := []string{}, []string{}
		for i := range set {
			raw, err := pauses.Encode(set[i : i+1])
			if err != nil {
				return nil, err
			}
			shards, raws = append(shards, string(set[i].Shard)), append(raws, string(raw))
		}
		if _, err := pauses.Encode(set); err != nil {
			return nil, err
		}
		changed := false
		err = write(ctx, storekit.PointPauses, func(b *batch) {
			b.exec(lockFences)
			b.get([]any{&changed}, nil, replacePauses, read.raws, shards, raws)
		})
		if changed || err != nil {
			return set, err
		}
	}
	return nil, ctx.Err()
}

// Pauses implements pauses.Keeper.
func (s *Store) Pauses(ctx context.Context) (pauses.Set, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	var read storedPauses
	err := s.db.each(ctx, read.scan, selectPauses)
	return read.set, explainRead(err)
}

// ChangePauses implements pauses.Keeper.
func (s *Store) ChangePauses(ctx context.Context, change func(pauses.Set) (pauses.Set, error)) (pauses.Set, error) {
	set, err := changePauses(ctx, s.db, change, s.write)
	if err != nil {
		return nil, fmt.Errorf("change pauses: %w", err)
	}
	s.watcher.Wake()
	return set, nil
}

// WaitPauses implements pauses.Store.
func (s *Store) WaitPauses(ctx context.Context, seen pauses.Set) error {
	return s.watcher.Await(ctx, func(bool, time.Time) (bool, error) { return !s.tables.pauses.Equal(seen), nil })
}

// Pauses implements pauses.Keeper.
func (o *Operator) Pauses(ctx context.Context) (pauses.Set, error) {
	var read storedPauses
	err := o.db.each(ctx, read.scan, selectPauses)
	return read.set, explainRead(err)
}

// Pauses returns the pauses in force.
func (r *Reader) Pauses(ctx context.Context) (pauses.Set, error) {
	var read storedPauses
	if err := r.db.each(ctx, read.scan, selectPauses); err != nil {
		return nil, r.failed("read pauses", err)
	}
	return read.set, nil
}

// ChangePauses implements pauses.Keeper.
func (o *Operator) ChangePauses(ctx context.Context, change func(pauses.Set) (pauses.Set, error)) (pauses.Set, error) {
	set, err := changePauses(ctx, o.db, change, o.write)
	if err != nil {
		return nil, fmt.Errorf("change pauses: %w", err)
	}
	return set, nil
}
