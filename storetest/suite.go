package storetest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Harness is one kind of Store, as the suite drives it.
type Harness struct {
	// New makes an empty state for one test and closes it by t.Cleanup.
	New func(t *testing.T) Backend

	// Bubble runs each test in a testing/synctest bubble, where waiting takes
	// no time: possible if the store waits only for timers and its own
	// goroutines.
	Bubble bool

	// Settle is how long the suite waits for what must not happen: longer than
	// a candidate needs to notice that a leadership is free.
	Settle time.Duration

	// Patience is how long the suite waits for what must happen: longer than
	// the leadership of a dead process stands.
	Patience time.Duration

	// Deduplicates: an entry that the queue holds already is not queued again.
	// In a store without this, only the position keeps entries from being
	// queued twice.
	Deduplicates bool
}

// Backend is one shared state: how processes come and go, how to read back what
// they wrote, and how to tamper with it. The optional fields are nil if the
// store cannot do that; the tests that need it are then left out.
type Backend struct {
	// Open starts a new process on the state.
	Open func() gerritstream.Store

	// Kill ends a process without a word: its calls fail from now on.
	Kill func(gerritstream.Store)

	// Entries reads the queue, in its order, by other means than the Store's
	// own. Only ID and Payload are compared.
	Entries func() []gerritstream.Entry

	// DeadLetters reads all dead letters, in any order, by other means than
	// the Store's own.
	DeadLetters func() []gerritstream.DeadLetter

	// WritePosition stores raw as a shard's position, which no process leads;
	// nil removes it.
	WritePosition func(epoch int, shard gerritstream.ShardID, raw []byte)

	// WriteNewerOrigin makes the origin one that a newer version wrote.
	WriteNewerOrigin func()

	// Expire frees the leadership of a shard without the knowledge of the
	// process that has it, as if that were paused or partitioned.
	Expire func(shard gerritstream.ShardID)

	// ExpireLease does so with the lease of a consumer. For RunQueue.
	ExpireLease func(name string)

	// Operator opens an operator on the state. Optional.
	Operator func() gerritstream.Operator

	// DamageMember and DamageReport make the member info or the report of a
	// process unreadable. Optional.
	DamageMember func(gerritstream.Store)
	DamageReport func(gerritstream.Store)

	// Foreign makes a process of another program a candidate for a shard,
	// which it leads once it is first, and reads nothing; leave ends that. Both
	// return once it is so. Optional.
	Foreign func(shard gerritstream.ShardID) (leave func())

	// FailNext makes the next write at a point, by any process or operator,
	// suffer a fault. Optional.
	FailNext func(point Point, fault Fault)
}

// Run holds a Store to the contract of gerritstream.Store, and to that of
// gerritstream.Operator if it has one. Each subtest has a state of its own;
// outside of bubbles they run in parallel.
func Run(t *testing.T, h Harness) {
	for _, group := range [][]test{
		originTests, positionTests, campaignTests, termTests, commitTests, contentTests, endedTests, inspectTests,
		groupTests, faultTests, operatorTests, deadLetterTests,
	} {
		runEach(t, h, group)
	}
}

func runEach(t *testing.T, h Harness, tests []test) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			run := func(t *testing.T) { test.run(&fixture{t: t, harness: h, state: h.New(t)}) }
			if h.Bubble {
				synctest.Test(t, run)
				return
			}
			t.Parallel()
			run(t)
		})
	}
}

// test is one promise of the contract.
type test struct {
	name string
	run  func(f *fixture)
}
