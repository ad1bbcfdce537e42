package storetest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/gerritstream/gerritstream"
)

var commitTests = []test{
	{"commit writes position, entries and dead letters", func(f *fixture) {
		writer, reader := f.state.Open(), f.state.Open()
		term, want := f.elect(writer, shardA), after(4)
		c := gerritstream.Commit{
			Position:    want,
			Entries:     events(shardA, 1, 2),
			DeadLetters: []gerritstream.DeadLetter{deadLetter(shardA, 3), deadLetter(shardA, 4)},
		}
		f.commit(term, c)
		f.stored(reader, 0, shardA, &want)
		f.queued(c.Entries...)
		f.deadLettered(c.DeadLetters...)
	}},
	{"commit of nothing but a position", func(f *fixture) {
		term := f.elect(f.state.Open(), shardA)
		f.commit(term, step(shardA, 1, 1))
		idle := after(1)
		idle.CaughtUp = arrival(5000)
		f.commit(term, gerritstream.Commit{Position: idle})
		f.stored(f.state.Open(), 0, shardA, &idle)
		f.queued(event(shardA, 1))
		f.deadLettered()
	}},
	{"commit by commit, each shard keeps its order", func(f *fixture) {
		store := f.state.Open()
		a, b := f.elect(store, shardA), f.elect(store, shardB)
		for n := 1; n <= 100; n += 10 {
			f.commit(a, step(shardA, n, n+9))
			f.commit(b, step(shardB, n, n+9))
		}
		f.queued(append(events(shardA, 1, 100), events(shardB, 1, 100)...)...)
	}},
	{"commit of an entry that is held already", func(f *fixture) {
		store := f.state.Open()
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 2))
		f.commit(term, step(shardA, 2, 3))
		f.stored(store, 0, shardA, new(after(3)))
		if f.harness.Deduplicates {
			f.queued(events(shardA, 1, 3)...)
		} else {
			f.queued(append(events(shardA, 1, 2), events(shardA, 2, 3)...)...)
		}
	}},
	{"commit of a dead letter that is held already", func(f *fixture) {
		term, want := f.elect(f.state.Open(), shardA), after(3)
		first, second := deadLetter(shardA, 1), deadLetter(shardA, 2)
		f.commit(term, gerritstream.Commit{Position: after(1), DeadLetters: []gerritstream.DeadLetter{first}})
		f.commit(term, gerritstream.Commit{
			Position:    want,
			Entries:     events(shardA, 3, 3),
			DeadLetters: []gerritstream.DeadLetter{first, second},
		})
		f.stored(f.state.Open(), 0, shardA, &want)
		f.deadLettered(first, second)
		f.queued(event(shardA, 3))
	}},
	{"commits of sixteen shards at once", func(f *fixture) {
		const shards, commits, each = 16, 12, 5
		stores := []gerritstream.Store{f.state.Open(), f.state.Open()}
		errs := make(chan error, shards)
		var want []gerritstream.Entry
		for i := range shards {
			shard := gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i))
			want = append(want, events(shard, 1, commits*each)...)
			term := f.elect(stores[i%2], shard)
			go func() {
				for n := 1; n < commits*each; n += each {
					if err := term.Commit(f.t.Context(), step(shard, n, n+each-1)); err != nil {
						errs <- fmt.Errorf("commit to %s: %w", shard, err)
						return
					}
				}
				errs <- nil
			}()
		}
		for range shards {
			if err := receive(f, errs); err != nil {
				f.t.Error(err)
			}
		}
		f.queued(want...)
		for shard, pos := range f.positions(stores[0], 0) {
			if !samePosition(pos, after(commits*each)) {
				f.t.Errorf("position of %s is %+v", shard, pos)
			}
		}
	}},
	// Two shards of one process commit at once, again and again; one of them
	// has lost its leadership. If a store writes several commits in one
	// transaction, one must not decide for the other.
	{"commits of two shards: one is refused, the other is not", func(f *fixture) {
		store := f.state.Open()
		good := f.elect(store, shardB)
		var want []gerritstream.Entry
		for round := range 10 {
			n := round + 1
			lost := f.elect(store, shardA)
			f.state.Expire(shardA)
			want = append(want, event(shardB, n))
			var wg sync.WaitGroup
			wg.Go(func() { f.refused(lost, step(shardA, n, n)) })
			err := good.Commit(f.soon(), step(shardB, n, n))
			wg.Wait()
			if err != nil {
				f.t.Fatalf("commit beside a refused one: %v", err)
			}
		}
		f.queued(want...)
		f.stored(store, 0, shardA, nil)
	}},
	// What exceeds the limits is refused, not left to chance.
	{"commit beyond the limits writes nothing", func(f *fixture) {
		store := f.state.Open()
		limits := f.elect(store, shardB).Limits()
		heavy := func(n int) gerritstream.Entry {
			e := event(shardA, n)
			e.Payload = padded(limits.Weight/2 + 1 - (e.Weight() - len(e.Payload)))
			return e
		}
		mixed := step(shardA, 1, limits.Items)
		mixed.DeadLetters = []gerritstream.DeadLetter{deadLetter(shardA, limits.Items+1)}
		for name, c := range map[string]gerritstream.Commit{
			"entries":                  step(shardA, 1, limits.Items+1),
			"entries and dead letters": mixed,
			"weight":                   {Position: after(2), Entries: []gerritstream.Entry{heavy(1), heavy(2)}},
		} {
			term := f.elect(store, shardA)
			if err := term.Commit(f.soon(), c); err == nil || errors.Is(err, gerritstream.ErrRetryLater) {
				f.t.Errorf("%s: a commit beyond the limits returned %v", name, err)
			} else {
				f.ended(term)
			}
			f.resign(term)
		}
		f.stored(store, 0, shardA, nil)
		f.queued()
		f.deadLettered()
	}},
}
