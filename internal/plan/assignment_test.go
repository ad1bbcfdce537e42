package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	gs "github.com/gerritstream/gerritstream"
)

// readGroup reads a group from words: members first ("A", "-A": unreadable,
// "?A": damaged), then candidates ("s1:A,B,~Z": A leads, B and the foreign Z
// wait). A shard without candidates is "s1:".
func readGroup(text string) (shards []gs.ShardID, m gs.GroupState) {
	m.Candidates = map[gs.ShardID][]gs.Candidate{}
	for word := range strings.FieldsSeq(text) {
		id, candidates, isShard := strings.Cut(word, ":")
		if !isShard {
			member := gs.Member{ID: strings.TrimLeft(id, "-?"), Info: gs.MemberInfo{Readable: true}}
			switch id[0] {
			case '-':
				member.Info.Readable = false
			case '?':
				member.Info, member.Damaged = gs.MemberInfo{}, errors.New("garbage")
			}
			m.Members = append(m.Members, member)
			continue
		}
		shards = append(shards, gs.ShardID(id))
		if candidates == "" {
			continue
		}
		for name := range strings.SplitSeq(candidates, ",") {
			c := gs.Candidate{Member: strings.TrimPrefix(name, "~"), Foreign: name[0] == '~'}
			m.Candidates[gs.ShardID(id)] = append(m.Candidates[gs.ShardID(id)], c)
		}
	}
	return shards, m
}

