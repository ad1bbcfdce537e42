package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
)

var positionTests = []test{
	{"positions are none at first", func(f *fixture) {
		store := f.state.Open()
		if n := len(f.positions(store, 0)); n != 0 {
			f.t.Errorf("an empty store has %d positions", n)
		}
		f.begins(f.elect(store, shardA), nil)
	}},
	{"positions of all shapes are returned as committed", func(f *fixture) {
		anchored := gerritstream.Position{From: gerritstream.StartingPosition{Time: arrival(0)}}
		idle := anchored
		idle.CaughtUp = arrival(500)
		full := after(7)
		full.CaughtUp = arrival(900).Add(123456 * time.Nanosecond)
		full.Partial = &gerritstream.Partial{Seq: sequence(8), Sub: 41}
		full.Lost = []gerritstream.Interval{
			{Until: arrival(3), Why: "trimmed"}, {From: arrival(4), Until: arrival(5), Why: "shard gone"},
		}
		horizon := gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}

		store, reader := f.state.Open(), f.state.Open()
		for _, want := range []gerritstream.Position{anchored, idle, full, horizon, endedAfter(9)} {
			term := f.elect(store, shardA)
			f.commit(term, gerritstream.Commit{Position: want})
			f.stored(store, 0, shardA, &want)
			f.stored(reader, 0, shardA, &want)
			f.resign(term)
			next := f.elect(reader, shardA)
			f.begins(next, &want)
			f.resign(next)
		}
	}},
	{"positions of one epoch are not seen in another", func(f *fixture) {
		store := f.state.Open()
		f.leave(store, 0, shardA, after(900))
		term := f.electIn(store, 1, shardA)
		f.begins(term, nil)
		f.commit(term, gerritstream.Commit{Position: after(1)})
		f.resign(term)

		reader := f.state.Open()
		f.stored(reader, 0, shardA, new(after(900)))
		f.stored(reader, 1, shardA, new(after(1)))
		f.stored(reader, 2, shardA, nil)
	}},
	{"position that is damaged is reported and replaced", func(f *fixture) {
		store := f.state.Open()
		for _, raw := range []string{"", "{", "null", "[]", `"x"`, `{"format":1}`, `{"format":1,"after":"12x"}`,
			"\x00\xff"} {
			f.state.WritePosition(0, shardA, []byte(raw))
			pos, ok := f.positions(store, 0)[shardA]
			if !ok || !errors.Is(pos.Unreadable, gerritstream.ErrBadPosition) {
				f.t.Errorf("stored position %q reads as %+v (%v), want one with Unreadable", raw, pos, ok)
			}
			term := f.elect(store, shardA)
			began := term.Beginning()
			if !began.Stored || !errors.Is(began.Position.Unreadable, gerritstream.ErrBadPosition) {
				f.t.Errorf("a term over position %q begins with %+v, want one with Unreadable", raw, began)
			}
			f.resign(term)
		}
		f.state.WritePosition(0, shardA, []byte("garbage"))
		term, good := f.elect(store, shardA), after(3)
		f.commit(term, gerritstream.Commit{Position: good})
		f.stored(store, 0, shardA, &good)
		f.stored(f.state.Open(), 0, shardA, &good)
	}},
	{"position of a newer version is refused", func(f *fixture) {
		store := f.state.Open()
		f.state.WritePosition(0, shardA, []byte(`{"format":1000000,"after":{"of":"another kind"}}`))
		_, err := store.Positions(f.soon(), 0)
		f.returned("positions", err, gerritstream.ErrNewerFormat)
		_, err = store.Campaign(f.soon(), 0, shardA)
		f.returned("campaign", err, gerritstream.ErrNewerFormat)
		f.state.WritePosition(0, shardA, nil)
		f.elect(f.state.Open(), shardA) // the refused candidate has left nothing behind
	}},
}

var endedTests = []test{
	{"end of a shard is seen by a process that waits", func(f *fixture) {
		store, other := f.state.Open(), f.state.Open()
		there, _ := f.waiting(other, 0, shardA)
		here, _ := f.waiting(store, 0, shardA)
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 2))
		f.commit(term, gerritstream.Commit{Position: endedAfter(2)})
		f.sees(there)
		f.sees(here)
	}},
	{"end of a shard that was before is seen at once", func(f *fixture) {
		f.leave(f.state.Open(), 0, shardA, endedAfter(2))
		done, _ := f.waiting(f.state.Open(), 0, shardA)
		f.sees(done)
	}},
	{"end of a shard is waited for in its own epoch", func(f *fixture) {
		store := f.state.Open()
		f.leave(store, 0, shardA, endedAfter(2))
		done, _ := f.waiting(f.state.Open(), 1, shardA)
		f.leave(store, 1, shardA, endedAfter(1))
		f.sees(done)
	}},
	{"end of a shard: a cancelled wait returns", func(f *fixture) {
		done, cancel := f.waiting(f.state.Open(), 0, shardA)
		cancel()
		if err := receive(f, done); err != nil && !errors.Is(err, context.Canceled) {
			f.t.Errorf("a cancelled wait returned %v", err)
		}
	}},
}

// waiting starts a WaitEnded.
func (f *fixture) waiting(
	store gerritstream.Store, epoch int, shard gerritstream.ShardID,
) (<-chan error, context.CancelFunc) {
	return begin(f, func(ctx context.Context) error { return store.WaitEnded(ctx, epoch, shard) })
}

// sees waits for a WaitEnded to return nil.
func (f *fixture) sees(done <-chan error) {
	f.t.Helper()
	if err := receive(f, done); err != nil {
		f.t.Errorf("wait for the end: %v", err)
	}
}
