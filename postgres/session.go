package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A role, a database or a server may have defaults for sessions that do not fit
// what is promised here, also from one day to the next. A session of the
// server's own gets what it needs once, and one that a pooler shares with other
// clients gets it in each transaction, for that transaction only.

// lockPatience is how long the server waits for a lock: less than the calls
// wait for the server, so that the error says that it was a lock. A statement
// whose caller has given up waits on, as it is not cancelled: while somebody
// has a table locked, each attempt would otherwise keep a connection of the
// server, until there is none left for anybody.
const lockPatience = 4 * time.Second

// sessionSettings returns a query that has settings for a session, or only for
// a transaction. A timeout that the operator has set stays.
func sessionSettings(local bool, locks time.Duration) string {
	return fmt.Sprintf(`SELECT
		set_config('lock_timeout', CASE current_setting('lock_timeout') WHEN '0' THEN '%[1]d'
			ELSE current_setting('lock_timeout') END, %[2]t),
		set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
			ELSE current_setting('synchronous_commit') END, %[2]t)`, max(locks.Milliseconds(), 1), local)
}

// errPooled: a pooler has come between, as when a name was given to it.
var errPooled = errors.New("the connection is a pooler's, which the first one was not")

// prepare prepares a connection of the server's own. Whether it still is one is
// part of the same statement.
func (d *database) prepare(ctx context.Context, conn *pgx.Conn) error {
	if !d.direct.Load() {
		return nil
	}
	pid := int64(conn.PgConn().PID())
	tag, err := conn.Exec(ctx, sessionSettings(false, d.locks)+
		`, set_config('default_transaction_isolation', 'read committed', false),
			set_config('default_transaction_read_only', CASE WHEN $2 THEN 'off'
				ELSE current_setting('default_transaction_read_only') END, false) WHERE pg_backend_pid() = $1::bigint`,
		pgx.QueryExecModeExec, pid, d.writes)
	if err == nil && tag.RowsAffected() == 0 {
		d.direct.Store(false)
		return errPooled
	}
	return err
}

// begin adds what begins a transaction.
func (d *database) begin(b *batch, mode string) {
	b.exec(`BEGIN ISOLATION LEVEL ` + mode)
	d.settle(b)
}

// settle adds the settings of a transaction where a pooler is between.
func (d *database) settle(b *batch) {
	if !d.direct.Load() {
		b.exec(sessionSettings(true, d.locks))
	}
}

// pooled runs a statement that reads through a pooler, with its settings. What
// is sent at once without BEGIN is one transaction, and two statements less.
func (d *database) pooled(ctx context.Context, add func(*batch)) error {
	b := d.newBatch()
	d.settle(b)
	add(b)
	return d.send(ctx, b)
}

// execMode returns how statements are sent: a pooler gives each transaction
// another connection, and a statement that was prepared on one is not there on
// the next.
func (d *database) execMode() pgx.QueryExecMode {
	if d.direct.Load() {
		return pgx.QueryExecModeCacheStatement
	}
	return pgx.QueryExecModeCacheDescribe
}
