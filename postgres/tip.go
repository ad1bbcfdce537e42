package postgres

import (
	"context"
	"sync"

	"github.com/gerritstream/gerritstream/internal/storekit"
)

// tip looks at the number given last, for all calls of the process that wait
// for events: ten statements a second, however many they are, and none while
// nobody waits.
type tip struct {
	store *Store
	wake  storekit.Signal

	mu      sync.Mutex
	waiting map[*tipWait]struct{} // under mu
}

// tipWait is a call that waits for a number beyond one.
type tipWait struct {
	beyond int64
	done   chan error // of capacity 1
}

func newTip(s *Store) *tip {
	return &tip{store: s, wake: storekit.NewSignal(), waiting: map[*tipWait]struct{}{}}
}

// wait returns once a number beyond one was given.
func (t *tip) wait(ctx context.Context, beyond int64) error {
	w := &tipWait{beyond, make(chan error, 1)}
	t.mu.Lock()
	t.waiting[w] = struct{}{}
	t.mu.Unlock()
	t.wake.Set()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waiting, w)
	}()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.store.life.Done():
		return context.Cause(t.store.life)
	}
}

// run looks for the life of the store.
func (t *tip) run() {
	life := t.store.life
	for {
		select {
		case <-t.wake:
		case <-life.Done():
			return
		}
		for t.waits() && storekit.Sleep(life, followEvery) {
			t.look(life)
		}
	}
}

func (t *tip) waits() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting) > 0
}

// look reads the number, and ends the calls that waited for it. They go on
// waiting while the server cannot be asked.
func (t *tip) look(life context.Context) {
	var newest int64
	_, err := t.store.db.get(life, []any{&newest}, `SELECT n FROM @.head`)
	if passing(err) || life.Err() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for w := range t.waiting {
		if err != nil || newest > w.beyond {
			w.done <- explainQueue(err)
			delete(t.waiting, w)
		}
	}
}
