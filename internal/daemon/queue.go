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

// queueDepth counts the events in a store, not too often.
type queueDepth struct {
	store gerritstream.Store

	mu     sync.Mutex
	at     time.Time // under mu: of the last count
	events int64     // under mu
	known  bool      // under mu
}

// look returns how many events the store holds; ok is false when it does not answer.
func (q *queueDepth) look() (events int64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.at.IsZero() && time.Since(q.at) < queueFor {
		return q.events, q.known
	}
	ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
	defer cancel()
	in, err := q.store.Inspect(ctx)
	q.at, q.events, q.known = time.Now(), in.Queue, err == nil
	return q.events, q.known
}
