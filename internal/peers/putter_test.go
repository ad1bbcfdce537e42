package peers_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// TestPutter puts into both emulators with a split and a merge under way, and
// reads the shards' number back with the AWS command line: four, less one split
// and two merged, is seven listed.
func TestPutter(t *testing.T) {
	for name, start := range emulators {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peers.Require(t, peers.NPM, peers.Boto3, peers.AWSCLI)
			endpoint := start(t)
			events := madeUpEvents(600)
			putter := peers.Putter{Endpoint: endpoint, Stream: "s", Create: 4, Reshard: len(events), Batch: 50}
			puts := putter.Put(t, events)
			checkPuts(t, events, puts)
			var list struct{ Shards []struct{ ShardID string } }
			if err := json.Unmarshal(peers.AWS(t, endpoint, "list-shards", "--stream-name", "s"), &list); err != nil {
				t.Fatal(err)
			}
			if len(list.Shards) != 7 {
				t.Errorf("%d shards listed, want 4 + 2 of the split + 1 of the merge", len(list.Shards))
			}
		})
	}
}

func madeUpEvents(n int) []peers.Event {
	events := make([]peers.Event, n)
	for i := range events {
		events[i] = peers.Event{Key: fmt.Sprintf("key-%d", i%97), Data: fmt.Appendf(nil, "event %d \xff\x00", i)}
	}
	return events
}

// checkPuts fails the test unless each event was put once, each at its own
// place.
func checkPuts(t *testing.T, events []peers.Event, puts []peers.Put) {
	t.Helper()
	digests, places, shards := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, put := range puts {
		digests[put.SHA256] = true
		places[put.Shard+" "+put.SequenceNumber] = true
		shards[put.Shard] = true
	}
	for i, event := range events {
		if sum := sha256.Sum256(event.Data); !digests[hex.EncodeToString(sum[:])] {
			t.Errorf("event %d is not among the puts", i)
		}
	}
	if len(puts) != len(events) || len(places) != len(events) {
		t.Errorf("%d puts in %d places, want %d", len(puts), len(places), len(events))
	}
	if len(shards) != 7 {
		t.Errorf("events went to %d shards, want 7: the split and the merge while putting", len(shards))
	}
}
