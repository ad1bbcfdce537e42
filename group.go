package gerritstream

import "context"

// Group is how the processes on one store know of each other, to plan which
// process leads which shard and to hand shards over. A Store implements it. Its
// answers are advisory; only the store's fence decides who may commit.
type Group interface {
	// Advertise publishes what the other members need to know of this process,
	// in place of what it advertised before. It goes when the process does.
	Advertise(ctx context.Context, info MemberInfo) error

	// GroupState returns the members, and the candidates for these shards. A
	// process that has advertised itself is among the members it sees.
	GroupState(ctx context.Context, shards []ShardID) (GroupState, error)

	// WaitGroupChange returns nil when GroupState.Changed may report a change
	// since seen, and whether that is urgent: perhaps early, and about a second
	// late at most. Candidates are watched only for the shards in seen.
	WaitGroupChange(ctx context.Context, seen GroupState) (urgent bool, err error)
}

// MemberInfo is what a process advertises.
type MemberInfo struct {
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Version  string    `json:"version"`
	Process  string    `json:"process"` // as in Status
	Leads    []ShardID `json:"leads"`   // for people; GroupState.Candidates has the truth
	Readable bool      `json:"readable"`
	Config   string    `json:"config"`         // hash of the settings that all members must share; empty: not given
	Plan     string    `json:"plan,omitempty"` // hash of the shards it plans with; changes with a reshard
}

// Member is a process among those on a store.
type Member struct {
	ID      string // unique, given by the store
	Info    MemberInfo
	Damaged error // not nil: its MemberInfo cannot be decoded, and is zero
}

// GroupState is the group at one moment.
type GroupState struct {
	Self       string                  // the ID of this process
	Members    []Member                // by ID
	Candidates map[ShardID][]Candidate // per shard: its leader, then those who wait, in order
}

// Changed compares a state with a later one. changed: a member has come, gone
// or advertises something else that matters to a plan, or a shard of
// s.Candidates has a new next candidate. urgent: a shard needs a new leader
// now, because a member is gone or no longer reads, or can have it, because of
// that candidate; but members that come besides are waited for.
func (s GroupState) Changed(now GroupState) (changed, urgent bool) {
	members := make(map[string]Member, len(now.Members))
	for _, m := range now.Members {
		members[m.ID] = m
	}
	changed = len(now.Members) != len(s.Members)
	for _, was := range s.Members {
		is, there := members[was.ID]
		changed = changed || !there || is.Info.Readable != was.Info.Readable || is.Info.Config != was.Info.Config ||
			is.Info.Plan != was.Info.Plan || (is.Damaged == nil) != (was.Damaged == nil)
		urgent = urgent || !there || was.Info.Readable && !is.Info.Readable && is.Damaged == nil
	}
	for shard, was := range s.Candidates {
		if is := now.Candidates[shard]; !changed && len(is) > 1 && (len(was) < 2 || is[1] != was[1]) {
			return true, true
		}
	}
	return changed, urgent
}

// Candidate leads a shard, or waits to.
type Candidate struct {
	Member  string // its ID; for a foreign leader, what is known of it
	Foreign bool   // another program, which keeps its own checkpoints
}
