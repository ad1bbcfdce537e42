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

var crewTests = []test{
	{"crew: who announced itself is a member, to itself and to others", crewAnnounce},
	{"crew: an announcement replaces the one before", crewReplace},
	{"crew: who has not announced itself is no member", crewSilent},
	{"crew: a killed process is no member any more, and leaves every line", crewKill},
	{"crew: a line has its leader first, then who waits, in the order of succession", crewLine},
	{"crew: a candidate that gives up leaves the line", crewGiveUp},
	{"crew: lines are those of the shards asked for", crewShards},
	{"crew: a wait ends when a member comes", crewWaitJoin},
	{"crew: a wait ends when a member is gone, and says so", crewWaitLeave},
	{"crew: a wait ends when a member announces something else", crewWaitChange},
	{"crew: a wait that was cancelled returns", crewWaitCancelled},
	{"crew: a damaged announcement shows as such, until the next one", crewDamaged},
	{"crew: a foreign leader is first in line, and is succeeded", crewForeignLeader},
	{"crew: a foreign candidate shows in its place, and succeeds", crewForeignNext},
}

// announcement is what a process says of itself.
func announcement(process string) gerritstream.MemberInfo {
	return gerritstream.MemberInfo{
		Host: "host", PID: 7, Version: "v1", Process: process, Leads: []gerritstream.ShardID{shardA}, Readable: true, Config: "c0ffee",
		Plan: "p1an",
	}
}

func (f *fixture) announce(store gerritstream.Store, a gerritstream.MemberInfo) {
	f.Helper()
	if err := store.Advertise(f.soon(), a); err != nil {
		f.Fatalf("announce: %v", err)
	}
}

// joins opens a process that announces itself, and returns its ID.
func (f *fixture) joins(process string) (store gerritstream.Store, id string) {
	f.Helper()
	store = f.Open()
	f.announce(store, announcement(process))
	return store, f.muster(store).Self
}

func (f *fixture) muster(store gerritstream.Store) gerritstream.GroupState {
	f.Helper()
	m, err := store.GroupState(f.soon(), []gerritstream.ShardID{shardA, shardB})
	if err != nil {
		f.Fatalf("muster: %v", err)
	}
	return m
}

// ids are those of the members.
func ids(m gerritstream.GroupState) []string {
	ids := make([]string, len(m.Members))
	for i := range m.Members {
		ids[i] = m.Members[i].ID
	}
	return ids
}

// musters waits for a muster of which something holds, and returns it.
func (f *fixture) musters(store gerritstream.Store, what string, holds func(gerritstream.GroupState) bool) gerritstream.GroupState {
	f.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := f.soon(); ; {
		m := f.muster(store)
		if holds(m) {
			return m
		}
		select {
		case <-tick.C:
		case <-deadline.Done():
			f.Fatalf("the muster does not show %s: %+v", what, m)
		}
	}
}

// lined waits until a line is this one: IDs, foreign ones with a "~" in front
// of something that names them.
func (f *fixture) lined(store gerritstream.Store, shard gerritstream.ShardID, want ...string) {
	f.Helper()
	f.musters(store, "the line "+strings.Join(want, ", "), func(m gerritstream.GroupState) bool {
		return slices.EqualFunc(m.Candidates[shard], want, func(c gerritstream.Candidate, w string) bool {
			return c.Foreign && w == "~" || !c.Foreign && c.Member == w
		})
	})
}

func crewAnnounce(f *fixture) {
	first, firstID := f.joins("one")
	second, secondID := f.joins("two")
	if firstID == "" || firstID == secondID {
		f.Errorf("two processes have the IDs %q and %q", firstID, secondID)
	}
	for _, store := range []gerritstream.Store{first, second} {
		m := f.muster(store)
		want := []string{firstID, secondID}
		slices.Sort(want)
		if !slices.Equal(ids(m), want) {
			f.Errorf("the members are %v, want %v", ids(m), want)
		}
		for i := range m.Members {
			process := map[string]string{firstID: "one", secondID: "two"}[m.Members[i].ID]
			wanted := gerritstream.Member{ID: m.Members[i].ID, Info: announcement(process)}
			if !sameMember(m.Members[i], wanted) {
				f.Errorf("member %+v, want %+v", m.Members[i], wanted)
			}
		}
	}
}

func sameMember(a, b gerritstream.Member) bool {
	return a.ID == b.ID && a.Damaged == nil && b.Damaged == nil && reflect.DeepEqual(a.Info, b.Info)
}

