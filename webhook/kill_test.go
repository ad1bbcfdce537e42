package webhook_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
	"github.com/gerritstream/gerritstream/webhook/webhooktest"
)

var flagSeeds = flag.Uint64("seeds", 4, "how many seeds TestMischief tries")

var errKilled = errors.New("killed")

// A process that dies just before or just after any of its writes, or with
// requests under way, leaves its work to the next one: everything is delivered
// or put aside, in order, and nothing is acknowledged before that.
func TestKilledAtEveryWrite(t *testing.T) {
	const events = 16
	total := 0
	for k := 0; k <= total; k++ { // at first none, to count them
		for _, applied := range []bool{false, true} {
			bubble(t, func(t *testing.T) {
				s := newScene(t)
				s.hook.Concurrency = 2
				s.React(func(_ int, d *webhooktest.Delivery) webhooktest.Reaction {
					if d.ID == idOf(5) {
						return webhooktest.Answer(400)
					}
					return webhooktest.After(time.Second, webhooktest.Answer(200))
				})
				s.add(1, events, 5)
				writes := atomic.Int64{}
				kill := make(chan struct{})
				s.fail = func(_ string, a bool) error {
					if a == applied && writes.Add(1) == int64(k) {
						close(kill)
						return errKilled
					}
					return nil
				}
				p := s.start("a")
				go func() {
					select {
					case <-kill:
						p.kill()
					case <-p.dead.Done():
					}
				}()
				for len(s.pending()) > 0 && p.dead.Err() == nil {
					time.Sleep(time.Second)
				}
				total = max(total, int(writes.Load()))
				s.fail = nil
				s.kill(p)
				s.start("b")
				s.drained(time.Hour)
				if n := s.inOrder(byChange); n != events-1 || !slices.Equal(s.aside(), []int64{5}) {
					t.Errorf("killed at write %d, %v: %d delivered, put aside: %v", k, applied, n, s.aside())
				}
				if n := len(s.Deliveries()); n > events+20 {
					t.Errorf("killed at write %d, %v: %d deliveries", k, applied, n)
				}
			})
		}
	}
	if total < 10 {
		t.Errorf("there were only %d writes", total)
	}
}

