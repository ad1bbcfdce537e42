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

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"golang.org/x/sync/semaphore"
)

// Store is a gerritstream.Store and a gerritstream.Group in ZooKeeper, in Zuul's
// layout. See the package's documentation.
type Store struct {
	config     Config
	at         layout
	process    string // id of this process, like no other's
	log        *slog.Logger
	queueLimit queueLimit

	discards *storekit.Discards

	encoded    *semaphore.Weighted // bytes of commits that are encoded at this moment
	lockOwners lockOwners

	// intercept, if not nil, stands around each write: tests make it fail.
	intercept func(p point, write func() error) error

	stop     chan struct{}   // closed by Close: every goroutine returns
	life     context.Context // ends with Close as well
	die      context.CancelFunc
	running  sync.WaitGroup
	closing  sync.Once
	farewell context.Context // of Close; set before stop is closed
	closed   error           // of the first Close; under closing

	wakeSweeper chan struct{} // of capacity 1
	publishing  chan struct{} // of capacity 1: whoever's is in it publishes

	mu          sync.Mutex    // guards all below
	changed     chan struct{} // closed and replaced when session or fault change
	session     *session      // nil: none stands
	fault       error         // why the configuration does not do; nil: nothing is known against it
	faults      int           // connections in a row of which one side did not accept the other's certificate
	trouble     error         // of the last connection that failed
	stoodBefore bool          // a session has stood
	candidacies map[string]bool
	terms       map[*term]bool
	orphans     []*orphan
	memberData  []byte // this process' announcement; nil: none
	reportData  []byte // and its report
}

// point is a place at which the store writes for its caller.
type point string

const (
	pointSetOrigin point = "set origin"
	pointCampaign  point = "campaign"
	pointCommit    point = "commit"
	pointResign    point = "resign"
	pointReport    point = "report"
	pointAdvertise point = "advertise"
)

// maxEncoded bounds the memory that commits take besides the pages they come
// from.
const maxEncoded = 32 << 20

// Open opens a store. It does not wait for ZooKeeper: a server that is away is
// waited for by the calls that need it, as each says. What can be known before
// is an error: one line that says what is wrong and what to do.
//
// An open Store is a session with ZooKeeper: goroutines of its own keep it, and
// begin another when it is over, until Close has waited for them. That is why
// it is opened and closed, rather than made.
func Open(_ context.Context, config Config) (*Store, error) {
	s, err := newStore(config)
	if err != nil {
		return nil, err
	}
	s.running.Go(s.manage)
	s.running.Go(s.logOutages)
	s.running.Go(s.sweep)
	return s, nil
}

func newStore(config Config) (*Store, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("open ZooKeeper store: %w", err)
	}
	id := make([]byte, idLength/2)
	_, _ = rand.Read(id) // it never fails
	life, die := context.WithCancel(context.Background())
	return &Store{
		life: life, die: die,
		config:      config,
		at:          newLayout(config.Chroot, config.Connection),
		process:     hex.EncodeToString(id),
		log:         config.Logger.With("store", "zookeeper"),
		discards:    storekit.NewDiscards(config.Logger.With("store", "zookeeper")),
		queueLimit:  queueLimit{limit: int64(config.QueueLimit)},
		encoded:     semaphore.NewWeighted(maxEncoded),
		stop:        make(chan struct{}),
		wakeSweeper: make(chan struct{}, 1),
		publishing:  make(chan struct{}, 1),
		changed:     make(chan struct{}),
		candidacies: map[string]bool{},
		terms:       map[*term]bool{},
	}, nil
}

// Close ends the session, and with it, at once, what the process leads, its
// announcement and its report; it stops the Store's goroutines. Terms end;
// calls under way fail. If no server answers, others wait for the session to
// run out. It returns at the latest when ctx ends, or a few seconds later, and
// the same each time it is called.
func (s *Store) Close(ctx context.Context) error {
	s.closing.Do(func() {
		s.endTerms(nil, errClosed)
		s.farewell = ctx
		close(s.stop)
		s.die()
		stopped := make(chan struct{})
		go func() { s.running.Wait(); close(stopped) }()
		select {
		case <-stopped:
		case <-ctx.Done():
			s.closed = fmt.Errorf("close ZooKeeper store: %w", context.Cause(ctx))
		}
	})
	return s.closed
}

func (s *Store) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// manage has one session after the other, until Close.
func (s *Store) manage() {
	for {
		sess, err := s.newSession()
		if err != nil { // it is the library's way to say that the configuration is wrong; complete saw to that
			s.setFault(fmt.Errorf("%w: %w", ErrConfig, err))
			return
		}
		select {
		case <-sess.established:
			s.useSession(sess)
		case <-sess.over:
		case <-s.stop:
			sess.cutLink() // there is nothing to say goodbye to
		}
		if s.stopped() {
			sess.close(s.farewell)
			return
		}
		s.log.Warn("the session is over: what was led in it is lost")
		s.running.Go(func() { sess.close(context.Background()) })
	}
}

