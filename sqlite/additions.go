package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

// Additions are events appended to the queue of one consumer. Their numbers are
// drawn from the sequence of the table events, in the transaction that appends
// them, so that both tables together are in the order of the commits. Triggers
// remove what a consumer has passed, and what was left of one that is removed.

// Append implements queue.Store.
func (s *Store) Append(ctx context.Context, name string, entries []gerritstream.Entry) (appended int, err error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	rows := additionRows(name, entries, s.config.Now().UnixMilli())
	err = s.writer.writeRows(ctx, storekit.PointConsumers, 1+len(rows), func(tx *transaction) (err error) {
		appended, err = addAdditions(tx, name, rows)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("append to consumer %s: %w", name, err)
	}
	return appended, nil
}

// additionRows returns the entries as rows of the table additions: the consumer
// and what eventRow returns, of which the id is the first.
func additionRows(consumer string, entries []gerritstream.Entry, queuedAt int64) [][]any {
	rows := make([][]any, len(entries))
	for i := range entries {
		rows[i] = append([]any{consumer}, eventRow(&entries[i], queuedAt)...)
	}
	return rows
}

// addAddition appends an event to the queue of a consumer, which must be there,
// unless it was appended already and waits. A place in the queue that does not
// exist yet may be a consumer's.
const addAddition = `INSERT INTO additions
	(n, consumer, id, shard, seq, sub, arrived, type, project, ref, change, created, queued_at, payload, attributes)
	SELECT max(q.seq, c.n) + 1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14
	FROM sqlite_sequence q JOIN consumers c ON c.name = ?1
	WHERE q.name = 'events'
	ON CONFLICT (consumer, id) DO NOTHING`

// The sequence of the table events: a file that never held an event has no row
// of it, and an insertion into another table does not advance it.
const (
	ensureSequence = `INSERT INTO sqlite_sequence (name, seq) SELECT 'events', 0
		WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events')`
	advanceSequence = `UPDATE sqlite_sequence SET seq = last_insert_rowid() WHERE name = 'events'`
)

// addAdditions appends rows, and returns how many of them did not wait there
// already.
func addAdditions(tx *transaction, consumer string, rows [][]any) (appended int, err error) {
	var there bool
	_, err = get(context.Background(), tx, []any{&there},
		`SELECT EXISTS (SELECT 1 FROM consumers WHERE name = ?)`, consumer)
	if err == nil && !there {
		err = queue.ErrNoConsumer
	}
	if err == nil {
		err = tx.exec(ensureSequence)
	}
	var done queue.Set
	if err == nil {
		done, err = readDone(tx, consumer)
	}
	for _, row := range rows {
		if err != nil {
			return 0, err
		}
		var n int64
		queued, failed := get(context.Background(), tx, []any{&n}, `SELECT n FROM events WHERE id = ?`, row[1])
		if failed != nil {
			return 0, failed
		}
		if queued && !done.Has(n) { // it waits there
			continue
		}
		if n, err = tx.change(addAddition, row...); n > 0 && err == nil {
			appended++
			err = tx.exec(advanceSequence)
		}
	}
	return appended, err
}

// readQueue reads the next events of a consumer, its additions among them.
// SQLite merges the two tables in the order of their keys.
func readQueue(ctx context.Context, q querier, consumer string, after int64, most int) ([]queue.Event, error) {
	return scanEvents(ctx, q, `SELECT `+eventColumns+` FROM events WHERE n > ?1
		UNION ALL SELECT `+additionColumns+` FROM additions WHERE consumer = ?2 AND n > ?1
		ORDER BY 1 LIMIT ?3`, after, consumer, most)
}

// oldAdditions selects the additions held from before a time (?1), among the
// first ones (?2): their numbers grow with the time, as far as the processes'
// clocks agree.
const oldAdditions = `SELECT n FROM (SELECT n, arrived, queued_at FROM additions ORDER BY n LIMIT ?2)
	WHERE max(arrived, queued_at) < ?1`

// removeAdditions removes the additions that have expired, and counts them for
// the consumers that had not acknowledged them.
func removeAdditions(tx *transaction, x expiry) (removed, unread int64, err error) {
	losers := map[string]*storekit.Loser{}
	err = each(context.Background(), tx, func(rows *sql.Rows) error {
		l, err := scanLoser(rows)
		losers[l.Name] = l
		return err
	}, `SELECT `+loserColumns+` FROM consumers
		WHERE name IN (SELECT consumer FROM additions WHERE n IN (`+oldAdditions+`))`, x.all, sweepBatch)
	if err != nil {
		return 0, 0, err
	}
	err = each(context.Background(), tx, func(rows *sql.Rows) error {
		var name string
		var n, arrived int64
		var e gerritstream.Event
		err := rows.Scan(&name, &n, &arrived, &e.Type, &e.Project, &e.Ref)
		if l := losers[name]; err == nil && l != nil {
			l.See(n, arrived, &e)
		}
		return err
	}, `SELECT consumer, n, arrived, type, project, ref FROM additions WHERE n IN (`+oldAdditions+`)`,
		x.all, sweepBatch)
	for _, l := range losers {
		if err == nil {
			unread += l.Lost
			err = countLosses(tx, l)
		}
	}
	if err != nil {
		return 0, 0, err
	}
	removed, err = tx.change(`DELETE FROM additions WHERE n IN (`+oldAdditions+`)`, x.all, sweepBatch)
	return removed, unread, err
}
