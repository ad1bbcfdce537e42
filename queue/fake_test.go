package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

// fakeStore is a queue in memory with one consumer.
type fakeStore struct {
	Store // what a Consumer does not call

	t     *testing.T
	front func() time.Time // nil: nothing is known
	pause func()           // before the frontier is read; nil: none

	mu     sync.Mutex
	events []Event // under mu, where a test adds to it while a consumer reads
	filter Filter
	done   Set
	handed int64
	ahead  int64
	fail   error // of the next write; it is not applied
}

// add queues an event of a type.
func (f *fakeStore) add(kind string, arrived time.Time) {
	f.events = append(f.events, Event{
		Number: int64(len(f.events)) + 1, Queued: time.Now(),
		Entry: gerritstream.Entry{Event: gerritstream.Event{Type: kind}, Arrived: arrived},
	})
}

func (f *fakeStore) Read(_ context.Context, _ string, after int64, most int) ([]Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := f.events[min(after, int64(len(f.events))):]
	return slices.Clone(rest[:min(most, len(rest))]), nil
}

func (f *fakeStore) Wait(ctx context.Context, name string, after int64) error {
	for {
		if events, _ := f.Read(ctx, name, after, 1); len(events) > 0 {
			return nil
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

func (f *fakeStore) Frontier(context.Context) (time.Time, error) {
	if f.pause != nil {
		f.pause()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.front == nil {
		return time.Time{}, nil
	}
	return f.front(), nil
}

func (f *fakeStore) Lease(context.Context, string) (Lease, error) { return fakeLease{f}, nil }

// fakeLease is the lease of a fakeStore's consumer. It is never lost.
type fakeLease struct{ store *fakeStore }

func (l fakeLease) Context() context.Context { return context.Background() }

func (l fakeLease) Consumer() Info {
	s := l.store
	return Info{Filter: s.filter, Acked: s.done.UpTo, Beyond: s.done.Beyond, Handed: s.handed, Ahead: s.ahead}
}

func (l fakeLease) Deliver(_ context.Context, upTo, last int64) error {
	if err := l.failure(); err != nil {
		return err
	}
	l.store.handed, l.store.ahead = max(l.store.handed, upTo), max(l.store.ahead, last)
	return nil
}

func (l fakeLease) Ack(_ context.Context, done Set) error {
	if err := errors.Join(done.Check(), l.failure()); err != nil {
		return err
	}
	l.store.done = l.store.done.Union(done)
	l.store.handed, l.store.ahead = max(l.store.handed, done.UpTo), max(l.store.ahead, done.Last())
	return nil
}

func (l fakeLease) Release(context.Context) error { return nil }

func (l fakeLease) failure() error {
	err := l.store.fail
	l.store.fail = nil
	return err
}
