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

// Hours in which processes join, leave, die, freeze and thaw, as chance will
// have it, with records on every shard. After each of these the shares are even
// soon, no more shards have changed hands than had to, and then none does until
// the next one. In the end every record is there, once.
func TestHoursOfBalance(t *testing.T) {
	const seed, hours, many = 7, 2, 7
	chance := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret
	inCluster(t, many, func(t *testing.T, cl *cluster) {
		cl.level = slog.LevelInfo
		cl.stream.pollEvery = 30 * time.Second
		shards := shardIDs(many)
		var elections terms
		var crew []*process
		var frozen []*process
		pick := func() *process { return crew[chance.IntN(len(crew))] }
		remove := func(p *process) {
			crew = slices.DeleteFunc(crew, func(o *process) bool { return o == p })
		}
		events := map[string]func(){
			"join": func() { crew = append(crew, cl.start(elections.in)) },
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
				crew = append(crew, p)
				p.store.Thaw()
			},
		}
		possible := func() (names []string) {
			if len(crew) < 4 {
				names = append(names, "join")
				if len(frozen) > 0 {
					names = append(names, "thaw", "thaw")
				}
			}
			if len(crew) > 1 {
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
			cl.sharedWithin(5*time.Second, shards, even(many, len(crew))...)
			if moves, most := elections.count()-before, movesNeeded(many, led, crew); moves > most {
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

// movesNeeded is how many of so many shards must change hands so that a crew's
// shares are even, when its processes led so many.
func movesNeeded(shards int, led map[string]int, crew []*process) int {
	var has []int
	for _, p := range crew {
		has = append(has, led[p.Status().Process])
	}
	slices.Sort(has)
	slices.Reverse(has)
	for i, share := range even(shards, len(crew)) {
		shards -= min(share, has[i])
	}
	return shards
}

// even is how many of so many shards each of n processes leads, the largest
// share first.
func even(shards, n int) []int {
	shares := make([]int, n)
	for i := range shares {
		shares[i] = shards / n
		if i < shards%n {
			shares[i]++
		}
	}
	return shares
}
