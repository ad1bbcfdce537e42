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
	// since seen: perhaps early, and about a second late at most. left: a
	// member is gone, so that its shards need a new leader at once.
	WaitGroupChange(ctx context.Context, seen GroupState) (left bool, err error)
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

// Changed compares the members with later ones. changed: a member has come or
// gone, or advertises something else that matters to a plan. left: one is gone.
func (s GroupState) Changed(now []Member) (changed, left bool) {
	type advertised struct {
		damaged, readable bool
		config, plan      string
	}
	of := func(m Member) advertised {
		return advertised{m.Damaged != nil, m.Info.Readable, m.Info.Config, m.Info.Plan}
	}
	later := make(map[string]advertised, len(now))
	for _, m := range now {
		later[m.ID] = of(m)
	}
	changed = len(now) != len(s.Members)
	for _, m := range s.Members {
		is, there := later[m.ID]
		if !there {
			return true, true
		}
		changed = changed || is != of(m)
	}
	return changed, false
}

// Candidate leads a shard, or waits to.
type Candidate struct {
	Member  string // its ID; for a foreign leader, what is known of it
	Foreign bool   // another program, which keeps its own checkpoints
}
