package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
)

var (
	// ErrTaken says that a term is over because its lease is not this process'
	// any more.
	ErrTaken = errors.New("another process has the lease, or an operator set the position")

	errResigned = errors.New("resigned")
)

// Term is one leadership of one shard, or one lease of a consumer.
type Term struct {
	Number uint64

	heartbeat *Heartbeat
	shard     gerritstream.ShardID
	began     time.Time // before the lease was taken

	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Context ends with the term, with ErrLeadershipLost and more in its cause.
func (t *Term) Context() context.Context { return t.ctx }

// Resign ends the term. free frees its lease in the database; if that fails,
// the heartbeat does so soon.
func (t *Term) Resign(free func() error) error {
	t.end(errResigned)
	if err := free(); err != nil {
		t.heartbeat.wake.Set()
		return fmt.Errorf("resign %s: %w", t.shard, err)
	}
	t.heartbeat.watcher.wake.Set()
	return nil
}

// Finish ends the term. The heartbeat frees its lease at once, unless a
// resignation does so sooner.
func (t *Term) Finish(why error) {
	if t.end(why) {
		t.heartbeat.wake.Set()
	}
}

// end ends the term, whose lease is then to be freed, and reports whether it
// lived.
func (t *Term) end(why error) bool {
	h := t.heartbeat
	h.mu.Lock()
	live := h.terms[t.shard] == t
	if live {
		delete(h.terms, t.shard)
	}
	h.mu.Unlock()
	if live {
		if !errors.Is(why, gerritstream.ErrLeadershipLost) {
			why = fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, why)
		}
		t.cancel(why)
	}
	return live
}
