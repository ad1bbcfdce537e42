package storetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/gerritstream/gerritstream"
)

var campaignTests = []test{
	{"campaign is won by one process at a time", func(f *fixture) {
		first, second := f.state.Open(), f.state.Open()
		term := f.elect(first, shardA)
		won, _ := f.candidate(second, 0, shardA)
		f.notYet(won, "another process leads")
		f.commit(term, step(shardA, 1, 3))
		f.notYet(won, "another process leads and commits")
		f.resign(term)
		f.resign(f.wins(won))
	}},
	{"campaign of the same process for the same shard waits too", func(f *fixture) {
		store := f.state.Open()
		term := f.elect(store, shardA)
		won, _ := f.candidate(store, 0, shardA)
		f.notYet(won, "the process leads already")
		f.resign(term)
		f.wins(won)
	}},
	{"campaign of another epoch for the same shard waits too", func(f *fixture) {
		first, second := f.state.Open(), f.state.Open()
		term := f.electIn(first, 0, shardA)
		won, _ := f.candidate(second, 1, shardA)
		f.notYet(won, "another process leads the shard in the epoch before")
		f.resign(term)
		f.wins(won)
	}},
	{"campaigns for different shards do not meet", func(f *fixture) {
		first, second := f.state.Open(), f.state.Open()
		a, b := f.elect(first, shardA), f.elect(second, shardB)
		f.commit(a, step(shardA, 1, 2))
		f.commit(b, step(shardB, 1, 2))
		f.queued(append(events(shardA, 1, 2), events(shardB, 1, 2)...)...)
	}},
	{"campaign that is cancelled leaves no trace", func(f *fixture) {
		leader, quitter, heir := f.state.Open(), f.state.Open(), f.state.Open()
		term := f.elect(leader, shardA)
		quit, cancel := f.candidate(quitter, 0, shardA)
		f.notYet(quit, "another process leads")
		cancel()
		if c := receive(f, quit); c.term != nil || !errors.Is(c.err, context.Canceled) {
			f.t.Errorf("a cancelled campaign returned term %v, error %v", c.term, c.err)
		}
		won, _ := f.candidate(heir, 0, shardA)
		f.resign(term)
		f.wins(won)
	}},
	{"campaign that is over before it began wins nothing", func(f *fixture) {
		store := f.state.Open()
		ctx, cancel := context.WithCancel(f.t.Context())
		cancel()
		if term, err := store.Campaign(ctx, 0, shardA); term != nil || !errors.Is(err, context.Canceled) {
			f.t.Errorf("campaign returned term %v, error %v", term, err)
		}
		f.elect(f.state.Open(), shardA)
	}},
	// Cancelling races with winning. Either way the leadership is the caller's
	// or nobody's.
	{"campaign won and cancelled at once leaves the leadership free", func(f *fixture) {
		leader, racer, heir := f.state.Open(), f.state.Open(), f.state.Open()
		for range 15 {
			term := f.elect(leader, shardA)
			won, cancel := f.candidate(racer, 0, shardA)
			go cancel()
			f.resign(term)
			r := receive(f, won)
			switch {
			case r.err == nil:
				f.resign(r.term)
			case !errors.Is(r.err, context.Canceled):
				f.t.Fatalf("campaign: %v", r.err)
			}
			f.resign(f.elect(heir, shardA))
		}
	}},
	{"campaign is won after a resignation", func(f *fixture) {
		first, second := f.state.Open(), f.state.Open()
		term := f.elect(first, shardA)
		won, _ := f.candidate(second, 0, shardA)
		f.commit(term, step(shardA, 1, 3))
		f.resign(term)
		next := f.wins(won)
		f.begins(next, new(after(3)))
		f.commit(next, step(shardA, 4, 5))
		f.queued(events(shardA, 1, 5)...)
	}},
	{"campaign is won after the leader was killed", func(f *fixture) {
		first, second := f.state.Open(), f.state.Open()
		term := f.elect(first, shardA)
		won, _ := f.candidate(second, 0, shardA)
		f.commit(term, step(shardA, 1, 3))
		f.state.Kill(first)
		next := f.wins(won)
		f.begins(next, new(after(3)))
		f.follows(next, term.Number())
		f.commit(next, step(shardA, 4, 5))
		f.queued(events(shardA, 1, 5)...)
	}},
	{"campaign is won by all of many, one after the other", func(f *fixture) {
		const candidates = 5
		leader := f.elect(f.state.Open(), shardA)
		results := make(chan campaigned, candidates)
		for range candidates {
			store := f.state.Open()
			go func() {
				term, err := store.Campaign(f.t.Context(), 0, shardA)
				results <- campaigned{term, err}
			}()
		}
		last := leader
		for range candidates {
			f.resign(last)
			next := f.wins(results)
			f.follows(next, last.Number())
			last = next
		}
		f.notYet(results, "all have won")
	}},
	// Leaders under contention commit what they alone may write: the record
	// after the position their term began with.
	{"campaigns under contention never overlap", func(f *fixture) {
		const processes, terms = 4, 5
		var leading atomic.Int32
		errs := make(chan error, processes*terms)
		var wg sync.WaitGroup
		for range processes {
			store := f.state.Open()
			wg.Go(func() {
				for range terms {
					errs <- f.leadOnce(store, &leading)
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				f.t.Error(err)
			}
		}
		f.queued(events(shardA, 1, processes*terms)...)
	}},
}

// leadOnce leads for one commit of one record.
func (f *fixture) leadOnce(store gerritstream.Store, leading *atomic.Int32) error {
	ctx := f.soon()
	term, err := store.Campaign(ctx, 0, shardA)
	if err != nil {
		return err
	}
	if leading.Add(1) != 1 {
		return errors.New("two terms of one shard overlap")
	}
	next := 1
	if began := term.Beginning(); began.Stored {
		for after(next-1).After != began.Position.After {
			next++
		}
	}
	err = term.Commit(ctx, step(shardA, next, next))
	leading.Add(-1)
	return errors.Join(err, term.Resign(ctx))
}
