package postgres_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// Frontiers are written while somebody asks for them, and not otherwise. What a
// process knew stays known for a while after it has gone.
func TestFrontiersAreSharedOnDemand(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	store, reader := s.open(), s.open()
	var asked atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		store.ShareFrontier(ctx, func() queue.Frontier {
			asked.Add(1)
			return queue.Frontier{Until: map[gerritstream.ShardID]time.Time{shardA: time.Now()}}
		})
	}()
	frontier := func() time.Time {
		at, err := reader.Frontier(t.Context())
		must(t, err)
		return at
	}
	<-time.After(time.Second)
	if n := asked.Load(); n > 0 {
		t.Errorf("%d frontiers were shared, and nobody asked", n)
	}
	deadline := time.Now().Add(time.Minute)
	var at time.Time
	for at = frontier(); time.Since(at) > time.Second; at = frontier() {
		if time.Now().After(deadline) {
			t.Fatalf("the frontier is %v while it is asked for", at)
		}
		<-time.After(20 * time.Millisecond)
	}
	if s.exec(`UPDATE frontier_asked SET at = at - interval '12 seconds'`); frontier().IsZero() {
		t.Error("the frontier is gone")
	}
	s.exec(`UPDATE frontier_asked SET at = at - interval '12 seconds'`)
	<-time.After(2 * time.Second) // a look that had begun
	before := asked.Load()
	<-time.After(time.Second)
	if n := asked.Load() - before; n > 0 {
		t.Errorf("%d frontiers were shared after the last one had asked", n)
	}
	cancel()
	<-done
	store.Kill()
	if now := frontier(); now.Before(at) {
		t.Errorf("the frontier is %v, and was %v", now, at)
	}
}
