package gerritstream

import (
	"errors"
	"testing"
)

func TestGroupStateChanged(t *testing.T) {
	member := func(id string) Member {
		return Member{ID: id, Info: MemberInfo{Readable: true, Config: "c", Plan: "p"}}
	}
	with := func(change func(*MemberInfo)) []Member {
		b := member("B")
		change(&b.Info)
		return []Member{member("A"), b}
	}
	waiting := func(members ...string) map[ShardID][]Candidate {
		var candidates []Candidate
		for _, id := range members {
			candidates = append(candidates, Candidate{Member: id})
		}
		return map[ShardID][]Candidate{"s": candidates}
	}
	same := with(func(*MemberInfo) {})
	was := GroupState{Members: same, Candidates: waiting("A", "B")}
	damaged := Member{ID: "B", Damaged: errors.New("garbage")}
	for name, tt := range map[string]struct {
		members         []Member
		candidates      map[ShardID][]Candidate
		changed, urgent bool
	}{
		"nothing":                            {[]Member{member("B"), member("A")}, was.Candidates, false, false},
		"a member comes":                     {append(same, member("C")), nil, true, false},
		"a member goes":                      {same[:1], nil, true, true},
		"a member goes, another comes":       {[]Member{member("A"), member("C")}, nil, true, true},
		"a member cannot read any more":      {with(func(i *MemberInfo) { i.Readable = false }), nil, true, true},
		"a member has another plan":          {with(func(i *MemberInfo) { i.Plan = "q" }), nil, true, false},
		"a member has another config":        {with(func(i *MemberInfo) { i.Config = "d" }), nil, true, false},
		"a member leads another shard":       {with(func(i *MemberInfo) { i.Leads = []ShardID{"s"} }), nil, false, false},
		"what a member advertises is broken": {[]Member{member("A"), damaged}, nil, true, false},
		"another candidate is next":          {same, waiting("A", "C", "B"), true, true},
		"another candidate waits":            {same, waiting("A", "B", "C"), false, false},
		"the next candidate withdraws":       {same, waiting("A"), false, false},
		"a candidate and a member come":      {append(same, member("C")), waiting("A", "C"), true, false},
	} {
		changed, urgent := was.Changed(GroupState{Members: tt.members, Candidates: tt.candidates})
		if changed != tt.changed || urgent != tt.urgent {
			t.Errorf("%s: changed %v, urgent %v", name, changed, urgent)
		}
	}
	alone := GroupState{Members: same, Candidates: waiting("A")}
	if changed, urgent := alone.Changed(was); !changed || !urgent {
		t.Errorf("a candidate comes: changed %v, urgent %v", changed, urgent)
	}
	if changed, _ := (GroupState{Members: same}).Changed(was); changed {
		t.Error("a candidate counts for a shard that is not watched")
	}
}
