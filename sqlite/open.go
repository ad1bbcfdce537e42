package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Store is a gerritstream.Store in one SQLite file. See the package's
// documentation.
type Store struct {
	path   string
	place  place
	id     string // of this process in the file, like no other's
	config Config
	log    *slog.Logger

	discards *storekit.Discards

	writing *sql.DB // one connection
	reading *sql.DB
	tending *sql.DB // for checkpoints: opened for each
	writer  *writer

	intercept storekit.Intercept // nil but in tests

	clock   clock
	beats   atomic.Uint64 // counts this process' beats
	leaving atomic.Bool   // set by Close: nothing is won any more, and no beat is written
	stop    chan struct{} // closed by Close: every goroutine returns
	running sync.WaitGroup
	closing sync.Once
	closed  error // of the first Close; under closing

	condemned chan struct{} // closed by condemn: the store cannot be used any more

	wakeKeeper  storekit.Signal
	wakeWatcher storekit.Signal

	mu          sync.Mutex // guards all below
	doom        error      // why the store was condemned; nil: it was not
	terms       map[gerritstream.ShardID]*term
	taking      map[gerritstream.ShardID]uint64 // terms whose leases are being taken at this moment
	tried       map[gerritstream.ShardID]uint64 // the last term number that was tried: none is tried twice
	lastBeat    time.Time                       // when the last beat that succeeded began
	candidacies []*candidacy                    // oldest first
	waiters     []*waiter                       // for the end of a shard
	lookouts    []*lookout                      // for a change of the crew
	presences   map[string]presence             // of processes, as seen last
	lined       map[gerritstream.ShardID]bool   // shards for which this process is in the file as a candidate
}

// Open opens the store in a file, making it when it is missing. The error is
// one line that says what is wrong and what to do; ErrNewerFormat: a newer
// version of this program wrote the file.
//
// An open Store is a member of the file: goroutines of its own show that the
// process is alive, keep its leaderships, and remove old events, until Close
// has waited for them. That is why it is opened and closed, rather than made.
func Open(ctx context.Context, config Config) (*Store, error) {
	s, err := open(ctx, config)
	if err != nil {
		return nil, openError("open store", config.Path, err)
	}
	s.launch()
	return s, nil
}

// open does all of Open but starting.
func open(ctx context.Context, config Config) (*Store, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	place, main, err := prepareFile(&config)
	if err != nil {
		return nil, err
	}
	s := &Store{
		path: place.path, place: place, id: rand.Text(), config: config,
		log:         config.Logger.With("store", place.path),
		discards:    storekit.NewDiscards(config.Logger.With("store", place.path)),
		stop:        make(chan struct{}),
		condemned:   make(chan struct{}),
		wakeKeeper:  storekit.NewSignal(),
		wakeWatcher: storekit.NewSignal(),
		terms:       map[gerritstream.ShardID]*term{},
		taking:      map[gerritstream.ShardID]uint64{},
		tried:       map[gerritstream.ShardID]uint64{},
	}
	s.writer = &writer{store: s, jobs: make(chan *job, maxGroup), stop: s.stop}
	if err = s.connect(ctx); err == nil {
		err = s.place.note(main)
	}
	if err != nil {
		return nil, errors.Join(explain(s.path, err), s.disconnect())
	}
	return s, nil
}

// connect opens the databases and brings the schema up to date.
func (s *Store) connect(ctx context.Context) (err error) {
	// temp_store: what undoes a savepoint is kept in memory, not in a temporary
	// file. cache_size: 16 MiB.
	if s.writing, err = sql.Open("sqlite", dsn(s.place.real, "rw", "synchronous(FULL)", "temp_store(MEMORY)", "cache_size(-16384)",
		fmt.Sprintf("journal_size_limit(%d)", walLimit))); err != nil {
		return err
	}
	s.writing.SetMaxOpenConns(1)
	if s.reading, err = sql.Open("sqlite", dsn(s.place.real, "rw", "query_only(1)")); err != nil {
		return err
	}
	s.reading.SetMaxOpenConns(4)
	if s.tending, err = sql.Open("sqlite", dsn(s.place.real, "rw", fmt.Sprintf("busy_timeout(%d)", walWait.Milliseconds()))); err != nil {
		return err
	}
	s.tending.SetMaxIdleConns(-1)
	conn, err := s.writing.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(migrate(ctx, conn), conn.Close())
}

// disconnect closes the databases.
func (s *Store) disconnect() error {
	var errs []error
	for _, db := range []*sql.DB{s.tending, s.reading, s.writing} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// launch starts what Close waits for.
func (s *Store) launch() {
	s.running.Go(s.writer.run)
	s.running.Go(s.keep)
	s.running.Go(s.guard)
	s.running.Go(s.watch)
	s.running.Go(s.sweep)
	s.running.Go(s.tend)
}

// Close resigns what the process leads, ends its membership, stops its
// goroutines and closes the file. Terms end; calls under way fail. Ending ctx
// cuts the resigning short; then, and where it cannot be written, others wait
// for the leases to run out, which is no error. It returns at the latest a
// second or two later, and the same each time it is called.
func (s *Store) Close(ctx context.Context) error {
	s.closing.Do(func() {
		s.leaving.Store(true)
		s.endAll(errClosed)
		err := s.resign(ctx)
		close(s.stop)
		s.running.Wait()
		s.closed = errors.Join(err, s.disconnect())
	})
	return s.closed
}

// resign takes the process out of the file. What keeps that from being written,
// such as another program's lock or a full disk, is no error: leases are made
// to run out.
func (s *Store) resign(ctx context.Context) error {
	if s.fate() != nil { // there is nothing left to resign from
		return nil
	}
	err := s.writer.do(ctx, func(st *statements) error {
		return errors.Join(st.exec(st.freeLeases, s.id), st.exec(st.leaveWaiting, s.id), st.exec(st.leave, s.id))
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.Is(err, gerritstream.ErrRetryLater), errors.Is(err, errUnknownOutcome):
		s.log.Warn("others wait for this process' leases to run out: it cannot resign", "error", err)
		return nil
	}
	return fmt.Errorf("resign: %w", explain(s.path, err))
}

// write has run written for the caller of a method.
func (s *Store) write(ctx context.Context, p storekit.Point, run func(*statements) error) error {
	return s.intercept.Write(p, func() error { return s.writer.do(ctx, run) })
}
