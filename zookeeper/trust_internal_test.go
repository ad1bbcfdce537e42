package zookeeper

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-zookeeper/zk"
)

// bareSession returns a session without a connection.
func bareSession() *session {
	return &session{
		store:  &Store{log: slog.New(slog.DiscardHandler)},
		outbox: newOutbox(), established: make(chan struct{}), over: make(chan struct{}),
	}
}

// watching makes a session watch a node.
func watching(sess *session) (fired <-chan struct{}) {
	key := viewKey{"/node", viewNode}
	fired, _ = sess.views.store(key, sess.views.lookup(key).generation, seen{}, true)
	return fired
}

// An answered request proves that the session was alive when the request began,
// however late the answer came: it may have expired the moment after.
func TestProofIsDatedFromTheBeginning(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		proves bool
	}{
		"answered": {nil, true}, "refused": {zk.ErrBadVersion, true},
		"connection lost": {zk.ErrConnectionClosed, false},
		"never sent":      {zk.ErrNoServer, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sess := bareSession()
				began := time.Now()
				_, err := write(t.Context(), sess, func(*zk.Conn) (struct{}, error) {
					time.Sleep(3 * time.Second)
					return struct{}{}, tc.err
				})
				if !errors.Is(err, tc.err) {
					t.Errorf("write returned %v", err)
				}
				if tc.proves && !sess.lease.proof.Equal(began) || !tc.proves && !sess.lease.proof.IsZero() {
					t.Errorf("the session is proved alive at %s, the request began at %s", sess.lease.proof, began)
				}
			})
		})
	}
}

// A request whose caller did not wait for the answer proves nothing, and
// neither does a read.
func TestWhatProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sess := bareSession()
		slow := func(*zk.Conn) (struct{}, error) { time.Sleep(3 * time.Second); return struct{}{}, nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := write(ctx, sess, slow); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("write returned %v", err)
		}
		if _, err := read(t.Context(), sess, slow); err != nil {
			t.Error(err)
		}
		if !sess.lease.proof.IsZero() {
			t.Errorf("the session is proved alive at %s", sess.lease.proof)
		}
		sess.running.Wait()
	})
}

// connected gives a session a new connection; peer is the server's end of it.
func connected(t *testing.T, sess *session) (l *link, peer net.Conn) {
	t.Helper()
	ours, peer := net.Pipe()
	l = newLink(ours, &sess.outbox.deposits, time.Now())
	l.handshake = time.NewTimer(time.Hour)
	t.Cleanup(func() { _ = l.Close(); _ = peer.Close() })
	sess.mu.Lock()
	sess.link = l
	sess.mu.Unlock()
	return l, peer
}

// A session that is confirmed on a new connection was alive when dialling
// began.
func TestAConnectionProvesFromItsBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sess := bareSession()
		l, _ := connected(t, sess)
		time.Sleep(3 * time.Second) // of shaking hands
		sess.confirmed(7, 10*time.Second)
		if !sess.lease.proof.Equal(l.began) {
			t.Errorf("the session is proved alive at %s, dialling began at %s", sess.lease.proof, l.began)
		}
	})
}

// A new connection fires all watches, because the library may not notice what
// it has missed.
func TestANewConnectionFiresAllWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sess := bareSession()
		connected(t, sess)
		sess.confirmed(7, 10*time.Second)
		fired := watching(sess)
		connected(t, sess)
		sess.confirmed(7, 10*time.Second)
		select {
		case <-fired:
		default:
			t.Error("the watch has not fired")
		}
	})
}

