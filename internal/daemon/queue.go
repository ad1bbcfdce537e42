package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

const (
	queueFor     = 10 * time.Second // how long a depth is good for: counting costs
	queueTimeout = 2 * time.Second  // how long a count may take
)

// queueDepth looks at what a store holds, not too often.
type queueDepth struct {
	store gerritstream.Store

	mu    sync.Mutex
	at    time.Time               // under mu: of the last look
	in    gerritstream.Inspection // under mu
	known bool                    // under mu
}

// events returns how many events the store holds, or held when it answered
// last; ok is false when it never did.
func (q *queueDepth) events() (events int64, ok bool) {
	in, ok := q.look()
	return in.Queue, ok
}

// look returns what the store holds, or held when it answered last; ok is false
// when it never did.
func (q *queueDepth) look() (in gerritstream.Inspection, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.at.IsZero() && time.Since(q.at) < queueFor {
		return q.in, q.known
	}
	ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
	defer cancel()
	if in, err := q.store.Inspect(ctx); err == nil {
		q.in, q.known = in, true
	}
	q.at = time.Now()
	return q.in, q.known
}
