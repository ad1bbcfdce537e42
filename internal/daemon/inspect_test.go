package daemon

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/admin"
	"github.com/gerritstream/gerritstream/internal/overview"
)

// inspectedStore counts how often it is inspected, and can be away.
type inspectedStore struct {
	gerritstream.Store
	times atomic.Int32
	away  atomic.Bool
}

func (s *inspectedStore) Inspect(context.Context) (gerritstream.Inspection, error) {
	s.times.Add(1)
	if s.away.Load() {
		return gerritstream.Inspection{}, errors.New("no server answers")
	}
	return gerritstream.Inspection{DeadLetters: 3}, nil
}

// The store is inspected once a minute, and every ten seconds while somebody
// looks at the page; an outage is told, and its end. Dead letters are read when
// somebody looks, and not again while their number is the same.
func TestInspectsSeldomUnlessAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, opened := &inspectedStore{}, 0
		i := &inspector{
			store: store, status: func() gerritstream.Status { return gerritstream.Status{Process: "a"} },
			letters: func(context.Context) letters { opened++; return letters{} },
			metrics: admin.NewMetrics(admin.MetricsOptions{}), history: overview.NewHistory(),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); i.sample(ctx) }()
		time.Sleep(10*time.Minute + 25*time.Second) // at no moment at which it looks
		if n := store.times.Swap(0); n < 9 || n > 11 || opened > 0 {
			t.Errorf("inspected %d times, and the dead letters %d times, in ten minutes", n, opened)
		}
		if i.view(); store.times.Load() != 1 {
			t.Error("the first to look sees what is old")
		}
		time.Sleep(45 * time.Second)
		if n := store.times.Swap(0); n < 4 || n > 6 {
			t.Errorf("inspected %d times in 45 s with a page open", n)
		}
		if i.view(); opened != 1 {
			t.Errorf("dead letters were read %d times", opened)
		}
		store.away.Store(true)
		time.Sleep(2 * time.Minute)
		if v := i.view(); v.Level != overview.Trouble || !strings.HasPrefix(v.Sentence, "The store has not answered") {
			t.Errorf("while the store is away: %s", v.Sentence)
		}
		if opened != 1 {
			t.Errorf("dead letters were read %d times, the last from a store that is away", opened)
		}
		store.away.Store(false)
		time.Sleep(5 * time.Second)
		if v := i.view(); strings.Contains(v.Sentence, "not answered") {
			t.Errorf("after that: %s", v.Sentence)
		}
		cancel()
		<-done
	})
}
