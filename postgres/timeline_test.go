package postgres_test

import (
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// A standby that is promoted, or a server restored to a point in time, may lack
// the last events. A reader that has seen them, and asks for what comes after,
// gets what is queued in their place.
func TestRolledBackNumbersAreNotGivenAgain(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	const seen = 10
	must(t, a.store.Register(t.Context(), "ci", queue.Filter{}, 0))
	a.commit(seen)
	a.exec(`DELETE FROM events WHERE n > 2`)
	a.exec(`UPDATE head SET n = 2, timeline = '00000000'`) // as no server has it

	a.commit(1)
	_, err := a.store.Append(t.Context(), "ci", []gerritstream.Entry{entry(shardB, "1", 10)})
	must(t, err)
	events, err := a.store.Read(t.Context(), "ci", seen, 10)
	must(t, err)
	if len(events) != 2 || events[1].Number != events[0].Number+1 {
		t.Errorf("a reader that has seen %d gets %v", seen, events)
	}
}

// The numbers that are left out do not count as events: retention waits for
// consumers.
func TestNumbersThatAreLeftOutTakeNoRoom(t *testing.T) {
	t.Parallel()
	a := newAging(t)
	must(t, a.store.Register(t.Context(), "behind", queue.Filter{}, 0))
	a.store.SetMaxBytes(1 << 20)
	a.commit(100)
	a.exec(`ANALYZE events`)
	a.exec(`UPDATE head SET timeline = '00000000'`)
	a.commit(100)
	a.age(2)
	a.sweep()
	a.expect(200, 0)
}
