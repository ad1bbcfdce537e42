package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

// RunPauses holds a Store to the contract of pauses.Store, its terms to
// pauses.ErrPaused, and its operator to pauses.Keeper. What Backend.Open and
// Backend.Operator return must implement them.
func RunPauses(t *testing.T, h Harness) { runEach(t, h, pauseTests) }

// pauseOf is a pause of a shard as an operator makes it.
func pauseOf(shard gerritstream.ShardID) pauses.Pause {
	return pauses.Pause{
		Shard: shard, Since: time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC), By: "anna@ops", Reason: `"upgrade" of Zuul`,
		Until: time.Date(2026, 1, 31, 12, 0, 0, 5e6, time.UTC),
	}
}

var pauseTests = []test{
	{"pauses: every process and operator sees them", func(f *fixture) {
		a, b, o := f.pausing(f.state.Open()), f.pausing(f.state.Open()), f.keeper()
		for _, k := range []pauses.Keeper{a, o} {
			f.paused(k)
		}
		f.pause(o, pauseOf(shardB))
		f.pause(b, pauseOf(pauses.All))
		f.pause(o, pauseOf(shardA))
		for _, k := range []pauses.Keeper{a, b, o, f.keeper(), f.pausing(f.state.Open())} {
			f.paused(k, pauseOf(pauses.All), pauseOf(shardA), pauseOf(shardB))
		}
		other := pauses.Pause{Shard: shardA, Since: time.Unix(1_700_000_000, 0).UTC(), By: "ben"}
		f.pause(a, other)
		f.paused(o, pauseOf(pauses.All), other, pauseOf(shardB))
		f.resume(o, pauses.All)
		f.paused(b, other, pauseOf(shardB))
		f.resume(a, shardA)
		f.resume(a, shardB)
		f.paused(o)
	}},
	{"pauses: a commit of a paused shard is not applied, and the term goes on", func(f *fixture) {
		store, o := f.state.Open(), f.keeper()
		a, b := f.elect(store, shardA), f.elect(store, shardB)
		f.commit(a, step(shardA, 1, 1))
		f.pause(o, pauseOf(shardA))
		c := step(shardA, 2, 3)
		c.Position, c.DeadLetters = after(4), []gerritstream.DeadLetter{deadLetter(shardA, 4)}
		for range 2 {
			f.refusedPaused(a, c)
		}
		f.refusedPaused(a, gerritstream.Commit{Position: after(9)})
		f.stored(store, 0, shardA, new(after(1)))
		f.deadLettered()
		f.commit(b, step(shardB, 1, 2))
		f.resume(o, shardA)
		f.commitResumed(a, c)
		f.stored(store, 0, shardA, new(after(4)))
		f.queued(append(events(shardA, 1, 3), events(shardB, 1, 2)...)...)
		f.deadLettered(c.DeadLetters...)
	}},
	{"pauses: all shards are paused, whoever leads them, now or later", func(f *fixture) {
		store, o := f.state.Open(), f.keeper()
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 1))
		f.pause(o, pauseOf(pauses.All))
		f.refusedPaused(term, step(shardA, 2, 2))
		f.resign(term)
		term = f.elect(f.state.Open(), shardA)
		f.begins(term, new(after(1)))
		f.refusedPaused(term, step(shardA, 2, 2))
		fresh := f.elect(store, shardB)
		f.begins(fresh, nil)
		f.refusedPaused(fresh, gerritstream.Commit{Position: after(1)})
		f.stored(store, 0, shardB, nil)
		f.resume(o, pauses.All)
		f.commitResumed(term, step(shardA, 2, 2))
		f.commitResumed(fresh, step(shardB, 1, 1))
		f.queued(append(events(shardA, 1, 2), event(shardB, 1))...)
	}},
	{"pauses: a term that is lost is lost, paused or not", func(f *fixture) {
		store, o := f.state.Open(), f.keeper()
		term := f.elect(store, shardA)
		f.commit(term, step(shardA, 1, 1))
		f.pause(o, pauseOf(shardA))
		f.state.Expire(shardA)
		f.lost(term, step(shardA, 2, 2))
	}},
	{"pauses: nothing is committed once a pause has returned", func(f *fixture) {
		const shards = 4
		store, o := f.state.Open(), f.keeper()
		ctx, stop := context.WithCancel(f.t.Context())
		done := make(chan error, shards)
		for i := range shards {
			shard := gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i))
			term := f.elect(store, shard)
			go func() { done <- commitOn(ctx, term, shard) }()
		}
		f.awaitGrowth(0)
		for range 3 {
			f.pause(o, pauseOf(pauses.All))
			held := len(f.state.Entries())
			storekit.Sleep(f.t.Context(), f.harness.Settle/4)
			if now := len(f.state.Entries()); now != held {
				f.t.Errorf("the queue has %d events, and had %d when the pause was made", now, held)
			}
			f.resume(o, pauses.All)
			f.awaitGrowth(held)
		}
		stop()
		for range shards {
			if err := receive(f, done); err != nil {
				f.t.Error(err)
			}
		}
	}},
	{"pauses: who waits is told of a change, and of nothing else", func(f *fixture) {
		store, o := f.pausing(f.state.Open()), f.keeper()
		term := f.elect(f.state.Open(), shardA)
		wait := func(seen pauses.Set) <-chan error {
			told, _ := begin(f, func(ctx context.Context) error { return store.WaitPauses(ctx, seen) })
			return told
		}
		told := wait(nil)
		f.commit(term, step(shardA, 1, 1))
		f.quiet(told)
		f.pause(o, pauseOf(shardA))
		f.must(receive(f, told))
		f.must(receive(f, wait(nil)))
		told = wait(pauses.Set{pauseOf(shardA)})
		f.quiet(told)
		f.pause(o, pauseOf(shardB))
		f.must(receive(f, told))
		told = wait(pauses.Set{pauseOf(shardA), pauseOf(shardB)})
		f.resume(store, shardA)
		f.must(receive(f, told))
		told, cancel := begin(f, func(ctx context.Context) error {
			return store.WaitPauses(ctx, pauses.Set{pauseOf(shardB)})
		})
		cancel()
		f.returned("a wait that was given up", receive(f, told), context.Canceled)
	}},
	{"pauses: changes at once are all made", func(f *fixture) {
		const each = 8
		keepers := []pauses.Keeper{f.keeper(), f.pausing(f.state.Open())}
		done := make(chan error, len(keepers))
		for k, keeper := range keepers {
			go func() {
				var err error
				for i := 0; i < each && err == nil; i++ {
					p := pauseOf(gerritstream.ShardID(fmt.Sprintf("shardId-%d-%d", k, i)))
					_, err = keeper.ChangePauses(f.t.Context(), func(s pauses.Set) (pauses.Set, error) {
						return s.With(p), nil
					})
				}
				done <- err
			}()
		}
		for range keepers {
			f.must(receive(f, done))
		}
		if set, err := keepers[0].Pauses(f.soon()); err != nil || len(set) != each*len(keepers) {
			f.t.Errorf("%d pauses are in force, %v; want %d", len(set), err, each*len(keepers))
		}
	}},
	{"pauses: a change that is refused changes nothing", func(f *fixture) {
		o := f.keeper()
		f.pause(o, pauseOf(shardA))
		no := errors.New("no")
		_, err := o.ChangePauses(f.soon(), func(s pauses.Set) (pauses.Set, error) { return s.Without(shardA), no })
		f.returned("a change that is refused", err, no)
		long := pauseOf(shardB)
		long.Reason = strings.Repeat("x", pauses.MaxText+1)
		_, err = o.ChangePauses(f.soon(), func(s pauses.Set) (pauses.Set, error) { return s.With(long), nil })
		if err == nil {
			f.t.Error("a pause that cannot be stored was made")
		}
		f.paused(o, pauseOf(shardA))
	}},
	{"pauses: a change whose reply is lost can be repeated", func(f *fixture) {
		if f.state.FailNext == nil {
			f.t.Skip("this store suffers no faults")
		}
		o := f.keeper()
		for _, fault := range []Fault{Refuse, RetryLater, ApplyButError} {
			f.state.FailNext(PointPauses, fault)
			_, err := o.ChangePauses(f.soon(), func(s pauses.Set) (pauses.Set, error) {
				return s.With(pauseOf(shardA)), nil
			})
			if err == nil {
				f.t.Errorf("%s: the change succeeded", fault)
			}
			if fault == ApplyButError {
				f.paused(o, pauseOf(shardA))
			} else {
				f.paused(o)
			}
		}
		f.pause(o, pauseOf(shardA))
		f.paused(o, pauseOf(shardA))
	}},
}

