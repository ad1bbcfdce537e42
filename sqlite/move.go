package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// movedID marks a file that was moved to another store, or is being moved
// ("GeMv"). Older versions of this program take it for another program's and
// refuse it.
const movedID = 0x47654d76

// markMoved makes the file refuse every process that opens it. One that has it
// open, and was suspended while others were looked for, can do no harm: it
// neither wins nor keeps a lease, and commits nothing.
const markMoved = `
CREATE TABLE moved (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	name TEXT NOT NULL, -- of the other store
	at   INTEGER NOT NULL,
	done INTEGER NOT NULL DEFAULT 0
) STRICT;
UPDATE leases SET term = term + 1, process = '';
DELETE FROM candidates;
DELETE FROM processes;
CREATE TRIGGER moved_lease BEFORE INSERT ON leases BEGIN SELECT raise(ABORT, 'the store was moved'); END;
CREATE TRIGGER moved_term BEFORE UPDATE ON leases BEGIN SELECT raise(ABORT, 'the store was moved'); END;
CREATE TRIGGER moved_position BEFORE INSERT ON positions BEGIN SELECT raise(ABORT, 'the store was moved'); END;
CREATE TRIGGER moved_commit BEFORE UPDATE ON positions BEGIN SELECT raise(ABORT, 'the store was moved'); END;
CREATE TRIGGER moved_event BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'the store was moved'); END;
CREATE TRIGGER moved_consumer BEFORE UPDATE ON consumers BEGIN SELECT raise(ABORT, 'the store was moved'); END;
`

// unmarkMoved undoes it. Terms and processes need not come back.
const unmarkMoved = `
DROP TRIGGER moved_lease; DROP TRIGGER moved_term; DROP TRIGGER moved_position; DROP TRIGGER moved_commit;
DROP TRIGGER moved_event; DROP TRIGGER moved_consumer; DROP TABLE moved;
`

// moving are the tables that another store takes over, with their columns and
// their order. Processes, members and reports are of processes that have ended.
var moving = []struct{ name, columns, order, where string }{
	{"start", "record", "one", ""},
	{"positions", "epoch, shard, position, committed", "epoch, shard", ""},
	{"leases", "shard, term", "shard", ""},
	{"pauses", "shard, pause", "shard", ""},
	{"counters", "name, value", "name", "WHERE name <> '" + walHeldSince + "'"},
	{
		"events", "n, id, shard, seq, sub, arrived, type, project, ref, change, created, queued_at, payload, " +
			"attributes", "n", "",
	},
	{
		"dead_letters",
		"n, id, shard, seq, sub, arrived, reason, detail, payload, length, sha256, put_aside_at", "n", "",
	},
	{
		"consumers", "name, n, at, filter, handed, expired, expired_from, expired_to, beyond, ahead", "name", "",
	},
	{
		"additions", "n, consumer, id, shard, seq, sub, arrived, type, project, ref, change, created, queued_at, " +
			"payload, attributes", "n", "",
	},
	{"webhooks", "name, report, pause, dead_letters, given_up", "name", ""},
	{
		"webhook_letters", "letter, webhook, n, id, shard, seq, sub, arrived, type, project, ref, change, created, " +
			"queued_at, payload, attributes, replayed, detail, put_aside_at", "letter", "",
	},
	{"sqlite_sequence", "name, seq", "name", ""}, // the last numbers given
}

// Move moves what a file holds to another store. Nobody else may use it.
type Move struct {
	db   *sql.DB
	path string
}

// OpenMove opens a file that is there, and brings its schema up to date. The
// error is one line that says what is wrong and what to do.
func OpenMove(ctx context.Context, path string) (*Move, error) {
	m := &Move{}
	var err error
	if m.path, err = existing(path); err == nil {
		if err = checkMount(m.path, slog.New(slog.DiscardHandler)); err == nil {
			err = checkPermission(m.path)
		}
	}
	if err == nil {
		err = m.open(ctx)
	}
	if err != nil {
		return nil, openError("open store", path, err)
	}
	return m, nil
}

func (m *Move) open(ctx context.Context) (err error) {
	if m.db, err = sql.Open("sqlite", dsn(m.path, "rw", "synchronous(FULL)")); err != nil {
		return err
	}
	m.db.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			err = errors.Join(explain(m.path, err), m.db.Close())
		}
	}()
	s, err := readSchema(ctx, m.db)
	switch {
	case err != nil:
		return err
	case s.empty():
		return errors.New("it is empty: nothing has run on it yet")
	case s.application == movedID:
		return nil // to begin again where a move was cut
	}
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(migrate(ctx, conn), conn.Close())
}

// Close closes the file.
func (m *Move) Close() error { return m.db.Close() }

// moved is what a file says of its move.
type moved struct {
	to   string
	at   time.Time
	done bool
}

// readMoved reads that of a file that was moved.
func readMoved(ctx context.Context, q querier) (*moved, error) {
	m := &moved{}
	var at int64
	_, err := get(ctx, q, []any{&m.to, &at, &m.done}, `SELECT name, at, done FROM moved`)
	m.at = storekit.FromMillis(at)
	return m, err
}

