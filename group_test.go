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
	was := GroupState{Members: with(func(*MemberInfo) {})}
	damaged := Member{ID: "B", Damaged: errors.New("garbage")}
	for name, tt := range map[string]struct {
		now           []Member
		changed, left bool
	}{
		"nothing":                            {[]Member{member("B"), member("A")}, false, false},
		"a member comes":                     {[]Member{member("A"), member("B"), member("C")}, true, false},
		"a member goes":                      {[]Member{member("A")}, true, true},
		"a member goes, another comes":       {[]Member{member("A"), member("C")}, true, true},
		"a member cannot read any more":      {with(func(i *MemberInfo) { i.Readable = false }), true, false},
		"a member has another plan":          {with(func(i *MemberInfo) { i.Plan = "q" }), true, false},
		"a member has another config":        {with(func(i *MemberInfo) { i.Config = "d" }), true, false},
		"a member leads another shard":       {with(func(i *MemberInfo) { i.Leads = []ShardID{"s"} }), false, false},
		"what a member advertises is broken": {[]Member{member("A"), damaged}, true, false},
	} {
		if changed, left := was.Changed(tt.now); changed != tt.changed || left != tt.left {
			t.Errorf("%s: changed %v, left %v", name, changed, left)
		}
	}
}
