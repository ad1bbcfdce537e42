package plan

import (
	"cmp"
	"maps"
	"slices"

	"github.com/gerritstream/gerritstream"
)

// Assignment plans which member has which shard, by the IDs of members.
type Assignment struct {
	// Owner is the member that leads a shard. No entry: none can, because a
	// foreign process leads the shard.
	Owner map[gerritstream.ShardID]string

	// Standby is the member that campaigns for a shard that a foreign process
	// leads, or would lead next. No entry: the shard needs none, or no member
	// is free.
	Standby map[gerritstream.ShardID]string
}

// Assign spreads shards over the members. Processes that see the same group
// come to the same assignment, and an assignment that has been reached stays.
//
//   - Eligible members are the readable ones; failing that, those with a sound
//     MemberInfo; failing that, all. The others lead nothing: eligible members
//     campaign for what they lead, and then receive it.
//   - A member's quota is the number of shards divided by the number of
//     eligible members, rounded down. The remainder goes to those that lead
//     most, ties by ID: no assignment needs fewer moves.
//   - Each member keeps what it leads up to its quota. Free shards, and those
//     beyond a quota, go to members below theirs; all in the order of IDs.
//   - A shard whose leader or next candidate is foreign is pinned: handed off,
//     it would become the foreign process'. A member stands by for it: one that
//     is a candidate already, else the one with the least to do. A pinned shard
//     counts for the member that leads it; one that a foreign process leads
//     counts for nobody.
func Assign(shards []gerritstream.ShardID, group gerritstream.GroupState) Assignment {
	a := assigner{
		group: group,
		load:  map[string]*load{},
		plan:  Assignment{Owner: map[gerritstream.ShardID]string{}, Standby: map[gerritstream.ShardID]string{}},
	}
	a.findEligible()
	shards = slices.Compact(slices.Sorted(slices.Values(shards)))
	free := a.keep(shards)
	for _, id := range a.members {
		for l := a.load[id]; len(free) > 0 && l.owns < l.quota; l.owns++ {
			a.plan.Owner[free[0]], free = id, free[1:]
		}
	}
	a.standBy(shards)
	return a.plan
}

// assigner makes an assignment.
type assigner struct {
	group   gerritstream.GroupState
	members []string         // the eligible ones, by ID
	load    map[string]*load // theirs
	plan    Assignment
}

// load is how much a member has to do.
type load struct {
	leads   []gerritstream.ShardID // what it leads and may hand off, by ID
	pinned  int                    // how many it leads and cannot hand off
	quota   int                    // how many it may own
	owns    int                    // how many it owns so far
	standby int                    // for how many it stands by
}

// led is how many shards the member leads.
func (l *load) led() int { return len(l.leads) + l.pinned }

func (a *assigner) findEligible() {
	for _, eligible := range []func(*gerritstream.Member) bool{
		func(m *gerritstream.Member) bool { return m.Damaged == nil && m.Info.Readable },
		func(m *gerritstream.Member) bool { return m.Damaged == nil },
		func(*gerritstream.Member) bool { return true },
	} {
		for i := range a.group.Members {
			if member := &a.group.Members[i]; member.ID != "" && eligible(member) {
				a.load[member.ID] = &load{}
			}
		}
		if len(a.load) > 0 {
			break
		}
	}
	a.members = slices.Sorted(maps.Keys(a.load))
}

// keep assigns to each member what it leads, up to its quota, and returns the
// shards that are free or beyond a quota.
func (a *assigner) keep(shards []gerritstream.ShardID) (free []gerritstream.ShardID) {
	total := 0
	for _, shard := range shards {
		candidates, leader := a.group.Candidates[shard], ""
		if len(candidates) > 0 {
			if candidates[0].Foreign {
				continue
			}
			leader = candidates[0].Member
		}
		l := a.load[leader]
		pinned := len(candidates) > 1 && candidates[1].Foreign
		switch {
		case l != nil && pinned:
			a.plan.Owner[shard] = leader
			l.pinned++
		case l != nil:
			l.leads = append(l.leads, shard)
		case pinned: // to a member that is not eligible
			a.plan.Owner[shard] = leader
			continue
		default:
			free = append(free, shard)
		}
		total++
	}
	a.setQuotas(total)
	for _, id := range a.members {
		l := a.load[id]
		stay := min(len(l.leads), l.quota-l.pinned)
		for _, shard := range l.leads[:stay] {
			a.plan.Owner[shard] = id
		}
		l.owns = l.pinned + stay
		free = append(free, l.leads[stay:]...)
	}
	slices.Sort(free)
	return free
}