// refusal is why nobody may use the file.
func (m *moved) refusal() error {
	if !m.done {
		return fmt.Errorf("%w: it is being copied to %s since %s: run store copy again to complete that, or with "+
			"--cancel to use this one as before", gerritstream.ErrUnusable, m.to, m.at.Format(time.RFC3339))
	}
	return fmt.Errorf("%w: what it held was copied to %s at %s: use that store",
		gerritstream.ErrUnusable, m.to, m.at.Format(time.RFC3339))
}

// InUse returns the names of the processes that use the file, which it watches
// for as long as the longest of their leases lasts.
func (m *Move) InUse(ctx context.Context) ([]string, error) {
	before, longest, err := m.beats(ctx)
	if err != nil || len(before) == 0 {
		return nil, err
	}
	if !storekit.Sleep(ctx, longest) {
		return nil, ctx.Err()
	}
	after, _, err := m.beats(ctx)
	var alive []string
	for who, beat := range after {
		if old, known := before[who]; !known || old != beat {
			alive = append(alive, who.name)
		}
	}
	return alive, err
}

// writerOf is a process of the file.
type writerOf struct{ id, name string }

// beats returns the heartbeat of each process and the longest time to live.
func (m *Move) beats(ctx context.Context) (beats map[writerOf]int64, longest time.Duration, err error) {
	beats = map[writerOf]int64{}
	err = each(ctx, m.db, func(rows *sql.Rows) error {
		var who writerOf
		var beat, ttl int64
		err := rows.Scan(&who.id, &who.name, &beat, &ttl)
		beats[who] = beat
		longest = max(longest, time.Duration(ttl)*time.Millisecond)
		return err
	}, `SELECT id, name, beat, ttl FROM processes`)
	return beats, longest, explainRead(m.path, err)
}

// MoveState is how far the move of a file is.
type MoveState int

// The states.
const (
	NotMoved MoveState = iota
	Moving             // a move was begun and not completed
	Moved
)

// Begin marks the file as being moved to another store. Nobody can use it from
// then on, and nobody who uses it can write to it. It returns how far the move
// to that store was before; one to another store is an error.
func (m *Move) Begin(ctx context.Context, to string) (was MoveState, err error) {
	err = m.write(ctx, func(tx *transaction) error {
		s, err := readSchema(ctx, tx)
		switch {
		case err != nil:
			return err
		case s.moved != nil && s.moved.to != to:
			return s.moved.refusal()
		case s.moved != nil:
			if was = Moving; s.moved.done {
				was = Moved
			}
			return nil
		}
		if err := tx.script(markMoved); err != nil {
			return err
		}
		err = tx.exec(`INSERT INTO moved (one, name, at) VALUES (1, ?, ?)`, to, time.Now().UnixMilli())
		if err != nil {
			return err
		}
		return tx.script(fmt.Sprintf("PRAGMA application_id=%d", movedID))
	})
	return was, err
}

// Finish notes that the other store has everything.
func (m *Move) Finish(ctx context.Context) error {
	return m.write(ctx, func(tx *transaction) error {
		return tx.exec(`UPDATE moved SET done = 1, at = ?`, time.Now().UnixMilli())
	})
}

// Cancel undoes Begin: the file may be used again. A file that was not moved is
// left as it is.
func (m *Move) Cancel(ctx context.Context) error {
	return m.write(ctx, func(tx *transaction) error {
		s, err := readSchema(ctx, tx)
		if err != nil || s.moved == nil {
			return err
		}
		if s.moved.done {
			return s.moved.refusal()
		}
		return tx.script(unmarkMoved + fmt.Sprintf("PRAGMA application_id=%d", applicationID))
	})
}

// write runs a transaction: all of it is written, or nothing.
func (m *Move) write(ctx context.Context, run func(*transaction) error) error {
	o := &Operator{db: m.db, path: m.path}
	return o.write(ctx, "", run)
}

// script runs several statements, which are not prepared.
func (t *transaction) script(statements string) error {
	_, err := t.conn.ExecContext(context.Background(), statements)
	return err
}

// Tables returns what the other store takes over. Until Begin others may change
// it meanwhile.
func (m *Move) Tables(ctx context.Context) ([]storekit.Table, error) {
	tables := make([]storekit.Table, 0, len(moving))
	for _, t := range moving {
		table := storekit.Table{Name: t.name, Columns: strings.Split(t.columns, ", ")}
		_, err := get(ctx, m.db, []any{&table.Count}, `SELECT count(*) FROM `+t.name+` `+t.where)
		if err != nil {
			return nil, explainRead(m.path, err)
		}
		table.Rows = m.rows(`SELECT `+t.columns+` FROM `+t.name+` `+t.where+` ORDER BY `+t.order, len(table.Columns))
		tables = append(tables, table)
	}
	return tables, nil
}

func (m *Move) rows(query string, columns int) func(context.Context) iter.Seq2[[]any, error] {
	return func(ctx context.Context) iter.Seq2[[]any, error] {
		return func(yield func([]any, error) bool) {
			values, at := make([]any, columns), make([]any, columns)
			for i := range values {
				at[i] = &values[i]
			}
			err := each(ctx, m.db, func(rows *sql.Rows) error {
				if err := rows.Scan(at...); err != nil {
					return err
				}
				if !yield(values, nil) {
					return errEnough
				}
				return nil
			}, query)
			if err != nil && !errors.Is(err, errEnough) {
				yield(nil, explainRead(m.path, err))
			}
		}
	}
}

// errEnough ends a loop.
var errEnough = errors.New("enough")