// Whatever a receiver does, and however processes die, stop and lose the lease,
// everything is delivered or put aside, in order, and nothing is acknowledged
// before.
func TestMischief(t *testing.T) {
	for seed := range *flagSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { mischief(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func mischief(t *testing.T, random *rand.Rand) {
	t.Helper()
	s := newScene(t)
	orders := []webhook.Order{webhook.ByChange, webhook.ByChange, webhook.ByProject, webhook.Unordered}
	s.hook.Order = orders[random.IntN(len(orders))]
	s.hook.Concurrency = 1 + random.IntN(8)
	calm := atomic.Bool{}
	moods := rand.New(rand.NewPCG(random.Uint64(), 2)) // under the receiver's lock
	refused := sync.Map{}
	s.React(func(_ int, d *webhooktest.Delivery) webhooktest.Reaction {
		_, refused := refused.Load(d.ID)
		switch n := moods.IntN(20); {
		case refused:
			return webhooktest.Answer(413)
		case calm.Load():
			return nil
		case n < 8:
			return webhooktest.After(time.Duration(moods.IntN(5000))*time.Millisecond, webhooktest.Answer(200))
		default:
			return []webhooktest.Reaction{
				webhooktest.Hang, webhooktest.HangMidAnswer, webhooktest.Drip(time.Second), webhooktest.Cut,
				webhooktest.CutMidAnswer, webhooktest.Answer(500), webhooktest.Answer(404),
				webhooktest.Answer(429, "Retry-After", "7"), webhooktest.Answer(400), webhooktest.Twice, nil, nil,
			}[n-8]
		}
	})
	processes := []*process{s.start("p0"), s.start("p1"), s.start("p2")}
	count := int64(0)
	for range 40 {
		more := 1 + random.Int64N(15)
		if random.IntN(8) == 0 {
			refused.Store(idOf(count+1), true)
		}
		s.add(count+1, count+more, 12)
		count += more
		time.Sleep(time.Duration(random.IntN(40000)) * time.Millisecond)
		i := random.IntN(3)
		switch random.IntN(5) {
		case 0:
			s.kill(processes[i])
			processes[i] = s.start(fmt.Sprint("p", i))
		case 1:
			s.stop(processes[i])
			processes[i] = s.start(fmt.Sprint("p", i))
		case 2:
			s.m.expire("ci")
		case 3:
			s.network.Stop(public)
			time.Sleep(time.Duration(random.IntN(60)) * time.Second)
			s.network.Listen(public, s.Receiver)
		}
	}
	calm.Store(true)
	s.drained(24 * time.Hour)
	key := byChange
	switch s.hook.Order {
	case webhook.ByProject:
		key = func(*queue.Event) string { return "" }
	case webhook.Unordered:
		key = func(e *queue.Event) string { return fmt.Sprint(e.Number) }
	}
	took := s.inOrder(key)
	for _, n := range s.aside() {
		if !s.Took(idOf(n)) {
			took++
		}
	}
	if took != int(count) {
		t.Errorf("%d of %d events were delivered or put aside", took, count)
	}
	t.Logf("%d events, %d deliveries, %d put aside", count, len(s.Deliveries()), len(s.aside()))
}

// Three processes share six hooks out evenly, take over from one that dies,
// and give the hooks back when it returns.
func TestSharedOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newScene(t)
		members := map[string]bool{}
		var hooks []string
		for i := range 6 {
			hooks = append(hooks, fmt.Sprint("hook-", i))
		}
		list := func(context.Context) (all []string, err error) {
			s.m.mu.Lock()
			defer s.m.mu.Unlock()
			for name := range members {
				all = append(all, name)
			}
			return all, nil
		}
		running := map[string][]*process{}
		start := func(name string, hooks ...string) {
			s.m.mu.Lock()
			members[name] = true
			s.m.mu.Unlock()
			for _, h := range hooks {
				s.hook.Name = h
				running[name] = append(running[name], s.start(name, func(c *webhook.Config) {
					c.Members, c.Self, c.Hooks = list, name, hooks
				}))
			}
		}
		kill := func(name string) {
			s.m.mu.Lock()
			delete(members, name)
			s.m.mu.Unlock()
			for _, p := range running[name] {
				s.kill(p)
			}
			delete(running, name)
		}
		shares := func() map[string]int {
			s.m.mu.Lock()
			defer s.m.mu.Unlock()
			shares := map[string]int{}
			for _, h := range hooks {
				if c := s.m.consumers[queue.WebhookConsumer(h)]; c != nil && c.holder != nil {
					shares[c.holder.p.name]++
				}
			}
			return shares
		}
		expect := func(within time.Duration, want string) {
			t.Helper()
			time.Sleep(within)
			if got := fmt.Sprint(shares()); got != want {
				t.Errorf("the shares are %s, want %s", got, want)
			}
		}
		start("a", hooks...)
		expect(time.Second, "map[a:6]")
		start("b", hooks...)
		start("c", hooks...)
		expect(time.Minute, "map[a:2 b:2 c:2]")
		kill("b")
		expect(time.Minute, "map[a:3 c:3]")
		start("b", hooks...)
		expect(time.Minute, "map[a:2 b:2 c:2]")
		kill("a")
		kill("c")
		expect(time.Minute, "map[b:6]")
		start("d") // it has other settings, and none of the hooks
		expect(5*time.Minute, "map[b:6]")
	})
}

// Rankings are the same for all members, even, and stable.
func TestRanking(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	moved, all := 0, 0
	for range 300 {
		var hooks, members []string
		for i := range 1 + random.IntN(12) {
			hooks = append(hooks, fmt.Sprint("hook-", i))
		}
		for i := range 1 + random.IntN(6) {
			members = append(members, fmt.Sprint("member-", random.IntN(100), "-", i))
		}
		firsts := map[string]int{}
		for _, h := range slices.Clone(hooks) {
			first := webhook.Ranking(hooks, members, h)
			random.Shuffle(len(hooks), func(i, j int) { hooks[i], hooks[j] = hooks[j], hooks[i] })
			random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			if again := webhook.Ranking(hooks, members, h); !slices.Equal(again, first) || len(first) != len(members) {
				t.Fatalf("%q and %q", first, again)
			}
			firsts[first[0]]++
			all++
			more := webhook.Ranking(hooks, append(slices.Clone(members), "new"), h)
			if more[0] != first[0] && more[0] != "new" {
				moved++
			}
		}
		for m, n := range firsts {
			if n > (len(hooks)+len(members)-1)/len(members) {
				t.Errorf("%s has %d of %d hooks among %d", m, n, len(hooks), len(members))
			}
		}
	}
	if moved > all/4 {
		t.Errorf("%d of %d hooks move between old members when one comes", moved, all)
	}
}

func TestBackOff(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		least, most := 5*time.Second, time.Hour
		if failures < 12 {
			least, most = max(least, least<<(failures-1)*79/100), min(most, least<<(failures-1)*121/100)
		}
		if got := webhook.BackOff(failures); got < min(least, 47*time.Minute) || got > most {
			t.Errorf("after %d failures %v", failures, got)
		}
	}
	first, second, third := webhook.BackOff(8), webhook.BackOff(8), webhook.BackOff(8)
	if first == second && second == third {
		t.Error("there is no jitter")
	}
}
