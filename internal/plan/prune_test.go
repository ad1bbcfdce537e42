package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
)

func TestPrune(t *testing.T) {
	now := minutes(0)
	listing := gs.Listing{Now: now, Retention: time.Hour, Shards: []gs.Shard{
		{ID: "c", Parents: ids{"old", "waited"}}, {ID: "d", Parents: ids{"begun"}}, {ID: "e", Last: "9"},
	}}
	stored := gs.Stored{
		Origin: &gs.Origin{Epoch: 2},
		Positions: map[gs.ShardID]gs.StoredPosition{
			"old":    {Position: ended(at("9", -120))},
			"waited": {Position: ended(at("9", -120))},
			"begun":  {Position: ended(at("9", -120))},
			"alone":  {Position: ended(at("9", -120))},
			"empty":  {Position: ended(gs.Position{From: gs.StartingPosition{TrimHorizon: true}})},
			"open":   {Position: at("9", -120)},
			"fresh":  {Position: ended(at("9", -30))},
			"edge":   {Position: ended(at("9", -56))},
			"bad":    {Position: gs.Position{Unreadable: gs.ErrBadPosition}},
			"d":      {Position: at("9", -1)},
			"e":      {Position: ended(at("9", -120))},
		},
		Earlier: []gs.PositionKey{{Epoch: 0, Shard: "x"}, {Epoch: 1, Shard: "d"}},
	}
	p := Prune(stored, listing)
	if got, want := fmt.Sprint(p.Remove), "[{0 x} {1 d} {2 alone} {2 begun} {2 edge} {2 empty}]"; got != want {
		t.Errorf("removed would be %s, want %s", got, want)
	}
	want := "[{{2 bad} it cannot be decoded} {{2 fresh} the stream should still list the shard: look again later} " +
		"{{2 old} its child c has not begun yet} {{2 open} no process has marked it ended yet} " +
		"{{2 waited} its child c has not begun yet}]"
	if got := fmt.Sprint(p.Keep); got != want {
		t.Errorf("kept would be\n%s, want\n%s", got, want)
	}
}

// Whatever Prune removes, no listed shard is planned otherwise afterwards.
func FuzzPrune(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) {
		in := randomInput(rand.New(rand.NewPCG(seed, 3)), int(steps%40))
		in.Gone = nil
		stored := gs.Stored{Origin: &gs.Origin{}, Positions: map[gs.ShardID]gs.StoredPosition{}}
		for id, pos := range in.Positions {
			stored.Positions[id] = gs.StoredPosition{Position: pos}
		}
		before := show(Steps(in))
		for _, key := range Prune(stored,
			gs.Listing{Shards: in.Shards, Now: minutes(120), Retention: time.Hour}).Remove {
			delete(in.Positions, key.Shard)
		}
		if after := show(Steps(in)); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
	})
}
