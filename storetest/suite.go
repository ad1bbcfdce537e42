package storetest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Harness is one kind of Store, as the suite drives it.
type Harness struct {
	// New makes an empty state for one test. What it opens it closes by
	// t.Cleanup.
	New func(t *testing.T) Backend

	// Bubble runs each test in a testing/synctest bubble: possible when all
	// that the store waits for is timers and its own goroutines. Waiting then
	// costs nothing.
	Bubble bool

	// Settle is how long nothing must have happened before the suite believes
	// that it will not happen: longer than a candidate needs to notice that a
	// leadership is free.
	Settle time.Duration

	// Patience is how long the suite waits for what must happen: longer than
	// the leadership of a dead process stands.
	Patience time.Duration

	// Deduplicates: an entry that the queue holds already is not queued again.
	// A store whose queue has no identities leaves this out; its position alone
	// keeps entries from being queued twice.
	Deduplicates bool
}

// Backend is one shared state: how processes come and go, how to read back what
// they wrote, and how to tamper with it.
type Backend struct {
	// Open starts a new process on the state.
	Open func() gerritstream.Store

	// Kill ends a process without a word: its calls fail from now on.
	Kill func(gerritstream.Store)

	// Entries reads the queue, in its order, by another way than the Store's
	// own. Only ID and Payload are looked at.
	Entries func() []gerritstream.Entry

	// DeadLetters reads all dead letters, in any order, by another way than the
	// Store's own.
	DeadLetters func() []gerritstream.DeadLetter

	// WritePosition stores raw as a shard's position; nil removes it. No term
	// is under way.
	WritePosition func(epoch int, shard gerritstream.ShardID, raw []byte)

	// WriteNewerStart makes the start record one that a newer version wrote.
	WriteNewerOrigin func()

	// Expire takes the leadership of a shard away without telling the process
	// that has it: a paused or partitioned process, to whom the world goes on.
	// The leadership is free afterwards.
	Expire func(shard gerritstream.ShardID)

	// Operator opens an operator on the state. nil: this store has none; what
	// is promised of operators is then left out.
	Operator func() gerritstream.Operator

	// DamageMember makes what a process announced something that nobody
	// understands. nil: this store cannot; that test is then left out.
	DamageMember func(gerritstream.Store)

	// DamageReport makes what a process reported something that nobody
	// understands. nil: this store cannot; that test is then left out.
	DamageReport func(gerritstream.Store)

	// Foreign has a process of another program queue up for a shard, lead it
	// once it is first, and read nothing; leave ends it. It returns once the
	// process is in the line, and leave once it is gone. nil: there are no such
	// programs; the tests of them are then left out.
	Foreign func(shard gerritstream.ShardID) (leave func())

	// FailNext has the next write at point, by any process or operator, suffer
	// a fault. nil: this store cannot; the fault matrix is then left out.
	FailNext func(point Point, fault Fault)
}

// Run holds a Store to the contract of gerritstream.Store, and to that of
// gerritstream.Operator if it has one. Each subtest has a state of its own;
// outside of bubbles they run in parallel, as many as -test.parallel allows.
func Run(t *testing.T, h Harness) {
	for _, group := range [][]test{
		originTests, positionTests, campaignTests, termTests, commitTests, contentTests, endedTests, inspectTests, groupTests,
		faultTests, operatorTests, deadLetterTests,
	} {
		for _, test := range group {
			t.Run(test.name, func(t *testing.T) { h.run(t, test.run) })
		}
	}
}

// test is one promise of the contract.
type test struct {
	name string
	run  func(f *fixture)
}

func (h Harness) run(t *testing.T, run func(*fixture)) {
	if !h.Bubble {
		t.Parallel()
		run(&fixture{t: t, harness: h, state: h.New(t)})
		return
	}
	synctest.Test(t, func(t *testing.T) {
		run(&fixture{t: t, harness: h, state: h.New(t)})
	})
}
