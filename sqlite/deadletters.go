package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// addDeadLetters writes the dead letters that are not held yet, as far as there
// is room, and returns the rest.
func addDeadLetters(
	tx *transaction, dead []gerritstream.DeadLetter, now int64,
) (discarded []gerritstream.DeadLetter, err error) {
	if len(dead) == 0 {
		return nil, nil
	}
	ctx := context.Background()
	var room storekit.DeadLetterRoom
	_, err = get(ctx, tx, []any{&room.Held, &room.Bytes},
		`SELECT count(*), coalesce(sum(length(payload)), 0) FROM dead_letters`)
	if err != nil {
		return nil, err
	}
	for i := range dead {
		d := &dead[i]
		held, err := get(ctx, tx, []any{new(int)}, `SELECT 1 FROM dead_letters WHERE id = ?`, d.ID[:])
		if err != nil {
			return nil, err
		}
		if held {
			continue
		}
		if !room.Admit(d) {
			discarded = append(discarded, *d)
			continue
		}
		err = tx.exec(`INSERT INTO dead_letters
			(id, shard, seq, sub, arrived, reason, detail, payload, length, sha256, put_aside_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			d.ID[:], string(d.Shard), string(d.Seq), d.Sub, d.Arrived.UnixMilli(),
			d.Reason, d.Detail, notNull(d.Payload), d.Length, d.SHA256[:], now)
		if err != nil {
			return nil, err
		}
	}
	if len(discarded) == 0 {
		return nil, nil
	}
	return discarded, tx.exec(addToCounter, "discarded", len(discarded))
}

// deadLetterColumns are those that scanDeadLetter reads.
const deadLetterColumns = `n, id, shard, seq, sub, arrived, reason, detail, payload, length, sha256, put_aside_at`

// scanner is a row, or the current one of several.
type scanner interface{ Scan(dest ...any) error }

// scanDeadLetter reads a dead letter and its number.
func scanDeadLetter(row scanner) (n int64, stored gerritstream.StoredDeadLetter, err error) {
	var id, sum []byte
	var arrived, storedAt int64
	d := &stored.DeadLetter
	err = row.Scan(&n, &id, &d.Shard, &d.Seq, &d.Sub, &arrived, &d.Reason, &d.Detail, &d.Payload, &d.Length, &sum,
		&storedAt)
	if err != nil {
		return 0, stored, err
	}
	copy(d.ID[:], id)
	copy(d.SHA256[:], sum)
	d.Arrived, stored.StoredAt = storekit.FromMillis(arrived), storekit.FromMillis(storedAt)
	return n, stored, nil
}

// DeadLetters returns the dead letters held, oldest first. They are bounded: at
// most 1,000, of 32 MiB together.
func (r *Reader) DeadLetters(ctx context.Context) (dead []gerritstream.DeadLetter, err error) {
	err = each(ctx, r.db, func(rows *sql.Rows) error {
		_, d, err := scanDeadLetter(rows)
		dead = append(dead, d.DeadLetter)
		return err
	}, `SELECT `+deadLetterColumns+` FROM dead_letters ORDER BY n`)
	if err != nil {
		return nil, fmt.Errorf("read dead letters of %s: %w", r.path, explainRead(r.path, err))
	}
	return dead, nil
}

// deadLetterPage is how many dead letters one read takes: a megabyte at most.
const deadLetterPage = 16

// DeadLetters implements gerritstream.Operator.
func (o *Operator) DeadLetters(ctx context.Context) iter.Seq2[gerritstream.StoredDeadLetter, error] {
	return func(yield func(gerritstream.StoredDeadLetter, error) bool) {
		for before := int64(math.MaxInt64); ; {
			var page []gerritstream.StoredDeadLetter
			err := each(ctx, o.db, func(rows *sql.Rows) error {
				n, d, err := scanDeadLetter(rows)
				page, before = append(page, d), n
				return err
			}, `SELECT `+deadLetterColumns+` FROM dead_letters WHERE n < ? ORDER BY n DESC LIMIT ?`,
				before, deadLetterPage)
			if err != nil {
				err = fmt.Errorf("read dead letters of %s: %w", o.path, explainRead(o.path, err))
				yield(gerritstream.StoredDeadLetter{}, err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			if len(page) < deadLetterPage {
				return
			}
		}
	}
}

// DeadLetter implements gerritstream.Operator.
func (o *Operator) DeadLetter(ctx context.Context, id gerritstream.EventID) (gerritstream.StoredDeadLetter, error) {
	row := o.db.QueryRowContext(ctx, `SELECT `+deadLetterColumns+` FROM dead_letters WHERE id = ?`, id[:])
	_, d, err := scanDeadLetter(row)
	if errors.Is(err, sql.ErrNoRows) {
		err = gerritstream.ErrNoDeadLetter
	}
	if err != nil {
		return d, fmt.Errorf("read dead letter %s: %w", id, explainRead(o.path, err))
	}
	return d, nil
}

const dropDeadLetter = `DELETE FROM dead_letters WHERE id = ?`

// DropDeadLetters implements gerritstream.Operator.
func (o *Operator) DropDeadLetters(ctx context.Context, ids []gerritstream.EventID) (dropped int, err error) {
	err = o.write(ctx, storekit.PointDropDeadLetters, func(tx *transaction) error {
		dropped = 0
		for _, id := range ids {
			n, err := tx.change(dropDeadLetter, id[:])
			if err != nil {
				return err
			}
			dropped += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return dropped, nil
}

// RedriveDeadLetter implements gerritstream.Operator.
func (o *Operator) RedriveDeadLetter(ctx context.Context, e gerritstream.Entry) error {
	row := eventRow(&e, time.Now().UnixMilli())
	return o.write(ctx, storekit.PointRedrive, func(tx *transaction) error {
		var kept, length int
		held, err := get(context.Background(), tx, []any{&kept, &length},
			`SELECT length(payload), length FROM dead_letters WHERE id = ?`, e.ID[:])
		switch {
		case err != nil:
			return err
		case !held:
			return fmt.Errorf("redrive dead letter %s: %w", e.ID, gerritstream.ErrNoDeadLetter)
		case kept < length:
			return fmt.Errorf("redrive dead letter %s: %w", e.ID, gerritstream.ErrTruncated)
		}
		if err := tx.exec(addEvent, row...); err != nil {
			return err
		}
		return tx.exec(dropDeadLetter, e.ID[:])
	})
}
