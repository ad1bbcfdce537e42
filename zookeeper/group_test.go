package zookeeper_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/zookeeper"
)

func advertise(t *testing.T, store *zookeeper.Store, a gerritstream.MemberInfo) {
	t.Helper()
	if err := store.Advertise(soon(t), a); err != nil {
		t.Fatal(err)
	}
}

func groupState(t *testing.T, store *zookeeper.Store, shards ...gerritstream.ShardID) gerritstream.GroupState {
	t.Helper()
	m, err := store.GroupState(soon(t), shards)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestGroupState(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	a, b := cl.open(zookeeper.Config{}), cl.open(zookeeper.Config{})
	if m := groupState(t, a, shardA); len(m.Members) != 0 || len(m.Candidates) != 0 || m.Self == "" {
		t.Errorf("at first: %+v", m)
	}
	first := gerritstream.MemberInfo{Host: "h", PID: 7, Version: "v", Process: "h-7",
		Leads: []gerritstream.ShardID{shardA}, Readable: true, Config: "c"}
	advertise(t, a, first)
	advertise(t, b, gerritstream.MemberInfo{Host: "i"})
	elect(t, a, shardA)
	cl.candidate(shardA) // a third process, not advertised
	cl.put(cl.own("/members/garbage"), []byte("{"))
	cl.put(cl.own("/members/newer"), []byte(`{"format": 99, "host": 7}`))

	m := groupState(t, b, shardA, shardB)
	byID := map[string]gerritstream.Member{}
	for _, member := range m.Members {
		byID[member.ID] = member
	}
	if got := byID[a.Process()]; got.Damaged != nil || got.Info.Host != "h" || got.Info.PID != 7 ||
		!got.Info.Readable || got.Info.Config != "c" || !slices.Equal(got.Info.Leads, first.Leads) {
		t.Errorf("a is %+v", got)
	}
	if m.Self != b.Process() || byID[m.Self].Info.Host != "i" || len(m.Members) != 4 {
		t.Errorf("b sees %+v", m)
	}
	if byID["garbage"].Damaged == nil || !errors.Is(byID["newer"].Damaged, gerritstream.ErrNewerFormat) {
		t.Errorf("damaged members are %+v and %+v", byID["garbage"], byID["newer"])
	}
	if candidates := m.Candidates[shardA]; len(candidates) != 2 ||
		candidates[0] != (gerritstream.Candidate{Member: a.Process()}) || candidates[1].Foreign ||
		candidates[1].Member == "" {
		t.Errorf("the candidates are %+v", candidates)
	}
	if _, ok := m.Candidates[shardB]; ok {
		t.Error("there are candidates for a shard without any")
	}
}

// Python's candidates are told from ours although their names look alike.
func TestGroupStateWithPython(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	store := cl.open(zookeeper.Config{})
	resign(t, elect(t, store, shardA))
	for _, identifier := range []string{"", "host-of-zuul"} {
		name := cl.election(shardA) + "/00112233445566778899aabbccddeeff__lock__"
		if _, err := cl.raw.Create(name, []byte(identifier), zk.FlagEphemeralSequential,
			zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time from memory
		candidates := groupState(t, store, shardA).Candidates[shardA]
		if len(candidates) != 2 || !candidates[0].Foreign || !candidates[1].Foreign {
			t.Errorf("the candidates are %+v", candidates)
		}
	}
	in, err := store.Inspect(soon(t))
	if err != nil || in.Shards[shardA].Leader != "Zuul (Python)" || !in.Shards[shardA].Foreign ||
		in.Shards[shardA].Position != nil {
		t.Errorf("inspection: %+v, %v", in.Shards[shardA], err)
	}
}

func TestWaitGroupChange(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, single)
	watcher, other := cl.open(zookeeper.Config{}), cl.open(zookeeper.Config{})
	advertise(t, watcher, gerritstream.MemberInfo{Readable: true})

	// changes checks that WaitGroupChange returns after do.
	changes := func(what string, wantUrgent bool, do func()) {
		t.Helper()
		seen := groupState(t, watcher)
		type result struct {
			urgent bool
			err    error
		}
		done := make(chan result, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { urgent, err := watcher.WaitGroupChange(ctx, seen); done <- result{urgent, err} }()
		select {
		case r := <-done:
			t.Fatalf("%s: it returned %+v before anything happened", what, r)
		case <-time.After(100 * time.Millisecond):
		}
		do()
		select {
		case r := <-done:
			if r.err != nil || r.urgent != wantUrgent {
				t.Errorf("%s: it returned %+v", what, r)
			}
		case <-time.After(patience):
			t.Fatalf("%s: it did not return", what)
		}
	}
	changes("a member comes", false, func() { advertise(t, other, gerritstream.MemberInfo{Readable: true}) })
	changes("it cannot read", true, func() { advertise(t, other, gerritstream.MemberInfo{}) })
	changes("its configuration is another", false, func() { advertise(t, other, gerritstream.MemberInfo{Config: "x"}) })
	changes("its info is garbage", false, func() { cl.put(cl.own("/members/"+other.Process()), []byte("{")) })
	changes("it goes", true, func() {
		if err := other.Close(soon(t)); err != nil {
			t.Error(err)
		}
	})
	killed := cl.open(zookeeper.Config{SessionTimeout: brief})
	advertise(t, killed, gerritstream.MemberInfo{})
	changes("a member is killed", true, killed.Kill)

	// What does not matter to a plan does not end the wait.
	seen := groupState(t, watcher)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, err := watcher.WaitGroupChange(ctx, seen); done <- err }()
	advertise(t, watcher, gerritstream.MemberInfo{Readable: true, Leads: []gerritstream.ShardID{shardA}})
	select {
	case err := <-done:
		t.Errorf("it returned %v for a change that does not matter to a plan", err)
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	if err := receive(t, done); !errors.Is(err, context.Canceled) && err != nil {
		t.Errorf("a cancelled wait returned %v", err)
	}
	// What has changed already ends the wait at once.
	if urgent, err := watcher.WaitGroupChange(soon(t),
		gerritstream.GroupState{Members: []gerritstream.Member{{ID: "gone"}}}); err != nil || !urgent {
		t.Errorf("a member that is gone already: %v, %v", urgent, err)
	}
}
