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
	{"group: who announced itself is a member, to itself and to others", crewAnnounce},
	{"group: an announcement replaces the one before", crewReplace},
	{"group: who has not announced itself is no member", crewSilent},
	{"group: a killed process is no member any more, and leaves every line", crewKill},
	{"group: a line has its leader first, then who waits, in the order of succession", crewLine},
	{"group: a candidate that gives up leaves the line", crewGiveUp},
	{"group: lines are those of the shards asked for", crewShards},
	{"group: a wait ends when a member comes", crewWaitJoin},
	{"group: a wait ends when a member is gone, and says so", crewWaitLeave},
	{"group: a wait ends when a member announces something else", crewWaitChange},
	{"group: a wait that was cancelled returns", crewWaitCancelled},
	{"group: a damaged announcement shows as such, until the next one", crewDamaged},
	{"group: a foreign leader is first in line, and is succeeded", crewForeignLeader},
	{"group: a foreign candidate shows in its place, and succeeds", crewForeignNext},
}

// announcement is what a process says of itself.
func memberInfo(process string) gerritstream.MemberInfo {
	return gerritstream.MemberInfo{
		Host: "host", PID: 7, Version: "v1", Process: process, Leads: []gerritstream.ShardID{shardA}, Readable: true, Config: "c0ffee",
		Plan: "p1an",
	}
}

func (f *fixture) advertise(store gerritstream.Store, a gerritstream.MemberInfo) {
	f.t.Helper()
	if err := store.Advertise(f.soon(), a); err != nil {
		f.t.Fatalf("announce: %v", err)
	}
}

// joins opens a process that announces itself, and returns its ID.
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
		f.t.Fatalf("muster: %v", err)
	}
	return m
}

// ids are those of the members.
func memberIDs(m gerritstream.GroupState) []string {
	ids := make([]string, len(m.Members))
	for i := range m.Members {
		ids[i] = m.Members[i].ID
	}
	return ids
}

// musters waits for a muster of which something holds, and returns it.
func (f *fixture) awaitGroup(store gerritstream.Store, what string, holds func(gerritstream.GroupState) bool) gerritstream.GroupState {
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
			f.t.Fatalf("the muster does not show %s: %+v", what, m)
		}
	}
}

// lined waits until a line is this one: IDs, foreign ones with a "~" in front
// of something that names them.
func (f *fixture) awaitCandidates(store gerritstream.Store, shard gerritstream.ShardID, want ...string) {
	f.t.Helper()
	f.awaitGroup(store, "the line "+strings.Join(want, ", "), func(m gerritstream.GroupState) bool {
		return slices.EqualFunc(m.Candidates[shard], want, func(c gerritstream.Candidate, w string) bool {
			return c.Foreign && w == "~" || !c.Foreign && c.Member == w
		})
	})
}

func crewAnnounce(f *fixture) {
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
}

func sameMember(a, b gerritstream.Member) bool {
	return a.ID == b.ID && a.Damaged == nil && b.Damaged == nil && reflect.DeepEqual(a.Info, b.Info)
}

func crewReplace(f *fixture) {
	store, id := f.join("one")
	other := f.state.Open()
	a := memberInfo("one")
	a.Readable, a.Leads = false, []gerritstream.ShardID{shardA, shardB}
	f.advertise(store, a)
	m := f.group(other)
	if len(m.Members) != 1 || !sameMember(m.Members[0], gerritstream.Member{ID: id, Info: a}) {
		f.t.Errorf("the members are %+v, want one that says %+v", m.Members, a)
	}
}

func crewSilent(f *fixture) {
	silent := f.state.Open()
	_, id := f.join("one")
	m := f.group(silent)
	if !slices.Equal(memberIDs(m), []string{id}) || m.Self == "" || m.Self == id {
		f.t.Errorf("a silent process %q sees the members %v", m.Self, memberIDs(m))
	}
}

func crewKill(f *fixture) {
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
	m := f.awaitGroup(watcher, "that all others are gone", func(m gerritstream.GroupState) bool { return len(m.Members) == 1 })
	if m.Members[0].ID != watcherID {
		f.t.Errorf("the member left is %s, want %s", m.Members[0].ID, watcherID)
	}
}

func crewLine(f *fixture) {
	var stores []gerritstream.Store
	var line []string
	for _, name := range []string{"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"} {
		store, id := f.join(name) // many, so that chance does not keep their order
		stores, line = append(stores, store), append(line, id)
	}
	term := f.elect(stores[0], shardA)
	var waiting []<-chan result
	for i, store := range stores[1:] {
		won, _ := f.candidate(store, 0, shardA)
		waiting = append(waiting, won)
		f.awaitCandidates(stores[3], shardA, line[:i+2]...)
	}
	for i, won := range waiting {
		f.resign(term)
		term = f.wins(won)
		f.awaitCandidates(stores[0], shardA, line[i+1:]...)
	}
	f.resign(term)
	f.awaitCandidates(stores[0], shardA)
}

