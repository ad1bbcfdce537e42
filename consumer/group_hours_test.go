package consumer_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
)

// Hours in which processes join, leave, die, freeze and thaw at random, with
// records on every shard. After each event the shards are soon spread evenly,
// no more of them have moved than necessary, and none moves until the next
// event. In the end every record is there, once.
func TestHoursOfBalance(t *testing.T) {
	const seed, hours, many = 7, 2, 7
	chance := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret
	inCluster(t, many, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		cl.stream.pollEvery = 30 * time.Second
		shards := shardIDs(many)
		var elections terms
		var processes []*process
		var frozen []*process
		pick := func() *process { return processes[chance.IntN(len(processes))] }
		remove := func(p *process) {
			processes = slices.DeleteFunc(processes, func(o *process) bool { return o == p })
		}
		events := map[string]func(){
			"join": func() { processes = append(processes, cl.start(elections.in)) },
			"leave": func() {
				p := pick()
				remove(p)
				p.end()
			},
			"die": func() {
				p := pick()
				remove(p)
				p.kill()
			},
			"freeze": func() {
				p := pick()
				remove(p)
				frozen = append(frozen, p)
				p.store.Freeze()
			},
			"thaw": func() {
				p := frozen[0]
				frozen = frozen[1:]
				processes = append(processes, p)
				p.store.Thaw()
			},
		}
		possible := func() (names []string) {
			if len(processes) < 4 {
				names = append(names, "join")
				if len(frozen) > 0 {
					names = append(names, "thaw", "thaw")
				}
			}
			if len(processes) > 1 {
				names = append(names, "leave", "die", "freeze")
			}
			return names
		}
		for began, done := time.Now(), ""; time.Since(began) < hours*time.Hour; {
			name := possible()[0]
			if done != "" {
				name = possible()[chance.IntN(len(possible()))]
			}
			done += " " + name
			before, led := elections.count(), cl.leadersOf(shards)
			for _, s := range shards {
				cl.stream.put(s, fmt.Sprintf("good during %q", name))
			}
			events[name]()
			cl.spreadWithin(5*time.Second, shards, even(many, len(processes))...)
			if moves, most := elections.count()-before, movesNeeded(many, led, processes); moves > most {
				t.Errorf("after%s: %d shards changed hands, %d had to (seed %d)", done, moves, most, seed)
			}
			before = elections.count()
			time.Sleep(time.Minute + time.Duration(chance.Int64N(int64(10*time.Minute))))
			if n := elections.count() - before; n > 0 {
				t.Errorf("after%s: %d shards changed hands though nothing happened (seed %d)", done, n, seed)
			}
			cl.check()
			if t.Failed() {
				break
			}
		}
		for _, p := range frozen {
			p.store.Thaw()
		}
	})
}

// leadersOf counts the shards that each process leads, by its name.
func (cl *cluster) leadersOf(shards []gs.ShardID) map[string]int {
	led := map[string]int{}
	for _, s := range shards {
		if leader := cl.memory.Leader(s); leader != "" {
			led[leader]++
		}
	}
	return led
}

// movesNeeded returns how many shards must move so that they are spread evenly
// over these processes, given how many each led.
func movesNeeded(shards int, led map[string]int, processes []*process) int {
	var has []int
	for _, p := range processes {
		has = append(has, led[p.Status().Process])
	}
	slices.Sort(has)
	slices.Reverse(has)
	for i, share := range even(shards, len(processes)) {
		shards -= min(share, has[i])
	}
	return shards
}

// even returns how many shards each of n processes leads when they are spread
// evenly, largest first.
func even(shards, n int) []int {
	leads := make([]int, n)
	for i := range leads {
		leads[i] = shards / n
		if i < shards%n {
			leads[i]++
		}
	}
	return leads
}
