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

// Operator is a gerritstream.Operator on a store's file. The file does not have
// it as a process: it has no heartbeat and no leases.
type Operator struct {
	db        *sql.DB
	path      string
	closing   closing
	intercept storekit.Intercept // nil but in tests
}

var _ gerritstream.Operator = (*Operator)(nil)

// OpenOperator opens a file that is there, which may be in use. The error is
// one line that says what is wrong and what to do.
func OpenOperator(ctx context.Context, path string) (*Operator, error) {
	o := &Operator{}
	var err error
	if o.path, err = existing(path); err == nil {
		err = checkMount(o.path, slog.New(slog.DiscardHandler))
	}
	if err == nil {
		err = checkPermission(o.path)
	}
	if err == nil {
		o.db, err = openExisting(ctx, o.path, dsn(o.path, "rw", "synchronous(FULL)"))
	}
	if err == nil {
		if err = setJournal(ctx, o.db); err != nil {
			err = errors.Join(explain(o.path, err), o.db.Close())
		}
	}
	if err != nil {
		return nil, openError("open store", path, err)
	}
	return o, nil
}

// Close implements gerritstream.Operator.
func (o *Operator) Close(context.Context) error { return o.closing.do(o.db.Close) }

// write runs a transaction: all of it is written, or nothing. Once it has
// begun, the end of ctx does not stop it: it takes milliseconds.
func (o *Operator) write(ctx context.Context, p storekit.Point, run func(*transaction) error) error {
	return o.intercept.Write(p, func() (err error) {
		conn, err := o.db.Conn(ctx)
		if err != nil {
			return explain(o.path, err)
		}
		tx := newTransaction(conn)
		defer func() {
			if err != nil {
				_ = tx.exec("ROLLBACK") // SQLite may have done so already
			}
			err = errors.Join(err, tx.close())
		}()
		if err := whileBusy(ctx, func() error { return tx.exec("BEGIN IMMEDIATE") }); err != nil {
			return explain(o.path, err)
		}
		if err := run(tx); err != nil {
			return explain(o.path, err)
		}
		if err := tx.exec("COMMIT"); err != nil { // the commit point
			return explainCommit(o.path, err)
		}
		return nil
	})
}

// Stored implements gerritstream.Operator.
func (o *Operator) Stored(ctx context.Context) (stored gerritstream.Stored, err error) {
	stored.Positions = map[gerritstream.ShardID]gerritstream.StoredPosition{}
	err = view(ctx, o.db, func(tx *sql.Tx) (err error) {
		if stored.Origin, err = readOrigin(ctx, tx); err != nil {
			return err
		}
		epoch := stored.Epoch()
		return each(ctx, tx, func(rows *sql.Rows) error {
			var key gerritstream.PositionKey
			var raw []byte
			var committed int64
			err := rows.Scan(&key.Epoch, &key.Shard, &raw, &committed)
			if key.Epoch < epoch {
				stored.Earlier = append(stored.Earlier, key)
			} else {
				stored.Positions[key.Shard] = decodePosition(raw, committed)
			}
			return err
		}, `SELECT epoch, shard, position, committed FROM positions WHERE epoch <= ? ORDER BY epoch, shard`, epoch)
	})
	return stored, explainRead(o.path, err)
}

// decodePosition reads a position and when it was committed; 0: not known.
func decodePosition(raw []byte, committed int64) gerritstream.StoredPosition {
	var at time.Time
	if committed != 0 {
		at = storekit.FromMillis(committed)
	}
	return storekit.StoredPosition(raw, at)
}

// readEpoch returns the current epoch.
func readEpoch(tx *transaction) (int, error) {
	origin, err := readOrigin(context.Background(), tx)
	if err != nil {
		return 0, err
	}
	return (&gerritstream.Stored{Origin: origin}).Epoch(), nil
}

// readStored reads one position; nil: there is none.
func readStored(tx *transaction, key gerritstream.PositionKey) (*gerritstream.StoredPosition, error) {
	var raw []byte
	var committed int64
	ok, err := get(context.Background(), tx, []any{&raw, &committed},
		`SELECT position, committed FROM positions WHERE epoch = ? AND shard = ?`, key.Epoch, string(key.Shard))
	if err != nil || !ok {
		return nil, err
	}
	return new(decodePosition(raw, committed)), nil
}

// SetPosition implements gerritstream.Operator. It ends the term of the shard's
// lease, if there is one: the fence refuses that term's commits from then on.
func (o *Operator) SetPosition(ctx context.Context, epoch int, shard gerritstream.ShardID,
	change func(*gerritstream.StoredPosition) (gerritstream.Position, error),
) error {
	return o.write(ctx, storekit.PointSetPosition, func(tx *transaction) error {
		current, err := readEpoch(tx)
		if err != nil {
			return err
		}
		if current != epoch {
			return fmt.Errorf("epoch %d is not the current one, %d: %w", epoch, current, gerritstream.ErrConflict)
		}
		stored, err := readStored(tx, gerritstream.PositionKey{Epoch: epoch, Shard: shard})
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
		err = tx.exec(`UPDATE leases SET term = term + 1, process = '' WHERE shard = ?`, string(shard))
		if err != nil {
			return err
		}
		var term uint64
		_, err = get(context.Background(), tx, []any{&term}, `SELECT term FROM leases WHERE shard = ?`, string(shard))
		if err != nil {
			return err
		}
		raw := storekit.EncodePosition(pos, gerritstream.Stamp{Term: term, Nonce: rand.Text()})
		return tx.exec(`INSERT INTO positions (epoch, shard, position, committed) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET position = excluded.position, committed = excluded.committed`,
			epoch, string(shard), string(raw), time.Now().UnixMilli())
	})
}

// CheckPosition implements gerritstream.Operator: no foreign leader uses this
// file.
func (o *Operator) CheckPosition(context.Context, int, gerritstream.ShardID, gerritstream.Position) error {
	return nil
}

// RemovePositions implements gerritstream.Operator.
func (o *Operator) RemovePositions(ctx context.Context, which []gerritstream.PositionKey) (removed int, err error) {
	err = o.write(ctx, storekit.PointRemovePositions, func(tx *transaction) error {
		current, err := readEpoch(tx)
		if err != nil {
			return err
		}
		removed = 0
		for _, key := range which {
			stored, err := readStored(tx, key)
			if err != nil {
				return err
			}
			if stored == nil {
				continue
			}
			if key.Epoch >= current && !stored.Position.Ended {
				return fmt.Errorf("remove position of %s: it is not marked ended: %w",
					key.Shard, gerritstream.ErrConflict)
			}
			err = tx.exec(`DELETE FROM positions WHERE epoch = ? AND shard = ?`, key.Epoch, string(key.Shard))
			if err != nil {
				return err
			}
			removed++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}
