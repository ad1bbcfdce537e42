package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/storetest"
)

// terms counts elections: each move of a shard is one.
type terms struct {
	consumer.NopObserver
	mu sync.Mutex
	n  int // under mu
}

func (c *terms) Elected(gs.ShardID, uint64, gs.Position, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *terms) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *terms) in(cfg *consumer.Config) { cfg.Observer = c }

// leads returns how many shards each process leads, largest first, and how many
// nobody leads.
func (cl *cluster) leads(shards []gs.ShardID) (counts []int, nobody int) {
	by := map[string]int{}
	for _, s := range shards {
		if leader := cl.memory.Leader(s); leader != "" {
			by[leader]++
		} else {
			nobody++
		}
	}
	counts = slices.Sorted(maps.Values(by))
	slices.Reverse(counts)
	return counts, nobody
}

// spreadWithin waits until the processes lead that many shards each, and fails
// if that takes longer than limit or does not last.
func (cl *cluster) spreadWithin(limit time.Duration, shards []gs.ShardID, want ...int) {
	cl.t.Helper()
	began := time.Now()
	for {
		counts, nobody := cl.leads(shards)
		if nobody == 0 && slices.Equal(counts, want) {
			break
		}
		if time.Since(began) > limit {
			cl.t.Fatalf("after %v the processes lead %v shards and %d are led by nobody, want %v", limit, counts,
				nobody, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
	cl.t.Logf("%v shards led after %v", want, time.Since(began))
	time.Sleep(30 * time.Second)
	if counts, nobody := cl.leads(shards); nobody != 0 || !slices.Equal(counts, want) {
		cl.t.Errorf("30 s later the processes lead %v shards and %d are led by nobody, want %v", counts, nobody, want)
	}
}

// Four processes, 32 shards: after each join, leave and kill the shards are
// spread evenly within 5 s, nothing moves that need not, and nothing is lost or
// doubled meanwhile.
func TestBalanceIsEvenAfterEachJoinLeaveAndKill(t *testing.T) {
	inCluster(t, 32, func(t *testing.T, cl *cluster) {
		shards := shardIDs(32)
		var elections terms
		var procs []*process
		join := func() { procs = append(procs, cl.start(elections.in)) }
		end := func(how func(*process)) func() {
			return func() {
				how(procs[0])
				procs = procs[1:]
			}
		}
		stop := func(p *process) { p.stop(); <-p.done }
		kill := func(p *process) { p.kill() }
		for _, step := range []struct {
			name  string
			do    func()
			want  []int
			moves int // 0: as many as the one that ends led
		}{
			{"the first joins", join, []int{32}, 32},
			{"the second joins", join, []int{16, 16}, 16},
			{"the third joins", join, []int{11, 11, 10}, 10},
			{"the fourth joins", join, []int{8, 8, 8, 8}, 8},
			{"one is killed", end(kill), []int{11, 11, 10}, 0},
			{"another joins", join, []int{8, 8, 8, 8}, 8},
			{"one is stopped", end(stop), []int{11, 11, 10}, 0},
			{"another is stopped", end(stop), []int{16, 16}, 0},
			{"another is killed", end(kill), []int{32}, 0},
		} {
			before, moves := elections.count(), step.moves
			if moves == 0 {
				moves = cl.ledBy(shards, procs[0])
			}
			for _, s := range shards {
				cl.traffic(s, 9)
			}
			step.do()
			cl.spreadWithin(5*time.Second, shards, step.want...)
			if n := elections.count() - before; n != moves {
				t.Errorf("%s: %d elections, want %d", step.name, n, moves)
			}
			cl.check()
		}
	})
}

// ledBy is how many shards a process leads.
func (cl *cluster) ledBy(shards []gs.ShardID, p *process) (n int) {
	for _, s := range shards {
		if cl.memory.Leader(s) == p.Status().Process {
			n++
		}
	}
	return n
}

// A planned hand-over takes no time: the next term reads as soon as the one
// before has resigned.
func TestAPlannedHandOverIsQuick(t *testing.T) {
	inCluster(t, 32, func(t *testing.T, cl *cluster) {
		var mu sync.Mutex
		resigned, gap := map[gs.ShardID]time.Time{}, map[gs.ShardID]time.Duration{}
		cl.start()
		time.Sleep(10 * time.Second)
		cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if w.Point == storetest.PointResign {
				resigned[w.Shard] = time.Now()
			}
			return storetest.NoFault
		})
		cl.stream.change(func() {
			cl.stream.onRead = func(shard gs.ShardID, _ gs.Position) {
				mu.Lock()
				defer mu.Unlock()
				if at, ok := resigned[shard]; ok {
					gap[shard] = time.Since(at)
				}
			}
		})
		cl.start()
		time.Sleep(10 * time.Second)
		cl.memory.SetHook(nil)
		cl.stream.change(func() { cl.stream.onRead = nil })
		if len(gap) != 16 {
			t.Errorf("%d shards were handed over, want 16", len(gap))
		}
		for shard, d := range gap {
			if d > 20*time.Millisecond {
				t.Errorf("%s was read %v after it was given up", shard, d)
			}
		}
	})
}

// slowSink takes a while to deliver.
type slowSink struct {
	takes     time.Duration // 0: for ever
	entered   chan struct{} // gets one when a delivery begins
	mu        sync.Mutex
	delivered int
}

func (s *slowSink) Name() string { return "slow" }

func (s *slowSink) Deliver(ctx context.Context, entries []gs.Entry) error {
	s.entered <- struct{}{}
	var done <-chan time.Time
	if s.takes > 0 {
		done = time.After(s.takes)
	}
	select {
	case <-done:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.delivered += len(entries)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A hand-over waits for the work in flight, and at most a second: what takes
// less is finished and committed, what takes longer is read again by the next
// leader.
func TestAHandOverWaitsForWhatIsInFlight(t *testing.T) {
	for _, tt := range []struct {
		takes         time.Duration
		from, to      time.Duration
		deliveredHere int
	}{
		{700 * time.Millisecond, 400 * time.Millisecond, 600 * time.Millisecond, 1},
		{0, 950 * time.Millisecond, 1050 * time.Millisecond, 0},
	} {
		t.Run(tt.takes.String(), func(t *testing.T) {
			inCluster(t, 2, func(t *testing.T, cl *cluster) {
				sink := &slowSink{takes: tt.takes, entered: make(chan struct{}, 1)}
				cl.start(func(c *consumer.Config) { c.Sinks = []gs.Sink{sink} })
				time.Sleep(time.Second)
				cl.stream.put(s1, "good")
				<-sink.entered
				var moving time.Time
				cl.start()
				for cl.memory.Leader(s1) == "process-0" {
					if moving.IsZero() && strings.Contains(cl.processes[0].log.String(), "handing over the shard") {
						moving = time.Now()
					}
					time.Sleep(time.Millisecond)
				}
				if took := time.Since(moving); moving.IsZero() || took < tt.from || took > tt.to {
					t.Errorf("the shard was given up after %v, want %v to %v", took, tt.from, tt.to)
				}
				time.Sleep(5 * time.Second)
				cl.check()
				if sink.delivered != tt.deliveredHere {
					t.Errorf("%d entries were delivered before the move, want %d", sink.delivered, tt.deliveredHere)
				}
			})
		})
	}
}

// ownSource is one process's view of a stream, with faults of its own.
type ownSource struct {
	*stream
	mu     sync.Mutex
	err    error // under mu; yielded instead of pages; nil: none
	silent bool  // under mu; nothing is yielded
	reads  int   // under mu
}

func (s *ownSource) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *ownSource) Read(ctx context.Context, shard gs.ShardID, from gs.Position) iter.Seq2[gs.Page, error] {
	s.set(func() { s.reads++ })
	return func(yield func(gs.Page, error) bool) {
		for b, err := range s.stream.Read(ctx, shard, from) {
			for {
				s.mu.Lock()
				trouble, silent := s.err, s.silent
				s.mu.Unlock()
				if ctx.Err() != nil {
					yield(gs.Page{}, ctx.Err())
					return
				}
				if trouble == nil && !silent {
					break
				}
				if !silent && !yield(gs.Page{}, trouble) {
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

func (s *ownSource) Peek(ctx context.Context, shard gs.ShardID, from gs.Position) iter.Seq2[gs.Page, error] {
	return s.Read(ctx, shard, from)
}

var errNoRoute = fmt.Errorf("%w: no route", gs.ErrRetrying)

// A process that reads nothing for 60 s while another can becomes unreadable,
// and its shards go to the other. It probes without committing anything, and
// gets its share back once it can read.
func TestAnUnreadableProcessIsPlannedNothing(t *testing.T) {
	inCluster(t, 4, func(t *testing.T, cl *cluster) {
		shards := shardIDs(4)
		own := &ownSource{stream: cl.stream}
		p := cl.start(func(c *consumer.Config) { c.Source = own })
		cl.start()
		cl.spreadWithin(5*time.Second, shards, 2, 2)
		own.set(func() { own.err = errNoRoute })
		for _, s := range shards {
			cl.traffic(s, 20)
		}
		time.Sleep(50 * time.Second)
		if counts, _ := cl.leads(shards); !slices.Equal(counts, []int{2, 2}) || p.Status().Unreadable {
			t.Errorf("after 50 s without a page the processes lead %v shards, unreadable %v", counts,
				p.Status().Unreadable)
		}
		cl.spreadWithin(20*time.Second, shards, 4)
		if leader := cl.memory.Leader(s0); leader != "process-1" {
			t.Errorf("%s leads", leader)
		}
		if !p.Status().Unreadable || cl.processes[1].Status().Unreadable {
			t.Error("the status does not show who is unreadable")
		}
		cl.check()
		var before, after int
		own.set(func() { before = own.reads })
		time.Sleep(10 * time.Minute)
		own.set(func() { after = own.reads })
		if probes := after - before; probes < 15 || probes > 60 {
			t.Errorf("%d probes in 10 minutes", probes)
		}
		own.set(func() { own.err = nil })
		cl.spreadWithin(35*time.Second, shards, 2, 2)
		if p.Status().Unreadable {
			t.Error("the status still shows unreadable")
		}
		for _, s := range shards {
			cl.traffic(s, 5)
		}
		time.Sleep(5 * time.Second)
		cl.check()
	})
}

// While nobody can read, shards hardly move.
func TestAnOutageForAllMovesLittle(t *testing.T) {
	inCluster(t, 4, func(t *testing.T, cl *cluster) {
		shards := shardIDs(4)
		var elections terms
		cl.start(elections.in)
		cl.start(elections.in)
		cl.spreadWithin(5*time.Second, shards, 2, 2)
		before := elections.count()
		cl.stream.change(func() {
			cl.stream.readErr = func(gs.ShardID, gs.Position) error { return errNoRoute }
		})
		for _, s := range shards {
			cl.traffic(s, 5)
		}
		time.Sleep(3 * time.Hour)
		cl.stream.change(func() { cl.stream.readErr = nil })
		cl.spreadWithin(40*time.Second, shards, 2, 2)
		cl.check()
		if moves := elections.count() - before; moves > 4 {
			t.Errorf("%d moves in an outage", moves)
		}
	})
}

// Back-pressure, a slow sink and a blocked commit do not make a process
// unreadable, however long they last, and whatever the Source reported before.
func TestBackPressureIsNoStall(t *testing.T) {
	for name, block := range map[string]func(cl *cluster, own *ownSource) (after func()){
		"the memory budget": func(_ *cluster, own *ownSource) func() {
			own.set(func() { own.silent = true })
			return func() { own.set(func() { own.silent = false }) }
		},
		"a commit": func(cl *cluster, _ *ownSource) func() {
			cl.memory.SetHook(func(w storetest.Write) storetest.Fault {
				if w.Point == storetest.PointCommit && w.Process == "process-0" {
					return storetest.RetryLater
				}
				return storetest.NoFault
			})
			return func() { cl.memory.SetHook(nil) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 4, func(t *testing.T, cl *cluster) {
				shards := shardIDs(4)
				own := &ownSource{stream: cl.stream}
				p := cl.start(func(c *consumer.Config) { c.Source = own })
				cl.start()
				cl.spreadWithin(5*time.Second, shards, 2, 2)
				own.set(func() { own.err = errNoRoute }) // for a short while
				time.Sleep(30 * time.Second)
				own.set(func() { own.err = nil })
				after := block(cl, own)
				for _, s := range shards {
					cl.traffic(s, 5)
				}
				time.Sleep(20 * time.Minute)
				if counts, _ := cl.leads(shards); !slices.Equal(counts, []int{2, 2}) || p.Status().Unreadable {
					t.Errorf("the processes lead %v shards, unreadable %v", counts, p.Status().Unreadable)
				}
				after()
				time.Sleep(time.Minute)
				cl.check()
			})
		})
	}
}

// Shards split and merge while processes join, leave and die: children are led
// soon, and nothing is lost or doubled.
func TestReshardingDuringBalance(t *testing.T) {
	inCluster(t, 8, func(t *testing.T, cl *cluster) {
		open := shardIDs(8)
		traffic := func() {
			for _, s := range open {
				cl.traffic(s, 4)
			}
		}
		cl.start()
		cl.start()
		third := cl.start()
		for i := range 6 {
			traffic()
			a, b := cl.stream.split(open[0])
			c := cl.stream.merge(open[1], open[2])
			open = append(open[3:], a, b, c)
			switch i {
			case 1:
				third.kill()
			case 2:
				cl.start()
			case 3:
				cl.processes[0].stop()
			case 4:
				cl.start()
			}
			traffic()
			time.Sleep(2500 * time.Millisecond) // far less than the interval between listings
			cl.check()
		}
		counts, nobody := cl.leads(open)
		if nobody > 0 || len(counts) != 3 || counts[0] > counts[2]+1 {
			t.Errorf("in the end the processes lead %v shards, and %d are led by nobody", counts, nobody)
		}
	})
}

// candidates returns the candidates of a shard, as the store has them.
func (cl *cluster) candidates(shard gs.ShardID) []string {
	cl.t.Helper()
	m, err := cl.memory.Process("onlooker").GroupState(cl.t.Context(), []gs.ShardID{shard})
	if err != nil {
		cl.t.Fatal(err)
	}
	var line []string
	for _, c := range m.Candidates[shard] {
		line = append(line, strings.SplitN(c.Member, ".", 2)[0])
	}
	return line
}

// A process campaigns only for what is planned for it: a shard has a leader and
// no other candidates.
func TestOnlyPlannedMembersCampaign(t *testing.T) {
	inCluster(t, 6, func(t *testing.T, cl *cluster) {
		for range 3 {
			cl.start()
		}
		time.Sleep(time.Minute)
		for _, shard := range shardIDs(6) {
			if line := cl.candidates(shard); len(line) != 1 {
				t.Errorf("the candidates for %s are %v", shard, line)
			}
		}
	})
}

// A shard that a foreign leader leads stays with it; one of ours stands by, and
// leads when it is gone. A shard that it would lead next is not given up.
func TestForeignLeadersAreRespected(t *testing.T) {
	inCluster(t, 4, func(t *testing.T, cl *cluster) {
		leave := cl.memory.Foreign("zuul", s0)
		cl.start()
		time.Sleep(5 * time.Second)
		cl.memory.Foreign("zuul", s1)
		cl.start()
		cl.start()
		cl.traffic(s0, 5)
		time.Sleep(time.Minute)
		if line := cl.candidates(s0); len(line) != 2 || line[0] != "zuul" {
			t.Errorf("the candidates after a foreign leader are %v, want one of ours", line)
		}
		if line := cl.candidates(s1); len(line) != 3 || line[0] != "process-0" || line[1] != "zuul" {
			t.Errorf("the candidates with a foreign one next are %v, want process-0, zuul, and one of ours", line)
		}
		if shard := cl.processes[0].Status().Shards[0]; shard.Leader.Process != "zuul" || !shard.Leader.Foreign ||
			shard.Leader.Planned == "" {
			t.Errorf("the status is %+v", shard)
		}
		standby := cl.candidates(s0)[1]
		leave()
		time.Sleep(500 * time.Millisecond)
		if leader := cl.memory.Leader(s0); leader != standby {
			t.Errorf("%s leads, and %s stood by", leader, standby)
		}
		time.Sleep(time.Minute)
		cl.check()
	})
}

// A member that leaves its shards unclaimed does not keep them from being read
// for long.
func TestAnUnresponsiveMemberIsDropped(t *testing.T) {
	inCluster(t, 4, func(t *testing.T, cl *cluster) {
		idle := cl.memory.Process("idle")
		if err := idle.Advertise(t.Context(), gs.MemberInfo{Process: "idle", Readable: true}); err != nil {
			t.Fatal(err)
		}
		cl.start()
		time.Sleep(5 * time.Second)
		if _, nobody := cl.leads(shardIDs(4)); nobody != 2 {
			t.Errorf("%d shards wait for the unresponsive member, want 2", nobody)
		}
		cl.spreadWithin(15*time.Second, shardIDs(4), 4)
	})
}

// A process whose member info was deleted or damaged advertises it again.
func TestALostMemberInfoIsAdvertisedAgain(t *testing.T) {
	for name, raw := range map[string][]byte{"deleted": nil, "damaged": []byte("garbage")} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 4, func(t *testing.T, cl *cluster) {
				var elections terms
				p := cl.start(elections.in)
				cl.start(elections.in)
				cl.spreadWithin(5*time.Second, shardIDs(4), 2, 2)
				before := elections.count()
				cl.memory.WriteMember(p.store, raw)
				cl.spreadWithin(5*time.Second, shardIDs(4), 2, 2)
				if n := elections.count() - before; n != 0 {
					t.Errorf("%d elections", n)
				}
				m, err := p.store.GroupState(t.Context(), nil)
				if err != nil || len(m.Members) != 2 || m.Members[0].Damaged != nil || m.Members[1].Damaged != nil {
					t.Errorf("the members are %+v, %v", m.Members, err)
				}
			})
		})
	}
}

// Warnings about another member are logged once.
func TestOddMembersAreWarnedAboutOnce(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		damaged := cl.memory.Process("damaged")
		cl.memory.WriteMember(damaged, []byte("garbage"))
		config := func(hash string) func(*consumer.Config) {
			return func(c *consumer.Config) {
				c.Self = gs.MemberInfo{Host: "host", PID: 7, Version: "v1", Config: hash}
			}
		}
		p := cl.start(config("one"))
		cl.start(config("one"))
		cl.start(config("two"))
		time.Sleep(10 * time.Minute)
		for what, want := range map[string]int{"configured differently": 1,
			"cannot parse what a member advertises": 1} {
			if n := strings.Count(p.log.String(), what); n != want {
				t.Errorf("%q is logged %d times, want %d", what, n, want)
			}
		}
		counts, nobody := cl.leads(shardIDs(2))
		if nobody > 0 || !slices.Equal(counts, []int{1, 1}) {
			t.Errorf("the processes lead %v shards", counts)
		}
		checkMembers(t, p.Status())
	})
}

