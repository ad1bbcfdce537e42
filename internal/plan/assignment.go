package plan

import (
	"cmp"
	"maps"
	"slices"

	"github.com/gerritstream/gerritstream"
)

// Assignment says whose each shard is to be, by the IDs of members.
type Assignment struct {
	// Owner is the member that is to lead a shard. No entry: nobody of ours
	// can, for a foreign process leads it.
	Owner map[gerritstream.ShardID]string

	// Standby is the member that is to queue up for a shard that a foreign
	// process leads, or would lead next. No entry: the shard has none of these,
	// or nobody is free for it.
	Standby map[gerritstream.ShardID]string
}

// Assign spreads shards over the members. It is a pure function, and any
// process that sees the same muster comes to the same assignment; what has been
// reached is a fixed point of it.
//
//   - Those count that are readable; if nobody is, all whose announcement is
//     sound; if there are none either, all. The others are to lead nothing, and
//     what they do lead goes to those that count, once these have queued up for
//     it.
//   - Each is to lead the number of shards divided by the number of members,
//     rounded down. What is left over goes to those who lead most, ties by ID:
//     no assignment needs fewer moves.
//   - Each keeps what it leads up to that number, in the order of the shards'
//     ids. What nobody leads, and what is beyond, goes to those who lead too
//     little, shards and members in the order of their ids.
//   - A shard with a foreign process at the head of its line, or next, stays
//     where it is: given up, it would be the foreign one's. Somebody of ours
//     stands by for it: whoever is in the line already, else who is to do
//     least. One that a foreign process leads counts for nobody; one that a
//     member leads counts for that member.
func Assign(shards []gerritstream.ShardID, m gerritstream.GroupState) Assignment {
	b := assigner{
		muster:  m,
		load:    map[string]*load{},
		Owner:   map[gerritstream.ShardID]string{},
		Standby: map[gerritstream.ShardID]string{},
	}
	b.count()
	shards = slices.Compact(slices.Sorted(slices.Values(shards)))
	free := b.keep(shards)
	b.fill(free)
	b.standBy(shards)
	return Assignment{Owner: b.Owner, Standby: b.Standby}
}

// assigner is an assignment in the making.
type assigner struct {
	muster  gerritstream.GroupState
	members []string         // those that count, by ID
	load    map[string]*load // of these
	Owner   map[gerritstream.ShardID]string
	Standby map[gerritstream.ShardID]string
}

// load is how much a member has to do.
type load struct {
	leads  []gerritstream.ShardID // that may be moved, by id
	pinned int                    // shards that it leads and that cannot be moved
	quota  int                    // how many it is to lead
	owns   int                    // planned for it so far
	stands int                    // for which it is to stand by
}

// led is how many shards the member leads.
func (l *load) led() int { return len(l.leads) + l.pinned }

// does is how many shards the member is to lead or to stand by for.
func (l *load) does() int { return l.owns + l.stands }

// count finds the members that count.
func (b *assigner) count() {
	for _, counts := range []func(*gerritstream.Member) bool{
		func(m *gerritstream.Member) bool { return m.Damaged == nil && m.Info.Readable },
		func(m *gerritstream.Member) bool { return m.Damaged == nil },
		func(*gerritstream.Member) bool { return true },
	} {
		for i := range b.muster.Members {
			if member := &b.muster.Members[i]; member.ID != "" && counts(member) {
				b.load[member.ID] = &load{}
			}
		}
		if len(b.load) > 0 {
			break
		}
	}
	b.members = slices.Sorted(maps.Keys(b.load))
}

// keep has each member keep what it leads, up to its quota, and returns the
// shards that are free or beyond.
func (b *assigner) keep(shards []gerritstream.ShardID) (free []gerritstream.ShardID) {
	total := 0
	for _, shard := range shards {
		line := b.muster.Candidates[shard]
		if len(line) > 0 && line[0].Foreign {
			continue
		}
		owner := ""
		if len(line) > 0 {
			owner = line[0].Member
		}
		l := b.load[owner]
		pinned := len(line) > 1 && line[1].Foreign
		switch {
		case l != nil && pinned:
			b.Owner[shard] = owner
			l.pinned++
		case l != nil:
			l.leads = append(l.leads, shard)
		case pinned: // by one that does not count
			b.Owner[shard] = owner
			continue
		default:
			free = append(free, shard)
		}
		total++
	}
	b.setQuotas(total)
	for _, id := range b.members {
		l := b.load[id]
		stay := min(len(l.leads), l.quota-l.pinned)
		for _, shard := range l.leads[:stay] {
			b.Owner[shard] = id
		}
		l.owns = l.pinned + stay
		free = append(free, l.leads[stay:]...)
	}
	slices.Sort(free)
	return free
}

