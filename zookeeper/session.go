package zookeeper

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/semaphore"
)

// session is one ZooKeeper session and the zk.Conn that serves it. When it is
// over the store opens another one: no request of this session is ever carried
// out in the next.
//
//	dialling -> established <-> connection lost -> over
type session struct {
	store   *Store
	conn    *zk.Conn
	events  <-chan zk.Event // closed when the library has finished
	outbox  outbox
	running sync.WaitGroup // goroutines that wait for answers and watches
	views   views
	ensured ensured

	ctx         context.Context // of dialling
	cancel      context.CancelFunc
	established chan struct{} // closed once a server has confirmed the session
	over        chan struct{} // closed once the session is over

	mu    sync.Mutex // guards all below
	link  *link      // the newest
	cut   bool       // no further link is wanted
	lease lease
}

// lease is what is known of the session's life on the servers.
type lease struct {
	id        int64 // 0: not established yet
	timeout   time.Duration
	proof     time.Time // when the last request began that the servers' leader answered
	connected bool
}

// outbox is what a session sends.
type outbox struct {
	slots    *semaphore.Weighted // one for each request under way
	deposits deposits
}

func newOutbox() outbox { return outbox{slots: semaphore.NewWeighted(maxRequests)} }

// maxRequests bounds the requests that are under way at once in a session.
const maxRequests = 256

// newSession starts to dial. The session is established once a server answers.
func (s *Store) newSession() (*session, error) {
	sess := &session{
		store:       s,
		outbox:      newOutbox(),
		ensured:     ensured{seen: map[string]bool{}, making: map[string]chan struct{}{}},
		established: make(chan struct{}),
		over:        make(chan struct{}),
	}
	sess.ctx, sess.cancel = context.WithCancel(context.Background())
	sess.mu.Lock() // the library calls back before it returns
	defer sess.mu.Unlock()
	var err error
	sess.conn, sess.events, err = zk.Connect(s.config.Hosts, s.config.SessionTimeout,
		zk.WithHostProvider(newHosts(s.config.Hosts)), zk.WithDialer(sess.dial), zk.WithLogger(sess),
		zk.WithEventCallback(sess.handleEvent))
	if err != nil {
		sess.cancel()
		return nil, fmt.Errorf("begin a session: %w", err)
	}
	return sess, nil
}

// handleEvent is called by the library, before it reads on, for changes of the
// connection and of watched nodes. It must not block.
func (sess *session) handleEvent(e zk.Event) {
	if e.Type != zk.EventSession {
		sess.views.handleEvent(e)
		return
	}
	switch e.State {
	case zk.StateExpired:
		sess.markOver()
	case zk.StateDisconnected:
		sess.mu.Lock()
		sess.lease.connected = false
		sess.mu.Unlock()
	}
}

// markOver notes that the session is over: nothing is dialled any more.
func (sess *session) markOver() {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if !sess.isOver() {
		sess.lease.connected = false
		close(sess.over)
	}
}

func (sess *session) isOver() bool {
	select {
	case <-sess.over:
		return true
	default:
		return false
	}
}

// Printf implements zk.Logger. The negotiated timeout and the reasons why a
// connection failed are known only from what the library logs.
func (sess *session) Printf(format string, args ...any) {
	switch {
	case strings.HasPrefix(format, "authenticated: id="):
		id, _ := args[0].(int64)
		ms, _ := args[1].(int32)
		sess.confirmed(id, time.Duration(ms)*time.Millisecond)
	case strings.HasPrefix(format, "failed to connect"), strings.HasPrefix(format, "authentication failed"):
		if err, ok := args[len(args)-1].(error); ok && !sess.isOver() {
			sess.store.connectionFailed(err)
		}
	default:
		sess.store.log.Debug("zookeeper client", "message", fmt.Sprintf(format, args...))
	}
}

// confirmed notes that a server has confirmed the session, when it was
// established or after a lost connection.
func (sess *session) confirmed(id int64, timeout time.Duration) {
	sess.mu.Lock()
	sess.link.handshake.Stop()
	first, same := sess.lease.id == 0, sess.lease.id == id
	if first || same {
		sess.lease.id, sess.lease.timeout, sess.lease.connected = id, timeout, true
		sess.lease.prove(sess.link.began)
	}
	if !first && sess.views.watching() {
		sess.link.pause()
	}
	server := sess.link.RemoteAddr().String()
	sess.mu.Unlock()
	log := sess.store.log.With("session", fmt.Sprintf("%#x", uint64(id)), "server", server)
	switch {
	case first:
		log.Info("session established",
			"timeout_asked", sess.store.config.SessionTimeout, "timeout_negotiated", timeout)
		close(sess.established)
	case same:
		sess.views.expireAll()
		log.Info("reconnected")
	default: // it does not happen; another session would have none of our nodes
		sess.markOver()
	}
}

// start runs f in a goroutine that close waits for. It returns false, and f is
// not run, if the session is over.
func (sess *session) start(f func()) bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.isOver() {
		return false
	}
	sess.running.Go(f)
	return true
}

func (sess *session) currentLease() lease {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.lease
}

// dialTimeout is how long a connection may take to be made and confirmed: short
// enough to try another server in time.
func (sess *session) dialTimeout() time.Duration {
	timeout := sess.currentLease().timeout
	if timeout == 0 {
		timeout = sess.store.config.SessionTimeout
	}
	return min(max(timeout/3, time.Second), 10*time.Second)
}

// prove notes that the servers' leader answered a request that began then: the
// session was alive at that time.
func (l *lease) prove(began time.Time) {
	if began.After(l.proof) {
		l.proof = began
	}
}

// trust is for how long after the beginning of an answered request a process
// may believe that its session is alive.
func trust(timeout time.Duration) time.Duration { return timeout - timeout/5 }

// trustLeft is how much of that remains if nothing more is answered.
func (sess *session) trustLeft(now time.Time) time.Duration {
	l := sess.currentLease()
	return trust(l.timeout) - now.Sub(l.proof)
}

// maintain sends heartbeats, and ends the terms when the session can no longer
// be trusted. It returns when the session is over or the Store is closed.
func (sess *session) maintain() {
	timeout := sess.currentLease().timeout
	heartbeat := time.NewTicker(timeout / 5)
	defer heartbeat.Stop()
	expiry := time.NewTimer(trust(timeout))
	defer expiry.Stop()
	answered := make(chan struct{}, 1)
	waiting := false
	for {
		select {
		case <-heartbeat.C:
			waiting = waiting || sess.start(func() {
				_, _ = write(sess.ctx, sess, func(c *zk.Conn) (string, error) { return c.Sync(sess.store.at.own) })
				answered <- struct{}{}
			})
		case <-answered:
			waiting = false
		case <-expiry.C:
			left := sess.trustLeft(time.Now())
			if left <= 0 {
				sess.store.endTerms(sess, fmt.Errorf("no answer from ZooKeeper for %v", trust(timeout)))
				left = timeout / 5
			}
			expiry.Reset(left)
		case <-sess.over:
			sess.store.endTerms(sess, errSessionOver)
			return
		case <-sess.store.life.ctx.Done():
			return
		}
	}
}

// close ends the session: on the servers if they answer in time, and in any
// case in this process. It returns early when ctx ends.
func (sess *session) close(ctx context.Context) {
	sess.markOver()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		sess.conn.Close() // asks the server, and waits for a second
		sess.cutLink()
		for range sess.events { //nolint:revive // closed when the library has finished
		}
		sess.running.Wait()
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		sess.cutLink() // the rest ends by itself, within seconds
	}
}