func crewReplace(f *fixture) {
	store, id := f.joins("one")
	other := f.Open()
	a := announcement("one")
	a.Readable, a.Leads = false, []gerritstream.ShardID{shardA, shardB}
	f.announce(store, a)
	m := f.muster(other)
	if len(m.Members) != 1 || !sameMember(m.Members[0], gerritstream.Member{ID: id, Info: a}) {
		f.Errorf("the members are %+v, want one that says %+v", m.Members, a)
	}
}

func crewSilent(f *fixture) {
	silent := f.Open()
	_, id := f.joins("one")
	m := f.muster(silent)
	if !slices.Equal(ids(m), []string{id}) || m.Self == "" || m.Self == id {
		f.Errorf("a silent process %q sees the members %v", m.Self, ids(m))
	}
}

func crewKill(f *fixture) {
	leader, leaderID := f.joins("leader")
	candidate, candidateID := f.joins("candidate")
	watcher, watcherID := f.joins("watcher")
	f.elect(leader, shardA)
	f.candidate(candidate, 0, shardA)
	f.lined(watcher, shardA, leaderID, candidateID)
	f.elect(candidate, shardB)
	f.lined(watcher, shardB, candidateID)
	f.Kill(candidate)
	f.musters(watcher, "that a member is gone", func(m gerritstream.GroupState) bool {
		return len(m.Members) == 2 && !slices.Contains(ids(m), candidateID)
	})
	f.lined(watcher, shardA, leaderID)
	f.Kill(leader)
	m := f.musters(watcher, "that all others are gone", func(m gerritstream.GroupState) bool { return len(m.Members) == 1 })
	if m.Members[0].ID != watcherID {
		f.Errorf("the member left is %s, want %s", m.Members[0].ID, watcherID)
	}
}

func crewLine(f *fixture) {
	var stores []gerritstream.Store
	var line []string
	for _, name := range []string{"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"} {
		store, id := f.joins(name) // many, so that chance does not keep their order
		stores, line = append(stores, store), append(line, id)
	}
	term := f.elect(stores[0], shardA)
	var waiting []<-chan result
	for i, store := range stores[1:] {
		won, _ := f.candidate(store, 0, shardA)
		waiting = append(waiting, won)
		f.lined(stores[3], shardA, line[:i+2]...)
	}
	for i, won := range waiting {
		f.resign(term)
		term = f.wins(won)
		f.lined(stores[0], shardA, line[i+1:]...)
	}
	f.resign(term)
	f.lined(stores[0], shardA)
}

func crewGiveUp(f *fixture) {
	leader, leaderID := f.joins("leader")
	quitter, quitterID := f.joins("quitter")
	heir, heirID := f.joins("heir")
	term := f.elect(leader, shardA)
	_, quit := f.candidate(quitter, 0, shardA)
	f.lined(leader, shardA, leaderID, quitterID)
	won, _ := f.candidate(heir, 0, shardA)
	f.lined(leader, shardA, leaderID, quitterID, heirID)
	quit()
	f.lined(leader, shardA, leaderID, heirID)
	f.resign(term)
	f.wins(won)
	f.lined(leader, shardA, heirID)
}

func crewShards(f *fixture) {
	store, id := f.joins("one")
	f.elect(store, shardA)
	f.elect(store, shardB)
	m, err := store.GroupState(f.soon(), []gerritstream.ShardID{shardB, "shardId-000000000009"})
	if err != nil {
		f.Fatal(err)
	}
	if len(m.Candidates) != 1 || len(m.Candidates[shardB]) != 1 || m.Candidates[shardB][0] != (gerritstream.Candidate{Member: id}) {
		f.Errorf("the lines are %+v, want only that of %s", m.Candidates, shardB)
	}
}

// waitEnd is what a WaitGroupChange returned.
type waitEnd struct {
	left bool
	err  error
}

// waits starts a WaitGroupChange.
func (f *fixture) waits(store gerritstream.Store, seen gerritstream.GroupState) (<-chan waitEnd, context.CancelFunc) {
	ctx, cancel := context.WithCancel(f.Context())
	f.Cleanup(cancel)
	end := make(chan waitEnd, 1)
	go func() {
		left, err := store.WaitGroupChange(ctx, seen)
		end <- waitEnd{left, err}
	}()
	return end, cancel
}

