package e2e

import (
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// TestEventsOfBoto3AreQueued has boto3 put events over four shards while one is
// split and two are merged, and gerritstream read the stream from its beginning
// to its tip.
func TestEventsOfBoto3AreQueued(t *testing.T) {
	t.Parallel()
	for name, stream := range streams {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const events = 5000
			endpoint, database := stream(t), newDatabase(t)
			putter := peers.Putter{Endpoint: endpoint, Stream: streamName, Create: 4, Reshard: events}
			puts := newTraffic(1).put(t, putter, events)
			runUntilCaughtUp(t, endpoint, database)
			checkExact(t, database, puts)
			if shards := shardsOf(puts); len(shards) != 7 {
				t.Errorf("the events went to %d shards, want 4 and 2 of a split and 1 of a merge", len(shards))
			}
		})
	}
}

func shardsOf(puts []wantedPut) map[string]bool {
	shards := map[string]bool{}
	for _, put := range puts {
		shards[put.Shard] = true
	}
	return shards
}