// keeper opens an operator that pauses.
func (f *fixture) keeper() pauses.Keeper {
	f.t.Helper()
	k, ok := f.openOperator().(pauses.Keeper)
	if !ok {
		f.t.Fatal("the operator is no pauses.Keeper")
	}
	return k
}

// pausing returns a store as one that pauses.
func (f *fixture) pausing(store gerritstream.Store) pauses.Store {
	f.t.Helper()
	s, ok := store.(pauses.Store)
	if !ok {
		f.t.Fatal("the store is no pauses.Store")
	}
	return s
}

// pause makes a pause.
func (f *fixture) pause(k pauses.Keeper, p pauses.Pause) {
	f.t.Helper()
	set, err := k.ChangePauses(f.soon(), func(s pauses.Set) (pauses.Set, error) { return s.With(p), nil })
	f.must(err)
	if is, ok := set.Has(p.Shard); !ok || is.Reason != p.Reason {
		f.t.Errorf("after a pause the set is %v", set)
	}
}

// resume ends a pause.
func (f *fixture) resume(k pauses.Keeper, shard gerritstream.ShardID) {
	f.t.Helper()
	_, err := k.ChangePauses(f.soon(), func(s pauses.Set) (pauses.Set, error) { return s.Without(shard), nil })
	f.must(err)
}

