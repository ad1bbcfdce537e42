package zookeeper_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// BenchmarkCommit commits events of 2.1 KB, several at a time, to one real
// server that does not wait for its disk.
func BenchmarkCommit(b *testing.B) {
	for _, each := range []int{1, 10, 50, 100} {
		for _, shards := range []int{1, 8} {
			b.Run(fmt.Sprintf("events=%d/shards=%d", each, shards),
				func(b *testing.B) { benchmarkCommit(b, each, shards) })
		}
	}
}

func benchmarkCommit(b *testing.B, each, shards int) {
	ensemble := peers.SharedZooKeeper(b, peers.ZooKeeperOptions{})
	store, err := zookeeper.Open(b.Context(), zookeeper.Config{
		Hosts: strings.Split(ensemble.Hosts(), ","), Chroot: peers.Chroot(b, ensemble), Connection: connection,
		QueueLimit: -1,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close(b.Context()) }()
	if err := store.SetOrigin(b.Context(), nil, gerritstream.Origin{Stream: stream}); err != nil {
		b.Fatal(err)
	}
	terms := make([]gerritstream.Term, shards)
	commits := make([]gerritstream.Commit, shards)
	for i := range terms {
		shard := gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i))
		terms[i] = elect(b, store, shard)
		for n := range each {
			commits[i].Entries = append(commits[i].Entries, event(shard, n, 2100))
		}
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		var all sync.WaitGroup
		for i, term := range terms {
			all.Go(func() {
				c := commits[i]
				c.Position = after(n)
				if err := term.Commit(b.Context(), c); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	b.ReportMetric(float64(n*each*shards)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkHandOver hands a shard over to a waiting candidate: from the
// beginning of the resignation to the next term's beginning.
func BenchmarkHandOver(b *testing.B) {
	ensemble := peers.SharedZooKeeper(b, peers.ZooKeeperOptions{})
	chroot := peers.Chroot(b, ensemble)
	var stores [2]*zookeeper.Store
	for i := range stores {
		var err error
		stores[i], err = zookeeper.Open(b.Context(), zookeeper.Config{
			Hosts: strings.Split(ensemble.Hosts(), ","), Chroot: chroot, Connection: connection,
		})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = stores[i].Close(b.Context()) }()
	}
	term := elect(b, stores[0], shardA)
	commit(b, term, step(shardA, 1, 1))
	for n := 1; b.Loop(); n++ {
		b.StopTimer()
		won := make(chan gerritstream.Term, 1)
		go func() {
			if next, err := stores[n%2].Campaign(b.Context(), 0, shardA); err == nil {
				won <- next
			}
		}()
		for waiting, ctx := 0, soon(b); waiting < 2; {
			m, err := stores[0].GroupState(ctx, []gerritstream.ShardID{shardA})
			if err != nil {
				b.Fatal(err)
			}
			waiting = len(m.Candidates[shardA])
		}
		b.StartTimer()
		resign(b, term)
		term = receive(b, won)
	}
}
