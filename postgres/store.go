package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Store is a gerritstream.Store in one schema of a PostgreSQL database. See the
// package's documentation.
type Store struct {
	config   Config
	id       string // of this process in the schema; never used again
	where    string // the server, the database and the schema, for people
	log      *slog.Logger
	discards *storekit.Discards

	db        *database // for calls
	control   *database // for heartbeats and the watcher, which must not wait for calls
	writer    *writer
	heartbeat *lease.Heartbeat
	watcher   *lease.Watcher
	tables    *tables
	tip       *tip
	clock     storekit.ServiceClock

	life    context.Context // ends with the use of the store: errClosed
	closing closing
}

// errClosed: the Store was closed.
var errClosed = errors.New("the store is closed")

// Open opens the store in a schema, making it when it is missing. The error is
// one line that says what is wrong and what to do, without a password.
// ErrDenied: the server refuses the user, or the role lacks a privilege;
// ErrUnusable: something else that an operator must change; ErrNewerFormat: a
// newer version of this program has made the schema; others may pass.
//
// An open Store is a process of the schema: its goroutines write a heartbeat,
// keep its leaderships, and remove old events, until Close has waited for them.
func Open(ctx context.Context, config Config) (*Store, error) {
	s, err := open(ctx, config, RoleWriter)
	if err != nil {
		return nil, err
	}
	c := &s.config
	sweeper := &storekit.Sweeper{
		Clock: &s.clock, Now: c.Now, Retention: c.Retention, RetentionMax: c.RetentionMax, Log: s.log,
		Remove: s.removeExpired,
	}
	s.start(func() { sweeper.Run(s.life) })
	return s, nil
}

// OpenQueue opens a schema that is there, for a process that reads its queue:
// it may lease consumers, and removes no old events. What Config says of
// retention is not used. The errors are those of Open.
func OpenQueue(ctx context.Context, config Config) (*Store, error) {
	s, err := open(ctx, config, RoleConsumer)
	if err != nil {
		return nil, err
	}
	s.start()
	return s, nil
}

// open makes a Store for a process that is a writer or a consumer, and connects
// it. It starts nothing.
func open(ctx context.Context, config Config, as Role) (*Store, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("open store: %w: %w", gerritstream.ErrUnusable, err)
	}
	s := &Store{config: config, id: rand.Text()}
	s.life, s.closing.end = context.WithCancelCause(context.Background())
	if err := s.connect(ctx, as); err != nil {
		return nil, openError("open store", s.where, err)
	}
	s.log = config.Logger.With("store", s.where)
	s.discards = storekit.NewDiscards(s.log)
	s.prepare()
	return s, nil
}

// prepare makes what the goroutines of an open store use.
func (s *Store) prepare() {
	s.writer = newWriter(s)
	s.tip = newTip(s)
	s.tables = &tables{store: s}
	s.heartbeat, s.watcher = lease.New(lease.Config{
		Process: s.id, Life: s.life, Database: s.tables, TTL: s.config.LeaseTTL, Log: s.log,
		LookEvery: s.tables.lookEvery,
	})
}

// controlConnections are those of the heartbeat and of the watcher.
const controlConnections = 2

// connect checks the server, brings the schema up to date, and opens the pools.
func (s *Store) connect(ctx context.Context, as Role) error {
	s.where = "PostgreSQL"
	calls, err := s.config.connecting(s.config.Connections)
	if err != nil {
		return err
	}
	s.where = place(calls.ConnConfig, s.config.Schema)
	control, err := s.config.connecting(controlConnections)
	if err != nil {
		return err
	}
	look, err := prepareSchema(ctx, &s.config, as)
	if err != nil {
		return err
	}
	if s.db, err = openDatabase(ctx, calls, s.config.Schema, look); err != nil {
		return err
	}
	if s.control, err = openDatabase(ctx, control, s.config.Schema, look); err != nil {
		return err
	}
	s.control.writes = true
	s.control.locks = min(lockPatience, s.config.LeaseTTL*2/5) // a heartbeat waits for half the TTL
	return nil
}

