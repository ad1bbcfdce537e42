package zookeeper

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

var (
	_ gerritstream.Store = (*Store)(nil)
	_ gerritstream.Group = (*Store)(nil)
)

// Store is a gerritstream.Store and a gerritstream.Group in ZooKeeper, in
// Zuul's layout. See the package's documentation.
type Store struct {
	config  Config
	at      layout
	process string // id of this process, like no other's
	log     *slog.Logger
	life    lifetime
	current connection

	leaderships leaderships
	sweeper     sweeper
	member      published // for the other processes, which watch it
	report      published // for people
	lockOwners  lockOwners
	pauses      knownPauses

	queueLimit queueLimit
	encoding   *semaphore.Weighted // bytes of commits that are encoded at this moment
	discards   *storekit.Discards
	intercept  storekit.Intercept
}

// lifetime is that of a Store's goroutines.
type lifetime struct {
	ctx     context.Context // ended by Close: every goroutine returns
	end     context.CancelFunc
	running sync.WaitGroup

	closing sync.Once
	leave   context.Context // of Close; set before ctx is ended
	closed  error           // of the first Close; under closing
}

// connection is what calls wait for: a session, or the reason why there is
// none.
type connection struct {
	mu         sync.Mutex    // guards all below
	changed    chan struct{} // closed and replaced when session or fault change
	session    *session      // nil: none is established
	fault      error         // why the configuration cannot work; nil: it may
	mismatches int           // connections in a row that failed because of TLS
	lastErr    error         // of the last connection that failed
	worked     bool          // a session was established once
}

// maxEncoded bounds the memory that commits take besides the pages they come
// from.
const maxEncoded = 32 << 20

// Open opens a store. It does not wait for ZooKeeper: the calls that need a
// server wait for one, as each of them says. Its error is one line that says
// what is wrong with the configuration and what to do.
//
// An open Store keeps a session with ZooKeeper in goroutines of its own, and
// begins another when one is over, until Close has waited for them.
func Open(_ context.Context, config Config) (*Store, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("open ZooKeeper store: %w", err)
	}
	id := make([]byte, idLength/2)
	_, _ = rand.Read(id) // it never fails
	log := config.Logger.With("store", "zookeeper")
	at := newLayout(config.Chroot, config.Connection)
	s := &Store{
		config: config, at: at, process: hex.EncodeToString(id), log: log,
		current:     connection{changed: make(chan struct{})},
		leaderships: leaderships{candidacies: map[string]bool{}, terms: map[*term]bool{}},
		sweeper:     sweeper{wake: storekit.NewSignal()},
		member:      published{dir: at.members(), turn: make(chan struct{}, 1)},
		report:      published{dir: at.reports(), turn: make(chan struct{}, 1)},
		lockOwners:  lockOwners{byPath: map[string]gerritstream.Candidate{}},
		queueLimit:  queueLimit{limit: int64(config.QueueLimit)},
		encoding:    semaphore.NewWeighted(maxEncoded),
		discards:    storekit.NewDiscards(log),
	}
	s.life.ctx, s.life.end = context.WithCancel(context.Background())
	s.life.running.Go(s.keepSession)
	s.life.running.Go(s.logOutages)
	s.life.running.Go(s.sweep)
	return s, nil
}

// Process returns the id by which the members know this process.
func (s *Store) Process() string { return s.process }

// Close ends the session, and with it, at once, this process' leaderships, its
// member info and its report. Terms end, and calls under way fail. If no server
// answers, other processes wait for the session's timeout. Close returns at the
// latest when ctx ends, or a few seconds later, and the same each time it is
// called.
func (s *Store) Close(ctx context.Context) error {
	l := &s.life
	l.closing.Do(func() {
		s.endTerms(nil, errClosed)
		l.leave = ctx
		l.end()
		s.endTerms(nil, errClosed) // that began just now
		stopped := make(chan struct{})
		go func() { l.running.Wait(); close(stopped) }()
		select {
		case <-stopped:
		case <-ctx.Done():
			l.closed = fmt.Errorf("close ZooKeeper store: %w", context.Cause(ctx))
		}
	})
	return l.closed
}

func (s *Store) stopped() bool { return s.life.ctx.Err() != nil }

// keepSession runs one session after the other until Close.
func (s *Store) keepSession() {
	for {
		sess, err := s.newSession()
		if err != nil { // only for a bad configuration, which complete has refused
			s.setFault(fmt.Errorf("%w: %w", ErrConfig, err))
			return
		}
		select {
		case <-sess.established:
			s.useSession(sess)
		case <-sess.over:
		case <-s.life.ctx.Done():
			sess.cutLink() // there is no session to end
		}
		if s.stopped() {
			sess.close(s.life.leave)
			return
		}
		s.log.Warn("session over; its leaderships are lost")
		s.life.running.Go(func() { sess.close(context.Background()) })
	}
}

// chrootEvery is how often a missing chroot is looked for.
const chrootEvery = time.Second