// showAssignment renders an assignment as "s1:A s2:B/C": B is to lead, C to
// stand by.
func showAssignment(shards []gs.ShardID, a Assignment) string {
	var words []string
	for _, shard := range shards {
		word := string(shard) + ":" + a.Owner[shard]
		if standby := a.Standby[shard]; standby != "" {
			word += "/" + standby
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestAssign(t *testing.T) {
	for _, tt := range []struct{ name, group, want string }{
		{"nobody is there", "1: 2:", "1: 2:"},
		{"one gets all", "A 1: 2: 3:", "1:A 2:A 3:A"},
		{"free shards go in the order of ids", "B A 3: 1: 2: 4:", "3:B 1:A 2:A 4:B"},
		{"what is left over goes to the first", "A B 1: 2: 3:", "1:A 2:A 3:B"},
		{"more members than shards", "A B C 1: 2:", "1:A 2:B"},
		{"a balanced state stays", "A B 1:B 2:A 3:B 4:A", "1:B 2:A 3:B 4:A"},
		{"what is left over stays where it is", "A B 1:B 2:A 3:B", "1:B 2:A 3:B"},
		{"a member joins: the last shards go to it", "A B 1:A 2:A 3:A 4:A", "1:A 2:A 3:B 4:B"},
		{"a member joins two: each gives up what is beyond", "A B C 1:A 2:A 3:A 4:B 5:B 6:B",
			"1:A 2:A 3:C 4:B 5:B 6:C"},
		{"free shards and those beyond a quota go together, by id", "A B C 1:A 2:A 3:A 4:", "1:A 2:A 3:B 4:C"},
		{"a member is gone: only its shards are spread", "A C 1:A 2:A 3:B 4:B 5:C 6:C", "1:A 2:A 3:A 4:C 5:C 6:C"},
		{"waiting members own nothing", "A B 1:A,B 2:B,A", "1:A 2:B"},
		{"a stranger's shard is free", "A B 1:X 2:A", "1:B 2:A"},
		{"an unreadable member owns nothing", "A -B 1:A 2:B", "1:A 2:A"},
		{"if nobody is readable, all are eligible", "-A -B 1:A 2:B", "1:A 2:B"},
		{"a damaged member owns nothing", "A ?B 1:A 2:B", "1:A 2:A"},
		{"an unreadable member comes before a damaged one", "-A ?B 1:A 2:B", "1:A 2:A"},
		{"if all are damaged, all are eligible", "?A ?B 1:A 2:B", "1:A 2:B"},
		{"the member with less to do stands by for a foreign leader", "A B 1:A 2:A 3:B 4:~Z", "1:A 2:A 3:B 4:/B"},
		{"a foreign leader's shard counts for nobody", "A B 1:~Z 2:~Z 3:A 4:B", "1:/A 2:/B 3:A 4:B"},
		{"a member that stands by already stays", "A B 1:~Z,B 2:~Z,~Y,B 3:B 4:A", "1:/B 2:/B 3:B 4:A"},
		{"exactly one stands by", "A B 1:~Z,B,A", "1:/B"},
		{"an unreadable member does not stand by", "A -B 1:~Z,B", "1:/A"},
		{"a shard with a foreign process next stays", "A B 1:A,~Z 2:A,~Z 3:A,~Z 4:A", "1:A/B 2:A/B 3:A/B 4:B"},
		{"it counts for its leader", "A B 1:A,~Z 2:A 3:A 4:A", "1:A/B 2:A 3:B 4:B"},
		{"it stays with a leader that cannot read", "A -B 1:B,~Z 2:B", "1:B/A 2:A"},
		{"a foreign process in third place changes nothing", "A B 1:A,B,~Z 2:A", "1:A 2:B"},
		{"nobody is free to stand by", "A 1:A,~Z", "1:A"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shards, m := readGroup(tt.group)
			if got := showAssignment(shards, Assign(shards, m)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestActions(t *testing.T) {
	for _, tt := range []struct{ name, group, want string }{
		{"free shards are campaigned for", "A B 1: 2:", "campaign [1] keep [] hand off [] pending []"},
		{"a waiting candidate goes on waiting", "A B 1:B 2:B,A", "campaign [2] keep [] hand off [] pending []"},
		{"what is led is kept", "A B 1:A 2:B", "campaign [] keep [1] hand off [] pending []"},
		{"a shard is handed off to the planned owner that is next", "A B 1:A 2:A,B",
			"campaign [] keep [1] hand off [2] pending []"},
		{"not before it is there", "A B 1:A 2:A", "campaign [] keep [1] hand off [] pending [2]"},
		{"not to another that is there first", "A B 1:A 2:A,C,B", "campaign [] keep [1] hand off [] pending [2]"},
		{"not to a foreign process", "A B 1:A 2:A,~B 3:A", "campaign [] keep [1 2] hand off [] pending [3]"},
		{"a member stands by for a foreign leader", "A B 1:~Z 2:~Z", "campaign [1] keep [] hand off [] pending []"},
		{"an unreadable member gives up all", "-A B 1:A,B 2:A 3:", "campaign [] keep [] hand off [1] pending [2]"},
		{"a process that is no member campaigns for nothing", "B 1: 2:A",
			"campaign [] keep [] hand off [] pending [2]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shards, m := readGroup(tt.group)
			m.Self = "A"
			o := Assign(shards, m).Actions(shards, m)
			got := fmt.Sprintf("campaign %v keep %v hand off %v pending %v", o.Campaign, o.Keep, o.HandOff, o.Pending)
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// drawGroup makes up a group of up to 6 members and up to 24 shards, with any
// candidates, strangers and foreign processes included.
func drawGroup(t *rapid.T, foreign bool) (shards []gs.ShardID, m gs.GroupState) {
	m.Candidates = map[gs.ShardID][]gs.Candidate{}
	names := []string{"A", "B", "C", "D", "E", "F"}[:rapid.IntRange(0, 6).Draw(t, "members")]
	for _, name := range names {
		member := gs.Member{ID: name, Info: gs.MemberInfo{Readable: true}}
		switch rapid.IntRange(0, 7).Draw(t, name) {
		case 0:
			member.Info.Readable = false
		case 1:
			member.Info, member.Damaged = gs.MemberInfo{}, errors.New("garbage")
		}
		m.Members = append(m.Members, member)
	}
	candidates := append(slices.Clone(names), "X") // a stranger
	for i := range rapid.IntRange(0, 24).Draw(t, "shards") {
		shard := gs.ShardID(fmt.Sprintf("s%02d", i))
		shards = append(shards, shard)
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(candidates), 0, 3, rapid.ID[string])
		for _, name := range some.Draw(t, string(shard)) {
			isForeign := foreign && rapid.IntRange(0, 3).Draw(t, "foreign") == 0
			m.Candidates[shard] = append(m.Candidates[shard], gs.Candidate{Member: name, Foreign: isForeign})
		}
	}
	return shards, m
}

// eligible returns the IDs of the eligible members, in another way than the
// plan does.
func eligible(m gs.GroupState) []string {
	var readable, sound, all []string
	for _, member := range m.Members {
		all = append(all, member.ID)
		if member.Damaged == nil {
			sound = append(sound, member.ID)
			if member.Info.Readable {
				readable = append(readable, member.ID)
			}
		}
	}
	for _, ids := range [][]string{readable, sound} {
		if len(ids) > 0 {
			return ids
		}
	}
	return all
}

func TestAssignProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards, m := drawGroup(t, rapid.Bool().Draw(t, "with foreign"))
		checkAssign(t, shards, m)
	})
}

// checkAssign holds an assignment to what it promises.
func checkAssign(t rapid.TB, shards []gs.ShardID, m gs.GroupState) {
	t.Helper()
	a := Assign(shards, m)
	ids := eligible(m)
	if len(ids) == 0 {
		waited := func(s gs.ShardID) bool { return len(m.Candidates[s]) > 1 }
		if len(a.Owner) > 0 && !slices.ContainsFunc(shards, waited) {
			t.Fatalf("nobody is there, and %v is planned", a.Owner)
		}
		return
	}
	checkOwners(t, shards, m, a, ids)
	checkStandbys(t, shards, m, a, ids)
	checkAgreement(t, shards, m, a)
	checkFixedPoint(t, shards, m, a)
}

func leaderOf(candidates []gs.Candidate) string {
	if len(candidates) == 0 {
		return ""
	}
	return candidates[0].Member
}

// isPinned reports whether a shard cannot be moved, because it is foreign or
// would become so.
func isPinned(candidates []gs.Candidate) bool {
	return slices.ContainsFunc(candidates[:min(2, len(candidates))], func(c gs.Candidate) bool { return c.Foreign })
}

// checkOwners: everything is led by somebody who counts, quotas are within one,
// and no more moves than needed.
func checkOwners(t rapid.TB, shards []gs.ShardID, m gs.GroupState, a Assignment, ids []string) {
	t.Helper()
	owns, held, pinned := map[string]int{}, map[string]int{}, map[string]int{}
	moves, movable := 0, 0
	for _, shard := range shards {
		candidates := m.Candidates[shard]
		head := leaderOf(candidates)
		owner := a.Owner[shard]
		switch {
		case len(candidates) > 0 && candidates[0].Foreign:
			if owner != "" {
				t.Fatalf("%s is a foreign process' and planned for %s", shard, owner)
			}
			continue
		case isPinned(candidates):
			if owner != head {
				t.Fatalf("%s would become a foreign process', and is planned for %s instead of %s", shard, owner, head)
			}
			pinned[head]++
		case !slices.Contains(ids, owner):
			t.Fatalf("%s is planned for %q, which does not count", shard, owner)
		default:
			movable++
			if slices.Contains(ids, head) {
				held[head]++
				if owner != head {
					moves++
				}
			}
		}
		owns[owner]++
	}
	least, most := len(shards), 0
	for _, id := range ids {
		least = min(least, owns[id])
		if owns[id] > pinned[id] {
			most = max(most, owns[id])
		}
	}
	if most-least > 1 {
		t.Fatalf("quotas are not within one: %v", owns)
	}
	if len(pinned) == 0 {
		if needed := fewestMoves(held, ids, movable); moves != needed {
			t.Fatalf("%d moves, %d are enough: %s", moves, needed, showAssignment(shards, a))
		}
	}
}

// fewestMoves is how many of what members hold must move so that all hold as
// many, within one.
func fewestMoves(held map[string]int, ids []string, total int) int {
	share, extras := total/len(ids), total%len(ids)
	over, moves := 0, 0
	for _, id := range ids {
		if beyond := held[id] - share; beyond > 0 {
			over++
			moves += beyond
		}
	}
	return moves - min(over, extras)
}

// checkStandbys: one of ours, and only one, stands by where a foreign process
// leads or would.
func checkStandbys(t rapid.TB, shards []gs.ShardID, m gs.GroupState, a Assignment, ids []string) {
	t.Helper()
	for _, shard := range shards {
		candidates, standby := m.Candidates[shard], a.Standby[shard]
		others := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == a.Owner[shard] })
		if !isPinned(candidates) || len(others) == 0 {
			if standby != "" {
				t.Fatalf("%s stands by for %s", standby, shard)
			}
			continue
		}
		if !slices.Contains(others, standby) {
			t.Fatalf("%q stands by for %s", standby, shard)
		}
		first := slices.IndexFunc(candidates,
			func(c gs.Candidate) bool { return !c.Foreign && slices.Contains(others, c.Member) })
		if first >= 0 && candidates[first].Member != standby {
			t.Fatalf("%s stands by for %s in place of %s, who does already", standby, shard, candidates[first].Member)
		}
	}
}

// checkAgreement: every member, in any order, comes to the same assignment.
func checkAgreement(t rapid.TB, shards []gs.ShardID, m gs.GroupState, a Assignment) {
	t.Helper()
	other := gs.GroupState{Self: "Z", Candidates: maps.Clone(m.Candidates), Members: slices.Clone(m.Members)}
	slices.Reverse(other.Members)
	reversed := slices.Clone(shards)
	slices.Reverse(reversed)
	if b := Assign(reversed, other); !maps.Equal(a.Owner, b.Owner) || !maps.Equal(a.Standby, b.Standby) {
		t.Fatalf("two processes differ:\n%s\n%s", showAssignment(shards, a), showAssignment(shards, b))
	}
}

// checkFixedPoint: a group that has done as planned is left alone. Where our
// candidates leave, a foreign one may move up: then there is a second plan, and
// no third.
func checkFixedPoint(t rapid.TB, shards []gs.ShardID, m gs.GroupState, a Assignment) {
	t.Helper()
	plans := []string{showAssignment(shards, a)}
	for range 3 {
		m = settle(shards, m, a)
		a = Assign(shards, m)
		plans = append(plans, showAssignment(shards, a))
	}
	foreign := slices.ContainsFunc(slices.Collect(maps.Values(m.Candidates)), func(candidates []gs.Candidate) bool {
		return slices.ContainsFunc(candidates, func(c gs.Candidate) bool { return c.Foreign })
	})
	if plans[2] != plans[3] || !foreign && plans[0] != plans[1] {
		t.Fatalf("no fixed point:\n%s", strings.Join(plans, "\n"))
	}
}

// settle is the group once everybody has done as planned.
func settle(shards []gs.ShardID, m gs.GroupState, a Assignment) gs.GroupState {
	settled := map[gs.ShardID][]gs.Candidate{}
	for _, shard := range shards {
		var candidates []gs.Candidate
		if owner := a.Owner[shard]; owner != "" {
			candidates = append(candidates, gs.Candidate{Member: owner})
		}
		for _, c := range m.Candidates[shard] {
			if c.Foreign {
				candidates = append(candidates, c)
			}
		}
		if standby := a.Standby[shard]; standby != "" {
			candidates = append(candidates, gs.Candidate{Member: standby})
		}
		settled[shard] = candidates
	}
	return gs.GroupState{Self: m.Self, Members: m.Members, Candidates: settled}
}

func FuzzAssign(f *testing.F) {
	f.Add([]byte{3, 0, 0, 1, 2, 5, 1, 2, 0, 3})
	f.Add([]byte{1, 9, 200, 201, 7, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		shards, m := groupOf(b)
		checkAssign(t, shards, m)
	})
}

// groupOf makes a group of any bytes: a count, a byte for each member, then for
// each shard a count and a byte for each candidate.
func groupOf(b []byte) (shards []gs.ShardID, m gs.GroupState) {
	take := func() (c byte) {
		if len(b) > 0 {
			c, b = b[0], b[1:]
		}
		return c
	}
	m.Candidates = map[gs.ShardID][]gs.Candidate{}
	n := int(take() % 8)
	for i := range n {
		member := gs.Member{ID: string(rune('A' + i))}
		switch c := take(); c % 4 {
		case 0, 1:
			member.Info.Readable = true
		case 2:
			member.Damaged = errors.New("garbage")
		}
		m.Members = append(m.Members, member)
	}
	for len(b) > 0 && len(shards) < 64 {
		shard := gs.ShardID(fmt.Sprintf("s%02d", len(shards)))
		shards = append(shards, shard)
		for range take() % 4 {
			c := take()
			candidate := gs.Candidate{Member: string(rune('A' + c%8)), Foreign: c >= 192}
			if !slices.Contains(m.Candidates[shard], candidate) {
				m.Candidates[shard] = append(m.Candidates[shard], candidate)
			}
		}
	}
	return shards, m
}
