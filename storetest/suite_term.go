package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
)

var termTests = []test{
	{"term numbers grow over processes and epochs and never repeat", termNumbers},
	{"term outlives the context of its campaign", termOutlivesCampaign},
	{"term that resigned commits nothing", termResigned},
	{"term may resign twice, and after its end", termResignAgain},
	{"term that was taken away commits nothing", termTakenAway},
	{"term that was taken away harms no successor", termZombie},
	{"term that was taken away learns of it", termToldInTheEnd},
	{"term of a killed process is over", termKilled},
	{"term of an epoch that is over commits nothing", termStale},
	{"term of an epoch that is over does not begin", termStaleAtOnce},
	{"term goes on when the start record changes within its epoch", termStartChanges},
}

func termNumbers(f *fixture) {
	stores := []gerritstream.Store{f.state.Open(), f.state.Open()}
	var last uint64
	for i := range 8 {
		term := f.electIn(stores[i%2], i/4, shardA)
		if term.Number() <= last {
			f.t.Errorf("term %d follows term %d", term.Number(), last)
		}
		last = term.Number()
		f.resign(term)
	}
	f.state.Kill(stores[0])
	f.state.Kill(stores[1])
	if term := f.elect(f.state.Open(), shardA); term.Number() <= last {
		f.t.Errorf("after all processes died, term %d follows term %d", term.Number(), last)
	}
}

func termStale(f *fixture) {
	first, second := f.state.Open(), f.state.Open()
	start := firstOrigin()
	f.setOrigin(first, nil, start)
	term := f.elect(first, shardA)
	f.commit(term, step(shardA, 1, 1))
	f.setOrigin(second, &start, recreated(1))
	err := term.Commit(f.soon(), step(shardA, 2, 2))
	if !errors.Is(err, gerritstream.ErrStaleEpoch) || errors.Is(err, gerritstream.ErrRetryLater) {
		f.t.Errorf("commit in an epoch that is over returned %v, want %v", err, gerritstream.ErrStaleEpoch)
	}
	f.ended(term)
	if cause := context.Cause(term.Context()); !errors.Is(cause, gerritstream.ErrStaleEpoch) {
		f.t.Errorf("the term ended with %v, want %v", cause, gerritstream.ErrStaleEpoch)
	}
	f.queued(event(shardA, 1))
	f.resign(term)
	next := f.electIn(second, 1, shardA)
	f.begins(next, nil)
	f.commit(next, step(shardA, 3, 3))
	f.queued(event(shardA, 1), event(shardA, 3))
}

func termStaleAtOnce(f *fixture) {
	store, late := f.state.Open(), f.state.Open()
	f.setOrigin(store, nil, recreated(1))
	if _, err := late.Campaign(f.soon(), 0, shardA); !errors.Is(err, gerritstream.ErrStaleEpoch) {
		f.t.Errorf("campaign in an epoch that is over returned %v, want %v", err, gerritstream.ErrStaleEpoch)
	}
	f.begins(f.electIn(store, 1, shardA), nil) // nothing stands in its way
}

func termStartChanges(f *fixture) {
	store := f.state.Open()
	start := firstOrigin()
	f.setOrigin(store, nil, start)
	term := f.elect(store, shardA)
	f.commit(term, step(shardA, 1, 1))
	longer := start
	longer.Retention = 48 * time.Hour
	f.setOrigin(f.state.Open(), &start, longer)
	f.commit(term, step(shardA, 2, 2))
	f.queued(event(shardA, 1), event(shardA, 2))
}

func termOutlivesCampaign(f *fixture) {
	ctx, cancel := context.WithCancel(f.t.Context())
	term, err := f.state.Open().Campaign(ctx, 0, shardA)
	if err != nil {
		f.t.Fatal(err)
	}
	cancel()
	won, _ := f.candidate(f.state.Open(), 0, shardA)
	f.notYet(won, "the campaign's context ended after the victory")
	f.commit(term, step(shardA, 1, 1))
}

func termResigned(f *fixture) {
	first, second := f.state.Open(), f.state.Open()
	term := f.elect(first, shardA)
	f.commit(term, step(shardA, 1, 1))
	f.resign(term)
	f.ended(term)
	f.refused(term, step(shardA, 2, 2))
	want := after(1)
	f.begins(f.elect(second, shardA), &want)
	f.queued(event(shardA, 1))
}

func termResignAgain(f *fixture) {
	store := f.state.Open()
	term := f.elect(store, shardA)
	f.resign(term)
	f.resign(term)

	lost := f.elect(store, shardA)
	f.state.Expire(shardA)
	heir := f.elect(f.state.Open(), shardA)
	f.resign(lost)
	f.resign(term)
	f.commit(heir, step(shardA, 1, 1)) // the resignations of others do not end the heir's term
}

func termTakenAway(f *fixture) {
	store := f.state.Open()
	term, want := f.elect(store, shardA), after(1)
	f.commit(term, step(shardA, 1, 1))
	f.state.Expire(shardA)
	c := step(shardA, 2, 3)
	c.DeadLetters = []gerritstream.DeadLetter{deadLetter(shardA, 4)}
	f.refused(term, c)
	f.queued(event(shardA, 1))
	f.deadLettered()
	f.stored(store, 0, shardA, &want)
}

func termZombie(f *fixture) {
	first, second := f.state.Open(), f.state.Open()
	zombie := f.elect(first, shardA)
	f.commit(zombie, step(shardA, 1, 2))
	f.state.Expire(shardA)
	heir := f.elect(second, shardA)
	f.commit(heir, step(shardA, 3, 4))
	f.refused(zombie, step(shardA, 3, 6))
	f.commit(heir, step(shardA, 5, 5))
	want := after(5)
	f.stored(first, 0, shardA, &want)
	f.queued(events(shardA, 1, 5)...)
}

func termToldInTheEnd(f *fixture) {
	term := f.elect(f.state.Open(), shardA)
	f.state.Expire(shardA)
	heir := f.elect(f.state.Open(), shardA)
	_ = term.Commit(f.soon(), step(shardA, 1, 1)) // a store may learn of the loss only by being refused
	f.ended(term)
	if heir.Context().Err() != nil {
		f.t.Error("the heir's term ended as well")
	}
}

func termKilled(f *fixture) {
	store := f.state.Open()
	term := f.elect(store, shardA)
	f.commit(term, step(shardA, 1, 1))
	f.state.Kill(store)
	if err := term.Commit(f.soon(), step(shardA, 2, 2)); err == nil {
		f.t.Error("a dead process committed")
	}
	want := after(1)
	f.begins(f.elect(f.state.Open(), shardA), &want)
	f.queued(event(shardA, 1))
}
