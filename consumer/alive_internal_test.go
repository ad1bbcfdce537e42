package consumer

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

// After an outage hundreds of shards lag, and memory holds a few pages at a
// time: a reader that waits for its turn is alive. A reader that stays without
// a page after its turn is not, and none is when none makes progress.
func TestATurnForMemoryIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards = 600
		b := newTracker("process", &serviceClock{})
		page := func(i int) {
			b.heartbeat(partPlan)
			b.read(gerritstream.ShardID(fmt.Sprint(i)), &gerritstream.Page{})
		}
		for i := range shards {
			b.elected(gerritstream.ShardID(fmt.Sprint(i)), 1, gerritstream.Position{})
		}
		for i := range 2 * shards {
			time.Sleep(time.Second)
			page(i % shards)
			if err := b.alive(); err != nil {
				t.Fatalf("with a page a second: %v", err)
			}
		}
		for range 6 * 60 {
			time.Sleep(time.Second)
			b.heartbeat(partPlan)
		}
		if err := b.alive(); err == nil || strings.Count(err.Error(), "no progress") != shards {
			t.Errorf("after six minutes without a page: %v", err)
		}
		for range shards * int(lastsFor/time.Second) {
			time.Sleep(time.Second)
			page(1)
		}
		for i := range shards - 1 {
			page(i)
		}
		if err := b.alive(); err == nil || !strings.HasPrefix(err.Error(), "reading 599 has made no progress for") ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("one has had no page for hours: %v", err)
		}
	})
}