// setQuotas says how many of all the shards each member is to lead. Who has
// more of them pinned than its share keeps these, and the rest is shared by the
// rest.
func (b *assigner) setQuotas(total int) {
	rest := slices.Clone(b.members)
	slices.SortStableFunc(rest, func(x, y string) int { return cmp.Compare(b.load[y].led(), b.load[x].led()) })
	for len(rest) > 0 {
		share, extras := total/len(rest), total%len(rest)
		for i, id := range rest {
			b.load[id].quota = share
			if i < extras {
				b.load[id].quota++
			}
		}
		var fits []string
		for _, id := range rest {
			if l := b.load[id]; l.pinned > l.quota {
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

// fill gives free shards to members that have not reached their quota.
func (b *assigner) fill(free []gerritstream.ShardID) {
	for _, id := range b.members {
		for l := b.load[id]; len(free) > 0 && l.owns < l.quota; l.owns++ {
			b.Owner[free[0]], free = id, free[1:]
		}
	}
}

// standBy finds a member for each shard that has a foreign process at the head
// of its line, or next.
func (b *assigner) standBy(shards []gerritstream.ShardID) {
	var unmet []gerritstream.ShardID
	for _, shard := range shards {
		line := b.muster.Candidates[shard]
		if !slices.ContainsFunc(line[:min(2, len(line))], func(c gerritstream.Candidate) bool { return c.Foreign }) {
			continue
		}
		at := slices.IndexFunc(line, func(c gerritstream.Candidate) bool {
			return !c.Foreign && c.Member != b.Owner[shard] && b.load[c.Member] != nil
		})
		if at < 0 {
			unmet = append(unmet, shard)
			continue
		}
		b.Standby[shard] = line[at].Member
		b.load[line[at].Member].stands++
	}
	for _, shard := range unmet {
		var who string
		for _, id := range b.members {
			if id != b.Owner[shard] && (who == "" || b.load[id].does() < b.load[who].does()) {
				who = id
			}
		}
		if who != "" {
			b.Standby[shard] = who
			b.load[who].stands++
		}
	}
}

// Actions are what one process does about an assignment. Shards that are in none
// of its lists it has nothing to do with.
type Actions struct {
	Campaign []gerritstream.ShardID // to be led, or stood by for
	Keep     []gerritstream.ShardID // led, and to be led on
	HandOff  []gerritstream.ShardID // led, planned for another, who is directly behind: to be given up now
	Pending  []gerritstream.ShardID // led, planned for another, who is not there yet: to be led until then
}

// Actions returns what the process that saw the muster is to do about an
// assignment of these shards.
func (a Assignment) Actions(shards []gerritstream.ShardID, m gerritstream.GroupState) Actions {
	var o Actions
	for _, shard := range slices.Sorted(slices.Values(shards)) {
		line, owner := m.Candidates[shard], a.Owner[shard]
		leads := len(line) > 0 && is(line[0], m.Self)
		switch {
		case leads && (owner == m.Self || owner == ""):
			o.Keep = append(o.Keep, shard)
		case leads && len(line) > 1 && is(line[1], owner):
			o.HandOff = append(o.HandOff, shard)
		case leads:
			o.Pending = append(o.Pending, shard)
		case m.Self != "" && (owner == m.Self || a.Standby[shard] == m.Self):
			o.Campaign = append(o.Campaign, shard)
		}
	}
	return o
}

// is reports whether a contender is this member.
func is(c gerritstream.Candidate, member string) bool { return !c.Foreign && c.Member == member }

// StandsBy returns the shards that another program leads and that this process
// is to stand by for.
func (a Assignment) StandsBy(shards []gerritstream.ShardID, m gerritstream.GroupState) (all []gerritstream.ShardID) {
	for _, shard := range shards {
		if line := m.Candidates[shard]; len(line) > 0 && line[0].Foreign && a.Standby[shard] == m.Self {
			all = append(all, shard)
		}
	}
	return all
}

// Unsettled reports whether a shard is to be led by this process, or led on by
// another, and that has not come to pass: both sides look again soon, for
// nobody tells of lines that change. A process that planned without knowing of
// this one may have been faster.
func (a Assignment) Unsettled(shards []gerritstream.ShardID, m gerritstream.GroupState) bool {
	return slices.ContainsFunc(shards, func(shard gerritstream.ShardID) bool {
		line, owner := m.Candidates[shard], a.Owner[shard]
		leads := len(line) > 0 && is(line[0], m.Self)
		return leads != (owner == m.Self) && owner != ""
	})
}
