package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Operator is a gerritstream.Operator on a store's schema. The schema does not
// have it as a process: it has no heartbeat and no leases.
type Operator struct {
	db        *database
	where     string
	closing   closing
	intercept storekit.Intercept // nil but in tests
}

var _ gerritstream.Operator = (*Operator)(nil)

// operatorConnections are those of an Operator: DeadLetters may be ranged over
// while other methods are called.
const operatorConnections = 3

// OpenOperator opens a schema that is there, which may be in use. Of Config,
// what names the schema is used. The errors are those of Open.
func OpenOperator(ctx context.Context, config Config) (*Operator, error) {
	o := &Operator{}
	err := config.complete()
	if err != nil {
		return nil, fmt.Errorf("open store: %w: %w", gerritstream.ErrUnusable, err)
	}
	if o.db, o.where, err = openExisting(ctx, &config, operatorConnections); err != nil {
		return nil, openError("open store", o.where, err)
	}
	return o, nil
}

// openExisting opens a schema that is there. The name of the place is returned
// with an error as well.
func openExisting(ctx context.Context, config *Config, connections int) (db *database, where string, err error) {
	where = "PostgreSQL"
	pool, err := config.connecting(connections)
	if err != nil {
		return nil, where, err
	}
	where = place(pool.ConnConfig, config.Schema)
	look, err := prepareSchema(ctx, config, RoleOperator)
	if err == nil {
		db, err = openDatabase(ctx, pool, config.Schema, look)
	}
	return db, where, err
}

// Close implements gerritstream.Operator.
func (o *Operator) Close(context.Context) error {
	return o.closing.do(func() error {
		o.db.pool.Close()
		return nil
	})
}

// write runs a transaction: all of it is written, or nothing.
func (o *Operator) write(ctx context.Context, p storekit.Point, add func(*batch)) error {
	return o.intercept.Write(p, func() error {
		ctx, cancel := context.WithTimeout(ctx, callPatience)
		defer cancel()
		return explain(o.db.persist(ctx, add))
	})
}

// Stored implements gerritstream.Operator.
func (o *Operator) Stored(ctx context.Context) (stored gerritstream.Stored, err error) {
	stored.Positions = map[gerritstream.ShardID]gerritstream.StoredPosition{}
	var raw []byte
	var epoch int
	err = o.db.view(ctx, func(b *batch) {
		b.get([]any{&raw}, nil, selectOrigin)
		b.get([]any{&epoch}, nil, `SELECT `+currentEpoch)
		b.each(func(rows pgx.Rows) error {
			var key gerritstream.PositionKey
			var raw []byte
			var committed *time.Time
			err := rows.Scan(&key.Epoch, &key.Shard, &raw, &committed)
			if key.Epoch < epoch {
				stored.Earlier = append(stored.Earlier, key)
			} else {
				stored.Positions[key.Shard] = decodePosition(raw, committed)
			}
			return err
		}, `SELECT epoch, shard, position, committed FROM @.positions WHERE epoch <= `+currentEpoch+`
			ORDER BY epoch, shard`)
	})
	if err == nil && raw != nil {
		stored.Origin, err = storekit.DecodeOrigin(raw)
	}
	return stored, explainRead(err)
}

// errMovedMeanwhile: the position is not as it was read.
var errMovedMeanwhile = fmt.Errorf("%w: the position keeps changing", gerritstream.ErrRetryLater)

// SetPosition implements gerritstream.Operator. It ends the term of the shard's
// lease, if there is one: the fence refuses that term's commits from then on.
// The position is read, and set if it is still the same, so that no lock waits
// for this process.
func (o *Operator) SetPosition(ctx context.Context, epoch int, shard gerritstream.ShardID,
	change func(*gerritstream.StoredPosition) (gerritstream.Position, error),
) error {
	for range 10 * attempts {
		read, err := o.readForChange(ctx, epoch, shard)
		if err != nil {
			return err
		}
		pos, err := change(read.position)
		if err != nil {
			return err
		}
		set, err := o.setRead(ctx, epoch, shard, read, pos)
		if set || err != nil {
			return err
		}
	}
	return errMovedMeanwhile
}

// readPosition is a shard's position and lease at one moment.
type readPosition struct {
	position *gerritstream.StoredPosition // nil: there is none
	raw      *string                      // as stored
	term     int64                        // of the lease
}

// readForChange reads a position of the current epoch.
func (o *Operator) readForChange(
	ctx context.Context, epoch int, shard gerritstream.ShardID,
) (r readPosition, err error) {
	var current int
	var committed *time.Time
	_, err = o.db.get(ctx, []any{&current, &r.raw, &committed, &r.term}, `SELECT `+currentEpoch+`,
			p.position, p.committed, coalesce(l.term, 0)
		FROM (SELECT $1::integer epoch, $2::text shard) w
			LEFT JOIN @.positions p ON p.epoch = w.epoch AND p.shard = w.shard
			LEFT JOIN @.leases l ON l.shard = w.shard`, epoch, string(shard))
	switch {
	case err != nil:
		return r, explainRead(err)
	case current != epoch:
		return r, fmt.Errorf("epoch %d is not the current one, %d: %w", epoch, current, gerritstream.ErrConflict)
	case r.raw == nil:
		return r, nil
	}
	r.position = new(decodePosition([]byte(*r.raw), committed))
	if errors.Is(r.position.Position.Unreadable, gerritstream.ErrNewerFormat) {
		return r, fmt.Errorf("position of %s: %w", shard, r.position.Position.Unreadable)
	}
	return r, nil
}

