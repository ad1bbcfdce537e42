package sqlite

import (
	"context"
	"database/sql"
	"errors"
)

// querier is a database, a connection to it, or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// each calls scan for each row of a query.
func each(ctx context.Context, q querier, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// get reads one row into dest. ok is false when there is none.
func get(ctx context.Context, q querier, dest []any, query string, args ...any) (ok bool, err error) {
	err = q.QueryRowContext(ctx, query, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// beginner is a database or a connection to it.
type beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

// view reads at one moment.
func view(ctx context.Context, db beginner, read func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	err = read(tx)
	if failed := tx.Rollback(); err == nil {
		err = failed
	}
	return err
}

// transaction runs statements on a connection that writes. They have no
// deadline: SQLite's busy timeout bounds each.
type transaction struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt // by text; for the life of the connection
}

func newTransaction(conn *sql.Conn) *transaction {
	return &transaction{conn: conn, prepared: map[string]*sql.Stmt{}}
}

// close closes the connection.
func (t *transaction) close() error {
	for _, stmt := range t.prepared {
		_ = stmt.Close() // reports the statement's last failure, which was handled
	}
	return t.conn.Close()
}

// statement returns a prepared statement.
func (t *transaction) statement(query string) (*sql.Stmt, error) {
	stmt := t.prepared[query]
	if stmt == nil {
		var err error
		if stmt, err = t.conn.PrepareContext(context.Background(), query); err != nil {
			return nil, err
		}
		t.prepared[query] = stmt
	}
	return stmt, nil
}

func (t *transaction) exec(query string, args ...any) error {
	stmt, err := t.statement(query)
	if err == nil {
		_, err = stmt.ExecContext(context.Background(), args...)
	}
	return err
}

// change runs a statement and returns how many rows it changed.
func (t *transaction) change(query string, args ...any) (int64, error) {
	stmt, err := t.statement(query)
	if err != nil {
		return 0, err
	}
	r, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// QueryContext implements querier.
func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := t.statement(query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// QueryRowContext implements querier.
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	stmt, err := t.statement(query)
	if err != nil {
		return t.conn.QueryRowContext(ctx, query, args...) // fails in the same way
	}
	return stmt.QueryRowContext(ctx, args...)
}
