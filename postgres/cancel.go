package postgres

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errNoCancel is why no request to cancel a statement is sent.
var errNoCancel = errors.New("statements are not cancelled")

// withoutCancel has a connection that is about to be made send no requests to
// cancel its statements, as the library does whenever it gives a connection up.
// A commit that waits for a synchronous standby would end its waiting by that:
// others would read, and act on, what is lost with the primary. A statement
// whose connection was given up ends by itself. The library dials for such a
// request as it does for the connection.
func withoutCancel(conn *pgx.ConnConfig) {
	var connected atomic.Bool
	dial, after := conn.DialFunc, conn.AfterConnect
	conn.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if connected.Load() {
			return nil, errNoCancel
		}
		return dial(ctx, network, addr)
	}
	conn.AfterConnect = func(ctx context.Context, pg *pgconn.PgConn) error {
		connected.Store(true)
		if after == nil {
			return nil
		}
		return after(ctx, pg)
	}
}
