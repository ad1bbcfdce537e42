package consumer_test

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestAStopWhileListingIsNoTrouble: a leader that is told to stop while it
// lists the stream says nothing of trouble.
func TestAStopWhileListingIsNoTrouble(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		lists, stop := 0, func() {}
		cl.stream.listErr = func() error {
			if lists++; lists == 2 { // the leader's own listing
				stop()
				time.Sleep(time.Millisecond) // as long as a request takes to notice
				return context.Canceled
			}
			return nil
		}
		cl.stream.mu.Lock() // nothing is listed until stop is set
		p := cl.start()
		stop = p.stop
		cl.stream.mu.Unlock()
		p.wait(t)
		if log := p.log.String(); lists != 2 || strings.Contains(log, "WARN") {
			t.Errorf("listed %d times, log:\n%s", lists, log)
		}
	})
}
