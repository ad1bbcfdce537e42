package sqlite

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A process that always has something to write leaves the lock alone often
// enough for another process to take it. One that is alone never waits.
func TestTurns(t *testing.T) {
	for name, others := range map[string]bool{"beside others": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const transactions, each = 100, 10 * time.Millisecond
				var turn turn
				began, gaps := time.Now(), 0
				for range transactions {
					before := time.Now()
					turn.yield(context.Background(), others)
					if gap := time.Since(before); gap >= turnGap {
						gaps++
					} else if gap > 0 {
						t.Errorf("a gap of %v is too short to be found", gap)
					}
					time.Sleep(each)
					turn.ended = time.Now()
				}
				want := 0
				if others {
					want = transactions/int(turnLength/each) - 1
				}
				if gaps != want {
					t.Errorf("%d gaps in %v, want %d", gaps, time.Since(began), want)
				}
			})
		})
	}
}
