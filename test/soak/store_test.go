package soak

import (
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
)

// store is where the processes queue, read by other means than the program's.
type store interface {
	name() string

	// args are a process' arguments for the store.
	args(worker int) []string

	// consume takes the queue as its real consumers do, until stop is called.
	consume() (stop func())

	// pending counts the queued events that these have not acknowledged.
	pending() int

	// deadLetters counts the dead letters, discarded ones included.
	deadLetters() int

	// record writes what is in the store, and what was taken from it, to the
	// history.
	record(log *history.Writer)

	// timeout is how long the leadership of a frozen process lasts.
	timeout() time.Duration

	// faults are those of this store only.
	faults(n *nemesis) []fault
}
