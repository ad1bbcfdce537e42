package gerritstream

import "context"

// Group is how the processes on one store know of each other: the balance is
// planned from it, and shards are handed over by it. A Store implements it;
// nothing that it says is a proof of anything. Only the store's own fence
// decides who commits.
type Group interface {
	// Announce publishes what this process says of itself, instead of what it
	// said before. It goes when the process does.
	Advertise(ctx context.Context, a MemberInfo) error

	// GroupState returns the members and the lines in front of these shards, as
	// they are now. A process that has announced itself is among the members it
	// sees.
	GroupState(ctx context.Context, shards []ShardID) (GroupState, error)

	// WaitGroupChange returns nil when the members, or what they announce that
	// matters to a plan, may no longer be as in seen: see GroupState.Changed. left
	// says that a member of seen is gone: what it led is to be planned at once.
	// It may return early, never late by more than a second or so.
	WaitGroupChange(ctx context.Context, seen GroupState) (left bool, err error)
}

// MemberInfo is what a process says of itself to the others.
type MemberInfo struct {
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Version  string    `json:"version"`
	Process  string    `json:"process"` // as in Status
	Leads    []ShardID `json:"leads"`   // for people; lines tell the truth
	Readable bool      `json:"readable"`
	Config   string    `json:"config"`         // a hash of what must be the same everywhere; empty: not said
	Plan     string    `json:"plan,omitempty"` // a hash of the shards it plans with: a new one tells the others of a reshard
}

// Member is a process among those on a store.
type Member struct {
	ID      string // given by the store, like no other's
	Info    MemberInfo
	Damaged error // not nil: what it announced cannot be understood; MemberInfo is then zero
}

// GroupState is the crew at one moment.
type GroupState struct {
	Self       string                  // the ID of this process
	Members    []Member                // by ID
	Candidates map[ShardID][]Candidate // who leads a shard, and who waits behind, in the order of succession; none: no entry
}

// Changed compares the members of a muster with those of a later one: whether
// somebody has come or gone, or announces something else that matters to a
// plan, and whether somebody is gone.
func (m GroupState) Changed(now []Member) (changed, left bool) {
	later := make(map[string]*Member, len(now))
	for i := range now {
		later[now[i].ID] = &now[i]
	}
	changed = len(now) != len(m.Members)
	for i := range m.Members {
		was := &m.Members[i]
		is := later[was.ID]
		if is == nil {
			return true, true
		}
		changed = changed || is.Info.Readable != was.Info.Readable || is.Info.Config != was.Info.Config || is.Info.Plan != was.Info.Plan ||
			(is.Damaged == nil) != (was.Damaged == nil)
	}
	return changed, false
}

// Candidate is a leader or a candidate for a shard.
type Candidate struct {
	Member  string // ID; of a foreign one: what is known of it
	Foreign bool   // not a process of this program: a foreign leader that keeps its own checkpoints
}
