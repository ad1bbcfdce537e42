package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// operatorTests are what is promised of positions to an operator.
var operatorTests = []test{
	{"operator: an empty store holds nothing", func(f *fixture) {
		if f.state.Operator == nil {
			f.t.Skip("this store has no operator")
		}
		f.state.Open()
		if s := f.held(f.openOperator()); s.Origin != nil || len(s.Positions) != 0 || len(s.Earlier) != 0 {
			f.t.Errorf("an empty store holds %+v", s)
		}
	}},
	{"operator: positions are shown with their stamps", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		before := time.Now().Truncate(time.Millisecond)
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 2))
		first := f.held(o)
		f.commit(term, gerritstream.Commit{Position: after(2)})
		second := f.held(o)

		want, s := after(2), second.Positions[shardA]
		if !storekit.SameOrigin(first.Origin, new(firstOrigin())) || second.Epoch() != 0 || len(second.Earlier) != 0 {
			f.t.Errorf("origin is %+v, earlier positions %v", first.Origin, second.Earlier)
		}
		if len(second.Positions) != 1 || !samePosition(s.Position, want) || s.Stamp.Term != term.Number() {
			f.t.Errorf("positions are %+v", second.Positions)
		}
		if s.Stamp.Nonce == "" || s.Stamp.Nonce == first.Positions[shardA].Stamp.Nonce {
			f.t.Errorf("two commits have the nonces %q and %q", first.Positions[shardA].Stamp.Nonce, s.Stamp.Nonce)
		}
		if s.Committed.Before(before) || s.Committed.After(time.Now().Add(time.Second)) {
			f.t.Errorf("the commit was at %v, not after %v", s.Committed, before)
		}
	}},
	{"operator: positions of earlier epochs are named", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		for _, shard := range []gerritstream.ShardID{shardB, shardA} {
			f.leave(store, 0, shard, after(9))
		}
		f.setOrigin(store, new(firstOrigin()), recreated(1))
		f.commit(f.electIn(store, 1, shardA), gerritstream.Commit{Position: after(1)})
		s := f.held(o)
		want := []gerritstream.PositionKey{{Epoch: 0, Shard: shardA}, {Epoch: 0, Shard: shardB}}
		if !slices.Equal(s.Earlier, want) {
			f.t.Errorf("earlier positions are %v, want %v", s.Earlier, want)
		}
		if len(s.Positions) != 1 || !samePosition(s.Positions[shardA].Position, after(1)) || s.Epoch() != 1 {
			f.t.Errorf("positions of epoch %d are %+v", s.Epoch(), s.Positions)
		}
	}},
	{"operator: a damaged and a newer position are shown as such", func(f *fixture) {
		o := f.operator()
		f.state.WritePosition(0, shardA, []byte("garbage"))
		f.state.WritePosition(0, shardB, []byte(`{"format":1000000}`))
		s := f.held(o)
		for shard, want := range map[gerritstream.ShardID]error{
			shardA: gerritstream.ErrBadPosition, shardB: gerritstream.ErrNewerFormat,
		} {
			if got := s.Positions[shard].Position.Unreadable; !errors.Is(got, want) {
				f.t.Errorf("%s is unreadable because of %v, want %v", shard, got, want)
			}
		}
	}},
	{"operator: a position that is set ends the term soon, and the next one begins with it", func(f *fixture) {
		o, first, second := f.operator(), f.state.Open(), f.state.Open()
		term, want := f.elect(first, shardA), after(2)
		f.commit(term, step(shardA, 1, 4))
		won, _ := f.candidate(second, 0, shardA)
		f.set(o, shardA, want)

		timer := time.NewTimer(noticed)
		defer timer.Stop()
		select {
		case <-term.Context().Done():
		case <-timer.C:
			f.t.Fatalf("the term goes on for more than %v", noticed)
		}
		f.ended(term)
		f.resign(term)
		next := f.wins(won)
		f.begins(next, &want)
		f.follows(next, term.Number())
		f.stored(first, 0, shardA, &want)
	}},
	// From the moment the position is set, what the term has under way is
	// refused, whether the term has noticed or not.
	{"operator: a term commits nothing after its position was set", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		term, want := f.elect(store, shardA), after(1)
		f.commit(term, step(shardA, 1, 4))
		f.set(o, shardA, want)
		c := step(shardA, 5, 6)
		c.DeadLetters = []gerritstream.DeadLetter{deadLetter(shardA, 7)}
		f.refused(term, c)
		f.refused(term, c)
		f.stored(store, 0, shardA, &want)
		f.queued(events(shardA, 1, 4)...)
		f.deadLettered()
		f.resign(term)
		next := f.elect(store, shardA)
		f.begins(next, &want)
		f.refused(term, c)
		f.commit(next, gerritstream.Commit{Position: after(2)})
	}},
	{"operator: a position goes back, and what comes after it is committed again", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 4))
		back := gerritstream.Position{From: gerritstream.StartingPosition{Time: arrival(3)}}
		back.Lost = []gerritstream.Interval{{From: arrival(1), Until: arrival(2), Why: "trimmed"}}
		f.set(o, shardA, back)
		next := f.elect(f.state.Open(), shardA)
		f.begins(next, &back)
		f.commit(next, step(shardA, 3, 5))
		if f.harness.Deduplicates {
			f.queued(events(shardA, 1, 5)...)
		} else {
			f.queued(append(events(shardA, 1, 4), events(shardA, 3, 5)...)...)
		}
		f.stored(store, 0, shardA, new(after(5)))
	}},
	{"operator: a position is set where there is none", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		led := f.elect(store, shardA) // led, and nothing committed
		want := gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}
		for _, shard := range []gerritstream.ShardID{shardA, shardB} {
			none := false
			change := func(stored *gerritstream.StoredPosition) (gerritstream.Position, error) {
				none = stored == nil
				return want, nil
			}
			if err := o.SetPosition(f.soon(), 0, shard, change); err != nil || !none {
				f.t.Errorf("set a position where there is none: %v; the change saw none: %v", err, none)
			}
			f.stored(store, 0, shard, &want)
		}
		f.refused(led, step(shardA, 1, 1))
		f.begins(f.elect(f.state.Open(), shardB), &want)
	}},
	{"operator: a position is set over a damaged one", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		f.state.WritePosition(0, shardA, []byte("garbage"))
		var seen error
		change := func(stored *gerritstream.StoredPosition) (gerritstream.Position, error) {
			if stored != nil {
				seen = stored.Position.Unreadable
			}
			return after(3), nil
		}
		err := o.SetPosition(f.soon(), 0, shardA, change)
		if err != nil || !errors.Is(seen, gerritstream.ErrBadPosition) {
			f.t.Errorf("set position: %v; the change saw %v", err, seen)
		}
		want := after(3)
		f.stored(store, 0, shardA, &want)
		f.begins(f.elect(store, shardA), &want)
	}},
	{"operator: a position of a newer version is left alone", func(f *fixture) {
		o := f.operator()
		f.state.WritePosition(0, shardA, []byte(`{"format":1000000}`))
		f.returned("set position", o.SetPosition(f.soon(), 0, shardA, to(after(3))), gerritstream.ErrNewerFormat)
		if got := f.held(o).Positions[shardA].Position.Unreadable; !errors.Is(got, gerritstream.ErrNewerFormat) {
			f.t.Errorf("the position of a newer version was replaced: %v", got)
		}
	}},
	{"operator: a change that refuses writes nothing and ends no term", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		term, want := f.elect(store, shardA), after(1)
		f.commit(term, step(shardA, 1, 1))
		errNo := errors.New("not wanted")
		change := func(stored *gerritstream.StoredPosition) (gerritstream.Position, error) {
			if stored == nil || !samePosition(stored.Position, want) || stored.Stamp.Term != term.Number() {
				f.t.Errorf("the change sees %+v", stored)
			}
			return after(9), errNo
		}
		f.returned("set position", o.SetPosition(f.soon(), 0, shardA, change), errNo)
		f.stored(store, 0, shardA, &want)
		f.commit(term, step(shardA, 2, 2))
	}},
	{"operator: a position is set in the current epoch only", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		term := f.elect(store, shardA)
		for _, epoch := range []int{-1, 1} {
			err := o.SetPosition(f.soon(), epoch, shardA, to(after(3)))
			f.returned("set position in another epoch", err, gerritstream.ErrConflict)
		}
		f.commit(term, step(shardA, 1, 1))
		f.setOrigin(store, new(firstOrigin()), recreated(1))
		err := o.SetPosition(f.soon(), 0, shardA, to(after(3)))
		f.returned("set position in the epoch before", err, gerritstream.ErrConflict)
		f.stored(store, 0, shardA, new(after(1)))
		f.stored(store, 1, shardA, nil)
	}},
	{"operator: an ended shard is opened again", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		done, back := endedAfter(5), after(2)
		f.leave(store, 0, shardA, done)
		f.set(o, shardA, back)
		f.stored(store, 0, shardA, &back)
		next := f.elect(f.state.Open(), shardA)
		f.begins(next, &back)
		f.commit(next, gerritstream.Commit{Position: done})
	}},
	{"operator: the terms of other shards go on", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		a, b := f.elect(store, shardA), f.elect(store, shardB)
		f.set(o, shardA, after(7))
		f.ended(a)
		f.commit(b, step(shardB, 1, 2))
		f.stored(store, 0, shardA, new(after(7)))
	}},
	{"operator: each of many changes sees the one before", func(f *fixture) {
		o := f.operator()
		other := f.openOperator()
		const each = 10
		increment := func(stored *gerritstream.StoredPosition) (gerritstream.Position, error) {
			pos := after(0)
			pos.Partial = &gerritstream.Partial{Seq: sequence(1), Sub: 1}
			if stored != nil {
				pos.Partial.Sub += stored.Position.Partial.Sub
			}
			return pos, nil
		}
		done := make(chan error, 4)
		for _, op := range []gerritstream.Operator{o, o, other, other} {
			go func() {
				for range each {
					if err := op.SetPosition(f.soon(), 0, shardA, increment); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 4 {
			if err := receive(f, done); err != nil {
				f.t.Errorf("set position: %v", err)
			}
		}
		if pos := f.held(o).Positions[shardA].Position; pos.Partial == nil || pos.Partial.Sub != 4*each {
			f.t.Errorf("after %d changes the position is %s", 4*each, pos)
		}
	}},
	{"operator: positions that ended and those of earlier epochs are removed", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		f.leave(store, 0, shardA, endedAfter(5))
		f.leave(store, 0, shardB, after(3))
		f.setOrigin(store, new(firstOrigin()), recreated(1))
		f.leave(store, 1, shardA, endedAfter(5))
		f.leave(store, 1, shardB, endedAfter(5))

		which := []gerritstream.PositionKey{
			{Epoch: 0, Shard: shardA}, {Epoch: 0, Shard: shardB}, {Epoch: 1, Shard: shardA},
			{Epoch: 1, Shard: "shardId-000000000777"},
		}
		if n, err := o.RemovePositions(f.soon(), which); err != nil || n != 3 {
			f.t.Errorf("%d positions removed, error %v, want 3", n, err)
		}
		s := f.held(o)
		if _, ok := s.Positions[shardB]; !ok || len(s.Positions) != 1 || len(s.Earlier) != 0 {
			f.t.Errorf("what is left is %+v", s)
		}
		if n, err := o.RemovePositions(f.soon(), which); err != nil || n != 0 {
			f.t.Errorf("%d positions removed a second time, error %v", n, err)
		}
	}},
	{"operator: a position in use is not removed", func(f *fixture) {
		o, store := f.operator(), f.state.Open()
		f.leave(store, 0, shardA, endedAfter(5))
		term := f.elect(store, shardB)
		f.commit(term, gerritstream.Commit{Position: after(3)})
		which := []gerritstream.PositionKey{{Epoch: 0, Shard: shardA}, {Epoch: 0, Shard: shardB}}
		n, err := o.RemovePositions(f.soon(), which)
		if !errors.Is(err, gerritstream.ErrConflict) || n != 0 {
			f.t.Errorf("%d positions removed, error %v, want %v", n, err, gerritstream.ErrConflict)
		}
		if s := f.held(o); len(s.Positions) != 2 {
			f.t.Errorf("what is left is %+v", s.Positions)
		}
		f.state.WritePosition(0, shardA, []byte("garbage"))
		_, err = o.RemovePositions(f.soon(), which[:1])
		f.returned("removal of a damaged position", err, gerritstream.ErrConflict)
		f.commit(term, step(shardB, 4, 4))
	}},
}

// noticed is how soon a process must notice that an operator set a position.
// Processes commit every 30 s at least; learning from a refusal is too late.
const noticed = 10 * time.Second

// operator opens an operator on a state whose stream has begun.
func (f *fixture) operator() gerritstream.Operator {
	f.t.Helper()
	if f.state.Operator == nil {
		f.t.Skip("this store has no operator")
	}
	store := f.state.Open()
	if _, ok, err := store.Origin(f.soon()); err != nil {
		f.t.Fatal(err)
	} else if !ok {
		f.setOrigin(store, nil, firstOrigin())
	}
	return f.openOperator()
}

func (f *fixture) openOperator() gerritstream.Operator {
	o := f.state.Operator()
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(f.t.Context()), f.harness.Patience)
		defer cancel()
		for range 2 {
			if err := o.Close(ctx); err != nil {
				f.t.Errorf("close the operator: %v", err)
			}
		}
	})
	return o
}

// held returns the positions as an operator sees them.
func (f *fixture) held(o gerritstream.Operator) gerritstream.Stored {
	f.t.Helper()
	stored, err := o.Stored(f.soon())
	if err != nil {
		f.t.Fatalf("stored: %v", err)
	}
	return stored
}

// to is a change that makes the position pos.
func to(pos gerritstream.Position) func(*gerritstream.StoredPosition) (gerritstream.Position, error) {
	return func(*gerritstream.StoredPosition) (gerritstream.Position, error) { return pos, nil }
}

// set sets a position of epoch 0, which must succeed.
func (f *fixture) set(o gerritstream.Operator, shard gerritstream.ShardID, pos gerritstream.Position) {
	f.t.Helper()
	if err := o.SetPosition(f.soon(), 0, shard, to(pos)); err != nil {
		f.t.Fatalf("set position of %s: %v", shard, err)
	}
}
