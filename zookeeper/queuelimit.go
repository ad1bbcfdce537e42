package zookeeper

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

const (
	// lookEvery is how often a process that commits looks at the queue's depth;
	// between, it counts its own commits.
	countEvery = 500 * time.Millisecond

	// gaugePatience is how long a commit waits for the queue to empty before it
	// is to be tried again.
	queuePatience = time.Second
)

// gauge keeps the queue from growing beyond a limit by this process' doing. At
// the limit commits of events wait, until 80 % of it is reached: so that a
// queue at its limit moves in strides, not event by event.
type queueLimit struct {
	limit int64 // 0 or less: none

	mu          sync.Mutex // guards all below
	count       int64      // at the last look
	counted     time.Time  // of the last look
	added       int64      // committed since the last look began
	addedBefore int64      // since, as the look under way began
	full        bool
	counting    bool
}

// wait returns nil when events may be committed. ErrRetryLater: the queue is
// full.
func (g *queueLimit) wait(ctx context.Context, sess *session) error {
	if g.limit <= 0 {
		return nil
	}
	deadline := time.Now().Add(queuePatience)
	for {
		if g.startCount() {
			n, err := sess.stat(ctx, sess.store.at.queue())
			g.endCount(int64(n.stat.NumChildren), err)
		}
		depth, full := g.depth()
		if !full {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: Zuul's queue holds %d events, the limit is %d", gerritstream.ErrRetryLater, depth, g.limit)
		}
		if !wait(ctx, countEvery/5) {
			return context.Cause(ctx)
		}
	}
}

// due tells whether the caller is to look: one at a time.
func (g *queueLimit) startCount() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.counting || time.Since(g.counted) < countEvery {
		return false
	}
	g.counting, g.addedBefore = true, g.added // what is committed from here on may not be in what is seen
	return true
}

// looked takes in what was seen. A look that failed changes nothing: the commit
// will fail by itself.
func (g *queueLimit) endCount(depth int64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.counting = false
	if err == nil {
		g.count, g.counted, g.added = depth, time.Now(), g.added-g.addedBefore
	}
	g.updateLocked()
}

// add counts what was committed.
func (g *queueLimit) add(n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.added += n
	g.updateLocked()
}

func (g *queueLimit) updateLocked() {
	switch depth := g.count + g.added; {
	case depth >= g.limit:
		g.full = true
	case depth <= g.limit*4/5:
		g.full = false
	}
}

func (g *queueLimit) depth() (depth int64, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count + g.added, g.full
}
