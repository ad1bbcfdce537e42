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
	{"operator: an empty store holds nothing", operatorEmpty},
	{"operator: positions are shown with their stamps", operatorStored},
	{"operator: positions of earlier epochs are named", operatorEarlier},
	{"operator: a damaged and a newer position are shown as such", operatorUnreadable},
	{"operator: a position that is set ends the term soon, and the next one begins with it", setEndsTerm},
	{"operator: a term commits nothing after its position was set", setFencesZombie},
	{"operator: a position goes back, and what is behind it is committed again", setBack},
	{"operator: a position is set where there is none", setWithoutPosition},
	{"operator: a position is set over a damaged one", setOverGarbage},
	{"operator: a position of a newer version is left alone", setOverNewer},
	{"operator: a change that refuses writes nothing and ends no term", setRefused},
	{"operator: a position is set in the current epoch only", setOtherEpoch},
	{"operator: an ended shard is opened again", setEnded},
	{"operator: the terms of other shards go on", setElsewhere},
	{"operator: each of many changes sees the one before", setByMany},
	{"operator: positions that ended and those of earlier epochs are removed", removePositions},
	{"operator: a position in use is not removed", removeInUse},
}

// noticed is how soon a process must have noticed that an operator set a
// position. Processes commit every 30 s at least, so that one which learns of
// it by being refused is too late.
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

// held returns what an operator sees of positions.
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

func operatorEmpty(f *fixture) {
	if f.state.Operator == nil {
		f.t.Skip("this store has no operator")
	}
	f.state.Open()
	if s := f.held(f.openOperator()); s.Origin != nil || len(s.Positions) != 0 || len(s.Earlier) != 0 {
		f.t.Errorf("an empty store holds %+v", s)
	}
}

func operatorStored(f *fixture) {
	o, store := f.operator(), f.state.Open()
	before := time.Now().Truncate(time.Millisecond)
	term := f.elect(store, shardA)
	f.commit(term, step(shardA, 1, 2))
	first := f.held(o)
	f.commit(term, gerritstream.Commit{Position: after(2)})
	second := f.held(o)

	want, s := after(2), second.Positions[shardA]
	if !storekit.SameOrigin(first.Origin, new(firstOrigin())) || second.Epoch() != 0 || len(second.Earlier) != 0 {
		f.t.Errorf("start is %+v, earlier positions %v", first.Origin, second.Earlier)
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
}

func operatorEarlier(f *fixture) {
	o, store := f.operator(), f.state.Open()
	for _, shard := range []gerritstream.ShardID{shardB, shardA} {
		term := f.electIn(store, 0, shard)
		f.commit(term, gerritstream.Commit{Position: after(9)})
		f.resign(term)
	}
	start := firstOrigin()
	f.setOrigin(store, &start, recreated(1))
	f.commit(f.electIn(store, 1, shardA), gerritstream.Commit{Position: after(1)})
	s := f.held(o)
	if want := []gerritstream.PositionKey{{Epoch: 0, Shard: shardA}, {Epoch: 0, Shard: shardB}}; !slices.Equal(s.Earlier, want) {
		f.t.Errorf("earlier positions are %v, want %v", s.Earlier, want)
	}
	if len(s.Positions) != 1 || !samePosition(s.Positions[shardA].Position, after(1)) || s.Epoch() != 1 {
		f.t.Errorf("positions of epoch %d are %+v", s.Epoch(), s.Positions)
	}
}

func operatorUnreadable(f *fixture) {
	o := f.operator()
	f.state.WritePosition(0, shardA, []byte("garbage"))
	f.state.WritePosition(0, shardB, []byte(`{"format":1000000}`))
	s := f.held(o)
	for shard, want := range map[gerritstream.ShardID]error{shardA: gerritstream.ErrBadPosition, shardB: gerritstream.ErrNewerFormat} {
		if got := s.Positions[shard].Position.Unreadable; !errors.Is(got, want) {
			f.t.Errorf("%s is unreadable because of %v, want %v", shard, got, want)
		}
	}
}

func setEndsTerm(f *fixture) {
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
	if next.Number() <= term.Number() {
		f.t.Errorf("term %d follows term %d", next.Number(), term.Number())
	}
	f.stored(first, 0, shardA, &want)
}

// What the term has under way is refused from the moment on at which the
// position is set, whether it has noticed or not.
func setFencesZombie(f *fixture) {
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
}

func setBack(f *fixture) {
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
	want := after(5)
	f.stored(store, 0, shardA, &want)
}

func setWithoutPosition(f *fixture) {
	o, store := f.operator(), f.state.Open()
	led := f.elect(store, shardA) // led, and nothing committed
	want := gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}
	for _, shard := range []gerritstream.ShardID{shardA, shardB} {
		none := false
		err := o.SetPosition(f.soon(), 0, shard, func(stored *gerritstream.StoredPosition) (gerritstream.Position, error) {
			none = stored == nil
			return want, nil
		})
		if err != nil || !none {
			f.t.Errorf("set a position where there is none: %v; the change saw none: %v", err, none)
		}
		f.stored(store, 0, shard, &want)
	}
	f.refused(led, step(shardA, 1, 1))
	f.begins(f.elect(f.state.Open(), shardB), &want)
}