// checkMembers checks the members in a status: the damaged one, and three valid
// ones, one of them configured differently.
func checkMembers(t *testing.T, s gs.Status) {
	t.Helper()
	var sound, self, other, broken, led, planned int
	for _, m := range s.Members {
		led, planned = led+m.Leads, planned+m.Planned
		switch {
		case m.Damaged != "":
			broken++
			continue
		case m.Self:
			self++
		case m.OtherConfig:
			other++
		}
		if m.Process != "" && m.Host == "host" && m.PID == 7 && m.Version == "v1" && m.Readable {
			sound++
		}
	}
	if len(s.Members) != 4 || sound != 3 || self != 1 || other != 1 || broken != 1 || led != 2 || planned != 2 {
		t.Errorf("the members are %+v", s.Members)
	}
	for _, shard := range s.Shards {
		if !strings.HasPrefix(shard.Leader.Process, "process-") || shard.Leader.Planned != shard.Leader.Process ||
			shard.Leader.Foreign {
			t.Errorf("%s is led by %q and planned for %q", shard.Shard, shard.Leader.Process, shard.Leader.Planned)
		}
	}
}

// A process that cannot list any more still takes over from one that died.
func TestTakeoverNeedsNoListing(t *testing.T) {
	inCluster(t, 4, func(t *testing.T, cl *cluster) {
		first := cl.start()
		cl.start()
		cl.spreadWithin(5*time.Second, shardIDs(4), 2, 2)
		cl.stream.change(func() { cl.stream.listErr = func() error { return errors.New("no route") } })
		time.Sleep(5 * time.Minute)
		first.kill()
		for _, s := range shardIDs(4) {
			cl.traffic(s, 5)
		}
		cl.spreadWithin(5*time.Second, shardIDs(4), 4)
		cl.check()
		if trouble := cl.processes[1].Status().Trouble; !strings.Contains(trouble, "no route") {
			t.Errorf("the trouble is %q while the listing fails", trouble)
		}
	})
}

