package zookeeper

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

const (
	// countEvery is how often a committing process asks for the length of
	// Zuul's queue; in between it counts its own commits.
	countEvery = 500 * time.Millisecond

	// queuePatience is how long a commit waits for the queue to shrink before
	// it has to be retried.
	queuePatience = time.Second
)

// queueLimit keeps this process from filling Zuul's queue beyond a limit. At
// the limit commits of events wait until the queue is down to 80 %, so that a
// full queue moves in strides and not event by event.
type queueLimit struct {
	limit int64 // 0 or less: none

	mu          sync.Mutex // guards all below
	count       int64      // as asked for last
	counted     time.Time  // when that was
	added       int64      // committed since that count began
	addedBefore int64      // added, when the count under way began
	counting    bool       // a count is under way
	full        bool
}

// queueFullError: a commit waited for the queue to shrink, and nothing was
// written. It is a gerritstream.ErrRetryLater.
type queueFullError struct{ length, limit int64 }

func (e *queueFullError) Error() string {
	return fmt.Sprintf("reading paused: Zuul's queue is full (%d of %d)", e.length, e.limit)
}

// Is makes errors.Is(err, gerritstream.ErrRetryLater) true.
func (*queueFullError) Is(target error) bool { return target == gerritstream.ErrRetryLater }

// TroubleKind says that the queue is the trouble, and not ZooKeeper.
func (*queueFullError) TroubleKind() trouble.Kind { return trouble.QueueFull }

// wait returns nil when events may be committed, or ErrRetryLater.
func (q *queueLimit) wait(ctx context.Context, sess *session) error {
	if q.limit <= 0 {
		return nil
	}
	deadline := time.Now().Add(queuePatience)
	for {
		if q.startCount() {
			n, err := sess.stat(ctx, sess.store.at.queue())
			q.endCount(int64(n.stat.NumChildren), err)
		}
		length, full := q.length()
		if !full {
			return nil
		}
		if time.Now().After(deadline) {
			return &queueFullError{length, q.limit}
		}
		if !storekit.Sleep(ctx, countEvery/5) {
			return context.Cause(ctx)
		}
	}
}

// startCount reports whether the caller should count: one goroutine at a time
// does.
func (q *queueLimit) startCount() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.counting || time.Since(q.counted) < countEvery {
		return false
	}
	q.counting, q.addedBefore = true, q.added // what is committed from here on may not be in the count
	return true
}

// endCount takes in a count. One that failed changes nothing: the commit itself
// will fail.
func (q *queueLimit) endCount(count int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counting = false
	if err == nil {
		q.count, q.counted, q.added = count, time.Now(), q.added-q.addedBefore
	}
	q.updateLocked()
}

// add counts what was committed.
func (q *queueLimit) add(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.added += n
	q.updateLocked()
}

func (q *queueLimit) updateLocked() {
	switch length := q.count + q.added; {
	case length >= q.limit:
		q.full = true
	case length <= q.limit*4/5:
		q.full = false
	}
}

func (q *queueLimit) length() (length int64, full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count + q.added, q.full
}