func crewGiveUp(f *fixture) {
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
}

func crewShards(f *fixture) {
	store, id := f.join("one")
	f.elect(store, shardA)
	f.elect(store, shardB)
	m, err := store.GroupState(f.soon(), []gerritstream.ShardID{shardB, "shardId-000000000009"})
	if err != nil {
		f.t.Fatal(err)
	}
	if len(m.Candidates) != 1 || len(m.Candidates[shardB]) != 1 || m.Candidates[shardB][0] != (gerritstream.Candidate{Member: id}) {
		f.t.Errorf("the lines are %+v, want only that of %s", m.Candidates, shardB)
	}
}

// waitEnd is what a WaitGroupChange returned.
type groupChange struct {
	left bool
	err  error
}

// waits starts a WaitGroupChange.
func (f *fixture) waitGroupChange(store gerritstream.Store, seen gerritstream.GroupState) (<-chan groupChange, context.CancelFunc) {
	ctx, cancel := context.WithCancel(f.t.Context())
	f.t.Cleanup(cancel)
	end := make(chan groupChange, 1)
	go func() {
		left, err := store.WaitGroupChange(ctx, seen)
		end <- groupChange{left, err}
	}()
	return end, cancel
}

// changes does something and waits until whoever waits learns of it: a wait may
// end early, so that only a look at the members tells. It returns whether the
// wait that saw the change said that a member has left.
func (f *fixture) changes(watcher gerritstream.Store, do func()) (left bool) {
	f.t.Helper()
	seen := f.group(watcher)
	end, _ := f.waitGroupChange(watcher, seen)
	do()
	deadline := f.soon()
	for {
		select {
		case e := <-end:
			if e.err != nil {
				f.t.Fatalf("wait for a change of the muster: %v", e.err)
			}
			if changed, _ := seen.Changed(f.group(watcher).Members); changed {
				return e.left
			}
			end, _ = f.waitGroupChange(watcher, seen)
		case <-deadline.Done():
			f.t.Fatal("a change of the muster was not noticed")
		}
	}
}

func crewWaitJoin(f *fixture) {
	watcher, _ := f.join("watcher")
	if f.changes(watcher, func() { f.join("new") }) {
		f.t.Error("somebody came, and somebody is said to have left")
	}
}

func crewWaitLeave(f *fixture) {
	watcher, _ := f.join("watcher")
	victim, _ := f.join("victim")
	if !f.changes(watcher, func() { f.state.Kill(victim) }) {
		f.t.Error("somebody left, and it is not said")
	}
}

func crewWaitChange(f *fixture) {
	watcher, _ := f.join("watcher")
	other, _ := f.join("other")
	for _, change := range []func(*gerritstream.MemberInfo){
		func(a *gerritstream.MemberInfo) { a.Readable = false },
		func(a *gerritstream.MemberInfo) { a.Config = "decaf" },
		func(a *gerritstream.MemberInfo) { a.Plan = "another" },
	} {
		a := memberInfo("other")
		f.advertise(other, a)
		change(&a)
		if f.changes(watcher, func() { f.advertise(other, a) }) {
			f.t.Error("nobody left, and it is said")
		}
	}
}

func crewWaitCancelled(f *fixture) {
	watcher, _ := f.join("watcher")
	end, cancel := f.waitGroupChange(watcher, f.group(watcher))
	cancel()
	select {
	case e := <-end:
		if e.err != nil && !errors.Is(e.err, context.Canceled) {
			f.t.Errorf("a cancelled wait returned %v", e.err)
		}
	case <-f.soon().Done():
		f.t.Fatal("a cancelled wait did not return")
	}
}

func crewDamaged(f *fixture) {
	if f.state.DamageMember == nil {
		return // this store has no way to make it so
	}
	watcher, _ := f.join("watcher")
	victim, victimID := f.join("victim")
	of := func(m gerritstream.GroupState) gerritstream.Member {
		at := slices.Index(memberIDs(m), victimID)
		if at < 0 {
			f.t.Fatalf("a member with a damaged announcement is none any more: %v", memberIDs(m))
		}
		return m.Members[at]
	}
	f.changes(watcher, func() { f.state.DamageMember(victim) })
	member := of(f.group(watcher))
	if a := member.Info; member.Damaged == nil || a.Readable || a.Process != "" || len(a.Leads) > 0 {
		f.t.Errorf("a member with a damaged announcement is %+v", member)
	}
	f.changes(watcher, func() { f.advertise(victim, memberInfo("victim")) })
	if member := of(f.group(watcher)); member.Damaged != nil || !member.Info.Readable {
		f.t.Errorf("a member that has announced itself again is %+v", member)
	}
}

func crewForeignLeader(f *fixture) {
	if f.state.Foreign == nil {
		return // no other program queues up in this store
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
}

func crewForeignNext(f *fixture) {
	if f.state.Foreign == nil {
		return // no other program queues up in this store
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
}
