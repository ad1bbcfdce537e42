package webhook

import (
	"context"
	"sync"
	"time"
)

// waker ends a wait. Several goroutines may wake.
type waker struct {
	mu    sync.Mutex
	woken bool               // under mu; since the last wait began
	end   context.CancelFunc // under mu; of the wait that is under way
}

// context returns a context that ends at a time, when it is woken, or at once
// if it was woken since the last one.
func (w *waker) context(ctx context.Context, until time.Time) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(ctx, until)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.woken {
		cancel()
	}
	w.woken, w.end = false, cancel
	return ctx, cancel
}

func (w *waker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.woken = true
	if w.end != nil {
		w.end()
	}
}