// changes does something and waits until whoever waits learns of it: a wait may
// end early, so that only a look at the members tells. It returns whether the
// wait that saw the change said that a member has left.
func (f *fixture) changes(watcher gerritstream.Store, do func()) (left bool) {
	f.Helper()
	seen := f.muster(watcher)
	end, _ := f.waits(watcher, seen)
	do()
	deadline := f.soon()
	for {
		select {
		case e := <-end:
			if e.err != nil {
				f.Fatalf("wait for a change of the muster: %v", e.err)
			}
			if changed, _ := seen.Changed(f.muster(watcher).Members); changed {
				return e.left
			}
			end, _ = f.waits(watcher, seen)
		case <-deadline.Done():
			f.Fatal("a change of the muster was not noticed")
		}
	}
}

func crewWaitJoin(f *fixture) {
	watcher, _ := f.joins("watcher")
	if f.changes(watcher, func() { f.joins("new") }) {
		f.Error("somebody came, and somebody is said to have left")
	}
}

func crewWaitLeave(f *fixture) {
	watcher, _ := f.joins("watcher")
	victim, _ := f.joins("victim")
	if !f.changes(watcher, func() { f.Kill(victim) }) {
		f.Error("somebody left, and it is not said")
	}
}

func crewWaitChange(f *fixture) {
	watcher, _ := f.joins("watcher")
	other, _ := f.joins("other")
	for _, change := range []func(*gerritstream.MemberInfo){
		func(a *gerritstream.MemberInfo) { a.Readable = false },
		func(a *gerritstream.MemberInfo) { a.Config = "decaf" },
		func(a *gerritstream.MemberInfo) { a.Plan = "another" },
	} {
		a := announcement("other")
		f.announce(other, a)
		change(&a)
		if f.changes(watcher, func() { f.announce(other, a) }) {
			f.Error("nobody left, and it is said")
		}
	}
}

func crewWaitCancelled(f *fixture) {
	watcher, _ := f.joins("watcher")
	end, cancel := f.waits(watcher, f.muster(watcher))
	cancel()
	select {
	case e := <-end:
		if e.err != nil && !errors.Is(e.err, context.Canceled) {
			f.Errorf("a cancelled wait returned %v", e.err)
		}
	case <-f.soon().Done():
		f.Fatal("a cancelled wait did not return")
	}
}

func crewDamaged(f *fixture) {
	if f.DamageMember == nil {
		return // this store has no way to make it so
	}
	watcher, _ := f.joins("watcher")
	victim, victimID := f.joins("victim")
	of := func(m gerritstream.GroupState) gerritstream.Member {
		at := slices.Index(ids(m), victimID)
		if at < 0 {
			f.Fatalf("a member with a damaged announcement is none any more: %v", ids(m))
		}
		return m.Members[at]
	}
	f.changes(watcher, func() { f.DamageMember(victim) })
	member := of(f.muster(watcher))
	if a := member.Info; member.Damaged == nil || a.Readable || a.Process != "" || len(a.Leads) > 0 {
		f.Errorf("a member with a damaged announcement is %+v", member)
	}
	f.changes(watcher, func() { f.announce(victim, announcement("victim")) })
	if member := of(f.muster(watcher)); member.Damaged != nil || !member.Info.Readable {
		f.Errorf("a member that has announced itself again is %+v", member)
	}
}

func crewForeignLeader(f *fixture) {
	if f.Foreign == nil {
		return // no other program queues up in this store
	}
	leave := f.Foreign(shardA)
	store, id := f.joins("one")
	f.lined(store, shardA, "~")
	won, _ := f.candidate(store, 0, shardA)
	f.lined(store, shardA, "~", id)
	f.notYet(won, "a foreign process leads")
	leave()
	f.wins(won)
	f.lined(store, shardA, id)
}

func crewForeignNext(f *fixture) {
	if f.Foreign == nil {
		return // no other program queues up in this store
	}
	leader, leaderID := f.joins("leader")
	heir, heirID := f.joins("heir")
	term := f.elect(leader, shardA)
	leave := f.Foreign(shardA)
	f.lined(leader, shardA, leaderID, "~")
	won, _ := f.candidate(heir, 0, shardA)
	f.lined(leader, shardA, leaderID, "~", heirID)
	f.resign(term)
	f.lined(leader, shardA, "~", heirID)
	f.notYet(won, "a foreign process leads")
	leave()
	f.wins(won)
}
