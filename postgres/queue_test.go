package postgres_test

import (
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/storetest"
)

func TestQueue(t *testing.T) { storetest.RunQueue(t, queueHarness()) }

func TestWebhooks(t *testing.T) { storetest.RunWebhooks(t, queueHarness()) }

func TestQueueThroughPgBouncer(t *testing.T) {
	storetest.RunQueue(t, throughPgBouncer(t, queueHarness()))
}

func TestWebhooksThroughPgBouncer(t *testing.T) {
	storetest.RunWebhooks(t, throughPgBouncer(t, queueHarness()))
}

// queueHarness settles sooner than that of TestStore: what the queue's suite
// waits for is seen within a tenth of a second.
func queueHarness() storetest.Harness {
	h := harness()
	h.Settle = 400 * time.Millisecond
	return h
}
