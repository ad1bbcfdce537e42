package consumer

import (
	"maps"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// A shard that has ended holds up the others until its children are listed.
func TestAnEndedShardStandsForItsChildren(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0).UTC() }
	listing := &gerritstream.Listing{Shards: []gerritstream.Shard{
		{ID: "ended"}, {ID: "listed as closed", Last: "7"}, {ID: "child", Parents: []gerritstream.ShardID{"ended"}},
		{ID: "waiting", Parents: []gerritstream.ShardID{"parent"}}, {ID: "parent", Last: "8"},
	}}
	ended := gerritstream.Position{After: "6", Arrived: at(6), Ended: true}
	positions := storedPositions{
		"ended": ended, "listed as closed": ended, "not listed any more": ended, "parent": {After: "1", Arrived: at(1)},
	}
	steps := plan.Steps(plan.Input{Shards: listing.Shards, Positions: positions})
	var c Consumer
	c.frontier.plan(1, listing, steps, positions)
	want := map[gerritstream.ShardID]time.Time{"ended": at(6), "child": at(6), "parent": at(1)}
	if _, until := c.Frontier(); !maps.Equal(until, want) {
		t.Errorf("%v, want %v", until, want)
	}
}

// What is known of a shard is known of its stream: one that was recreated has
// shards of the same ids.
func TestAFrontierIsOfOneEpoch(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0).UTC() }
	listing := &gerritstream.Listing{Shards: []gerritstream.Shard{{ID: "a"}, {ID: "b"}}}
	steps := []plan.Step{
		{Shard: "a", From: gerritstream.StartingPosition{Time: at(5)}},
		{Shard: "b", From: gerritstream.StartingPosition{TrimHorizon: true}},
	}
	positions := storedPositions{"gone": {After: "1", Arrived: at(3)}, "over": {Ended: true}}
	var c Consumer
	expect := func(what string, epoch int, want map[gerritstream.ShardID]time.Time) {
		t.Helper()
		if e, until := c.Frontier(); e != epoch || !maps.Equal(until, want) {
			t.Errorf("%s: epoch %d, %v, want %d, %v", what, e, until, epoch, want)
		}
	}
	expect("nothing is known", 0, nil)
	planned := map[gerritstream.ShardID]time.Time{"a": at(5), "b": {}, "gone": at(3)}
	c.frontier.plan(1, listing, steps, positions)
	expect("as planned", 1, planned)
	c.frontier.reached(0, "a", at(9))
	c.frontier.reached(1, "a", at(4))
	c.frontier.reached(1, "other", at(9))
	expect("what is of another stream, older, or of no shard", 1, planned)
	c.frontier.reached(1, "b", at(7))
	c.frontier.plan(1, listing, steps, positions)
	planned["b"] = at(7)
	expect("planned again", 1, planned)
	c.frontier.plan(2, listing, steps, nil)
	expect("recreated", 2, map[gerritstream.ShardID]time.Time{"a": at(5), "b": {}})
}
