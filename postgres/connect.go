package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	connectTimeout = 5 * time.Second

	// callPatience bounds a call that reads, or that writes a few rows.
	callPatience = 5 * time.Second
)

// database is a pool of connections to one schema.
type database struct {
	pool    *pgxpool.Pool
	schema  string        // quoted
	channel string        // for notifications: the schema's name
	direct  atomic.Bool   // a connection is one of the server's own, not of a pooler that shares them
	locks   time.Duration // how long the server waits for a lock
	writes  bool          // also outside of write, by update

	texts sync.Map // of statements, by their text without the schema
}

// openDatabase opens a pool, which connects as needed. look is what was found
// on the first connection.
func openDatabase(ctx context.Context, config *pgxpool.Config, schema string, look *server) (*database, error) {
	d := &database{schema: quote(schema), channel: schema, locks: lockPatience}
	d.direct.Store(look.direct)
	before := config.BeforeConnect
	config.BeforeConnect = func(ctx context.Context, conn *pgx.ConnConfig) error {
		conn.DefaultQueryExecMode = d.execMode()
		return before(ctx, conn)
	}
	config.AfterConnect = d.prepare
	var err error
	d.pool, err = pgxpool.NewWithConfig(ctx, config)
	return d, err
}

// quote returns an identifier as SQL has it.
func quote(identifier string) string { return pgx.Identifier{identifier}.Sanitize() }

// sql returns a statement for this schema: in its text "@." stands for it.
// Nothing is left to the search path, which a pooler does not keep.
func (d *database) sql(text string) string {
	if known, ok := d.texts.Load(text); ok {
		full, _ := known.(string)
		return full
	}
	full := withSchema(text, d.schema)
	d.texts.Store(text, full)
	return full
}

func withSchema(text, quoted string) string { return strings.ReplaceAll(text, "@.", quoted+".") }

// get reads one row into dest. ok is false when there is none.
func (d *database) get(ctx context.Context, dest []any, text string, args ...any) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	if !d.direct.Load() {
		err = d.pooled(ctx, func(b *batch) { b.get(dest, func() { ok = true }, text, args...) })
		return ok && err == nil, err
	}
	err = d.pool.QueryRow(ctx, d.sql(text), args...).Scan(dest...)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, flat(err)
}

// each calls scan for each row of a query.
func (d *database) each(ctx context.Context, scan func(pgx.Rows) error, text string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	if !d.direct.Load() {
		return d.pooled(ctx, func(b *batch) { b.each(scan, text, args...) })
	}
	rows, err := d.pool.Query(ctx, d.sql(text), args...)
	if err != nil {
		return flat(err)
	}
	return scanAll(rows, scan)
}

// update is each for a statement that also writes, without a transaction around
// it where the session's defaults are known: for heartbeats.
func (d *database) update(ctx context.Context, scan func(pgx.Rows) error, text string, args ...any) error {
	if d.direct.Load() {
		return d.each(ctx, scan, text, args...)
	}
	b := d.newBatch()
	d.begin(b, `READ COMMITTED READ WRITE`)
	b.each(scan, text, args...)
	b.exec(`COMMIT`)
	return d.send(ctx, b)
}

func scanAll(rows pgx.Rows, scan func(pgx.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// batch is a list of statements that are sent together: one round trip.
type batch struct {
	db    *database
	batch pgx.Batch
}

func (d *database) newBatch() *batch { return &batch{db: d} }

// exec adds a statement whose result does not matter.
func (b *batch) exec(text string, args ...any) { b.batch.Queue(b.db.sql(text), args...) }

// change adds a statement and has changed told how many rows it changed.
func (b *batch) change(changed func(n int64), text string, args ...any) {
	b.batch.Queue(b.db.sql(text), args...).Exec(func(tag pgconn.CommandTag) error {
		changed(tag.RowsAffected())
		return nil
	})
}

// each adds a query and has scan called for each row.
func (b *batch) each(scan func(pgx.Rows) error, text string, args ...any) {
	b.batch.Queue(b.db.sql(text), args...).Query(func(rows pgx.Rows) error { return scanAll(rows, scan) })
}

// get adds a query of one row; found, if not nil, is called when there is one.
func (b *batch) get(dest []any, found func(), text string, args ...any) {
	b.batch.Queue(b.db.sql(text), args...).QueryRow(func(row pgx.Row) error {
		err := row.Scan(dest...)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil && found != nil {
			found()
		}
		return err
	})
}

// view reads what the statements added by read say of one moment.
func (d *database) view(ctx context.Context, read func(*batch)) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	b := d.newBatch()
	d.begin(b, `REPEATABLE READ READ ONLY`)
	read(b)
	b.exec(`COMMIT`)
	return d.send(ctx, b)
}

// write runs the statements added by write in one transaction and one round
// trip: a process that is paused meanwhile holds no lock that others wait for.
// If it returns nil, all of it is durable. An error is errUnknownOutcome, or
// nothing was written. The transaction reads what other transactions have
// committed before each statement, whatever the database's own default is.
func (d *database) write(ctx context.Context, write func(*batch)) error {
	b := d.newBatch()
	d.begin(b, `READ COMMITTED READ WRITE`)
	write(b)
	committed := false
	// THE COMMIT POINT: before the server has handled this statement nothing is
	// written, afterwards everything.
	b.batch.Queue(`COMMIT`).Exec(func(tag pgconn.CommandTag) error {
		committed = tag.String() == "COMMIT"
		return nil
	})
	err := d.send(ctx, b)
	switch {
	case committed: // even if the connection was lost afterwards
		return nil
	case err == nil:
		return fmt.Errorf("%w: the server rolled the transaction back", errRolledBack)
	case wroteNothing(err):
		return err
	}
	return fmt.Errorf("%w: %w", errUnknownOutcome, err)
}

// send sends a batch and handles its results. A connection that an error has
// left in a transaction is not used again.
func (d *database) send(ctx context.Context, b *batch) error {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return &notSent{flat(err)}
	}
	defer conn.Release()
	err = conn.SendBatch(ctx, &b.batch).Close()
	if pg := conn.Conn().PgConn(); err != nil && !pg.IsClosed() {
		if pg.TxStatus() != 'I' {
			_ = pg.Exec(ctx, `ROLLBACK`).Close()
		}
		if leadsElsewhere(err) {
			_ = conn.Conn().Close(ctx)
		}
	}
	return err
}
