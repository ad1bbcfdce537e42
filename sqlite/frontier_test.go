package sqlite_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// Frontiers are written while somebody asks for them, and not otherwise. What a
// process knew stays known for a while after it has gone.
func TestFrontiersAreSharedOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t)
		store, reader := s.open(), s.open()
		asked := 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			store.ShareFrontier(ctx, func() queue.Frontier {
				asked++
				return queue.Frontier{Until: map[gerritstream.ShardID]time.Time{shardA: time.Now()}}
			})
		}()
		frontier := func() time.Time {
			at, err := reader.Frontier(t.Context())
			must(t, err)
			return at
		}
		wait(t, time.Minute)
		if asked > 0 {
			t.Errorf("%d frontiers were shared, and nobody asked", asked)
		}
		frontier()
		wait(t, 300*time.Millisecond)
		if late := time.Since(frontier()); late > 260*time.Millisecond {
			t.Errorf("the frontier is %v old after the first time", late)
		}
		wait(t, time.Minute)
		if asked > 60 {
			t.Errorf("%d frontiers were shared in a minute, of which nobody asked for 50 s", asked)
		}
		for range 100 { // asking goes on for longer than sharing lasts
			frontier()
			wait(t, 200*time.Millisecond)
		}
		at := frontier()
		if late := time.Since(at); late > 260*time.Millisecond {
			t.Errorf("the frontier is %v old while it is asked for", late)
		}
		cancel()
		<-done
		store.Kill()
		wait(t, time.Minute)
		if now := frontier(); now.Before(at) {
			t.Errorf("the frontier is %v, and was %v", now, at)
		}
	})
}
