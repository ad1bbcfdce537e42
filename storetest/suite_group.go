package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
)

var groupTests = []test{
	{"group: a process that advertised itself is a member, to itself and to others", func(f *fixture) {
		first, firstID := f.join("one")
		second, secondID := f.join("two")
		if firstID == "" || firstID == secondID {
			f.t.Errorf("two processes have the IDs %q and %q", firstID, secondID)
		}
		for _, store := range []gerritstream.Store{first, second} {
			m := f.group(store)
			want := []string{firstID, secondID}
			slices.Sort(want)
			if !slices.Equal(memberIDs(m), want) {
				f.t.Errorf("the members are %v, want %v", memberIDs(m), want)
			}
			for i := range m.Members {
				process := map[string]string{firstID: "one", secondID: "two"}[m.Members[i].ID]
				wanted := gerritstream.Member{ID: m.Members[i].ID, Info: memberInfo(process)}
				if !sameMember(m.Members[i], wanted) {
					f.t.Errorf("member %+v, want %+v", m.Members[i], wanted)
				}
			}
		}
	}},
	{"group: member info replaces what was advertised before", func(f *fixture) {
		store, id := f.join("one")
		other := f.state.Open()
		a := memberInfo("one")
		a.Readable, a.Leads = false, []gerritstream.ShardID{shardA, shardB}
		f.advertise(store, a)
		m := f.group(other)
		if len(m.Members) != 1 || !sameMember(m.Members[0], gerritstream.Member{ID: id, Info: a}) {
			f.t.Errorf("the members are %+v, want one with %+v", m.Members, a)
		}
	}},
	{"group: a process that has not advertised itself is no member", func(f *fixture) {
		silent := f.state.Open()
		_, id := f.join("one")
		m := f.group(silent)
		if !slices.Equal(memberIDs(m), []string{id}) || m.Self == "" || m.Self == id {
			f.t.Errorf("a silent process %q sees the members %v", m.Self, memberIDs(m))
		}
	}},
	{"group: a killed process is no longer a member or a candidate", func(f *fixture) {
		leader, leaderID := f.join("leader")
		candidate, candidateID := f.join("candidate")
		watcher, watcherID := f.join("watcher")
		f.elect(leader, shardA)
		f.candidate(candidate, 0, shardA)
		f.awaitCandidates(watcher, shardA, leaderID, candidateID)
		f.elect(candidate, shardB)
		f.awaitCandidates(watcher, shardB, candidateID)
		f.state.Kill(candidate)
		f.awaitGroup(watcher, "that a member is gone", func(m gerritstream.GroupState) bool {
			return len(m.Members) == 2 && !slices.Contains(memberIDs(m), candidateID)
		})
		f.awaitCandidates(watcher, shardA, leaderID)
		f.state.Kill(leader)
		alone := func(m gerritstream.GroupState) bool { return len(m.Members) == 1 }
		m := f.awaitGroup(watcher, "that all others are gone", alone)
		if m.Members[0].ID != watcherID {
			f.t.Errorf("the member left is %s, want %s", m.Members[0].ID, watcherID)
		}
	}},
	{"group: candidates begin with the leader and follow in the order of succession", func(f *fixture) {
		var stores []gerritstream.Store
		var ids []string // in the order of succession
		for _, name := range []string{"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"} {
			store, id := f.join(name) // many, so that chance does not keep their order
			stores, ids = append(stores, store), append(ids, id)
		}
		term := f.elect(stores[0], shardA)
		var waiting []<-chan campaigned
		for i, store := range stores[1:] {
			won, _ := f.candidate(store, 0, shardA)
			waiting = append(waiting, won)
			f.awaitCandidates(stores[3], shardA, ids[:i+2]...)
		}
		for i, won := range waiting {
			f.resign(term)
			term = f.wins(won)
			f.awaitCandidates(stores[0], shardA, ids[i+1:]...)
		}
		f.resign(term)
		f.awaitCandidates(stores[0], shardA)
	}},
	{"group: a candidate that gives up is one no longer", func(f *fixture) {
		leader, leaderID := f.join("leader")
		quitter, quitterID := f.join("quitter")
		heir, heirID := f.join("heir")
		term := f.elect(leader, shardA)
		_, quit := f.candidate(quitter, 0, shardA)
		f.awaitCandidates(leader, shardA, leaderID, quitterID)
		won, _ := f.candidate(heir, 0, shardA)
		f.awaitCandidates(leader, shardA, leaderID, quitterID, heirID)
		quit()
		f.awaitCandidates(leader, shardA, leaderID, heirID)
		f.resign(term)
		f.wins(won)
		f.awaitCandidates(leader, shardA, heirID)
	}},
	{"group: candidates are those of the shards asked for", func(f *fixture) {
		store, id := f.join("one")
		f.elect(store, shardA)
		f.elect(store, shardB)
		m, err := store.GroupState(f.soon(), []gerritstream.ShardID{shardB, "shardId-000000000009"})
		if err != nil {
			f.t.Fatal(err)
		}
		if len(m.Candidates) != 1 || !slices.Equal(m.Candidates[shardB], []gerritstream.Candidate{{Member: id}}) {
			f.t.Errorf("the candidates are %+v, want only those of %s", m.Candidates, shardB)
		}
	}},
	{"group: a wait ends when a member joins", func(f *fixture) {
		watcher, _ := f.join("watcher")
		if f.changes(watcher, func() { f.join("new") }) {
			f.t.Error("a member joined, and that is said to be urgent")
		}
	}},
	{"group: a wait ends when a member leaves, which is urgent", func(f *fixture) {
		watcher, _ := f.join("watcher")
		victim, _ := f.join("victim")
		if !f.changes(watcher, func() { f.state.Kill(victim) }) {
			f.t.Error("a member left, and that is not said to be urgent")
		}
	}},
	{"group: a wait ends when a member announces that it no longer reads, which is urgent", func(f *fixture) {
		watcher, _ := f.join("watcher")
		other, _ := f.join("other")
		a := memberInfo("other")
		a.Readable = false
		if !f.changes(watcher, func() { f.advertise(other, a) }) {
			f.t.Error("a member no longer reads, and that is not said to be urgent")
		}
	}},
	{"group: a wait ends when a candidate is next for a watched shard, which is urgent", func(f *fixture) {
		leader, _ := f.join("leader")
		heir, heirID := f.join("heir")
		f.elect(leader, shardA)
		f.elect(leader, shardB)
		seen := f.group(leader)
		delete(seen.Candidates, shardA)
		end, _ := f.waitGroupChange(leader, seen)
		f.candidate(heir, 0, shardA) // which is not watched
		f.awaitGroup(leader, "that a candidate has come", func(m gerritstream.GroupState) bool {
			return len(m.Candidates[shardA]) == 2
		})
		f.candidate(heir, 0, shardB)
		c := receive(f, end)
		for ; c.err == nil && len(f.group(leader).Candidates[shardB]) < 2; c = receive(f, end) { // early
			end, _ = f.waitGroupChange(leader, seen)
		}
		if m := f.group(leader); c.err != nil || !c.urgent || m.Candidates[shardB][1].Member != heirID {
			f.t.Errorf("urgent %v, %v, the candidates are %+v", c.urgent, c.err, m.Candidates[shardB])
		}
	}},
	{"group: a wait ends when a member advertises something else", func(f *fixture) {
		watcher, _ := f.join("watcher")
		other, _ := f.join("other")
		for _, change := range []func(*gerritstream.MemberInfo){
			func(a *gerritstream.MemberInfo) { a.Config = "decaf" },
			func(a *gerritstream.MemberInfo) { a.Plan = "another" },
		} {
			a := memberInfo("other")
			f.advertise(other, a)
			change(&a)
			if f.changes(watcher, func() { f.advertise(other, a) }) {
				f.t.Error("nothing is to be given up, and the change is said to be urgent")
			}
		}
	}},
	{"group: a cancelled wait returns", func(f *fixture) {
		watcher, _ := f.join("watcher")
		end, cancel := f.waitGroupChange(watcher, f.group(watcher))
		cancel()
		if c := receive(f, end); c.err != nil && !errors.Is(c.err, context.Canceled) {
			f.t.Errorf("a cancelled wait returned %v", c.err)
		}
	}},
	{"group: damaged member info shows as such, until the next advertising", func(f *fixture) {
		if f.state.DamageMember == nil {
			return // this store has no way to make it so
		}
		watcher, _ := f.join("watcher")
		victim, victimID := f.join("victim")
		of := func(m gerritstream.GroupState) gerritstream.Member {
			at := slices.Index(memberIDs(m), victimID)
			if at < 0 {
				f.t.Fatalf("a member with damaged info is gone: %v", memberIDs(m))
			}
			return m.Members[at]
		}
		f.changes(watcher, func() { f.state.DamageMember(victim) })
		member := of(f.group(watcher))
		if a := member.Info; member.Damaged == nil || a.Readable || a.Process != "" || len(a.Leads) > 0 {
			f.t.Errorf("a member with damaged info is %+v", member)
		}
		f.changes(watcher, func() { f.advertise(victim, memberInfo("victim")) })
		if member := of(f.group(watcher)); member.Damaged != nil || !member.Info.Readable {
			f.t.Errorf("a member that advertised itself again is %+v", member)
		}
	}},
	{"group: a foreign leader is the first candidate, and is succeeded", func(f *fixture) {
		if f.state.Foreign == nil {
			return // no other program campaigns in this store
		}
		leave := f.state.Foreign(shardA)
		store, id := f.join("one")
		f.awaitCandidates(store, shardA, "~")
		won, _ := f.candidate(store, 0, shardA)
		f.awaitCandidates(store, shardA, "~", id)
		f.notYet(won, "a foreign process leads")
		leave()
		f.wins(won)
		f.awaitCandidates(store, shardA, id)
	}},
	{"group: a foreign candidate shows in its place, and succeeds", func(f *fixture) {
		if f.state.Foreign == nil {
			return // no other program campaigns in this store
		}
		leader, leaderID := f.join("leader")
		heir, heirID := f.join("heir")
		term := f.elect(leader, shardA)
		leave := f.state.Foreign(shardA)
		f.awaitCandidates(leader, shardA, leaderID, "~")
		won, _ := f.candidate(heir, 0, shardA)
		f.awaitCandidates(leader, shardA, leaderID, "~", heirID)
		f.resign(term)
		f.awaitCandidates(leader, shardA, "~", heirID)
		f.notYet(won, "a foreign process leads")
		leave()
		f.wins(won)
	}},
}

