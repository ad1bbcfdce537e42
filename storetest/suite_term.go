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
	stores := []gerritstream.Store{f.Open(), f.Open()}
	var last uint64
	for i := range 8 {
		term := f.electIn(stores[i%2], i/4, shardA)
		if term.Number() <= last {
			f.Errorf("term %d follows term %d", term.Number(), last)
		}
		last = term.Number()
		f.resign(term)
	}
	f.Kill(stores[0])
	f.Kill(stores[1])
	if term := f.elect(f.Open(), shardA); term.Number() <= last {
		f.Errorf("after all processes died, term %d follows term %d", term.Number(), last)
	}
}

func termStale(f *fixture) {
	first, second := f.Open(), f.Open()
	start := firstStart()
	f.setStart(first, nil, start)
	term := f.elect(first, shardA)
	f.commit(term, step(shardA, 1, 1))
	f.setStart(second, &start, recreated(1))
	err := term.Commit(f.soon(), step(shardA, 2, 2))
	if !errors.Is(err, gerritstream.ErrStaleEpoch) || errors.Is(err, gerritstream.ErrRetryLater) {
		f.Errorf("commit in an epoch that is over returned %v, want %v", err, gerritstream.ErrStaleEpoch)
	}
	f.ended(term)
	if cause := context.Cause(term.Context()); !errors.Is(cause, gerritstream.ErrStaleEpoch) {
		f.Errorf("the term ended with %v, want %v", cause, gerritstream.ErrStaleEpoch)
	}
	f.queued(event(shardA, 1))
	f.resign(term)
	next := f.electIn(second, 1, shardA)
	f.begins(next, nil)
	f.commit(next, step(shardA, 3, 3))
	f.queued(event(shardA, 1), event(shardA, 3))
}

func termStaleAtOnce(f *fixture) {
	store, late := f.Open(), f.Open()
	f.setStart(store, nil, recreated(1))
	if _, err := late.Campaign(f.soon(), 0, shardA); !errors.Is(err, gerritstream.ErrStaleEpoch) {
		f.Errorf("campaign in an epoch that is over returned %v, want %v", err, gerritstream.ErrStaleEpoch)
	}
	f.begins(f.electIn(store, 1, shardA), nil) // nothing stands in its way
}

func termStartChanges(f *fixture) {
	store := f.Open()
	start := firstStart()
	f.setStart(store, nil, start)
	term := f.elect(store, shardA)
	f.commit(term, step(shardA, 1, 1))
	longer := start
	longer.Retention = 48 * time.Hour
	f.setStart(f.Open(), &start, longer)
	f.commit(term, step(shardA, 2, 2))
	f.queued(event(shardA, 1), event(shardA, 2))
}

func termOutlivesCampaign(f *fixture) {
	ctx, cancel := context.WithCancel(f.Context())
	term, err := f.Open().Campaign(ctx, 0, shardA)
	if err != nil {
		f.Fatal(err)
	}
	cancel()
	won, _ := f.candidate(f.Open(), 0, shardA)
	f.notYet(won, "the campaign's context ended after the victory")
	f.commit(term, step(shardA, 1, 1))
}

func termResigned(f *fixture) {
	first, second := f.Open(), f.Open()
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
	store := f.Open()
	term := f.elect(store, shardA)
	f.resign(term)
	f.resign(term)

	lost := f.elect(store, shardA)
	f.Expire(shardA)
	heir := f.elect(f.Open(), shardA)
	f.resign(lost)
	f.resign(term)
	f.commit(heir, step(shardA, 1, 1)) // the resignations of others do not end the heir's term
}

func termTakenAway(f *fixture) {
	store := f.Open()
	term, want := f.elect(store, shardA), after(1)
	f.commit(term, step(shardA, 1, 1))
	f.Expire(shardA)
	c := step(shardA, 2, 3)
	c.DeadLetters = []gerritstream.DeadLetter{letter(shardA, 4)}
	f.refused(term, c)
	f.queued(event(shardA, 1))
	f.putAside()
	f.stored(store, 0, shardA, &want)
}

func termZombie(f *fixture) {
	first, second := f.Open(), f.Open()
	zombie := f.elect(first, shardA)
	f.commit(zombie, step(shardA, 1, 2))
	f.Expire(shardA)
	heir := f.elect(second, shardA)
	f.commit(heir, step(shardA, 3, 4))
	f.refused(zombie, step(shardA, 3, 6))
	f.commit(heir, step(shardA, 5, 5))
	want := after(5)
	f.stored(first, 0, shardA, &want)
	f.queued(events(shardA, 1, 5)...)
}

func termToldInTheEnd(f *fixture) {
	term := f.elect(f.Open(), shardA)
	f.Expire(shardA)
	heir := f.elect(f.Open(), shardA)
	_ = term.Commit(f.soon(), step(shardA, 1, 1)) // a store may learn of the loss only by being refused
	f.ended(term)
	if heir.Context().Err() != nil {
		f.Error("the heir's term ended as well")
	}
}

func termKilled(f *fixture) {
	store := f.Open()
	term := f.elect(store, shardA)
	f.commit(term, step(shardA, 1, 1))
	f.Kill(store)
	if err := term.Commit(f.soon(), step(shardA, 2, 2)); err == nil {
		f.Error("a dead process committed")
	}
	want := after(1)
	f.begins(f.elect(f.Open(), shardA), &want)
	f.queued(event(shardA, 1))
}
