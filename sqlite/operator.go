package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Operator is a gerritstream.Operator on a store's file. It is no member of the
// file: it does not beat and has no leases.
type Operator struct {
	db      *sql.DB
	path    string
	closing closing

	intercept storekit.Intercept // nil but in tests
}

var _ gerritstream.Operator = (*Operator)(nil)

// OpenOperator opens a file that is there, which may be in use. The error is
// one line that says what is wrong and what to do.
func OpenOperator(ctx context.Context, path string) (*Operator, error) {
	o, err := openOperator(ctx, path)
	if err != nil {
		return nil, openError("open store", path, err)
	}
	return o, nil
}

func openOperator(ctx context.Context, path string) (*Operator, error) {
	path, err := existing(path)
	if err != nil {
		return nil, err
	}
	if err := checkMount(path, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	if err := checkPermission(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(path, "rw", "synchronous(FULL)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2)
	if err := checkStore(ctx, db, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := setJournal(ctx, db); err != nil {
		return nil, errors.Join(explain(path, err), db.Close())
	}
	return &Operator{db: db, path: path}, nil
}

// Close implements gerritstream.Operator.
func (o *Operator) Close(context.Context) error { return o.closing.close(o.db) }

// write runs a transaction: all of it is written, or nothing.
func (o *Operator) write(ctx context.Context, p storekit.Point, run func(context.Context, *sql.Conn) error) error {
	return o.intercept.Write(p, func() error {
		conn, err := o.db.Conn(ctx)
		if err != nil {
			return explain(o.path, err)
		}
		return errors.Join(o.transact(ctx, conn, run), conn.Close())
	})
}

func (o *Operator) transact(ctx context.Context, conn *sql.Conn, run func(context.Context, *sql.Conn) error) (err error) {
	if err := whileBusy(ctx, func() error { return exec(ctx, conn, "BEGIN IMMEDIATE") }); err != nil {
		return explain(o.path, err)
	}
	ctx = context.WithoutCancel(ctx) // from here on it is a matter of milliseconds
	defer func() {
		if err != nil {
			_ = exec(ctx, conn, "ROLLBACK") // SQLite may have done so by itself
		}
	}()
	if err := run(ctx, conn); err != nil {
		return explain(o.path, err)
	}
	if err := exec(ctx, conn, "COMMIT"); err != nil { // the commit point
		return explainCommit(o.path, err)
	}
	return nil
}

// Stored implements gerritstream.Operator.
func (o *Operator) Stored(ctx context.Context) (stored gerritstream.Stored, err error) {
	tx, err := o.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return stored, explainRead(o.path, err)
	}
	defer func() { err = explainRead(o.path, errors.Join(err, tx.Rollback())) }()
	if stored.Origin, err = readStart(ctx, tx); err != nil {
		return stored, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT epoch, shard, position, committed FROM positions WHERE epoch <= ?
		ORDER BY epoch, shard`, stored.Epoch())
	if err != nil {
		return stored, err
	}
	defer rows.Close()
	stored.Positions = map[gerritstream.ShardID]gerritstream.StoredPosition{}
	for rows.Next() {
		var key gerritstream.PositionKey
		var raw []byte
		var committed int64
		if err := rows.Scan(&key.Epoch, &key.Shard, &raw, &committed); err != nil {
			return stored, err
		}
		if key.Epoch < stored.Epoch() {
			stored.Earlier = append(stored.Earlier, key)
		} else {
			stored.Positions[key.Shard] = storedPosition(raw, committed)
		}
	}
	return stored, rows.Err()
}

// storedPosition reads a row of positions.
func storedPosition(raw []byte, committed int64) gerritstream.StoredPosition {
	var at time.Time
	if committed != 0 {
		at = storekit.FromMillis(committed)
	}
	return storekit.StoredPosition(raw, at)
}

// epochOf returns the current epoch.
func epochOf(ctx context.Context, q querier) (int, error) {
	start, err := readStart(ctx, q)
	if err != nil {
		return 0, err
	}
	return (&gerritstream.Stored{Origin: start}).Epoch(), nil
}

// held reads one position; nil: there is none.
func held(ctx context.Context, q querier, key gerritstream.PositionKey) (*gerritstream.StoredPosition, error) {
	var raw []byte
	var committed int64
	err := q.QueryRowContext(ctx, `SELECT position, committed FROM positions WHERE epoch = ? AND shard = ?`, key.Epoch, string(key.Shard)).
		Scan(&raw, &committed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	s := storedPosition(raw, committed)
	return &s, err
}

// SetPosition implements gerritstream.Operator.
func (o *Operator) SetPosition(ctx context.Context, epoch int, shard gerritstream.ShardID,
	change func(*gerritstream.StoredPosition) (gerritstream.Position, error),
) error {
	return o.write(ctx, storekit.PointSetPosition, func(ctx context.Context, conn *sql.Conn) error {
		current, err := epochOf(ctx, conn)
		if err != nil {
			return err
		}
		if current != epoch {
			return fmt.Errorf("epoch %d is not the current one, %d: %w", epoch, current, gerritstream.ErrConflict)
		}
		stored, err := held(ctx, conn, gerritstream.PositionKey{Epoch: epoch, Shard: shard})
		if err != nil {
			return err
		}
		if stored != nil && errors.Is(stored.Position.Unreadable, gerritstream.ErrNewerFormat) {
			return stored.Position.Unreadable
		}
		pos, err := change(stored)
		if err != nil {
			return err
		}
		return setPosition(ctx, conn, epoch, shard, pos)
	})
}

// CheckPosition implements gerritstream.Operator: no other program leads from this
// file.
func (o *Operator) CheckPosition(context.Context, int, gerritstream.ShardID, gerritstream.Position) error {
	return nil
}

// setPosition writes a position and ends the term of the shard's lease, if
// there is one: behind it the fence refuses that term.
func setPosition(ctx context.Context, conn *sql.Conn, epoch int, shard gerritstream.ShardID, pos gerritstream.Position) error {
	if _, err := conn.ExecContext(ctx, `UPDATE leases SET term = term + 1, process = '' WHERE shard = ?`, string(shard)); err != nil {
		return err
	}
	var term uint64
	err := conn.QueryRowContext(ctx, `SELECT coalesce((SELECT term FROM leases WHERE shard = ?), 0)`, string(shard)).Scan(&term)
	if err != nil {
		return err
	}
	raw := storekit.EncodePosition(pos, gerritstream.Stamp{Term: term, Nonce: rand.Text()})
	_, err = conn.ExecContext(ctx, `INSERT INTO positions (epoch, shard, position, committed) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET position = excluded.position, committed = excluded.committed`,
		epoch, string(shard), string(raw), time.Now().UnixMilli())
	return err
}

// RemovePositions implements gerritstream.Operator.
func (o *Operator) RemovePositions(ctx context.Context, which []gerritstream.PositionKey) (removed int, err error) {
	err = o.write(ctx, storekit.PointRemovePositions, func(ctx context.Context, conn *sql.Conn) error {
		current, err := epochOf(ctx, conn)
		if err != nil {
			return err
		}
		removed = 0
		for _, key := range which {
			n, err := removePosition(ctx, conn, key, current)
			if err != nil {
				return err
			}
			removed += n
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// removePosition removes a position that is there and is not needed for
// reading.
func removePosition(ctx context.Context, conn *sql.Conn, key gerritstream.PositionKey, current int) (int, error) {
	stored, err := held(ctx, conn, key)
	switch {
	case err != nil || stored == nil:
		return 0, err
	case key.Epoch >= current && !stored.Position.Ended:
		return 0, fmt.Errorf("remove position of %s: it is not marked ended: %w", key.Shard, gerritstream.ErrConflict)
	}
	_, err = conn.ExecContext(ctx, `DELETE FROM positions WHERE epoch = ? AND shard = ?`, key.Epoch, string(key.Shard))
	return 1, err
}