func setOverGarbage(f *fixture) {
	o, store := f.operator(), f.state.Open()
	f.state.WritePosition(0, shardA, []byte("garbage"))
	var seen error
	err := o.SetPosition(f.soon(), 0, shardA, func(stored *gerritstream.StoredPosition) (gerritstream.Position, error) {
		if stored != nil {
			seen = stored.Position.Unreadable
		}
		return after(3), nil
	})
	if err != nil || !errors.Is(seen, gerritstream.ErrBadPosition) {
		f.t.Errorf("set position: %v; the change saw %v", err, seen)
	}
	want := after(3)
	f.stored(store, 0, shardA, &want)
	f.begins(f.elect(store, shardA), &want)
}

func setOverNewer(f *fixture) {
	o := f.operator()
	f.state.WritePosition(0, shardA, []byte(`{"format":1000000}`))
	if err := o.SetPosition(f.soon(), 0, shardA, to(after(3))); !errors.Is(err, gerritstream.ErrNewerFormat) {
		f.t.Errorf("set position returned %v, want %v", err, gerritstream.ErrNewerFormat)
	}
	if got := f.held(o).Positions[shardA].Position.Unreadable; !errors.Is(got, gerritstream.ErrNewerFormat) {
		f.t.Errorf("the position of a newer version was replaced: %v", got)
	}
}

func setRefused(f *fixture) {
	o, store := f.operator(), f.state.Open()
	term, want := f.elect(store, shardA), after(1)
	f.commit(term, step(shardA, 1, 1))
	errNo := errors.New("not wanted")
	err := o.SetPosition(f.soon(), 0, shardA, func(stored *gerritstream.StoredPosition) (gerritstream.Position, error) {
		if stored == nil || !samePosition(stored.Position, want) || stored.Stamp.Term != term.Number() {
			f.t.Errorf("the change sees %+v", stored)
		}
		return after(9), errNo
	})
	if !errors.Is(err, errNo) {
		f.t.Errorf("set position returned %v, want %v", err, errNo)
	}
	f.stored(store, 0, shardA, &want)
	f.commit(term, step(shardA, 2, 2))
}

func setOtherEpoch(f *fixture) {
	o, store := f.operator(), f.state.Open()
	term := f.elect(store, shardA)
	for _, epoch := range []int{-1, 1} {
		if err := o.SetPosition(f.soon(), epoch, shardA, to(after(3))); !errors.Is(err, gerritstream.ErrConflict) {
			f.t.Errorf("set position in epoch %d returned %v, want %v", epoch, err, gerritstream.ErrConflict)
		}
	}
	f.commit(term, step(shardA, 1, 1))
	start := firstOrigin()
	f.setOrigin(store, &start, recreated(1))
	if err := o.SetPosition(f.soon(), 0, shardA, to(after(3))); !errors.Is(err, gerritstream.ErrConflict) {
		f.t.Errorf("set position in the epoch before returned %v, want %v", err, gerritstream.ErrConflict)
	}
	want := after(1)
	f.stored(store, 0, shardA, &want)
	f.stored(store, 1, shardA, nil)
}