// prepareSchema connects, checks the server and makes or migrates the schema.
// Only an owner and a writer make one that is not there. A writer and a
// consumer are refused unless they have the privileges of their role: they
// would run, and do nothing.
func prepareSchema(ctx context.Context, c *Config, as Role) (*server, error) {
	conn, err := connectOnce(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	look, err := inspectServer(ctx, conn, c.Schema)
	if err == nil {
		err = look.check(c.Schema)
	}
	if err == nil {
		err = look.checkWritable()
	}
	if err == nil && as != roleOwner && as != RoleWriter {
		err = look.checkMade(c.Schema)
	}
	if err == nil && look.version == 0 {
		err = checkMayCreate(ctx, conn, c.Schema, look)
	}
	if err == nil {
		err = migrate(ctx, conn, c.Schema, look)
	}
	if err == nil && (as == RoleWriter || as == RoleConsumer) {
		err = checkPrivileges(ctx, conn, c.Schema, as)
	}
	if err != nil {
		return nil, err
	}
	if look.unsafe != "" {
		c.Logger.Warn("the server may lose what was committed when its host fails", "setting", look.unsafe)
	}
	return look, nil
}

// connectOnce opens a connection outside of the pools.
func connectOnce(ctx context.Context, c *Config) (*pgx.Conn, error) {
	pool, err := c.connecting(1)
	if err != nil {
		return nil, err
	}
	// A pooler would keep named statements in a session that others get.
	pool.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	if err := pool.BeforeConnect(ctx, pool.ConnConfig); err != nil {
		return nil, explainConnect(err, true)
	}
	conn, err := pgx.ConnectConfig(ctx, pool.ConnConfig)
	return conn, explainConnect(err, pool.ConnConfig.Password == "")
}

// place names a schema for people.
func place(c *pgx.ConnConfig, schema string) string {
	hosts := []string{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))}
	for _, f := range c.Fallbacks { // one for each way to connect to a server
		if host := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return fmt.Sprintf("postgres://%s@%s/%s, schema %s", c.User, strings.Join(hosts, ","), c.Database, schema)
}

// start starts the goroutines that every open Store has, and others.
func (s *Store) start(others ...func()) {
	for _, run := range append(others, s.heartbeat.Run, s.forget, s.watcher.Run, s.tip.run, s.writer.run) {
		s.closing.running.Go(run)
	}
	if s.db.direct.Load() && !s.config.PollOnly {
		s.closing.running.Go((&notifications{store: s}).run)
	}
}

// disconnect closes the pools, and waits for their connections.
func (s *Store) disconnect() {
	s.db.pool.Close()
	s.control.pool.Close()
}

// leavePatience is how long Close tries to resign, at most.
const leavePatience = 2 * time.Second

// Close resigns what the process leads, ends its membership, stops its
// goroutines and closes the connections. Terms end; calls under way fail.
// Ending ctx cuts the resigning short; then, and where resigning cannot be
// written, others wait for the leases to expire, which is no error. It returns
// at the latest a second or two later, and the same each time it is called.
func (s *Store) Close(ctx context.Context) error {
	return s.closing.do(func() error {
		s.heartbeat.Leave(errClosed)
		s.resign(ctx)
		s.closing.end(errClosed)
		s.closing.running.Wait()
		s.disconnect()
		return nil
	})
}

// resign removes the process from the schema. What prevents that is no error:
// leases expire.
func (s *Store) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	err := s.control.write(ctx, func(b *batch) {
		b.exec(`UPDATE @.leases SET process = '' WHERE process = $1`, s.id)
		b.exec(`DELETE FROM @.processes WHERE id = $1`, s.id)
	})
	if err != nil {
		s.log.Warn("cannot resign; others wait for the leases to expire", "err", err)
	}
}

// closing closes something once.
type closing struct {
	end     context.CancelCauseFunc // of a Store's life
	running sync.WaitGroup          // the goroutines, which the end of life ends
	once    sync.Once
	err     error // of the first time; under once
}

func (c *closing) do(shut func() error) error {
	c.once.Do(func() { c.err = shut() })
	return c.err
}

// check returns an error if the store was closed.
func (s *Store) check() error {
	if s.life.Err() != nil {
		return context.Cause(s.life)
	}
	return nil
}