// A store that is away for a while changes nothing about who leads.
func TestNothingMovesWhileTheGroupIsUnknown(t *testing.T) {
	inCluster(t, 4, func(t *testing.T, cl *cluster) {
		var elections terms
		cl.start(elections.in, func(c *consumer.Config) { c.Store = blindStore{c.Store} })
		cl.start(elections.in, func(c *consumer.Config) { c.Store = blindStore{c.Store} })
		cl.spreadWithin(5*time.Second, shardIDs(4), 2, 2)
		before := elections.count()
		groupErr.Lock()
		groupErr.err = errors.New("the store is away")
		groupErr.Unlock()
		time.Sleep(10 * time.Minute)
		for _, s := range shardIDs(4) {
			cl.traffic(s, 5)
		}
		time.Sleep(5 * time.Second)
		cl.check()
		groupErr.Lock()
		groupErr.err = nil
		groupErr.Unlock()
		cl.spreadWithin(10*time.Second, shardIDs(4), 2, 2)
		if n := elections.count() - before; n != 0 {
			t.Errorf("%d elections", n)
		}
	})
}

// groupErr is what GroupState of a blindStore fails with.
var groupErr struct {
	sync.Mutex
	err error
}

type blindStore struct{ gs.Store }

func (s blindStore) GroupState(ctx context.Context, shards []gs.ShardID) (gs.GroupState, error) {
	groupErr.Lock()
	defer groupErr.Unlock()
	if groupErr.err != nil {
		return gs.GroupState{}, groupErr.err
	}
	return s.Store.GroupState(ctx, shards)
}

