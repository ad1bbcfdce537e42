package consumer

import (
	"cmp"
	"context"
	"hash/fnv"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

const (
	groupSettles = 200 * time.Millisecond // members come and change in groups
	hurryEvery   = 50 * time.Millisecond  // how often an urgent change of the group is acted on
	unclaimedFor = 10 * time.Second       // how long a shard may stay unclaimed before another member takes it
	watchRetry   = time.Second            // pause after a watch that failed; the next round starts another
)

// membership is this process among the members on its store: what it
// advertises, what it sees of the others, and which shards are planned for
// whom. It belongs to the supervisor's goroutine.
type membership struct {
	c     *Consumer
	store gerritstream.Store
	tasks *tasks

	advertised *gerritstream.MemberInfo // nil: nothing, or not known
	group      gerritstream.GroupState  // as planned with last
	watching   *groupWatch              // for changes of group; nil: none
	warned     map[string]bool          // members that the log has warned about
	unclaimed  map[gerritstream.ShardID]unclaimed
	standby    []gerritstream.ShardID // led by a foreign leader, for which this process is planned to stand by
	lookAt     time.Time              // local: when to look whether planned owners have come; zero: all have
	pending    backoff                // between these looks
	hurried    time.Time              // local: when the last urgent change was acted on
}

// groupWatch is a WaitGroupChange in progress.
type groupWatch struct {
	seen   gerritstream.GroupState
	cancel context.CancelFunc
}

// unclaimed is a shard that nobody leads or waits for and that another member
// is to lead.
type unclaimed struct {
	owner string
	since time.Time
}

// rebalance assigns the shards that can be read or closed to the members, and
// returns what this process is to do about them.
func (m *membership) rebalance(ctx context.Context, steps []plan.Step) (plan.Actions, error) {
	var shards []gerritstream.ShardID
	for _, step := range steps {
		if step.State == plan.Runnable || step.State == plan.Gone {
			shards = append(shards, step.Shard)
		}
	}
	m.c.readability.judge(slices.ContainsFunc(m.group.Members, func(o gerritstream.Member) bool {
		return o.ID != m.group.Self && o.Info.Readable && o.Damaged == nil
	}))
	if err := m.look(ctx, shards); err != nil {
		return plan.Actions{}, err
	}
	m.warn()
	assignment := plan.Assign(shards, m.dropUnresponsive())
	actions := assignment.Actions(shards, m.group)
	m.watch(actions.Pending)
	m.noteUnclaimed(shards, assignment)
	m.show(assignment)
	m.standby = assignment.StandsBy(shards, m.group)
	m.lookAt = time.Time{}
	if assignment.Unsettled(shards, m.group) {
		m.lookAt = time.Now().Add(m.pending.next())
	} else {
		m.pending.reset()
	}
	return actions, nil
}

// look advertises this process and reads the state of the group. Advertising
// goes first, so that it does not end this process's own watch.
func (m *membership) look(ctx context.Context, shards []gerritstream.ShardID) error {
	if err := m.advertise(ctx, shards); err != nil {
		return err
	}
	group, err := m.store.GroupState(ctx, shards)
	if err != nil {
		return err
	}
	self := slices.IndexFunc(group.Members, func(o gerritstream.Member) bool { return o.ID == group.Self })
	if self < 0 || group.Members[self].Damaged != nil { // what was advertised has been deleted or damaged
		m.advertised = nil
		if err := m.advertise(ctx, shards); err != nil {
			return err
		}
		if group, err = m.store.GroupState(ctx, shards); err != nil {
			return err
		}
	}
	m.group = group
	return nil
}

// successor returns the candidate after the leader of a shard.
func (m *membership) successor(shard gerritstream.ShardID) string {
	return m.group.Candidates[shard][1].Member
}

// advertise publishes what this process says of itself, if that has changed.
func (m *membership) advertise(ctx context.Context, shards []gerritstream.ShardID) error {
	hash := fnv.New64a()
	for _, id := range shards {
		_, _ = io.WriteString(hash, string(id)+"\n") // never fails
	}
	info := m.c.cfg.Self
	info.Leads, info.Readable = m.c.tracker.leading(), !m.c.readability.isUnreadable()
	info.Plan = strconv.FormatUint(hash.Sum64(), 16)
	if m.advertised != nil && reflect.DeepEqual(*m.advertised, info) {
		return nil
	}
	m.advertised = nil // unknown until it succeeds
	if err := m.store.Advertise(ctx, info); err != nil {
		return err
	}
	m.advertised = &info
	return nil
}

// leave tells the other members, before the store is closed, that this process
// will lead nothing any more.
func (m *membership) leave(ctx context.Context) {
	if m.advertised == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignGrace)
	defer cancel()
	info := *m.advertised
	info.Leads, info.Readable = nil, false
	if err := m.store.Advertise(ctx, info); err != nil {
		m.c.log.Debug("leaving was not advertised", "err", err)
	}
}