// setQuotas shares out a number of shards. A member with more pinned shards
// than its share keeps those, and the others share the rest.
func (a *assigner) setQuotas(total int) {
	rest := slices.Clone(a.members)
	slices.SortStableFunc(rest, func(x, y string) int { return cmp.Compare(a.load[y].led(), a.load[x].led()) })
	for len(rest) > 0 {
		share, extras := total/len(rest), total%len(rest)
		for i, id := range rest {
			a.load[id].quota = share
			if i < extras {
				a.load[id].quota++
			}
		}
		var fits []string
		for _, id := range rest {
			if l := a.load[id]; l.pinned > l.quota {
				l.quota = l.pinned
				total -= l.pinned
			} else {
				fits = append(fits, id)
			}
		}
		if len(fits) == len(rest) {
			return
		}
		rest = fits
	}
}

// standBy finds a member for each shard whose leader or next candidate is
// foreign: first those that are candidates already.
func (a *assigner) standBy(shards []gerritstream.ShardID) {
	var unmet []gerritstream.ShardID
	for _, shard := range shards {
		candidates := a.group.Candidates[shard]
		isForeign := func(c gerritstream.Candidate) bool { return c.Foreign }
		if !slices.ContainsFunc(candidates[:min(2, len(candidates))], isForeign) {
			continue
		}
		at := slices.IndexFunc(candidates, func(c gerritstream.Candidate) bool {
			return !c.Foreign && c.Member != a.plan.Owner[shard] && a.load[c.Member] != nil
		})
		if at < 0 {
			unmet = append(unmet, shard)
			continue
		}
		a.plan.Standby[shard] = candidates[at].Member
		a.load[candidates[at].Member].standby++
	}
	does := func(id string) int { return a.load[id].owns + a.load[id].standby }
	for _, shard := range unmet {
		var least string
		for _, id := range a.members {
			if id != a.plan.Owner[shard] && (least == "" || does(id) < does(least)) {
				least = id
			}
		}
		if least != "" {
			a.plan.Standby[shard] = least
			a.load[least].standby++
		}
	}
}

// Actions are what one process does to reach an assignment. Other shards do not
// concern it.
type Actions struct {
	Campaign []gerritstream.ShardID // to lead, or to stand by
	Keep     []gerritstream.ShardID // to go on leading
	HandOff  []gerritstream.ShardID // to resign now: the planned owner is the next candidate
	Pending  []gerritstream.ShardID // to lead until the planned owner is the next candidate
}

// Actions returns what the process that saw the group does to reach the
// assignment of these shards.
func (a Assignment) Actions(shards []gerritstream.ShardID, group gerritstream.GroupState) Actions {
	var actions Actions
	for _, shard := range slices.Sorted(slices.Values(shards)) {
		candidates, owner := group.Candidates[shard], a.Owner[shard]
		leads := len(candidates) > 0 && is(candidates[0], group.Self)
		switch {
		case leads && (owner == group.Self || owner == ""):
			actions.Keep = append(actions.Keep, shard)
		case leads && len(candidates) > 1 && is(candidates[1], owner):
			actions.HandOff = append(actions.HandOff, shard)
		case leads:
			actions.Pending = append(actions.Pending, shard)
		case group.Self != "" && (owner == group.Self || a.Standby[shard] == group.Self):
			actions.Campaign = append(actions.Campaign, shard)
		}
	}
	return actions
}

// is reports whether a candidate is this member.
func is(c gerritstream.Candidate, member string) bool { return !c.Foreign && c.Member == member }

// StandsBy returns the shards that a foreign process leads and this process
// stands by for.
func (a Assignment) StandsBy(
	shards []gerritstream.ShardID, group gerritstream.GroupState,
) (all []gerritstream.ShardID) {
	for _, shard := range shards {
		if c := group.Candidates[shard]; len(c) > 0 && c[0].Foreign && a.Standby[shard] == group.Self {
			all = append(all, shard)
		}
	}
	return all
}

// Unsettled reports whether this process still has to gain or give up a shard.
// It then looks again soon: new candidates may raise no notification, and a
// process that planned without knowing of this one may have been faster.
func (a Assignment) Unsettled(shards []gerritstream.ShardID, group gerritstream.GroupState) bool {
	return slices.ContainsFunc(shards, func(shard gerritstream.ShardID) bool {
		candidates, owner := group.Candidates[shard], a.Owner[shard]
		leads := len(candidates) > 0 && is(candidates[0], group.Self)
		return leads != (owner == group.Self) && owner != ""
	})
}
