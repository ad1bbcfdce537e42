package consumer_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/storetest"
)

// frontiers puts together what the processes know, and gives the latest time
// before which everything that arrived is committed, by any process' list of
// shards.
func (cl *cluster) frontiers() (latest time.Time) {
	known := map[gs.ShardID]time.Time{}
	var lists []map[gs.ShardID]time.Time
	for _, p := range cl.processes {
		_, until := p.Frontier()
		lists = append(lists, until)
		for shard, t := range until {
			if t.After(known[shard]) {
				known[shard] = t
			}
		}
	}
	for _, list := range lists {
		var first time.Time
		for shard := range list {
			if t := known[shard]; first.IsZero() || t.Before(first) {
				first = t
				if t.IsZero() {
					break
				}
			}
		}
		if first.After(latest) {
			latest = first
		}
	}
	return latest
}

// Whatever happens to shards and processes, everything that arrived before the
// frontier is in the queue; and while nothing happens, it is a moment ago.
func TestTheFrontierIsTrue(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inCluster(t, 4, func(t *testing.T, cl *cluster) {
				cl.level = slog.LevelWarn
				random := rand.New(rand.NewPCG(seed, 0))
				open := shardIDs(4)
				for range 2 {
					cl.start()
				}
				type sample struct {
					frontier time.Time
					queued   int
				}
				var samples []sample
				look := func() time.Time {
					s := sample{cl.frontiers(), len(cl.memory.Entries())}
					samples = append(samples, s)
					return s.frontier
				}
				for range 600 {
					time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
					look()
					cl.disturb(random, &open)
				}
				time.Sleep(40 * time.Second) // a listing, and a plan
				if late := time.Since(look()); late > 2*time.Second {
					t.Errorf("the frontier is %v ago at rest", late)
				}
				cl.check()
				entries, moved := cl.memory.Entries(), 0
				for i, s := range samples {
					for _, e := range entries[s.queued:] {
						if e.Arrived.Before(s.frontier) {
							t.Fatalf("%s %s arrived %v before the frontier, and was queued after it was read",
								e.Shard, e.Seq, s.frontier.Sub(e.Arrived))
						}
					}
					if i > 0 && s.frontier.After(samples[i-1].frontier) {
						moved++
					}
				}
				if moved < len(samples)/10 {
					t.Errorf("the frontier moved %d times in %d looks", moved, len(samples))
				}
			})
		})
	}
}

// While commits fail, the frontier stays before what they were to carry, even
// though later records were read with it.
func TestTheFrontierWaitsForTheCommit(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelError
		cl.start()
		time.Sleep(10 * time.Second)
		cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
			if w.Point == storetest.PointCommit {
				return storetest.Refuse
			}
			return storetest.NoFault
		})
		first := time.Now()
		for range 2 { // fewer than a commit carries: the second is read with the first, and neither is written
			cl.stream.put(shardIDs(1)[0], "good")
			time.Sleep(50 * time.Millisecond)
		}
		for range 100 {
			time.Sleep(50 * time.Millisecond)
			if f := cl.frontiers(); f.After(first.Add(40 * time.Millisecond)) {
				t.Fatalf("the frontier is %v after the first record that is not committed", f.Sub(first))
			}
		}
		cl.memory.SetHook(nil)
		time.Sleep(time.Minute)
		if f := cl.frontiers(); !f.After(first.Add(time.Second)) {
			t.Errorf("the frontier stays %v before the first record, which is committed now", first.Sub(f))
		}
		cl.check()
	})
}

// disturb lets something happen to a stream and those who read it: mostly that
// a record comes.
func (cl *cluster) disturb(random *rand.Rand, open *[]gs.ShardID) {
	shards := *open
	one := random.IntN(len(shards))
	switch random.IntN(150) {
	case 0:
		a, b := cl.stream.split(shards[one])
		*open = append(append(shards[:one:one], shards[one+1:]...), a, b)
	case 1, 2:
		if len(shards) > 2 {
			other := (one + 1) % len(shards)
			merged := cl.stream.merge(shards[one], shards[other])
			var left []gs.ShardID
			for i, id := range shards {
				if i != one && i != other {
					left = append(left, id)
				}
			}
			*open = append(left, merged)
		}
	case 3:
		cl.start()
		p := cl.processes[random.IntN(len(cl.processes)-1)]
		if random.IntN(2) == 0 {
			p.end()
		} else {
			p.kill()
		}
	case 4, 5: // a shard lags
		shard, until := shards[one], time.Now().Add(time.Duration(random.IntN(3000))*time.Millisecond)
		cl.stream.change(func() {
			cl.stream.lagsBy = func(id gs.ShardID) (time.Duration, bool) {
				return time.Second, id == shard && time.Now().Before(until)
			}
		})
	case 6: // no listing succeeds
		until := time.Now().Add(time.Duration(random.IntN(3000)) * time.Millisecond)
		cl.stream.change(func() {
			cl.stream.listErr = func() error {
				if time.Now().Before(until) {
					return errors.New("no listing now")
				}
				return nil
			}
		})
	case 7, 8: // a commit fails: not written, or the reply is lost
		cl.failNth(storetest.PointCommit,
			[]storetest.Fault{storetest.Refuse, storetest.ApplyButError}[random.IntN(2)], 1)
	case 9, 10:
		cl.stream.putAggregate(shards[one], "one", "drop two", "three")
	case 11, 12:
		cl.stream.put(shards[one], "drop it")
	default:
		cl.stream.put(shards[one], "good")
	}
}
