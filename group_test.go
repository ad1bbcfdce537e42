package gerritstream

import (
	"errors"
	"testing"
)

func TestGroupStateChanged(t *testing.T) {
	member := func(id string) Member {
		return Member{ID: id, Info: MemberInfo{Readable: true, Config: "c", Plan: "p"}}
	}
	with := func(change func(*MemberInfo)) Member {
		m := member("B")
		change(&m.Info)
		return m
	}
	was := GroupState{Members: []Member{member("A"), member("B")}}
	for name, tt := range map[string]struct {
		now           []Member
		changed, left bool
	}{
		"nothing":                            {[]Member{member("B"), member("A")}, false, false},
		"a member comes":                     {[]Member{member("A"), member("B"), member("C")}, true, false},
		"a member goes":                      {[]Member{member("A")}, true, true},
		"a member goes, another comes":       {[]Member{member("A"), member("C")}, true, true},
		"a member cannot read any more":      {[]Member{member("A"), with(func(i *MemberInfo) { i.Readable = false })}, true, false},
		"a member has another plan":          {[]Member{member("A"), with(func(i *MemberInfo) { i.Plan = "q" })}, true, false},
		"a member has another config":        {[]Member{member("A"), with(func(i *MemberInfo) { i.Config = "d" })}, true, false},
		"a member leads another shard":       {[]Member{member("A"), with(func(i *MemberInfo) { i.Leads = []ShardID{"s"} })}, false, false},
		"what a member advertises is broken": {[]Member{member("A"), {ID: "B", Damaged: errors.New("garbage")}}, true, false},
	} {
		if changed, left := was.Changed(tt.now); changed != tt.changed || left != tt.left {
			t.Errorf("%s: changed %v, left %v", name, changed, left)
		}
	}
}
