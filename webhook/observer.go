package webhook

import (
	"time"

	"github.com/gerritstream/gerritstream"
)

// Outcome is what became of an attempt, of a bounded set: it labels a metric.
type Outcome string

// The outcomes.
const (
	Delivered Outcome = "delivered" // a complete 2xx answer
	Refused   Outcome = "refused"   // an answer that is about the event: 400, 409, 413, 415, 422
	Throttled Outcome = "throttled" // 429
	Gone      Outcome = "gone"      // 410: the hook pauses
	TimedOut  Outcome = "timeout"   // the answer was not complete within the time-out
	Failed    Outcome = "failed"    // anything else: no connection, 5xx, a redirect, another 4xx
	GivenUp   Outcome = "given_up"  // no attempt: the event was put aside
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome {
	return []Outcome{Delivered, Refused, Throttled, Gone, TimedOut, Failed, GivenUp}
}

// Attempt describes an attempt to deliver an event, or its being put aside.
type Attempt struct {
	Event   gerritstream.EventID
	Arrived time.Time // when the event came to the stream
	Outcome Outcome
	Status  int           // of the answer; 0: there was none
	Err     error         // nil: delivered; without secrets and payload
	Began   time.Time     // when the request began
	Took    time.Duration // from there to the end of the answer

	Answer []byte // the beginning of the answer's body, as SenderConfig.KeepAnswer says

	// RetryAfter is what the receiver asked for, bounded; 0: nothing.
	RetryAfter time.Duration
}

// Observer is told of attempts. Several hooks call it at once; it must not
// block.
type Observer interface {
	// Attempted: an attempt has ended, or an event was put aside.
	Attempted(hook string, a *Attempt)
}