// untilHandingOver waits until a process logs a hand-over.
func (cl *cluster) untilHandingOver(p *process) {
	cl.t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.log.String(), "handing over the shard"); {
		if time.Now().After(deadline) {
			cl.t.Fatal("nothing is handed over")
		}
		time.Sleep(time.Millisecond)
	}
}

// hushedStore does not tell of new candidates.
type hushedStore struct{ gs.Store }

func (s hushedStore) WaitGroupChange(ctx context.Context, seen gs.GroupState) (bool, error) {
	seen.Candidates = nil
	return s.Store.WaitGroupChange(ctx, seen)
}

// A shard is given up at once when the process it is planned for becomes the
// next candidate, however late that comes, and however late that was planned.
func TestAContenderNextInLineIsActedOnAtOnce(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		inCluster(t, 2, func(t *testing.T, cl *cluster) {
			cl.start()
			time.Sleep(5 * time.Second)
			var unpin func()
			if pinned { // nothing is planned for another until the foreign candidates are gone
				cl.memory.Foreign("zuul", s0)
				unpin = cl.memory.Foreign("zuul", s1)
			}
			late := cl.memory.Process("late")
			if err := late.Advertise(t.Context(), gs.MemberInfo{Process: "late", Readable: true}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			if pinned {
				unpin()
			}
			time.Sleep(20*time.Second + 50*time.Millisecond) // by now it looks by itself once in five seconds
			came := time.Now()
			if _, err := late.Campaign(t.Context(), 0, s1); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(came); waited > 20*time.Millisecond {
				t.Errorf("the shard was handed over after %v", waited)
			}
			late.Kill()
			cl.spreadWithin(time.Second, shardIDs(2), 2)
		})
	}
}