// useSession lets calls use a session, once the chroot exists, until the
// session is over or the Store is closed.
func (s *Store) useSession(sess *session) {
	ctx, cancel := context.WithCancel(s.life.ctx)
	defer cancel()
	sess.start(func() { <-sess.over; cancel() })
	for s.config.Chroot != "" {
		n, err := sess.stat(ctx, s.config.Chroot)
		if err == nil && n.present {
			break
		}
		if err == nil {
			s.setFault(fmt.Errorf("%w: the chroot %s does not exist on %s: create it, or correct the hosts",
				ErrConfig, s.config.Chroot, s.hostList()))
		}
		if !storekit.Sleep(ctx, chrootEvery) {
			return
		}
	}
	s.update(func(c *connection) { c.session, c.fault, c.mismatches, c.worked = sess, nil, 0, true })
	sess.start(func() { s.republish(sess) })
	s.sweeper.wake.Set()
	sess.maintain()
	s.update(func(c *connection) { c.session = nil })
}

// update changes what calls wait for.
func (s *Store) update(change func(c *connection)) {
	c := &s.current
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (s *Store) setFault(err error) {
	first := false
	s.update(func(c *connection) { first, c.fault = c.fault == nil, err })
	if first {
		s.log.Error("ZooKeeper cannot be used as configured", "err", err)
	}
}

// connectionFailed notes why a connection failed.
func (s *Store) connectionFailed(err error) {
	c := &s.current
	c.mu.Lock()
	c.lastErr = err
	if isTLSMismatch(err) {
		c.mismatches++
	} else {
		c.mismatches = 0
	}
	everywhere := c.mismatches >= len(s.config.Hosts) && !c.worked
	c.mu.Unlock()
	if everywhere {
		s.setFault(fmt.Errorf("%w: TLS handshake failed with every server of %s: %w", ErrConfig, s.hostList(), err))
	}
}

func (s *Store) hostList() string { return strings.Join(s.config.Hosts, ",") }

// await returns the established session, waiting for one if need be. Its errors
// are the context's, ErrConfig and errClosed.
func (s *Store) await(ctx context.Context) (*session, error) {
	c := &s.current
	for {
		c.mu.Lock()
		sess, fault, changed := c.session, c.fault, c.changed
		c.mu.Unlock()
		switch {
		case s.stopped():
			return nil, errClosed
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case sess != nil && !sess.isOver():
			return sess, nil
		case fault != nil:
			return nil, fault
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-s.life.ctx.Done():
		}
	}
}

// callPatience is how long a call waits that does not block by contract.
const callPatience = 5 * time.Second

// call runs f in the established session, for a caller that does not wait for
// long.
func (s *Store) call(ctx context.Context, f func(ctx context.Context, sess *session) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callPatience, errAway)
	defer cancel()
	sess, err := s.await(ctx)
	if err == nil {
		err = f(ctx, sess)
	} else if errors.Is(err, context.DeadlineExceeded) { // the caller's own, sooner
		err = fmt.Errorf("%w: %w", errAway, err)
	}
	if errors.Is(err, errAway) {
		if _, reason := s.reachable(); reason != nil {
			err = fmt.Errorf("%w: the last connection to %s: %w", err, s.hostList(), reason)
		}
	}
	return explain(err)
}

// look is call for what changes nothing: f is made again until a server answers
// it. While the library connects, a request that is made with a single server
// fails at once, and so would a `status` while the servers change places.
func (s *Store) look(ctx context.Context, f func(ctx context.Context, sess *session) error) error {
	return s.call(ctx, func(ctx context.Context, sess *session) error {
		for {
			err := f(ctx, sess)
			if !isConnectionLost(err) || s.stopped() || !storekit.Sleep(ctx, retryPause) {
				return err
			}
		}
	})
}

// outageLogEvery is how often the log repeats that ZooKeeper is away.
const outageLogEvery = time.Minute

// logOutages logs that no server answers, soon after it began and then once a
// minute.
func (s *Store) logOutages() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	away := 0 // ticks
	for {
		select {
		case <-tick.C:
		case <-s.life.ctx.Done():
			return
		}
		up, reason := s.reachable()
		switch {
		case up && away > 1:
			s.log.Info("ZooKeeper available again", "after", time.Duration(away)*time.Second)
			away = 0
		case up:
			away = 0
		default:
			if away++; away%int(outageLogEvery/time.Second) == 2 {
				s.log.Warn("ZooKeeper unavailable; retrying", "hosts", s.hostList(), "err", reason)
			}
		}
	}
}

// reachable reports whether a server answers at this moment, and if not, why.
func (s *Store) reachable() (bool, error) {
	c := &s.current
	c.mu.Lock()
	sess, reason := s.current.session, c.lastErr
	if c.fault != nil {
		reason = c.fault
	}
	c.mu.Unlock()
	return sess != nil && sess.currentLease().connected, reason
}
