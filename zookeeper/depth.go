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
	lookEvery = 500 * time.Millisecond

	// gaugePatience is how long a commit waits for the queue to empty before it
	// is to be tried again.
	gaugePatience = time.Second
)

// gauge keeps the queue from growing beyond a limit by this process' doing. At
// the limit commits of events wait, until 80 % of it is reached: so that a
// queue at its limit moves in strides, not event by event.
type gauge struct {
	limit int64 // 0 or less: none

	mu      sync.Mutex // guards all below
	seen    int64      // at the last look
	at      time.Time  // of the last look
	since   int64      // committed since the last look began
	mark    int64      // since, as the look under way began
	full    bool
	looking bool
}

// wait returns nil when events may be committed. ErrRetryLater: the queue is
// full.
func (g *gauge) wait(ctx context.Context, k *session) error {
	if g.limit <= 0 {
		return nil
	}
	deadline := time.Now().Add(gaugePatience)
	for {
		if g.due() {
			n, err := k.stat(ctx, k.store.at.queue())
			g.looked(int64(n.stat.NumChildren), err)
		}
		depth, full := g.depth()
		if !full {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: Zuul's queue holds %d events, the limit is %d", gerritstream.ErrRetryLater, depth, g.limit)
		}
		if !wait(ctx, lookEvery/5) {
			return context.Cause(ctx)
		}
	}
}

// due tells whether the caller is to look: one at a time.
func (g *gauge) due() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.looking || time.Since(g.at) < lookEvery {
		return false
	}
	g.looking, g.mark = true, g.since // what is committed from here on may not be in what is seen
	return true
}

// looked takes in what was seen. A look that failed changes nothing: the commit
// will fail by itself.
func (g *gauge) looked(depth int64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looking = false
	if err == nil {
		g.seen, g.at, g.since = depth, time.Now(), g.since-g.mark
	}
	g.judgeLocked()
}

// add counts what was committed.
func (g *gauge) add(n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.since += n
	g.judgeLocked()
}

func (g *gauge) judgeLocked() {
	switch depth := g.seen + g.since; {
	case depth >= g.limit:
		g.full = true
	case depth <= g.limit*4/5:
		g.full = false
	}
}

func (g *gauge) depth() (depth int64, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen + g.since, g.full
}