// Where the store does not tell of it, a shard is given up soon after the
// process it is planned for has become a candidate, however late that comes.
func TestAHandOverWaitsForItsOwnerAndNoLonger(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.start(func(c *consumer.Config) { c.Store = hushedStore{c.Store} })
		time.Sleep(5 * time.Second)
		late := cl.memory.Process("late")
		if err := late.Advertise(t.Context(), gs.MemberInfo{Process: "late", Readable: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if counts, nobody := cl.leads(shardIDs(2)); nobody > 0 || !slices.Equal(counts, []int{2}) {
			t.Errorf("before the owner comes the processes lead %v shards, and %d are led by nobody", counts, nobody)
		}
		came := time.Now()
		term, err := late.Campaign(t.Context(), 0, s1)
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(came); waited > 2*time.Second {
			t.Errorf("the shard was handed over after %v", waited)
		}
		late.Kill()
		cl.spreadWithin(time.Second, shardIDs(2), 2)
		if term.Context().Err() == nil {
			t.Error("a killed process leads")
		}
	})
}

// A stop in the middle of a hand-over takes no longer than any stop.
func TestAStopDuringAHandOverIsQuick(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		sink := &slowSink{entered: make(chan struct{}, 1)}
		p := cl.start(func(c *consumer.Config) { c.Sinks = []gs.Sink{sink} })
		time.Sleep(time.Second)
		cl.stream.put(s1, "good")
		<-sink.entered
		cl.start()
		cl.untilHandingOver(p)
		began := time.Now()
		p.stop()
		<-p.done
		if took := time.Since(began); took > 250*time.Millisecond {
			t.Errorf("stopped in %v", took)
		}
		time.Sleep(5 * time.Second)
		cl.check()
	})
}