// On a new connection nothing is read before the library has set its watches:
// it names the last transaction that it has seen, and would name too late a one
// if a reply came first. Without watches to set, reading does not wait; it
// never waits for long.
func TestNothingIsReadBeforeTheWatchesAreSet(t *testing.T) {
	setWatches := binary.BigEndian.AppendUint32(make([]byte, 8), opSetWatches)
	for name, tc := range map[string]struct {
		watching, again bool
		sets            []byte // by the library
		waits           bool
	}{
		"watches are set":            {watching: true, again: true, sets: setWatches, waits: true},
		"something else is asked":    {watching: true, again: true, sets: make([]byte, 12), waits: true},
		"nothing is watched":         {watching: false, again: true},
		"it is the first connection": {watching: true, again: false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sess := bareSession()
				if tc.again {
					connected(t, sess)
					sess.confirmed(7, 10*time.Second)
				}
				if tc.watching {
					watching(sess)
				}
				l, peer := connected(t, sess)
				sess.confirmed(7, 10*time.Second)
				began := time.Now()
				var after time.Duration
				read := make(chan struct{})
				go func() {
					defer close(read)
					if _, err := l.Read(make([]byte, 1)); err != nil {
						t.Error(err)
					}
					after = time.Since(began)
				}()
				go func() { _, _ = peer.Write(make([]byte, 4)) }()
				synctest.Wait()
				time.Sleep(100 * time.Millisecond)
				if tc.sets != nil {
					go func() { _, _ = peer.Read(make([]byte, 64)) }()
					if _, err := l.Write(tc.sets); err != nil {
						t.Error(err)
					}
				}
				<-read
				switch {
				case !tc.waits && after > 0, tc.waits && after == 0:
					t.Errorf("the read took %v", after)
				case name == "watches are set" && after != 100*time.Millisecond, after > pausedFor:
					t.Errorf("the read took %v, the watches were set after 100ms", after)
				}
			})
		})
	}
}

// A position that the term itself writes while the guard reads it was not
// written by another.
func TestOwnCommitsAreNoMove(t *testing.T) {
	const before, later = 4, 5
	for name, tc := range map[string]struct {
		reads func(s *activity) int32
		moved bool
	}{
		"as it was":                         {func(*activity) int32 { return before }, false},
		"written by another":                {func(*activity) int32 { return later }, true},
		"written by the term meanwhile":     {func(s *activity) int32 { s.beginCommit(); s.endCommit(later); return later }, false},
		"just before the term wrote":        {func(s *activity) int32 { s.beginCommit(); s.endCommit(later); return before }, false},
		"while the term is writing":         {func(s *activity) int32 { s.beginCommit(); return later }, false},
		"removed":                           {func(*activity) int32 { return absent }, true},
		"after a commit that wrote nothing": {func(s *activity) int32 { s.beginCommit(); s.endCommit(before); return later }, false},
	} {
		t.Run(name, func(t *testing.T) {
			var s activity
			s.endCommit(before)
			if got := s.differs(func() (int32, error) { return tc.reads(&s), nil }); got != tc.moved {
				t.Errorf("moved: %v, want %v", got, tc.moved)
			}
		})
	}
	var s activity
	s.beginCommit()
	if s.differs(func() (int32, error) { t.Error("the position was read"); return later, nil }) {
		t.Error("a term that is writing was moved")
	}
	s.endCommit(before)
	if s.differs(func() (int32, error) { return absent, errAway }) {
		t.Error("a failed read was a move")
	}
}

// What is committed while the queue is counted may not be in the count: it is
// added.
func TestCommitsWhileTheQueueIsCounted(t *testing.T) {
	q := queueLimit{limit: 100}
	q.add(7)
	if !q.startCount() {
		t.Fatal("no count is due")
	}
	q.add(50)
	if q.startCount() {
		t.Error("two goroutines count at once")
	}
	q.endCount(60, nil)
	if depth, full := q.length(); depth != 110 || !full {
		t.Errorf("length %d, full %v: 60 were counted, and 50 committed since the count began", depth, full)
	}
	q.counted = time.Now().Add(-time.Hour)
	if !q.startCount() {
		t.Fatal("no count is due")
	}
	q.endCount(0, errAway)
	if depth, _ := q.length(); depth != 110 {
		t.Errorf("length %d after a failed count", depth)
	}
}