// memberInfo is what a process advertises.
func memberInfo(process string) gerritstream.MemberInfo {
	return gerritstream.MemberInfo{
		Host: "host", PID: 7, Version: "v1", Process: process, Leads: []gerritstream.ShardID{shardA}, Readable: true,
		Config: "c0ffee", Plan: "p1an",
	}
}

func (f *fixture) advertise(store gerritstream.Store, a gerritstream.MemberInfo) {
	f.t.Helper()
	if err := store.Advertise(f.soon(), a); err != nil {
		f.t.Fatalf("advertise: %v", err)
	}
}

// join opens a process that advertises itself, and returns its ID.
func (f *fixture) join(process string) (store gerritstream.Store, id string) {
	f.t.Helper()
	store = f.state.Open()
	f.advertise(store, memberInfo(process))
	return store, f.group(store).Self
}

func (f *fixture) group(store gerritstream.Store) gerritstream.GroupState {
	f.t.Helper()
	m, err := store.GroupState(f.soon(), []gerritstream.ShardID{shardA, shardB})
	if err != nil {
		f.t.Fatalf("group state: %v", err)
	}
	return m
}

func memberIDs(m gerritstream.GroupState) []string {
	ids := make([]string, len(m.Members))
	for i := range m.Members {
		ids[i] = m.Members[i].ID
	}
	return ids
}