// The shards of a process that is gone are led by others at once.
func TestAnUnclaimedShardIsTakenAtOnce(t *testing.T) {
	inCluster(t, 4, func(_ *testing.T, cl *cluster) {
		p := cl.start()
		cl.start()
		cl.spreadWithin(5*time.Second, shardIDs(4), 2, 2)
		p.store.Kill() // it is not waited for
		cl.spreadWithin(50*time.Millisecond, shardIDs(4), 4)
	})
}

// A process that announces its end is succeeded at once: by the time its work
// in flight has ended, the others wait behind it.
func TestAnAnnouncedEndIsActedOnAtOnce(t *testing.T) {
	inCluster(t, 4, func(t *testing.T, cl *cluster) {
		sink := &slowSink{entered: make(chan struct{}, 4)}
		p := cl.start(func(c *consumer.Config) { c.Sinks = []gs.Sink{sink} })
		cl.start()
		cl.spreadWithin(5*time.Second, shardIDs(4), 2, 2)
		led := map[gs.ShardID]bool{}
		for _, s := range shardIDs(4) {
			if cl.memory.Leader(s) == "process-0" {
				led[s] = true
				cl.stream.put(s, "good")
				<-sink.entered
			}
		}
		p.stop() // which waits for the deliveries for a while
		time.Sleep(20 * time.Millisecond)
		for s := range led {
			if line := cl.candidates(s); !slices.Equal(line, []string{"process-0", "process-1"}) {
				t.Errorf("20 ms after the announcement the candidates are %v", line)
			}
		}
		<-p.done
		cl.spreadWithin(20*time.Millisecond, shardIDs(4), 4)
		cl.check()
	})
}

