package consumer_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/storetest"
)

// Every commit tells the service's clock as of its beginning, never ahead of it
// and at most some seconds behind: whatever the local clock says, however old
// the page is that it comes from, and however often the store has it tried
// again.
func TestCommitsCarryTheServicesClock(t *testing.T) {
	for name, ahead := range map[string]time.Duration{
		"clocks agree": 0, "the service is ahead": 37 * time.Minute, "the service is behind": -37 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			inKinesisCluster(t, kinesistest.Options{}, 1, func(t *testing.T, k *kinesisCluster) {
				k.poll = time.Second
				k.server.AdvanceClock(ahead)
				var mu sync.Mutex
				busy, tries := false, 0
				k.memory.SetHook(func(write storetest.Write) storetest.Fault {
					if write.Commit == nil {
						return storetest.NoFault
					}
					if late := k.server.Now().Sub(write.Commit.Now); late < 0 || late > 3*time.Second {
						t.Errorf("a commit says that it is %s, which is %s late", write.Commit.Now, late)
					}
					mu.Lock()
					defer mu.Unlock()
					if tries++; busy && len(write.Commit.Entries) > 0 {
						return storetest.RetryLater
					}
					return storetest.NoFault
				})
				for n := range 30 { // a backlog
					k.put(s0, fmt.Sprint("good ", n))
				}
				time.Sleep(time.Hour)
				sink := &stuckSink{make(chan struct{})}
				k.start(func(c *consumer.Config) { c.Sinks = []gs.Sink{sink} })
				time.Sleep(10 * time.Minute)
				mu.Lock()
				busy = true
				mu.Unlock()
				close(sink.free)
				time.Sleep(10 * time.Minute)
				mu.Lock()
				busy = false
				mu.Unlock()
				k.soon(time.Minute, "everything is queued", k.queuedAll)
				if tries < 10 {
					t.Errorf("%d commits were tried", tries)
				}
			})
		})
	}
}
