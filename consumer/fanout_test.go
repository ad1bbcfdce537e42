package consumer_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// inPushedCluster is inKinesisCluster with processes that read by enhanced
// fan-out.
func inPushedCluster(t *testing.T, shards int, test func(*testing.T, *kinesisCluster)) {
	t.Helper()
	inKinesisCluster(t, kinesistest.Options{}, shards, func(t *testing.T, k *kinesisCluster) {
		k.poll, k.read = 0, kinesis.ReadFanOut
		test(t, k)
	})
}

// An idle shard that is pushed to is at the tip all the time, its position says
// so, and an event is queued at once. Nobody calls it silent or stalled.
func TestFanOutKeepsPositionsFresh(t *testing.T) {
	inPushedCluster(t, 3, func(t *testing.T, k *kinesisCluster) {
		p := k.start()
		k.must(p.WaitCaughtUp(t.Context()))
		time.Sleep(time.Minute)
		for i := range 120 {
			if i%40 == 20 {
				k.put(s0, fmt.Sprint("good ", i))
				time.Sleep(10 * time.Millisecond)
				if !k.queuedAll() {
					t.Error("an event is not queued after 10 ms")
				}
			}
			time.Sleep(15 * time.Second)
			for _, s := range p.Status().Shards {
				if age := time.Since(s.Position.HandledUntil()); age > 80*time.Second {
					t.Fatalf("%s: the position is %s old", s.Shard, age)
				}
				if since := time.Since(s.Last.Commit); since > time.Minute {
					t.Fatalf("%s: not committed for %s", s.Shard, since)
				}
				if !s.AtTip || s.Lag > 0 || s.Trouble != "" {
					t.Fatalf("%s: at the tip: %t, lagging by %s, trouble: %q", s.Shard, s.AtTip, s.Lag, s.Trouble)
				}
			}
		}
		if n := k.reads(s1); n > 30*60/20+20 {
			t.Errorf("%d polls in half an hour", n)
		}
		k.check(kept)
	})
}

// A process that reads by fan-out ends its run when it has caught up, and when
// everything comes all the time.
func TestFanOutUntilCaughtUp(t *testing.T) {
	inPushedCluster(t, 2, func(t *testing.T, k *kinesisCluster) {
		for i := range 300 {
			k.putAll(fmt.Sprint(i))
		}
		p := k.start(untilCaughtUp)
		began := time.Now()
		p.wait(t)
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		k.check(kept)
	})
}

// Two processes hand shards over, die and come back while the stream is split
// and merged and subscriptions break: each record is queued once and in order.
func TestFanOutOfSeveralProcesses(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 5))
			inPushedCluster(t, 3, func(_ *testing.T, k *kinesisCluster) {
				procs := []*process{k.start(), k.start()}
				for i := range 600 {
					switch random.IntN(50) {
					case 0:
						k.server.On(kinesistest.Hook{
							Operation: "SubscribeToShard", Times: 3, Do: kinesistest.CutStream(random.IntN(10)),
						})
					case 1:
						k.split(k.open[random.IntN(len(k.open))])
					case 2:
						a, b := k.open[random.IntN(len(k.open))], k.open[random.IntN(len(k.open))]
						child, err := k.server.Merge(streamName, string(a), string(b))
						if err == nil { // they are neighbours
							k.replace([]gs.ShardID{gs.ShardID(child)}, a, b)
						}
					case 3:
						one := random.IntN(2)
						if random.IntN(2) == 0 {
							procs[one].kill()
						} else {
							procs[one].end()
						}
						procs[one] = k.start()
					}
					k.putAll(fmt.Sprint(i))
					time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
				}
				k.soon(3*time.Minute, "everything is queued", k.queuedAll)
				k.check(kept)
				for _, p := range procs {
					p.end()
				}
			})
		})
	}
}
