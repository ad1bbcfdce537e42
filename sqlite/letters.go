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

// letterPage is how many dead letters one read takes: a megabyte at most.
const letterPage = 16

// DeadLetters implements gerritstream.Operator.
func (o *Operator) DeadLetters(ctx context.Context) iter.Seq2[gerritstream.StoredDeadLetter, error] {
	return func(yield func(gerritstream.StoredDeadLetter, error) bool) {
		before := int64(math.MaxInt64)
		for {
			page, last, err := o.letters(ctx, before)
			if err != nil {
				yield(gerritstream.StoredDeadLetter{}, fmt.Errorf("read dead letters of %s: %w", o.path, explainRead(o.path, err)))
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			if len(page) < letterPage {
				return
			}
			before = last
		}
	}
}

// letters reads the newest dead letters before a number, and returns the number
// of the last of them.
func (o *Operator) letters(ctx context.Context, before int64) (page []gerritstream.StoredDeadLetter, last int64, err error) {
	rows, err := o.db.QueryContext(ctx, `SELECT `+letterColumns+` FROM dead_letters WHERE n < ? ORDER BY n DESC LIMIT ?`, before, letterPage)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n, l, err := scanLetter(rows)
		if err != nil {
			return nil, 0, err
		}
		page, last = append(page, l), n
	}
	return page, last, rows.Err()
}

// DeadLetter implements gerritstream.Operator.
func (o *Operator) DeadLetter(ctx context.Context, id gerritstream.EventID) (gerritstream.StoredDeadLetter, error) {
	_, l, err := scanLetter(o.db.QueryRowContext(ctx, `SELECT `+letterColumns+` FROM dead_letters WHERE id = ?`, id[:]))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return l, fmt.Errorf("read letter %s: %w", id, gerritstream.ErrNoDeadLetter)
	case err != nil:
		return l, fmt.Errorf("read letter %s: %w", id, explainRead(o.path, err))
	}
	return l, nil
}

// DropDeadLetters implements gerritstream.Operator.
func (o *Operator) DropDeadLetters(ctx context.Context, ids []gerritstream.EventID) (dropped int, err error) {
	err = o.write(ctx, storekit.PointDropDeadLetters, func(ctx context.Context, conn *sql.Conn) error {
		dropped = 0
		for _, id := range ids {
			n, err := dropLetter(ctx, conn, id)
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

func dropLetter(ctx context.Context, conn *sql.Conn, id gerritstream.EventID) (int64, error) {
	r, err := conn.ExecContext(ctx, `DELETE FROM dead_letters WHERE id = ?`, id[:])
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// RedriveDeadLetter implements gerritstream.Operator.
func (o *Operator) RedriveDeadLetter(ctx context.Context, e gerritstream.Entry) error {
	row := eventRow(&e, time.Now().UnixMilli())
	return o.write(ctx, storekit.PointRedrive, func(ctx context.Context, conn *sql.Conn) error {
		var kept, length int
		err := conn.QueryRowContext(ctx, `SELECT length(payload), length FROM dead_letters WHERE id = ?`, e.ID[:]).Scan(&kept, &length)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("retry letter %s: %w", e.ID, gerritstream.ErrNoDeadLetter)
		case err != nil:
			return err
		case kept < length:
			return fmt.Errorf("retry letter %s: %w", e.ID, gerritstream.ErrTruncated)
		}
		if _, err := conn.ExecContext(ctx, addEvent, row...); err != nil {
			return err
		}
		_, err = dropLetter(ctx, conn, e.ID)
		return err
	})
}