// lockLeases keeps the positions of shards ($1) from being changed by anybody
// but this transaction, and the origin's epoch as well.
const lockLeases = `SELECT FROM @.leases WHERE shard = ANY ($1::text[]) ORDER BY shard FOR UPDATE`

// setPosition sets the position of a shard ($2), and ends the term of its
// lease, if the epoch ($1) is the current one, and the position ($6; NULL:
// none) and the term ($7; 0: there never was one) are as they were read. It
// returns the shard if it did.
const setPosition = `WITH ok AS (
		SELECT FROM (SELECT $1::integer epoch, $2::text shard) w
			LEFT JOIN @.positions p ON p.epoch = w.epoch AND p.shard = w.shard
			LEFT JOIN @.leases l ON l.shard = w.shard
		WHERE w.epoch = ` + currentEpoch + ` AND p.position IS NOT DISTINCT FROM $6::text
			AND coalesce(l.term, 0) = $7::bigint),
	e AS (
		INSERT INTO @.leases AS l (shard, term, process) SELECT $2, 1, '' FROM ok
		ON CONFLICT (shard) DO UPDATE SET term = l.term + 1, process = '' WHERE l.term = $7
		RETURNING 1)
	INSERT INTO @.positions AS p (epoch, shard, position, nonce, committed)
	SELECT $1, $2, $3::text, $4::text, $5::timestamptz FROM e
	ON CONFLICT (epoch, shard) DO UPDATE SET position = excluded.position, nonce = excluded.nonce, follows = p.nonce,
		committed = excluded.committed WHERE p.position = $6
	RETURNING shard`

// setRead sets a position if nothing has changed since it was read.
func (o *Operator) setRead(
	ctx context.Context, epoch int, shard gerritstream.ShardID, read readPosition, pos gerritstream.Position,
) (set bool, err error) {
	nonce := rand.Text()
	raw := storekit.EncodePosition(pos, gerritstream.Stamp{Term: uint64(read.term) + 1, Nonce: nonce})
	err = o.write(ctx, storekit.PointSetPosition, func(b *batch) {
		set = false
		b.exec(lockLeases, []string{string(shard)})
		b.get([]any{new(string)}, func() { set = true }, setPosition,
			epoch, string(shard), string(raw), nonce, time.Now(), read.raw, read.term)
		b.exec(notifyEnded, o.db.channel)
	})
	return set, err
}

// CheckPosition implements gerritstream.Operator: no foreign leader uses this
// schema.
func (o *Operator) CheckPosition(context.Context, int, gerritstream.ShardID, gerritstream.Position) error {
	return nil
}

// removePositions removes the positions of shards ($2, of epochs $1) if all of
// them are ($3) as they were read.
const removePositions = `WITH w AS (
		SELECT * FROM unnest($1::integer[], $2::text[], $3::text[]) w (epoch, shard, position)),
	changed AS (
		SELECT FROM w LEFT JOIN @.positions p ON p.epoch = w.epoch AND p.shard = w.shard
		WHERE p.position IS DISTINCT FROM w.position)
	DELETE FROM @.positions p USING w
	WHERE p.epoch = w.epoch AND p.shard = w.shard AND NOT EXISTS (SELECT FROM changed)`

// RemovePositions implements gerritstream.Operator.
func (o *Operator) RemovePositions(ctx context.Context, which []gerritstream.PositionKey) (removed int, err error) {
	for range attempts {
		r, err := o.readRemovable(ctx, which)
		if err != nil || len(r.shards) == 0 {
			return 0, err
		}
		err = o.write(ctx, storekit.PointRemovePositions, func(b *batch) {
			b.exec(lockLeases, r.shards)
			b.change(func(n int64) { removed = int(n) }, removePositions, r.epochs, r.shards, r.positions)
		})
		if err != nil {
			return 0, err
		}
		if removed > 0 {
			return removed, nil
		}
	}
	return 0, errMovedMeanwhile
}

// removable are the columns of positions that may be removed, as stored.
type removable struct {
	epochs            []int32
	shards, positions []string
}

// readRemovable reads those of the positions that there are. ErrConflict: one
// must not be removed.
func (o *Operator) readRemovable(ctx context.Context, which []gerritstream.PositionKey) (r removable, err error) {
	var want removable
	for _, key := range which {
		want.epochs, want.shards = append(want.epochs, int32(key.Epoch)), append(want.shards, string(key.Shard))
	}
	var kept error
	err = o.db.each(ctx, func(rows pgx.Rows) error {
		var current int
		var epoch int32
		var shard, raw string
		if err := rows.Scan(&current, &epoch, &shard, &raw); err != nil {
			return err
		}
		if int(epoch) >= current && !decodePosition([]byte(raw), nil).Position.Ended {
			kept = fmt.Errorf("remove position of %s: it is not marked ended: %w", shard, gerritstream.ErrConflict)
		}
		r.epochs, r.shards, r.positions = append(r.epochs, epoch), append(r.shards, shard), append(r.positions, raw)
		return nil
	}, `SELECT `+currentEpoch+`, epoch, shard, position FROM @.positions
		WHERE (epoch, shard) IN (SELECT * FROM unnest($1::integer[], $2::text[]))`, want.epochs, want.shards)
	if err == nil {
		err = kept
	}
	return r, explainRead(err)
}
