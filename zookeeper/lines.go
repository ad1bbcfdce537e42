package zookeeper

import (
	"cmp"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// contender is a node below a shard's election root: a leader or a candidate,
// ours or Zuul's.
type candidate struct {
	name string // of the node
	turn string // the digits that ZooKeeper appended
}

// contenderName is what kazoo takes for a contender, searched anywhere in the
// name.
var candidateName = regexp.MustCompile(`__lock__(-?\d{10})$`)

// line returns the contenders among the children of an election root, in their
// order of succession.
func candidatesOf(children []string) []candidate {
	var contenders []candidate
	for _, name := range children {
		if m := candidateName.FindStringSubmatch(name); m != nil {
			contenders = append(contenders, candidate{name, m[1]})
		}
	}
	slices.SortFunc(contenders, func(a, b candidate) int {
		return cmp.Or(strings.Compare(a.turn, b.turn), strings.Compare(a.name, b.name))
	})
	return contenders
}

// idLength is the length of a process' and of a candidacy's id: 16 hexadecimal
// digits each.
const idLength = 16

// process returns the id of the process that a node of ours belongs to; empty:
// it cannot be one of ours. Names of kazoo's look the same: they are told apart
// by who is a member, or by the node's data.
func (c candidate) process() string {
	if candidacy, _, ok := strings.Cut(c.name, "__lock__"); ok && isHex(candidacy) && len(candidacy) == 2*idLength {
		return candidacy[:idLength]
	}
	return ""
}

// candidacy returns the id of the process together with that of the candidacy.
func (c candidate) candidacy() string {
	candidacy, _, _ := strings.Cut(c.name, "__lock__")
	return candidacy
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}

// The data of a lock node: for people, and to tell ours from Zuul's.
const lockPrefix = "gerritstream "

func lockData(process string) []byte { return []byte(lockPrefix + clip(process, maxDetail)) }

// foreignLeader is what Zuul's own listener is called.
const zuulListener = "Zuul (Python)"

// leaderName says who a lock node's data tells of, and whether it is one of
// ours.
func lockOwner(data []byte) (name string, ours bool) {
	if name, ok := strings.CutPrefix(string(data), lockPrefix); ok {
		return name, true
	}
	return zuulListener, false
}
