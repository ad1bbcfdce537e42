package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gerritstream/gerritstream"
)

// Config configures a Store. URL and Schema must be given.
type Config struct {
	// URL names the server and the database as libpq does: a URL
	// ("postgres://user@host:5432/db?sslmode=verify-full") or a list of
	// keywords and values. Several hosts are allowed. What it leaves out comes
	// from the environment (PGSERVICE, PGPASSFILE and so on). A password in it
	// is never printed.
	URL string

	// Schema holds all tables. It is made if it is missing and the user may
	// make it. One schema serves one stream.
	Schema string

	// Password returns the password for each new connection, for tokens that
	// expire. nil: that of URL, or of the password file.
	Password func(context.Context) (string, error)

	// Process is what others call this process, in Inspect and in logs. Empty:
	// host name and process id.
	Process string

	// Retention is how long events are kept after they arrived or were queued,
	// whichever is later, by the service's clock as commits reveal it. Zero:
	// DefaultRetention. Negative: for ever.
	Retention time.Duration

	// RetentionMax is how long events are kept, counted in the same way, that a
	// consumer has not acknowledged: at least Retention. What is removed then
	// is counted for the consumer. Zero: DefaultRetentionMax.
	RetentionMax time.Duration

	// RetentionMaxBytes is the size of the queue beyond which events are not
	// kept longer than Retention for any consumer. Zero:
	// DefaultRetentionMaxBytes.
	RetentionMaxBytes int64

	// LeaseTTL is how long a process that died keeps its leaderships. If it is
	// shorter than the network or the server may pause, leaderships move
	// without need. Zero: DefaultLeaseTTL. At least 100 ms.
	LeaseTTL time.Duration

	// Connections is how many connections the process may have besides the two
	// for heartbeats and one that waits for notifications. Zero:
	// DefaultConnections.
	Connections int

	// PollOnly does not wait for notifications, as through a pooler that
	// passes none on.
	PollOnly bool

	// Logger gets what an operator should know. nil: nothing is logged.
	Logger *slog.Logger

	// Now is the local clock: it dates events, commits and reports. nil:
	// time.Now. It decides no lease, and nothing is removed while it differs
	// from the service's by more than an hour.
	Now func() time.Time
}

// What a Config's zero values mean.
const (
	DefaultRetention         = 7 * 24 * time.Hour
	DefaultRetentionMax      = 30 * 24 * time.Hour
	DefaultRetentionMaxBytes = 64 << 30
	DefaultLeaseTTL          = 5 * time.Second
	DefaultConnections       = 6
)

// minLeaseTTL is the least for which heartbeats over a network may keep up.
const minLeaseTTL = 100 * time.Millisecond

// maxSchema is the longest name that PostgreSQL does not shorten.
const maxSchema = 63

// complete checks the configuration and fills in what was left out.
func (c *Config) complete() error {
	var errs []error
	if c.URL == "" {
		errs = append(errs, errors.New("no URL given"))
	}
	if c.Schema == "" || len(c.Schema) > maxSchema {
		errs = append(errs, fmt.Errorf("the schema's name has %d bytes, and must have 1 to %d",
			len(c.Schema), maxSchema))
	}
	if c.Retention == 0 {
		c.Retention = DefaultRetention
	}
	if c.RetentionMax == 0 {
		c.RetentionMax = DefaultRetentionMax
	}
	c.RetentionMax = max(c.RetentionMax, c.Retention)
	if c.RetentionMaxBytes == 0 {
		c.RetentionMaxBytes = DefaultRetentionMaxBytes
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = DefaultLeaseTTL
	}
	if c.LeaseTTL < minLeaseTTL {
		errs = append(errs, fmt.Errorf("lease TTL %v is below %v", c.LeaseTTL, minLeaseTTL))
	}
	if c.Connections == 0 {
		c.Connections = DefaultConnections
	}
	c.Connections = max(c.Connections, writers+1)
	if c.Process == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		c.Process = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}

// connecting returns how to connect, with at most so many connections at a
// time. The error has no password in it.
func (c *Config) connecting(connections int) (*pgxpool.Config, error) {
	pool, err := c.parse()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", gerritstream.ErrUnusable, err)
	}
	pool.MaxConns, pool.MinConns = int32(connections), 0
	if given := pool.ConnConfig.ConnectTimeout; given <= 0 || given > connectTimeout {
		pool.ConnConfig.ConnectTimeout = connectTimeout
	}
	if _, given := pool.ConnConfig.RuntimeParams["application_name"]; !given {
		pool.ConnConfig.RuntimeParams["application_name"] = "gerritstream"
	}
	pool.ConnConfig.RuntimeParams["client_encoding"] = "UTF8" // whatever the role's default is; poolers know this one
	pool.BeforeConnect = func(ctx context.Context, conn *pgx.ConnConfig) (err error) {
		withoutCancel(conn)
		if c.Password == nil {
			if password, ok := c.reread(); ok {
				conn.Password = password
			}
			return nil
		}
		if conn.Password, err = c.Password(ctx); err != nil {
			return &passwordError{err}
		}
		return nil
	}
	return pool, nil
}
