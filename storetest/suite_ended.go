package storetest

import (
	"context"
	"errors"

	"github.com/gerritstream/gerritstream"
)

var endedTests = []test{
	{"end of a shard is seen by a process that waits", endedSeen},
	{"end of a shard that was before is seen at once", endedBefore},
	{"end of a shard is waited for in its own epoch", endedEpoch},
	{"end of a shard: a cancelled wait returns", endedCancelled},
}

func endOf(n int) gerritstream.Commit {
	pos := after(n)
	pos.Ended = true
	return gerritstream.Commit{Position: pos}
}

// waiting starts a WaitEnded.
func (f *fixture) waiting(store gerritstream.Store, epoch int, shard gerritstream.ShardID) (<-chan error, context.CancelFunc) {
	ctx, cancel := context.WithCancel(f.t.Context())
	f.t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- store.WaitEnded(ctx, epoch, shard) }()
	return done, cancel
}

// sees waits for a WaitEnded to return nil.
func (f *fixture) sees(done <-chan error) {
	f.t.Helper()
	select {
	case err := <-done:
		if err != nil {
			f.t.Errorf("wait for the end: %v", err)
		}
	case <-f.soon().Done():
		f.t.Error("the end of a shard was not seen")
	}
}

func endedSeen(f *fixture) {
	store, other := f.state.Open(), f.state.Open()
	there, _ := f.waiting(other, 0, shardA)
	here, _ := f.waiting(store, 0, shardA)
	term := f.elect(store, shardA)
	f.commit(term, step(shardA, 1, 2))
	f.commit(term, endOf(2))
	f.sees(there)
	f.sees(here)
}

func endedBefore(f *fixture) {
	store := f.state.Open()
	term := f.elect(store, shardA)
	f.commit(term, endOf(2))
	f.resign(term)
	done, _ := f.waiting(f.state.Open(), 0, shardA)
	f.sees(done)
}

func endedEpoch(f *fixture) {
	store := f.state.Open()
	term := f.electIn(store, 0, shardA)
	f.commit(term, endOf(2))
	f.resign(term)
	done, _ := f.waiting(f.state.Open(), 1, shardA)
	term = f.electIn(store, 1, shardA)
	f.commit(term, endOf(1))
	f.sees(done)
}

func endedCancelled(f *fixture) {
	done, cancel := f.waiting(f.state.Open(), 0, shardA)
	cancel()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, context.Canceled) {
			f.t.Errorf("a cancelled wait returned %v", err)
		}
	case <-f.soon().Done():
		f.t.Error("a cancelled wait did not return")
	}
}