// awaitGroup waits for a group state of which something holds.
func (f *fixture) awaitGroup(
	store gerritstream.Store, what string, holds func(gerritstream.GroupState) bool,
) gerritstream.GroupState {
	f.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := f.soon(); ; {
		m := f.group(store)
		if holds(m) {
			return m
		}
		select {
		case <-tick.C:
		case <-deadline.Done():
			f.t.Fatalf("the group state does not show %s: %+v", what, m)
		}
	}
}

// awaitCandidates waits for the candidates of a shard: IDs, "~" for a foreign
// one.
func (f *fixture) awaitCandidates(store gerritstream.Store, shard gerritstream.ShardID, want ...string) {
	f.t.Helper()
	f.awaitGroup(store, "the candidates "+strings.Join(want, ", "), func(m gerritstream.GroupState) bool {
		return slices.EqualFunc(m.Candidates[shard], want, func(c gerritstream.Candidate, w string) bool {
			return c.Foreign && w == "~" || !c.Foreign && c.Member == w
		})
	})
}

func sameMember(a, b gerritstream.Member) bool {
	return a.ID == b.ID && a.Damaged == nil && b.Damaged == nil && reflect.DeepEqual(a.Info, b.Info)
}

// groupChange is what a WaitGroupChange returned.
type groupChange struct {
	urgent bool
	err    error
}

// waitGroupChange starts a WaitGroupChange.
func (f *fixture) waitGroupChange(
	store gerritstream.Store, seen gerritstream.GroupState,
) (<-chan groupChange, context.CancelFunc) {
	return begin(f, func(ctx context.Context) groupChange {
		urgent, err := store.WaitGroupChange(ctx, seen)
		return groupChange{urgent, err}
	})
}

// changes does something and waits until a WaitGroupChange notices. A wait may
// end early; only the state shows whether it changed. It reports whether the
// wait that saw the change said that it is urgent.
func (f *fixture) changes(watcher gerritstream.Store, do func()) (urgent bool) {
	f.t.Helper()
	seen := f.group(watcher)
	end, _ := f.waitGroupChange(watcher, seen)
	do()
	for {
		c := receive(f, end)
		if c.err != nil {
			f.t.Fatalf("wait for a change of the group: %v", c.err)
		}
		if changed, _ := seen.Changed(f.group(watcher)); changed {
			return c.urgent
		}
		end, _ = f.waitGroupChange(watcher, seen)
	}
}
