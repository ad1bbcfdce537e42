package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
)

var termTests = []test{
	{"term numbers grow over processes and epochs and never repeat", func(f *fixture) {
		stores := []gerritstream.Store{f.state.Open(), f.state.Open()}
		var last uint64
		for i := range 8 {
			term := f.electIn(stores[i%2], i/4, shardA)
			f.follows(term, last)
			last = term.Number()
			f.resign(term)
		}
		f.state.Kill(stores[0])
		f.state.Kill(stores[1])
		f.follows(f.elect(f.state.Open(), shardA), last) // though all processes died
	}},
	{"term outlives the context of its campaign", func(f *fixture) {
		ctx, cancel := context.WithCancel(f.t.Context())
		term, err := f.state.Open().Campaign(ctx, 0, shardA)
		if err != nil {
			f.t.Fatal(err)
		}
		cancel()
		won, _ := f.candidate(f.state.Open(), 0, shardA)
		f.notYet(won, "the campaign's context ended after the victory")
		f.commit(term, step(shardA, 1, 1))
	}},
	{"term that resigned commits nothing", func(f *fixture) {
		first, second := f.state.Open(), f.state.Open()
		term := f.elect(first, shardA)
		f.commit(term, step(shardA, 1, 1))
		f.resign(term)
		f.ended(term)
		f.refused(term, step(shardA, 2, 2))
		f.begins(f.elect(second, shardA), new(after(1)))
		f.queued(event(shardA, 1))
	}},
	{"term may resign twice, and after its end", func(f *fixture) {
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
	}},
	{"term that was taken away commits nothing", func(f *fixture) {
		store := f.state.Open()
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 1))
		f.state.Expire(shardA)
		c := step(shardA, 2, 3)
		c.DeadLetters = []gerritstream.DeadLetter{deadLetter(shardA, 4)}
		f.refused(term, c)
		f.queued(event(shardA, 1))
		f.deadLettered()
		f.stored(store, 0, shardA, new(after(1)))
	}},
	{"term that was taken away harms no successor", func(f *fixture) {
		first, second := f.state.Open(), f.state.Open()
		zombie := f.elect(first, shardA)
		f.commit(zombie, step(shardA, 1, 2))
		f.state.Expire(shardA)
		heir := f.elect(second, shardA)
		f.commit(heir, step(shardA, 3, 4))
		f.refused(zombie, step(shardA, 3, 6))
		f.commit(heir, step(shardA, 5, 5))
		f.stored(first, 0, shardA, new(after(5)))
		f.queued(events(shardA, 1, 5)...)
	}},
	{"term that was taken away learns of it", func(f *fixture) {
		term := f.elect(f.state.Open(), shardA)
		f.state.Expire(shardA)
		heir := f.elect(f.state.Open(), shardA)
		_ = term.Commit(f.soon(), step(shardA, 1, 1)) // a store may learn of the loss only by being refused
		f.ended(term)
		if heir.Context().Err() != nil {
			f.t.Error("the heir's term ended as well")
		}
	}},
	{"term of a killed process is over", func(f *fixture) {
		store := f.state.Open()
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 1))
		f.state.Kill(store)
		if err := term.Commit(f.soon(), step(shardA, 2, 2)); err == nil {
			f.t.Error("a dead process committed")
		}
		f.begins(f.elect(f.state.Open(), shardA), new(after(1)))
		f.queued(event(shardA, 1))
	}},
	{"term of an epoch that is over commits nothing", func(f *fixture) {
		first, second := f.state.Open(), f.state.Open()
		f.setOrigin(first, nil, firstOrigin())
		term := f.elect(first, shardA)
		f.commit(term, step(shardA, 1, 1))
		f.setOrigin(second, new(firstOrigin()), recreated(1))
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
	}},
	{"term of an epoch that is over does not begin", func(f *fixture) {
		store, late := f.state.Open(), f.state.Open()
		f.setOrigin(store, nil, recreated(1))
		_, err := late.Campaign(f.soon(), 0, shardA)
		f.returned("campaign in an epoch that is over", err, gerritstream.ErrStaleEpoch)
		f.begins(f.electIn(store, 1, shardA), nil) // nothing stands in its way
	}},
	{"term goes on when the origin changes within its epoch", func(f *fixture) {
		store := f.state.Open()
		f.setOrigin(store, nil, firstOrigin())
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 1))
		longer := firstOrigin()
		longer.Retention = 48 * time.Hour
		f.setOrigin(f.state.Open(), new(firstOrigin()), longer)
		f.commit(term, step(shardA, 2, 2))
		f.queued(event(shardA, 1), event(shardA, 2))
	}},
}
