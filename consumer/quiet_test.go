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
	inHouse(t, 1, func(t *testing.T, h *house) {
		lists, stop := 0, func() {}
		h.stream.listErr = func() error {
			if lists++; lists == 2 { // the leader's own listing
				stop()
				time.Sleep(time.Millisecond) // as long as a request takes to notice
				return context.Canceled
			}
			return nil
		}
		h.stream.mu.Lock() // nothing is listed until stop is set
		p := h.start()
		stop = p.stop
		h.stream.mu.Unlock()
		p.wait(t)
		if log := p.log.String(); lists != 2 || strings.Contains(log, "WARN") {
			t.Errorf("listed %d times, log:\n%s", lists, log)
		}
	})
}