// countingStore counts how often a process looks at the group.
type countingStore struct {
	gs.Store
	looks *atomic.Int64
}

func (s countingStore) GroupState(ctx context.Context, shards []gs.ShardID) (gs.GroupState, error) {
	s.looks.Add(1)
	return s.Store.GroupState(ctx, shards)
}

// Of many processes that stop one right after the other, the first is acted on
// at once and the others together, and only their shards move.
func TestManyStopsAreActedOnTogether(t *testing.T) {
	inCluster(t, 16, func(t *testing.T, cl *cluster) {
		var looks atomic.Int64
		var elections terms
		cl.start(elections.in, func(c *consumer.Config) { c.Store = countingStore{c.Store, &looks} })
		for range 15 {
			cl.start(elections.in)
		}
		cl.spreadWithin(10*time.Second, shardIDs(16), slices.Repeat([]int{1}, 16)...)
		before, looked := elections.count(), looks.Load()
		for _, p := range cl.processes[8:] {
			p.stop()
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond) // 60 ms after the first
		if n := looks.Load() - looked; n != 2 {
			t.Errorf("the group was looked at %d times within 60 ms, want twice", n)
		}
		cl.spreadWithin(time.Second, shardIDs(16), slices.Repeat([]int{2}, 8)...)
		if n := elections.count() - before; n != 8 {
			t.Errorf("%d elections, and 8 shards had to move", n)
		}
	})
}

