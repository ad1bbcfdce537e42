package storetest

import (
	"errors"
	"sync"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Point is a place at which a Store or an Operator writes.
type Point = storekit.Point

// The write points of a Store.
const (
	PointSetOrigin = storekit.PointSetOrigin
	PointCampaign  = storekit.PointCampaign // taking a leadership that is free
	PointCommit    = storekit.PointCommit
	PointResign    = storekit.PointResign
	PointReport    = storekit.PointReport
	PointAdvertise = storekit.PointAdvertise
)

// The write points of a queue.Store and of a webhook.Store.
const (
	PointConsumers = storekit.PointConsumers
	PointWebhooks  = storekit.PointWebhooks
)

// PointPauses is the write point of a pauses.Keeper.
const PointPauses = storekit.PointPauses

// The write points of an Operator.
const (
	PointSetPosition     = storekit.PointSetPosition
	PointRemovePositions = storekit.PointRemovePositions
	PointDropDeadLetters = storekit.PointDropDeadLetters
	PointRedrive         = storekit.PointRedrive
)

// Points returns all write points of a Store.
func Points() []Point {
	return []Point{PointSetOrigin, PointCampaign, PointCommit, PointResign, PointReport, PointAdvertise}
}

// Fault is what happens to one write.
type Fault string

// The faults of a write. After Refuse and ApplyButError of a commit the term is
// over, as the Store's contract has it.
const (
	NoFault       Fault = ""
	Refuse        Fault = "refuse"          // nothing is written, the call fails
	ApplyButError Fault = "apply but error" // all is written, the call fails: the reply was lost
	RetryLater    Fault = "retry later"     // nothing is written, the call fails with ErrRetryLater
	CrashBefore   Fault = "crash before"    // the process dies, nothing is written
	CrashAfter    Fault = "crash after"     // all is written, then the process dies
)

// Write is a write about to happen, as a Hook sees it.
type Write struct {
	Point   Point
	Process string
	Epoch   int                  // of a campaign, a commit or a position that is set
	Shard   gerritstream.ShardID // of these and of a resignation; empty otherwise
	Term    uint64               // of a commit or a resignation
	Commit  *gerritstream.Commit // of a commit; nil otherwise. Its bytes are the caller's: copy what you keep.
}

// Hook decides on the fault of a write. The goroutine that writes calls it once
// a write, without a lock held: it may block and call the Memory.
type Hook func(Write) Fault

// Faults are faults that writes are to suffer, each one once. Its methods may
// be called by several goroutines at once.
type Faults struct {
	mu   sync.Mutex
	next map[Point][]Fault // under mu
}

// FailNext makes the next write at a point suffer a fault; called again, the
// write after that, and so on.
func (f *Faults) FailNext(p Point, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		f.next = map[Point][]Fault{}
	}
	f.next[p] = append(f.next[p], fault)
}

// take returns the fault of a write.
func (f *Faults) take(p Point) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	queued := f.next[p]
	if len(queued) == 0 {
		return NoFault
	}
	f.next[p] = queued[1:]
	return queued[0]
}

// Intercept returns a function to wrap the writes of a process, whose Kill is
// kill; nil: an operator's.
func (f *Faults) Intercept(kill func()) func(p Point, write func() error) error {
	return func(p Point, write func() error) error {
		fault := f.take(p)
		switch fault {
		case Refuse:
			return ErrInjected
		case RetryLater:
			return gerritstream.ErrRetryLater
		case CrashBefore:
			kill()
		}
		err := write()
		switch fault {
		case ApplyButError:
			err = errors.Join(err, ErrInjected)
		case CrashAfter:
			kill()
			err = errors.Join(err, ErrProcessDead)
		}
		return err
	}
}

// The errors of faults.
var (
	// ErrInjected is the failure of a write that suffered a fault.
	ErrInjected = errors.New("injected fault")

	// ErrProcessDead is the failure of every call of a process that was killed
	// or crashed.
	ErrProcessDead = errors.New("the process is dead")
)
