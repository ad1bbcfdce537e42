package consumer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// generations reshards twice, with records on each shard before, between and
// after: a split of a split, and a merge of merges. It waits before each of the
// reshardings.
func (k *kinesisCluster) generations(waits time.Duration) {
	k.putAll("of the first")
	time.Sleep(waits)
	k.putAll("last of the first")
	first := shardIDs(5)
	a, _ := k.split(first[0])
	b, c := k.merge(first[1], first[2]), k.merge(first[3], first[4])
	k.putAll("of the second")
	time.Sleep(waits)
	k.putAll("last of the second")
	k.split(a)
	k.merge(b, c)
	k.putAll("of the third")
}

// All processes were down while shards split and merged, and their children
// again. Every record comes once, parents before children, across both
// generations; also when the retention has meanwhile passed the first one, or
// both: then what was trimmed is reported, and everything that is kept comes.
func TestDownForTwoGenerationsOfResharding(t *testing.T) {
	const retention = 24 * time.Hour
	for _, tt := range []struct {
		name         string
		waits, after time.Duration // before each resharding, and after the last
		gone         int           // shards that are not listed any more
	}{
		{"within the retention", 2 * time.Hour, time.Hour, 0},
		{"the retention has passed the grandparents", 10 * time.Hour, 15 * time.Hour, 5},
		{"the retention has passed the grandparents and the parents", 2 * time.Hour, 24 * time.Hour, 5 + 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inKinesisCluster(t, kinesistest.Options{ScanSpan: 2 * time.Hour}, 5, func(t *testing.T, k *kinesisCluster) {
				k.poll = 5 * time.Second
				for range 2 {
					k.start()
				}
				k.putAll("before")
				time.Sleep(2 * time.Minute)
				for _, p := range k.processes {
					p.end()
				}
				k.check(kept)
				k.generations(tt.waits)
				time.Sleep(tt.after + 30*time.Minute)
				k.putAll("last")
				time.Sleep(30 * time.Minute)
				listed, err := k.server.Shards(streamName)
				k.must(err)
				if want := 5 + 4 + 3 - tt.gone; len(listed) != want {
					t.Fatalf("%d shards are listed, want %d", len(listed), want)
				}
				back := time.Now()
				for range 2 {
					k.start()
				}
				time.Sleep(3 * time.Minute)
				k.putAll("after")
				time.Sleep(time.Minute)

				k.check(func(s sent) bool { return s.data != "good before" && s.at.Before(back.Add(-retention)) })
				if n := len(k.reported()); tt.gone == 0 && n > 0 || tt.gone > 0 && n < 5 {
					t.Errorf("reported as lost: %+v", k.reported())
				}
				for shard := range k.closed() {
					if pos, ok := k.memory.Position(0, shard); ok && !pos.Ended {
						t.Errorf("%s is not marked ended: %+v", shard, pos)
					}
				}
			})
		})
	}
}

// closed returns the shards that have children.
func (k *kinesisCluster) closed() map[gs.ShardID]bool {
	closed := map[gs.ShardID]bool{}
	for _, parents := range k.parents {
		for _, p := range parents {
			closed[p] = true
		}
	}
	return closed
}

// From 4 shards to 64 on demand, by doublings, with records on every shard all
// the time, while two processes run and while none does.
func TestFromFourShardsToSixtyFour(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			inKinesisCluster(t, kinesistest.Options{}, 4, func(t *testing.T, k *kinesisCluster) {
				k.poll = 5 * time.Second
				start := func() {
					k.start()
					k.start()
				}
				start()
				k.putAll("at 4")
				time.Sleep(10 * time.Second)
				if !running {
					for _, p := range k.processes {
						p.end()
					}
				}
				for len(k.open) < 64 {
					for _, s := range slices.Clone(k.open) {
						k.put(s, "good before its split")
						k.split(s)
					}
					k.putAll(fmt.Sprintf("at %d", len(k.open)))
					if running {
						k.soon(30*time.Second, fmt.Sprintf("all is queued of %d shards", len(k.open)), k.queuedAll)
					} else {
						time.Sleep(20 * time.Minute)
					}
				}
				if !running {
					start()
				}
				k.putAll("in the end")
				k.soon(90*time.Second, "everything is queued", k.queuedAll)
				time.Sleep(15 * time.Second)
				k.check(kept)
				if leads, nobody := k.leads(k.open); nobody > 0 || !slices.Equal(leads, []int{32, 32}) {
					t.Errorf("the processes lead %v shards, and %d are led by nobody", leads, nobody)
				}
				if lost := k.reported(); len(lost) > 0 {
					t.Errorf("reported as lost: %+v", lost)
				}
			})
		})
	}
}
