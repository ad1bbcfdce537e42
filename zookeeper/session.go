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

	stands  chan struct{} // closed once the session stands
	over    chan struct{} // closed once it is over
	cancel  context.CancelFunc
	mu      sync.Mutex // guards all below
	link    *link      // the newest
	cut     bool       // no further link is wanted
	id      int64      // 0: it does not stand yet
	timeout time.Duration
	proof   time.Time // when the last request began that was answered by way of the servers' leader
	up      bool      // connected at this moment
}

// maxRequests bounds the requests that are under way at once in a session.
const maxRequests = 256

// begin starts a session. It stands later, once a server has answered.
func (s *Store) begin() (*session, error) {
	k := &session{
		store:  s,
		slots:  semaphore.NewWeighted(maxRequests),
		stands: make(chan struct{}),
		over:   make(chan struct{}),
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.mu.Lock() // the library calls back before it returns
	defer k.mu.Unlock()
	var err error
	k.conn, k.events, err = zk.Connect(s.config.Hosts, s.config.SessionTimeout,
		zk.WithHostProvider(newHosts(s.config.Hosts)), zk.WithDialer(k.dial), zk.WithLogger(k),
		zk.WithEventCallback(k.notice))
	if err != nil {
		k.cancel()
		return nil, fmt.Errorf("begin a session: %w", err)
	}
	return k, nil
}

// notice takes in what the library says of the connection, and of nodes that
// are watched. It must not block.
func (k *session) notice(e zk.Event) {
	if e.Type != zk.EventSession {
		k.views.happened(e)
		return
	}
	switch e.State {
	case zk.StateExpired:
		k.end()
	case zk.StateDisconnected:
		k.mu.Lock()
		k.up = false
		k.mu.Unlock()
	}
}

// end notes that the session is over: from here on nothing is dialled.
func (k *session) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.over:
	default:
		k.up = false
		close(k.over)
	}
}

func (k *session) isOver() bool {
	select {
	case <-k.over:
		return true
	default:
		return false
	}
}

// Printf implements zk.Logger. The library tells only here which timeout the
// servers have agreed to, and why it cannot connect.
func (k *session) Printf(format string, args ...any) {
	switch {
	case strings.HasPrefix(format, "authenticated: id="):
		id, _ := args[0].(int64)
		ms, _ := args[1].(int32)
		k.confirmed(id, time.Duration(ms)*time.Millisecond)
	case strings.HasPrefix(format, "failed to connect"), strings.HasPrefix(format, "authentication failed"):
		if err, ok := args[len(args)-1].(error); ok && !k.isOver() {
			k.store.notReached(err)
		}
	default:
		k.store.log.Debug("zookeeper client", "says", fmt.Sprintf(format, args...))
	}
}

// confirmed notes that a server has confirmed the session, at its beginning or
// after the connection was lost.
func (k *session) confirmed(id int64, timeout time.Duration) {
	k.mu.Lock()
	k.link.handshake.Stop()
	first, same := k.id == 0, k.id == id
	if first || same {
		k.id, k.timeout, k.up = id, timeout, true
		if k.link.began.After(k.proof) {
			k.proof = k.link.began
		}
	}
	if !first && k.views.watching() {
		k.link.pause()
	}
	server := k.link.RemoteAddr().String()
	k.mu.Unlock()
	switch {
	case first:
		k.store.log.Info("session begun", "session", fmt.Sprintf("%#x", uint64(id)), "server", server,
			"timeout_asked", k.store.config.SessionTimeout, "timeout_negotiated", timeout)
		close(k.stands)
	case same:
		k.views.expireAll()
		k.store.log.Info("connected again", "session", fmt.Sprintf("%#x", uint64(id)), "server", server)
	default: // it does not happen; another session would have none of our nodes
		k.end()
	}
}

// start runs f, unless the session is over. Whoever closes the session waits
// for f.
func (k *session) start(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.isOver() {
		return false
	}
	k.running.Go(f)
	return true
}

// identity returns the session's id and negotiated timeout.
func (k *session) identity() (id int64, timeout time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id, k.timeout
}

// patience is how long a connection may take to be made and confirmed: short
// enough to try another server in time.
func (k *session) patience() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	timeout := k.timeout
	if timeout == 0 {
		timeout = k.store.config.SessionTimeout
	}
	return min(max(timeout/3, time.Second), 10*time.Second)
}

// proved notes that a request which began then was answered by way of the
// servers' leader: the session lived then.
func (k *session) proved(began time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if began.After(k.proof) {
		k.proof = began
	}
}

// trust is for how long after the beginning of an answered request a process
// may believe that its session lives.
func trust(timeout time.Duration) time.Duration { return timeout - timeout/5 }

// trustLeft is for how long that will be so if nothing more is answered.
func (k *session) trustLeft(now time.Time) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return trust(k.timeout) - now.Sub(k.proof)
}

// keep shows the servers and this process that the session lives, until it is
// over or the Store is closed.
func (k *session) keep() {
	_, timeout := k.identity()
	beat := time.NewTicker(timeout / 5)
	defer beat.Stop()
	guard := time.NewTimer(trust(timeout))
	defer guard.Stop()
	beaten := make(chan struct{}, 1)
	beating := false
	for {
		select {
		case <-beat.C:
			beating = beating || k.start(func() {
				k.beat()
				beaten <- struct{}{}
			})
		case <-beaten:
			beating = false
		case <-guard.C:
			left := k.trustLeft(time.Now())
			if left <= 0 {
				k.store.endTerms(k, fmt.Errorf("ZooKeeper has not answered for %v", trust(timeout)))
				left = timeout / 5
			}
			guard.Reset(left)
		case <-k.over:
			k.store.endTerms(k, errSessionOver)
			return
		case <-k.store.stop:
			return
		}
	}
}

// beat asks something cheap. Sync goes through the leader: a server that is cut
// off from it goes on answering reads for long.
func (k *session) beat() {
	_, _ = write(k.ctx, k, func(c *zk.Conn) (string, error) { return c.Sync(k.store.at.own) })
}

// close ends the session: at once on the servers, if they answer within the
// grace; and in any case here. Ending ctx ends the grace.
func (k *session) close(ctx context.Context) {
	k.end()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		k.conn.Close() // asks the server, and waits for a second
		k.cutLink()
		for range k.events { //nolint:revive // until it is closed: then the library has finished
		}
		k.running.Wait()
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		k.cutLink() // the rest ends by itself, within seconds
	}
}
