package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Store is a gerritstream.Store in one SQLite file. See the package's
// documentation.
type Store struct {
	config   Config
	id       string // of this process in the file; never used again
	place    place
	log      *slog.Logger
	discards *storekit.Discards

	reading   *sql.DB
	writer    *writer
	heartbeat *lease.Heartbeat
	watcher   *lease.Watcher
	tables    *tables
	touches   *touches
	clock     storekit.ServiceClock

	life    context.Context // ends with the use of the store: errClosed or ErrStoreGone
	end     context.CancelCauseFunc
	running sync.WaitGroup // the goroutines, which the end of life ends
	closing closing
}

// errClosed: the Store was closed.
var errClosed = errors.New("the store is closed")

// Open opens the store in a file, making it when it is missing. The error is
// one line that says what is wrong and what to do; ErrNewerFormat: a newer
// version of this program wrote the file.
//
// An open Store is a process of the file: its goroutines write a heartbeat,
// keep its leaderships, and remove old events, until Close has waited for them.
func Open(ctx context.Context, config Config) (*Store, error) {
	s, err := open(ctx, config)
	if err != nil {
		return nil, openError("open store", config.Path, err)
	}
	c := &s.config
	sweeper := &storekit.Sweeper{
		Clock: &s.clock, Now: c.Now, Retention: c.Retention, RetentionMax: c.RetentionMax, Log: s.log,
		Remove: s.removeExpired,
	}
	wal := &walKeeper{store: s}
	s.start(func() { sweeper.Run(s.life) }, wal.run)
	return s, nil
}

// OpenQueue opens a file that is there, for a process that reads its queue: it
// may lease consumers, and removes no old events. What Config says of retention
// is not used, and GroupAccess is as the file has it. The error is one line
// that says what is wrong and what to do.
func OpenQueue(ctx context.Context, config Config) (*Store, error) {
	r, err := OpenReader(ctx, config.Path) // makes nothing, and refuses what is not a store
	if err != nil {
		return nil, err
	}
	config.GroupAccess = r.info.Mode().Perm()&0o060 != 0
	if err := r.Close(ctx); err != nil {
		return nil, openError("open store", config.Path, err)
	}
	s, err := open(ctx, config)
	if err != nil {
		return nil, openError("open store", config.Path, err)
	}
	s.start()
	return s, nil
}

// start starts the goroutines that every open Store has, and others.
func (s *Store) start(others ...func()) {
	for _, run := range append(others, s.writer.run, s.heartbeat.Run, s.watch) {
		s.running.Go(run)
	}
	if !s.config.PollOnly {
		s.running.Go(s.touches.run)
	}
}

// open makes a Store and opens its file. It starts nothing.
func open(ctx context.Context, config Config) (*Store, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	place, main, err := prepareFile(&config)
	if err != nil {
		return nil, err
	}
	s := &Store{config: config, id: rand.Text(), place: place, log: config.Logger.With("store", place.path)}
	s.life, s.end = context.WithCancelCause(context.Background())
	s.discards = storekit.NewDiscards(s.log)
	s.writer = &writer{store: s, urgent: make(chan *job, 1), jobs: make(chan *job, maxGroup)}
	s.tables = &tables{store: s}
	s.heartbeat, s.watcher = lease.New(lease.Config{
		Process: s.id, Life: s.life, Database: s.tables, TTL: config.LeaseTTL, Log: s.log,
		LookEvery: func([]gerritstream.ShardID) time.Duration { return lookEvery },
	})
	s.touches = &touches{store: s, path: place.real + beside[0], wake: s.watcher.Wake}
	if err = s.connect(ctx); err == nil {
		err = s.place.note(main)
	}
	if err != nil {
		return nil, errors.Join(explain(place.path, err), s.disconnect())
	}
	return s, nil
}

// connect opens the databases and brings the schema up to date.
func (s *Store) connect(ctx context.Context) (err error) {
	// temp_store: what undoes a savepoint is kept in memory, not in a temporary
	// file. cache_size: 16 MiB.
	if s.writer.db, err = sql.Open("sqlite", dsn(s.place.real, "rw", "synchronous(FULL)", "temp_store(MEMORY)",
		"cache_size(-16384)", fmt.Sprintf("journal_size_limit(%d)", walLimit),
		fmt.Sprintf("busy_timeout(%d)", lockTry.Milliseconds()))); err != nil {
		return err
	}
	s.writer.db.SetMaxOpenConns(1)
	if s.reading, err = sql.Open("sqlite", dsn(s.place.real, "rw", "query_only(1)")); err != nil {
		return err
	}
	s.reading.SetMaxOpenConns(4)
	conn, err := s.writer.db.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(migrate(ctx, conn), conn.Close())
}

// disconnect closes the databases.
func (s *Store) disconnect() error {
	var errs []error
	for _, db := range []*sql.DB{s.reading, s.writer.db} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Close resigns what the process leads, ends its membership, stops its
// goroutines and closes the file. Terms end; calls under way fail. Ending ctx
// cuts the resigning short; then, and where resigning cannot be written, others
// wait for the leases to expire, which is no error. It returns at the latest a
// second or two later, and the same each time it is called.
func (s *Store) Close(ctx context.Context) error {
	return s.closing.do(func() error {
		s.heartbeat.Leave(errClosed)
		err := s.resign(ctx)
		s.end(errClosed)
		s.running.Wait()
		return errors.Join(err, s.disconnect())
	})
}

// resign removes the process from the file. What prevents that, such as another
// program's lock or a full disk, is no error: leases expire.
func (s *Store) resign(ctx context.Context) error {
	if s.life.Err() != nil { // the file is gone
		return nil
	}
	err := s.writer.do(ctx, func(tx *transaction) error {
		return errors.Join(
			tx.exec(`UPDATE leases SET process = '' WHERE process = ?`, s.id),
			tx.exec(`DELETE FROM candidates WHERE process = ?`, s.id),
			tx.exec(`DELETE FROM processes WHERE id = ?`, s.id))
	})
	switch {
	case err == nil:
		s.touches.touch()
		return nil
	case ctx.Err() != nil, errors.Is(err, gerritstream.ErrRetryLater), errors.Is(err, errUnknownOutcome):
		s.log.Warn("cannot resign; others wait for the leases to expire", "err", err)
		return nil
	}
	return fmt.Errorf("resign: %w", explain(s.place.path, err))
}

// closing closes something once.
type closing struct {
	once sync.Once
	err  error // of the first time; under once
}

func (c *closing) do(shut func() error) error {
	c.once.Do(func() { c.err = shut() })
	return c.err
}

// check returns an error if the store cannot be used any more: it was closed,
// or the database is not where it was opened, or has become read-only. Each
// method asks before it reads, and so does each heartbeat.
func (s *Store) check() error {
	if s.life.Err() != nil {
		return context.Cause(s.life)
	}
	err := s.place.check()
	if err == nil {
		err = s.place.checkWritable()
	}
	if err != nil {
		return s.fail(err)
	}
	return nil
}

// fail ends the use of the store for good, with its terms and all calls under
// way. It returns the error that they get.
func (s *Store) fail(why error) error {
	s.end(fmt.Errorf("%w: %w", gerritstream.ErrStoreGone, why)) // the first cause counts
	cause := context.Cause(s.life)
	s.heartbeat.EndAll(cause)
	return cause
}