// Processes that join together are waited for: shards move once, to where they
// stay.
func TestJoinsAreActedOnTogether(t *testing.T) {
	inCluster(t, 12, func(t *testing.T, cl *cluster) {
		var elections terms
		cl.start(elections.in)
		cl.spreadWithin(5*time.Second, shardIDs(12), 12)
		before := elections.count()
		for range 3 {
			cl.start(elections.in)
			time.Sleep(50 * time.Millisecond)
		}
		cl.spreadWithin(5*time.Second, shardIDs(12), 3, 3, 3, 3)
		if n := elections.count() - before; n != 9 {
			t.Errorf("%d elections, want 9", n)
		}
	})
}

// A process that was stopped is planned nothing, although its store is still
// open.
func TestAStoppedProcessIsPlannedNothing(t *testing.T) {
	inCluster(t, 4, func(_ *testing.T, cl *cluster) {
		p := cl.start()
		cl.start()
		cl.spreadWithin(5*time.Second, shardIDs(4), 2, 2)
		p.stop()
		<-p.done
		cl.spreadWithin(time.Second, shardIDs(4), 4)
	})
}

// A process with UntilCaughtUp counts a shard that it brought to its tip and
// then handed over: it need not wait for the new leader.
func TestUntilCaughtUpRemembersTheTipsOfShardsThatMoved(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, cl *cluster) {
		cl.stream.change(func() { // one shard keeps the process from its end
			cl.stream.lagsBy = func(shard gs.ShardID) (time.Duration, bool) { return time.Minute, shard == s0 }
		})
		p := cl.start(untilCaughtUp)
		time.Sleep(2 * time.Second)
		cl.stream.change(func() { // who comes gets no page of the other
			cl.stream.readErr = func(shard gs.ShardID, _ gs.Position) error {
				if shard == s1 {
					return errNoRoute
				}
				return nil
			}
		})
		cl.start()
		for cl.memory.Leader(s1) != "process-1" {
			time.Sleep(10 * time.Millisecond)
		}
		cl.stream.change(func() { cl.stream.lagsBy = nil })
		time.Sleep(5 * time.Second)
		select {
		case <-p.done:
		default:
			t.Error("still running, though every shard was at its tip")
		}
	})
}

// The children of a shard that ended are led soon, also by a process that had
// nothing to do with it, wherever in its round that process is.
func TestOthersLearnOfAReshardSoon(t *testing.T) {
	for phase := range 10 {
		inCluster(t, 1, func(t *testing.T, cl *cluster) {
			cl.start()
			cl.start()
			time.Sleep(20*time.Second + time.Duration(phase)*500*time.Millisecond)
			a, b := cl.stream.split(s0)
			time.Sleep(1500 * time.Millisecond)
			if x, y := cl.memory.Leader(a), cl.memory.Leader(b); x == "" || y == "" || x == y {
				t.Errorf("phase %d: the children are led by %q and %q", phase, x, y)
			}
		})
	}
}

// slowToCampaign is a store on which a candidacy takes a while to begin.
type slowToCampaign struct {
	gs.Store
	by time.Duration
}

func (s slowToCampaign) Campaign(ctx context.Context, epoch int, shard gs.ShardID) (gs.Term, error) {
	time.Sleep(s.by)
	return s.Store.Campaign(ctx, epoch, shard)
}

// Two processes that start together plan with what they see of each other: the
// second does not see yet that the first campaigns for all shards, and becomes
// a candidate for those that the first will keep. Both look again soon,
// although nobody joins or leaves.
func TestProcessesThatStartTogetherShareSoon(t *testing.T) {
	inCluster(t, 4, func(_ *testing.T, cl *cluster) {
		cl.start(func(c *consumer.Config) { c.Store = slowToCampaign{cl.memory.Process("b"), 50 * time.Millisecond} })
		time.Sleep(20 * time.Millisecond)
		cl.start(func(c *consumer.Config) { c.Store = slowToCampaign{cl.memory.Process("a"), 100 * time.Millisecond} })
		cl.spreadWithin(2*time.Second, shardIDs(4), 2, 2)
	})
}
