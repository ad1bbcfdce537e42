package storetest

import (
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
)

var positionTests = []test{
	{"positions are none at first", positionsNone},
	{"positions of all shapes are returned as committed", positionShapes},
	{"positions of one epoch are not seen in another", positionsPerEpoch},
	{"position that is damaged is reported and replaced", positionDamaged},
	{"position of a newer version is refused", positionNewer},
}

func positionsNone(f *fixture) {
	store := f.state.Open()
	if n := len(f.positions(store, 0)); n != 0 {
		f.t.Errorf("an empty store has %d positions", n)
	}
	f.begins(f.elect(store, shardA), nil)
}

func positionShapes(f *fixture) {
	anchored := gerritstream.Position{From: gerritstream.StartingPosition{Time: arrival(0)}}
	idle := anchored
	idle.CaughtUp = arrival(500)
	full := after(7)
	full.CaughtUp = arrival(900).Add(123456 * time.Nanosecond)
	full.Partial = &gerritstream.Partial{Seq: sequence(8), Sub: 41}
	full.Lost = []gerritstream.Interval{{Until: arrival(3), Why: "trimmed"}, {From: arrival(4), Until: arrival(5), Why: "shard gone"}}
	ended := after(9)
	ended.Ended = true
	horizon := gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}

	store, reader := f.state.Open(), f.state.Open()
	for _, want := range []gerritstream.Position{anchored, idle, full, horizon, ended} {
		term := f.elect(store, shardA)
		f.commit(term, gerritstream.Commit{Position: want})
		f.stored(store, 0, shardA, &want)
		f.stored(reader, 0, shardA, &want)
		f.resign(term)
		next := f.elect(reader, shardA)
		f.begins(next, &want)
		f.resign(next)
	}
}

func positionsPerEpoch(f *fixture) {
	store := f.state.Open()
	old, young := after(900), after(1)
	term := f.electIn(store, 0, shardA)
	f.commit(term, gerritstream.Commit{Position: old})
	f.resign(term)

	term = f.electIn(store, 1, shardA)
	f.begins(term, nil)
	f.commit(term, gerritstream.Commit{Position: young})
	f.resign(term)

	reader := f.state.Open()
	f.stored(reader, 0, shardA, &old)
	f.stored(reader, 1, shardA, &young)
	f.stored(reader, 2, shardA, nil)
}

func positionDamaged(f *fixture) {
	store := f.state.Open()
	for _, raw := range []string{"", "{", "null", "[]", `"x"`, `{"format":1}`, `{"format":1,"after":"12x"}`, "\x00\xff"} {
		f.state.WritePosition(0, shardA, []byte(raw))
		f.damagedEverywhere(store, raw)
	}
	f.state.WritePosition(0, shardA, []byte("garbage"))
	term, good := f.elect(store, shardA), after(3)
	f.commit(term, gerritstream.Commit{Position: good})
	f.stored(store, 0, shardA, &good)
	f.stored(f.state.Open(), 0, shardA, &good)
}

// damagedEverywhere checks that a damaged position shows as such, and stops
// neither others nor an election.
func (f *fixture) damagedEverywhere(store gerritstream.Store, raw string) {
	f.t.Helper()
	pos, ok := f.positions(store, 0)[shardA]
	if !ok || !errors.Is(pos.Unreadable, gerritstream.ErrBadPosition) {
		f.t.Errorf("stored position %q reads as %+v (%v), want one with Unreadable", raw, pos, ok)
	}
	term := f.elect(store, shardA)
	defer f.resign(term)
	if began := term.Beginning(); !began.Stored || !errors.Is(began.Position.Unreadable, gerritstream.ErrBadPosition) {
		f.t.Errorf("a term over position %q begins with %+v, want one with Unreadable", raw, began)
	}
}

func positionNewer(f *fixture) {
	store := f.state.Open()
	f.state.WritePosition(0, shardA, []byte(`{"format":1000000,"after":{"of":"another kind"}}`))
	if _, err := store.Positions(f.soon(), 0); !errors.Is(err, gerritstream.ErrNewerFormat) {
		f.t.Errorf("positions returned %v, want %v", err, gerritstream.ErrNewerFormat)
	}
	if _, err := store.Campaign(f.soon(), 0, shardA); !errors.Is(err, gerritstream.ErrNewerFormat) {
		f.t.Errorf("campaign returned %v, want %v", err, gerritstream.ErrNewerFormat)
	}
	f.state.WritePosition(0, shardA, nil)
	f.elect(f.state.Open(), shardA) // the refused candidate has left nothing behind
}