func setEnded(f *fixture) {
	o, store := f.operator(), f.state.Open()
	done, back := after(5), after(2)
	done.Ended = true
	term := f.elect(store, shardA)
	f.commit(term, gerritstream.Commit{Position: done})
	f.resign(term)
	f.set(o, shardA, back)
	f.stored(store, 0, shardA, &back)
	next := f.elect(f.state.Open(), shardA)
	f.begins(next, &back)
	f.commit(next, gerritstream.Commit{Position: done})
}

func setElsewhere(f *fixture) {
	o, store := f.operator(), f.state.Open()
	a, b := f.elect(store, shardA), f.elect(store, shardB)
	f.set(o, shardA, after(7))
	f.ended(a)
	f.commit(b, step(shardB, 1, 2))
	want := after(7)
	f.stored(store, 0, shardA, &want)
}

func setByMany(f *fixture) {
	o := f.operator()
	other := f.openOperator()
	const each = 10
	done := make(chan error, 4)
	for _, op := range []gerritstream.Operator{o, o, other, other} {
		go func() {
			for range each {
				err := op.SetPosition(f.soon(), 0, shardA, func(stored *gerritstream.StoredPosition) (gerritstream.Position, error) {
					pos := after(0)
					if stored != nil {
						pos.Partial = &gerritstream.Partial{Seq: sequence(1), Sub: stored.Position.Partial.Sub + 1}
						return pos, nil
					}
					pos.Partial = &gerritstream.Partial{Seq: sequence(1), Sub: 1}
					return pos, nil
				})
				if err != nil {
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
}

// ends has a shard ended in an epoch.
func (f *fixture) ends(store gerritstream.Store, epoch int, shard gerritstream.ShardID) {
	f.t.Helper()
	done := after(5)
	done.Ended = true
	term := f.electIn(store, epoch, shard)
	f.commit(term, gerritstream.Commit{Position: done})
	f.resign(term)
}

func removePositions(f *fixture) {
	o, store := f.operator(), f.state.Open()
	f.ends(store, 0, shardA)
	term := f.electIn(store, 0, shardB)
	f.commit(term, gerritstream.Commit{Position: after(3)})
	f.resign(term)
	start := firstOrigin()
	f.setOrigin(store, &start, recreated(1))
	f.ends(store, 1, shardA)
	f.ends(store, 1, shardB)

	which := []gerritstream.PositionKey{{Epoch: 0, Shard: shardA}, {Epoch: 0, Shard: shardB}, {Epoch: 1, Shard: shardA},
		{Epoch: 1, Shard: "shardId-000000000777"}}
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
}

func removeInUse(f *fixture) {
	o, store := f.operator(), f.state.Open()
	f.ends(store, 0, shardA)
	term, want := f.elect(store, shardB), after(3)
	f.commit(term, gerritstream.Commit{Position: want})
	n, err := o.RemovePositions(f.soon(), []gerritstream.PositionKey{{Epoch: 0, Shard: shardA}, {Epoch: 0, Shard: shardB}})
	if !errors.Is(err, gerritstream.ErrConflict) || n != 0 {
		f.t.Errorf("%d positions removed, error %v, want %v", n, err, gerritstream.ErrConflict)
	}
	if s := f.held(o); len(s.Positions) != 2 {
		f.t.Errorf("what is left is %+v", s.Positions)
	}
	f.state.WritePosition(0, shardA, []byte("garbage"))
	if _, err := o.RemovePositions(f.soon(), []gerritstream.PositionKey{{Epoch: 0, Shard: shardA}}); !errors.Is(err, gerritstream.ErrConflict) {
		f.t.Errorf("removal of a damaged position returned %v, want %v", err, gerritstream.ErrConflict)
	}
	f.commit(term, step(shardB, 4, 4))
}
