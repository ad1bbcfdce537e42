package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// PrunePlan is which stored positions are not needed any more, and why shards
// that are not listed keep theirs.
type PrunePlan struct {
	Remove []gerritstream.PositionKey // by epoch and shard
	Keep   []KeptPosition
}

// KeptPosition is the position of a shard that is not listed any more, and
// still needed.
type KeptPosition struct {
	Key gerritstream.PositionKey
	Why string
}

// Prune plans a removal of positions. The shards must have been listed
// completely before the positions were read.
//
// The positions of earlier epochs go, because their shards do not exist any
// more. So do those of shards that have ended and are not listed any more,
// unless a child of theirs is listed without a position: only that they were
// followed makes the child start with its first record. A shard that should be
// listed, by what its position says, keeps its position: the listing may be
// wrong once, and the shard would be read from its start if it came back.
func Prune(stored gerritstream.Stored, l gerritstream.Listing) PrunePlan {
	p := PrunePlan{Remove: slices.Clone(stored.Earlier)}
	horizon := Horizon(stored.Origin, l)
	for _, id := range slices.Sorted(maps.Keys(stored.Positions)) {
		if slices.ContainsFunc(l.Shards, func(s gerritstream.Shard) bool { return s.ID == id }) {
			continue
		}
		key := gerritstream.PositionKey{Epoch: stored.Epoch(), Shard: id}
		if why := neededFor(id, stored, l.Shards, horizon); why != "" {
			p.Keep = append(p.Keep, KeptPosition{key, why})
			continue
		}
		p.Remove = append(p.Remove, key)
	}
	return p
}

// neededFor returns why the position of a shard that is not listed is still
// needed; "": it is not.
func neededFor(
	id gerritstream.ShardID, stored gerritstream.Stored, listed []gerritstream.Shard, horizon time.Time,
) string {
	pos := stored.Positions[id].Position
	switch {
	case pos.Unreadable != nil:
		return "it cannot be decoded"
	case !pos.Ended:
		return "no process has marked it ended yet"
	case pos.HandledUntil().After(horizon.Add(gerritstream.ArrivalError)):
		return "the stream should still list the shard: look again later"
	}
	for _, s := range listed {
		if _, ok := stored.Positions[s.ID]; !ok && slices.Contains(s.Parents, id) {
			return fmt.Sprintf("its child %s has not begun yet", s.ID)
		}
	}
	return ""
}
