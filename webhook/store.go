package webhook

import (
	"context"
	"time"

	"github.com/gerritstream/gerritstream/queue"
)

// Store is a queue that also keeps what hooks need. Package storetest states
// the contract as tests. Several goroutines may call the methods at once. A
// method that failed may have taken effect, and can be repeated.
type Store interface {
	queue.Store

	// Reader returns the name of the process that reads as a consumer, as in
	// queue.Info; empty: there is none. It is cheap.
	Reader(ctx context.Context, consumer string) (string, error)

	// HookStates returns what is kept of the hooks that anything is kept of, by
	// name.
	HookStates(ctx context.Context) ([]State, error)

	// HookState returns what is kept of a hook. If that is nothing, all but the
	// name is zero. It is cheap.
	HookState(ctx context.Context, hook string) (State, error)

	// ReportHook keeps a hook's Report in place of the last one.
	ReportHook(ctx context.Context, hook string, r Report) error

	// PauseHook pauses a hook. The pause of a hook that is paused already stays
	// as it is.
	PauseHook(ctx context.Context, hook string, p Pause) error

	// ResumeHook ends a pause, if there is one.
	ResumeHook(ctx context.Context, hook string) error

	// PutAside keeps a dead letter that names the hook, with the whole payload.
	// A letter with this ID and hook that is held already stays as it is. When
	// it returns nil, the letter is durable. An error: it may not be kept, and
	// the event must not be acknowledged. queue.ErrLeaseLost: this process has
	// not the lease of the hook's consumer, and nothing was written.
	PutAside(ctx context.Context, l Letter) error
}

// State is what a store keeps of a hook, for every process on the store and
// across their restarts.
type State struct {
	Name   string `json:"name"`
	Pause  Pause  `json:"pause,omitzero"`
	Report Report `json:"report,omitzero"`

	DeadLetters int64 `json:"dead_letters"` // held
	GivenUp     int64 `json:"given_up"`     // how many there ever were; one that was put aside again counts again
}

// Who paused a hook.
const (
	ByOperator = "operator"
	ByReceiver = "receiver" // it answered 410 Gone
)

// Pause says since when and why a hook delivers nothing. The zero Pause: it
// does. What is queued waits, as for any consumer that is behind.
type Pause struct {
	Since time.Time `json:"since,omitzero"`
	By    string    `json:"by,omitempty"` // ByOperator, ByReceiver
	Why   string    `json:"why,omitempty"`
}

// Report is what the process that delivers for a hook says of it: at once when
// the receiver begins to fail or recovers, and otherwise every few seconds
// while there are deliveries.
type Report struct {
	Process      string    `json:"process,omitempty"` // that reports
	Last         Outcome   `json:"last,omitempty"`    // of the last attempt
	LastAt       time.Time `json:"last_at,omitzero"`  // when it ended
	LastStatus   int       `json:"last_status,omitempty"`
	LastError    string    `json:"last_error,omitempty"`   // without secrets and payload
	LastEvent    string    `json:"last_event,omitempty"`   // its ID
	FailingSince time.Time `json:"failing_since,omitzero"` // first failure after the last success; zero: none
	Failures     int       `json:"failures,omitempty"`     // attempts that failed since then
	NextAttempt  time.Time `json:"next_attempt,omitzero"`  // of a receiver that fails
	Blocked      int       `json:"blocked,omitempty"`      // keys that wait because their event was refused
}

// Letter is an event that a hook gave up.
type Letter struct {
	Hook   string
	Event  queue.Event
	Detail string // what the receiver last did; without secrets and payload
}

// ReasonWebhook is the reason of the dead letters of hooks.
const ReasonWebhook = "webhook"