// paused checks which pauses are in force.
func (f *fixture) paused(k pauses.Keeper, want ...pauses.Pause) {
	f.t.Helper()
	set, err := k.Pauses(f.soon())
	f.must(err)
	if !set.Equal(want) {
		f.t.Errorf("the pauses are %v, want %v", set, want)
	}
}

// refusedPaused makes a commit that must fail because the shard is paused.
func (f *fixture) refusedPaused(term gerritstream.Term, c gerritstream.Commit) {
	f.t.Helper()
	err := term.Commit(f.soon(), c)
	f.returned("commit of a paused shard", err, pauses.ErrPaused)
	f.returned("commit of a paused shard", err, gerritstream.ErrRetryLater)
	if term.Context().Err() != nil {
		f.t.Errorf("the term is over: %v", context.Cause(term.Context()))
	}
}

// commitResumed makes a commit that must succeed soon after a pause has ended.
func (f *fixture) commitResumed(term gerritstream.Term, c gerritstream.Commit) {
	f.t.Helper()
	f.must(f.untilResumed(term, c))
}

// lost makes a commit that must fail because the term is lost: at first it may
// fail because the shard is paused.
func (f *fixture) lost(term gerritstream.Term, c gerritstream.Commit) {
	f.t.Helper()
	f.returned("commit to a lost term", f.untilResumed(term, c), gerritstream.ErrLeadershipLost)
	f.ended(term)
}

// untilResumed repeats a commit while it fails with ErrPaused.
func (f *fixture) untilResumed(term gerritstream.Term, c gerritstream.Commit) error {
	for ctx := f.soon(); ; storekit.Sleep(ctx, 10*time.Millisecond) {
		if err := term.Commit(ctx, c); !errors.Is(err, pauses.ErrPaused) {
			return err
		}
	}
}

// quiet checks that a wait does not end within Settle.
func (f *fixture) quiet(told <-chan error) {
	f.t.Helper()
	select {
	case err := <-told:
		f.t.Errorf("a wait has ended without a change: %v", err)
	case <-time.After(f.harness.Settle):
	}
}

// awaitGrowth waits until the queue holds more events.
func (f *fixture) awaitGrowth(than int) {
	f.t.Helper()
	for ctx := f.soon(); len(f.state.Entries()) <= than; storekit.Sleep(ctx, 10*time.Millisecond) {
		if ctx.Err() != nil {
			f.t.Fatalf("the queue still holds %d events", than)
		}
	}
}

// commitOn commits record after record until ctx ends. A commit that a pause
// refuses is tried again.
func commitOn(ctx context.Context, term gerritstream.Term, shard gerritstream.ShardID) error {
	for n := 1; ctx.Err() == nil; {
		switch err := term.Commit(context.WithoutCancel(ctx), step(shard, n, n)); {
		case err == nil:
			n++
		case !errors.Is(err, gerritstream.ErrRetryLater):
			return err
		}
		storekit.Sleep(ctx, 5*time.Millisecond)
	}
	return nil
}