// serve has a session that stands be used, until it is over or the Store is
// closed.
func (s *Store) useSession(sess *session) {
	if !s.checkChroot(sess) {
		return
	}
	s.update(func() { s.session, s.fault, s.faults, s.stoodBefore = sess, nil, 0, true })
	sess.run(func() { s.republish(sess) })
	wake(s.wakeSweeper)
	sess.maintain()
	s.update(func() { s.session = nil })
}

// chrootEvery is how often a chroot that is missing is looked for.
const chrootEvery = time.Second

// checkChroot returns once the chroot is there. false: the session is over, or
// the Store is closed.
func (s *Store) checkChroot(sess *session) bool {
	for s.config.Chroot != "" {
		n, err := sess.stat(sess.ctx, s.config.Chroot)
		if err == nil && n.present {
			break
		}
		if err == nil {
			s.setFault(fmt.Errorf("%w: the chroot %s does not exist on %s: create it, or correct the hosts",
				ErrConfig, s.config.Chroot, s.hostList()))
		}
		timer := time.NewTimer(chrootEvery)
		select {
		case <-timer.C:
		case <-sess.over:
			timer.Stop()
			return false
		case <-s.stop:
			timer.Stop()
			return false
		}
	}
	return true
}

// set changes what calls wait for.
func (s *Store) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) setFault(err error) {
	s.mu.Lock()
	news := s.fault == nil
	s.mu.Unlock()
	s.update(func() { s.fault = err })
	if news {
		s.log.Error("ZooKeeper cannot be used", "err", err)
	}
}

// notReached takes in why a connection failed.
func (s *Store) connectionFailed(err error) {
	s.mu.Lock()
	s.trouble = err
	if refusedTLS(err) {
		s.faults++
	} else {
		s.faults = 0
	}
	unfit := s.faults >= len(s.config.Hosts) && !s.stoodBefore
	s.mu.Unlock()
	if unfit {
		s.setFault(fmt.Errorf("%w: no server of %s goes along with the TLS configuration: %w", ErrConfig, s.hostList(), err))
	}
}

func (s *Store) hostList() string { return strings.Join(s.config.Hosts, ",") }

// await returns the session that stands, waiting for one if need be. Errors:
// the context's, ErrConfig, errClosed.
func (s *Store) await(ctx context.Context) (*session, error) {
	for {
		s.mu.Lock()
		sess, fault, changed := s.session, s.fault, s.changed
		s.mu.Unlock()
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
		case <-s.stop:
		}
	}
}

// callPatience is how long a call waits that is not said to block.
const callPatience = 5 * time.Second

// call runs f in the session that stands, for a caller who does not wait for
// long.
func (s *Store) call(ctx context.Context, f func(ctx context.Context, sess *session) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callPatience, errAway)
	defer cancel()
	sess, err := s.await(ctx)
	if err == nil {
		err = f(ctx, sess)
	} else if errors.Is(err, context.DeadlineExceeded) { // the caller waits for less
		err = fmt.Errorf("%w: %w", errAway, err)
	}
	if errors.Is(err, errAway) {
		s.mu.Lock()
		trouble := s.trouble
		s.mu.Unlock()
		if trouble != nil {
			err = fmt.Errorf("%w: the last connection to %s: %w", err, s.hostList(), trouble)
		}
	}
	return explain(err)
}

// write has run written for the caller of a method.
func (s *Store) write(p point, run func() error) error {
	if s.intercept == nil {
		return run()
	}
	return s.intercept(p, run)
}

// complainEvery is how often the log says that ZooKeeper is away.
const outageLogEvery = time.Minute

// complain says in the log that no server answers: once soon, and then every
// minute.
func (s *Store) logOutages() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	away := 0 // ticks
	for {
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
		up, trouble := s.reachable()
		switch {
		case up && away > 1:
			s.log.Info("ZooKeeper answers again", "after", time.Duration(away)*time.Second)
			away = 0
		case up:
			away = 0
		default:
			if away++; away%int(outageLogEvery/time.Second) == 2 {
				s.log.Warn("ZooKeeper cannot be used: trying again", "hosts", s.hostList(), "err", trouble)
			}
		}
	}
}

// reachable tells whether a server answers at this moment, and if not, why.
func (s *Store) reachable() (bool, error) {
	s.mu.Lock()
	sess, trouble := s.session, s.trouble
	if s.fault != nil {
		trouble = s.fault
	}
	s.mu.Unlock()
	if sess == nil {
		return false, trouble
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.up, trouble
}

// wake lets a goroutine look again; one call stands for any number.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Process returns the id by which the members know this process.
func (s *Store) Process() string { return s.process }

var (
	_ gerritstream.Store = (*Store)(nil)
	_ gerritstream.Group = (*Store)(nil)
)
