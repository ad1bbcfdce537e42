package soak

import (
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
)

// store is where the processes queue, as the soak sees it: from outside, by
// other means than the program's.
type store interface {
	name() string

	// args are what a process is told of the store.
	args(worker int) []string

	// consume takes the queue, as whoever it is for does, until stop is called.
	consume() (stop func())

	// letters counts the dead letters, discarded ones included.
	letters() int

	// record writes what is in the store, and what was taken from it, into the
	// history.
	record(log *history.Writer)

	// timeout is how long the leadership of a process stands that does not
	// move.
	timeout() time.Duration

	// faults are what can go wrong with this store only.
	faults(n *nemesis) []fault
}
