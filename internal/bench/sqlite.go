package bench

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/sqlite"
)

const leaseTTL = sqlite.DefaultLeaseTTL

// sqliteTarget is a folder of files. Each part is a file.
type sqliteTarget struct {
	config config.Config
	folder string
}

// mark is a file in the folder, by which one that was left is recognised.
const mark = "made-by-gerritstream-bench"

func claimSQLite(o *Options) (target, error) {
	folder := o.Config.Store.SQLite.Path
	err := os.Mkdir(folder, 0o700)
	if errors.Is(err, fs.ErrExist) {
		if _, err := os.Stat(filepath.Join(folder, mark)); err == nil {
			return nil, inUse("%s is the folder of a bench; if none runs, it was killed: remove the folder", folder)
		}
		return nil, inUse("%s exists: the bench makes a folder of its own there and removes it, so name a new path on "+
			"the same disk", folder)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, mark), nil, 0o600)
	}
	if err != nil {
		return nil, &daemon.ConfigError{Err: fmt.Errorf("make a folder for the bench: %w", err)}
	}
	return &sqliteTarget{config: o.Config, folder: folder}, nil
}

func (t *sqliteTarget) path(name string) string { return filepath.Join(t.folder, name+".db") }

func (t *sqliteTarget) part(name string) (config.Config, error) {
	c := t.config
	return c, c.Store.Set("sqlite:" + t.path(name))
}

func (t *sqliteTarget) empty(context.Context, string) error { return nil } // it costs commits nothing

func (t *sqliteTarget) drop(_ context.Context, name string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(t.path(name) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (t *sqliteTarget) flags() []string { return nil }

func (t *sqliteTarget) leftovers() []string { return nil }

func (t *sqliteTarget) remove(context.Context) error { return os.RemoveAll(t.folder) }

// bareSQLite is a connection to a file that the store has made, so that its
// tables are the same, and no store uses. It calls the driver directly.
type bareSQLite struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]driver.StmtExecContext // under conn.Raw
}

func (t *sqliteTarget) bare(ctx context.Context, name string) (_ bareClient, err error) {
	store, err := sqlite.Open(ctx, sqlite.Config{Path: t.path(name)})
	if err != nil {
		return nil, err
	}
	if err := store.Close(ctx); err != nil {
		return nil, err
	}
	q := url.Values{"_pragma": {"busy_timeout(1000)", "synchronous(FULL)", "temp_store(MEMORY)", "cache_size(-16384)"}}
	path, err := filepath.Abs(t.path(name))
	if err != nil {
		return nil, err
	}
	b := &bareSQLite{stmts: map[string]driver.StmtExecContext{}}
	file := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	if b.db, err = sql.Open("sqlite", file.String()); err != nil {
		return nil, err
	}
	if b.conn, err = b.db.Conn(ctx); err != nil {
		return nil, errors.Join(err, b.db.Close())
	}
	return b, nil
}

// writers: SQLite has one at a time, and syncs once for what it writes.
func (b *bareSQLite) writers(shards, batch int) (count, each int) { return 1, shards * batch }

const (
	bareEvent = `INSERT INTO events
		(id, shard, seq, sub, arrived, type, project, ref, change, created, queued_at, payload, attributes)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)`
	barePosition = `INSERT INTO positions (epoch, shard, position, committed) VALUES (0, ?, ?, ?)
		ON CONFLICT DO UPDATE SET position = excluded.position, committed = excluded.committed`
	bareLease = `INSERT INTO leases (shard, term, process) VALUES ('shard', 1, ?)
		ON CONFLICT DO UPDATE SET term = term + 1, process = excluded.process`
)

func (b *bareSQLite) commit(ctx context.Context, _, shards int, entries []gerritstream.Entry) error {
	return b.transact(ctx, func(exec func(string, ...driver.Value) error) error {
		now := time.Now().UnixMilli()
		for i := range entries {
			e := &entries[i]
			err := exec(bareEvent, e.ID[:], string(e.Shard), string(e.Seq), int64(e.Sub), e.Arrived.UnixMilli(),
				e.Event.Type, e.Event.Project, e.Event.Ref, e.Event.Change, e.Event.Created.UnixMilli(), now, e.Payload)
			if err != nil {
				return err
			}
		}
		last := &entries[len(entries)-1]
		position := fmt.Sprintf(`{"after":%q,"arrived":%q,"term":1,"nonce":"0123456789abcdef01234567"}`,
			last.Seq, last.Arrived.Format(time.RFC3339Nano))
		for i := range shards {
			if err := exec(barePosition, string(shardNamed(i)), position, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// transact runs prepared statements of the driver in a transaction.
func (b *bareSQLite) transact(ctx context.Context, do func(exec func(string, ...driver.Value) error) error) error {
	return b.conn.Raw(func(raw any) error {
		conn, ok := raw.(driver.ConnPrepareContext)
		if !ok {
			return errors.New("the driver prepares no statements")
		}
		exec := func(query string, values ...driver.Value) error {
			stmt := b.stmts[query]
			if stmt == nil {
				prepared, err := conn.PrepareContext(ctx, query)
				if err != nil {
					return err
				}
				if stmt, ok = prepared.(driver.StmtExecContext); !ok {
					return errors.New("the driver executes no prepared statements")
				}
				b.stmts[query] = stmt
			}
			named := make([]driver.NamedValue, len(values))
			for i, v := range values {
				named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
			}
			_, err := stmt.ExecContext(ctx, named)
			return err
		}
		if err := exec("BEGIN IMMEDIATE"); err != nil {
			return err
		}
		if err := do(exec); err != nil {
			return errors.Join(err, exec("ROLLBACK"))
		}
		return exec("COMMIT")
	})
}

func (b *bareSQLite) empty(context.Context) error { return nil } // it costs commits nothing

func (b *bareSQLite) handOver(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for _, process := range []string{"", "next"} {
		err := b.transact(ctx, func(exec func(string, ...driver.Value) error) error { return exec(bareLease, process) })
		if err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

func (b *bareSQLite) takeOver(context.Context) (time.Duration, error) { return leaseTTL, nil }

func (b *bareSQLite) close() {
	_ = b.conn.Raw(func(any) error {
		for _, stmt := range b.stmts {
			if closer, ok := stmt.(driver.Stmt); ok {
				_ = closer.Close() // reports the last failure, which was handled
			}
		}
		return nil
	})
	_, _ = b.conn.Close(), b.db.Close()
}
