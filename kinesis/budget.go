package kinesis

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the bytes of pages that a process holds at once (guarantee 5 of
// the README). It is shared by all shards of a process.
//
// What a read may need is reserved before the read and shrunk to what it took;
// whoever holds a reservation never waits for more to finish, so that waiting
// for one cannot deadlock. Waiters are served in turn.
type Budget struct {
	total int64
	sem   *semaphore.Weighted
}

// DefaultBudget is a Budget's size where nothing else is said: 256 MiB.
const DefaultBudget = 256 << 20

// NewBudget returns a budget of so many bytes; 0 or less means DefaultBudget.
func NewBudget(bytes int64) *Budget {
	if bytes <= 0 {
		bytes = DefaultBudget
	}
	return &Budget{total: bytes, sem: semaphore.NewWeighted(bytes)}
}

// Reserve waits until n bytes are free and takes them. More than the whole
// budget is taken as the whole budget: such a holder is then alone. The error
// is the context's.
func (b *Budget) Reserve(ctx context.Context, n int64) (*Reservation, error) {
	n = min(max(n, 0), b.total)
	if err := b.sem.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return &Reservation{budget: b, held: n}, nil
}

// Reservation is a part of a Budget. Its methods may be called by several
// goroutines.
type Reservation struct {
	budget *Budget

	mu   sync.Mutex
	held int64 // under mu
}

// Shrink gives back all but n bytes. It never takes more: a larger n changes
// nothing.
func (r *Reservation) Shrink(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n = max(n, 0); n < r.held {
		r.budget.sem.Release(r.held - n)
		r.held = n
	}
}

// TryGrow takes more, so that n bytes are held, if they are free now and nobody
// waits for them; it reports whether n bytes are held, and does not wait. A
// holder of the whole budget holds any number.
func (r *Reservation) TryGrow(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, r.budget.total)
	if n <= r.held {
		return true
	}
	if !r.budget.sem.TryAcquire(n - r.held) {
		return false
	}
	r.held = n
	return true
}

// Release gives all of it back. Further calls do nothing.
func (r *Reservation) Release() { r.Shrink(0) }
