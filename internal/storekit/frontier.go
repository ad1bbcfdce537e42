package storekit

import (
	"encoding/json"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// EncodeFrontier returns the stored form of what a frontier says of its shards:
// a JSON object of milliseconds since 1970; 0: not known.
func EncodeFrontier(f queue.Frontier) string {
	until := make(map[gerritstream.ShardID]int64, len(f.Until))
	for shard, t := range f.Until {
		until[shard] = 0
		if !t.IsZero() {
			until[shard] = t.UnixMilli()
		}
	}
	text, _ := json.Marshal(until) // numbers have a form
	return string(text)
}

// JoinFrontiers returns what processes together know, of the stored forms of
// their frontiers in the current epoch; zero: nothing. What one process knows
// of a shard counts for all. Each process has its own list of the shards that
// may still bring events, and any of these lists is complete: what is missing
// from it opens when one of its shards closes, and that shard stands still
// then. So the latest of their frontiers counts.
func JoinFrontiers(stored [][]byte) (time.Time, error) {
	shared := make([]map[gerritstream.ShardID]int64, len(stored))
	latest := map[gerritstream.ShardID]int64{}
	for i, text := range stored {
		if err := json.Unmarshal(text, &shared[i]); err != nil {
			return time.Time{}, err
		}
		for shard, t := range shared[i] {
			latest[shard] = max(latest[shard], t)
		}
	}
	var frontier int64
	for _, until := range shared {
		frontier = max(frontier, earliest(until, latest))
	}
	if frontier == 0 {
		return time.Time{}, nil
	}
	return FromMillis(frontier), nil
}

// earliest returns the earliest time that is known of some shards; 0: of one,
// none is, or there are none.
func earliest(shards, known map[gerritstream.ShardID]int64) (least int64) {
	first := true
	for shard := range shards {
		if t := known[shard]; first || t < least {
			least, first = t, false
		}
	}
	return least
}
