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

// session is one session with ZooKeeper and the one zk.Conn that serves it.
// When it is over, another is begun: what was asked in this one is never
// carried out in the next.
//
//	dialling -> standing <-> connection lost -> over
type session struct {
	store *Store
	conn  *zk.Conn
	ctx   context.Context // of dialling: ends with the session
	slots *semaphore.Weighted
	views views
	ensured

	events  <-chan zk.Event // closed when the library has finished
	running sync.WaitGroup  // what waits for answers and watches

	established chan struct{} // closed once the session stands
	over        chan struct{} // closed once it is over
	cancel      context.CancelFunc
	mu          sync.Mutex // guards all below
	link        *link      // the newest
	cut         bool       // no further link is wanted
	id          int64      // 0: it does not stand yet
	timeout     time.Duration
	proof       time.Time // when the last request began that was answered by way of the servers' leader
	up          bool      // connected at this moment
}

// maxRequests bounds the requests that are under way at once in a session.
const maxRequests = 256

// begin starts a session. It stands later, once a server has answered.
func (s *Store) newSession() (*session, error) {
	sess := &session{
		store:       s,
		slots:       semaphore.NewWeighted(maxRequests),
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

// notice takes in what the library says of the connection, and of nodes that
// are watched. It must not block.
func (sess *session) handleEvent(e zk.Event) {
	if e.Type != zk.EventSession {
		sess.views.happened(e)
		return
	}
	switch e.State {
	case zk.StateExpired:
		sess.markOver()
	case zk.StateDisconnected:
		sess.mu.Lock()
		sess.up = false
		sess.mu.Unlock()
	}
}

// end notes that the session is over: from here on nothing is dialled.
func (sess *session) markOver() {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	select {
	case <-sess.over:
	default:
		sess.up = false
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

// Printf implements zk.Logger. The library tells only here which timeout the
// servers have agreed to, and why it cannot connect.
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
		sess.store.log.Debug("zookeeper client", "says", fmt.Sprintf(format, args...))
	}
}

// confirmed notes that a server has confirmed the session, at its beginning or
// after the connection was lost.
func (sess *session) confirmed(id int64, timeout time.Duration) {
	sess.mu.Lock()
	sess.link.handshake.Stop()
	first, same := sess.id == 0, sess.id == id
	if first || same {
		sess.id, sess.timeout, sess.up = id, timeout, true
		if sess.link.began.After(sess.proof) {
			sess.proof = sess.link.began
		}
	}
	if !first && sess.views.watching() {
		sess.link.pause()
	}
	server := sess.link.RemoteAddr().String()
	sess.mu.Unlock()
	switch {
	case first:
		sess.store.log.Info("session begun", "session", fmt.Sprintf("%#x", uint64(id)), "server", server,
			"timeout_asked", sess.store.config.SessionTimeout, "timeout_negotiated", timeout)
		close(sess.established)
	case same:
		sess.views.expireAll()
		sess.store.log.Info("connected again", "session", fmt.Sprintf("%#x", uint64(id)), "server", server)
	default: // it does not happen; another session would have none of our nodes
		sess.markOver()
	}
}

// start runs f, unless the session is over. Whoever closes the session waits
// for f.
func (sess *session) run(f func()) bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.isOver() {
		return false
	}
	sess.running.Go(f)
	return true
}

// identity returns the session's id and negotiated timeout.
func (sess *session) identity() (id int64, timeout time.Duration) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.id, sess.timeout
}

// patience is how long a connection may take to be made and confirmed: short
// enough to try another server in time.
func (sess *session) dialTimeout() time.Duration {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	timeout := sess.timeout
	if timeout == 0 {
		timeout = sess.store.config.SessionTimeout
	}
	return min(max(timeout/3, time.Second), 10*time.Second)
}

// proved notes that a request which began then was answered by way of the
// servers' leader: the session lived then.
func (sess *session) prove(began time.Time) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if began.After(sess.proof) {
		sess.proof = began
	}
}

// trust is for how long after the beginning of an answered request a process
// may believe that its session lives.
func trust(timeout time.Duration) time.Duration { return timeout - timeout/5 }

// trustLeft is for how long that will be so if nothing more is answered.
func (sess *session) trustLeft(now time.Time) time.Duration {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return trust(sess.timeout) - now.Sub(sess.proof)
}

// keep shows the servers and this process that the session lives, until it is
// over or the Store is closed.
func (sess *session) maintain() {
	_, timeout := sess.identity()
	beat := time.NewTicker(timeout / 5)
	defer beat.Stop()
	guard := time.NewTimer(trust(timeout))
	defer guard.Stop()
	beaten := make(chan struct{}, 1)
	beating := false
	for {
		select {
		case <-beat.C:
			beating = beating || sess.run(func() {
				sess.beat()
				beaten <- struct{}{}
			})
		case <-beaten:
			beating = false
		case <-guard.C:
			left := sess.trustLeft(time.Now())
			if left <= 0 {
				sess.store.endTerms(sess, fmt.Errorf("ZooKeeper has not answered for %v", trust(timeout)))
				left = timeout / 5
			}
			guard.Reset(left)
		case <-sess.over:
			sess.store.endTerms(sess, errSessionOver)
			return
		case <-sess.store.stop:
			return
		}
	}
}

// beat asks something cheap. Sync goes through the leader: a server that is cut
// off from it goes on answering reads for long.
func (sess *session) beat() {
	_, _ = write(sess.ctx, sess, func(c *zk.Conn) (string, error) { return c.Sync(sess.store.at.own) })
}

// close ends the session: at once on the servers, if they answer within the
// grace; and in any case here. Ending ctx ends the grace.
func (sess *session) close(ctx context.Context) {
	sess.markOver()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		sess.conn.Close() // asks the server, and waits for a second
		sess.cutLink()
		for range sess.events { //nolint:revive // until it is closed: then the library has finished
		}
		sess.running.Wait()
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		sess.cutLink() // the rest ends by itself, within seconds
	}
}