// watch waits for the members to change, and for the planned owners of shards
// that this process leads to become the next candidates. A watch for the same
// is kept.
func (m *membership) watch(pending []gerritstream.ShardID) {
	seen := m.group
	seen.Candidates = map[gerritstream.ShardID][]gerritstream.Candidate{}
	for _, shard := range pending {
		seen.Candidates[shard] = m.group.Candidates[shard]
	}
	if m.watching != nil {
		was := &m.watching.seen
		same := func([]gerritstream.Candidate, []gerritstream.Candidate) bool { return true }
		if changed, _ := was.Changed(m.group); !changed && maps.EqualFunc(was.Candidates, seen.Candidates, same) {
			return
		}
		m.watching.cancel()
	}
	ctx, cancel := context.WithCancel(m.tasks.ctx)
	w := &groupWatch{seen: seen, cancel: cancel}
	m.watching = w
	var urgent bool
	m.tasks.start(func() {
		var err error
		if urgent, err = m.store.WaitGroupChange(ctx, w.seen); err != nil && ctx.Err() == nil {
			sleep(ctx, watchRetry)
		}
	}, func() (time.Duration, error) {
		w.cancel()
		if m.watching != w { // another has replaced it
			return planEvery, nil
		}
		m.watching = nil
		if urgent {
			return m.hurry(), nil
		}
		return groupSettles, nil
	})
}

// hurry returns how soon to act on an urgent change: at once on the first, and
// on those that follow it together.
func (m *membership) hurry() time.Duration {
	wait := max(time.Until(m.hurried.Add(hurryEvery)), 0)
	m.hurried = time.Now().Add(wait)
	return wait
}

// warn logs once for each member what an operator should know.
func (m *membership) warn() {
	warned := map[string]bool{}
	for i := range m.group.Members {
		o := &m.group.Members[i]
		warned[o.ID] = m.warned[o.ID] || o.Damaged != nil || m.otherConfig(o)
		switch {
		case m.warned[o.ID]:
		case o.Damaged != nil:
			m.c.log.Warn("cannot parse what a member advertises; no shards are planned for it",
				"member", o.ID, "err", o.Damaged)
		case m.otherConfig(o):
			m.c.log.Warn("a member is configured differently; how an event is judged depends on who reads it",
				"process", o.Info.Process, "member", o.ID)
		}
	}
	m.warned = warned
}

// otherConfig reports whether a member is configured differently from this
// process.
func (m *membership) otherConfig(o *gerritstream.Member) bool {
	own := m.c.cfg.Self.Config
	return o.Info.Config != "" && own != "" && o.Info.Config != own
}

// dropUnresponsive returns the group without, as unreadable, the members that
// left a shard of theirs unclaimed for too long: they may not know of it, or
// not be able to take it.
func (m *membership) dropUnresponsive() gerritstream.GroupState {
	group := m.group
	group.Members = slices.Clone(group.Members)
	for i := range group.Members {
		for _, u := range m.unclaimed {
			if u.owner == group.Members[i].ID && time.Since(u.since) >= unclaimedFor {
				group.Members[i].Info.Readable = false
			}
		}
	}
	return group
}

// noteUnclaimed remembers which shards wait for which owner.
func (m *membership) noteUnclaimed(shards []gerritstream.ShardID, a plan.Assignment) {
	now := map[gerritstream.ShardID]unclaimed{}
	for _, shard := range shards {
		owner := a.Owner[shard]
		if len(m.group.Candidates[shard]) > 0 || owner == m.group.Self || owner == "" {
			continue
		}
		u, ok := m.unclaimed[shard]
		if !ok || u.owner != owner {
			u = unclaimed{owner, time.Now()}
		}
		now[shard] = u
	}
	m.unclaimed = now
}

// show puts the members, and the leader and the planned owner of each shard,
// into the status.
func (m *membership) show(a plan.Assignment) {
	names, leads, planned := map[string]string{}, map[string]int{}, map[string]int{}
	for _, owner := range a.Owner {
		planned[owner]++
	}
	for _, candidates := range m.group.Candidates {
		if len(candidates) > 0 && !candidates[0].Foreign {
			leads[candidates[0].Member]++
		}
	}
	members := make([]gerritstream.MemberStatus, len(m.group.Members))
	for i := range m.group.Members {
		o := &m.group.Members[i]
		names[o.ID] = o.Info.Process
		members[i] = gerritstream.MemberStatus{
			ID: o.ID, Self: o.ID == m.group.Self, Process: o.Info.Process, Host: o.Info.Host, PID: o.Info.PID,
			Version: o.Info.Version, Readable: o.Info.Readable,
			Leads: leads[o.ID], Planned: planned[o.ID], OtherConfig: m.otherConfig(o),
		}
		if o.Damaged != nil {
			members[i].Damaged = o.Damaged.Error()
		}
	}
	name := func(id string) string { return cmp.Or(names[id], id) }
	m.c.tracker.assign(members, func(shard gerritstream.ShardID) (leader gerritstream.Candidate, plannedFor string) {
		if candidates := m.group.Candidates[shard]; len(candidates) > 0 {
			leader = candidates[0]
			if !leader.Foreign {
				leader.Member = name(leader.Member)
			}
		}
		return leader, name(cmp.Or(a.Owner[shard], a.Standby[shard]))
	})
}
