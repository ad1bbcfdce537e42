package e2e

import (
	"testing"

	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// TestTwoProcessesShare: two processes on one file lead two of four shards
// each, in whatever order they start; when one stops, the other leads all, and
// when one joins again, they share again. Nothing is lost or doubled.
func TestTwoProcessesShare(t *testing.T) {
	t.Parallel()
	endpoint, database := emulate(t), newDatabase(t)
	tr := newTraffic(3)
	puts := tr.put(t, peers.Putter{Endpoint: endpoint, Stream: streamName, Create: 4}, 200)
	first := start(t, fromStart(endpoint, database)...)
	eventually(t, "events are queued", func() bool { return rows(t, database) > 0 })
	shared(t, database, map[*program]int{first: 4})
	second := start(t, fromStart(endpoint, database)...)
	shared(t, database, map[*program]int{first: 2, second: 2})
	puts = append(puts, tr.put(t, peers.Putter{Endpoint: endpoint, Stream: streamName}, 200)...)
	stop(t, first)
	shared(t, database, map[*program]int{second: 4})
	third := start(t, fromStart(endpoint, database)...)
	shared(t, database, map[*program]int{second: 2, third: 2})
	puts = append(puts, tr.put(t, peers.Putter{Endpoint: endpoint, Stream: streamName}, 200)...)
	eventually(t, "everything is queued", func() bool { return rows(t, database) >= count(puts, gerrittest.Queued) })
	stop(t, second)
	stop(t, third)
	checkExact(t, database, puts)
}

// shared waits until each process leads its number of shards.
func shared(t *testing.T, database string, want map[*program]int) {
	t.Helper()
	eventually(t, "the shards are shared", func() bool {
		s := readStatus(t, database)
		for p, n := range want {
			if s.leads(p) != n {
				return false
			}
		}
		return true
	})
}
