package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ErrEnded is what WaitCaughtUp returns when Run ended first.
var ErrEnded = errors.New("the listener has ended")

// tip is what WaitCaughtUp waits for.
type tip struct {
	waiting atomic.Int32  // callers
	wanted  chan struct{} // capacity 1: a caller has come
	once    sync.Once
	reached chan struct{} // closed once everything is caught up
	ended   chan struct{} // closed when Run returns
}

func newTip() tip {
	return tip{wanted: make(chan struct{}, 1), reached: make(chan struct{}), ended: make(chan struct{})}
}

// note says that everything is caught up.
func (t *tip) note() { t.once.Do(func() { close(t.reached) }) }

// WaitCaughtUp returns nil once what had arrived when Run began is queued,
// filtered or dead-lettered, of every shard: the moment at which a Consumer
// with UntilCaughtUp ends. Shards that other processes lead are seen to be
// there within half a minute or so.
//
// It may be called at any time, before Run too, and by several goroutines at
// once; after it has returned nil it always does. ErrEnded: Run ended first.
// Otherwise the error is that of ctx.
func (l *Consumer) WaitCaughtUp(ctx context.Context) error {
	l.tip.waiting.Add(1)
	defer l.tip.waiting.Add(-1)
	ask(l.tip.wanted)
	select {
	case <-l.tip.reached:
		return nil
	case <-l.tip.ended:
	case <-ctx.Done():
	}
	select {
	case <-l.tip.reached: // both came at once
		return nil
	default:
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait until caught up: %w", context.Cause(ctx))
	}
	return fmt.Errorf("wait until caught up: %w", ErrEnded)
}

// isHurried reports whether somebody waits for the tip.
func (l *Consumer) isHurried() bool {
	if l.cfg.UntilCaughtUp {
		return true
	}
	select {
	case <-l.tip.reached:
		return false
	default:
		return l.tip.waiting.Load() > 0
	}
}
