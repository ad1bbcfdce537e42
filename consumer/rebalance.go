package consumer

import (
	"context"
	"hash/fnv"
	"io"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

const (
	planEvery       = 5 * time.Second        // whatever nobody tells of is seen by then
	groupSettles    = 200 * time.Millisecond // members come and change in groups
	unclaimedAtMost = 10 * time.Second       // a shard is nobody's so long before somebody else than planned takes it
)

// groupWatch is a WaitGroupChange under way.
type groupWatch struct {
	seen   gerritstream.GroupState
	cancel context.CancelFunc
	left   bool
	err    error
}

// advertise publishes what this process says of itself, if that is not what it
// said last. It goes before each muster, so that the muster's own wait is not
// ended by it.
func (s *supervisor) advertise(ctx context.Context, shards []gerritstream.ShardID) error {
	a := s.c.cfg.Self
	a.Process, a.Leads, a.Readable, a.Plan = s.c.cfg.Process, s.c.tracker.leading(), !s.c.readability.isUnreadable(), hashOf(shards)
	if s.advertised != nil && reflect.DeepEqual(*s.advertised, a) {
		return nil
	}
	s.advertised = nil // what the others see is not known until it succeeds
	if err := s.c.cfg.Store.Advertise(ctx, a); err != nil {
		return err
	}
	s.advertised = &a
	return nil
}

// hashOf tells sets of shards apart.
func hashOf(shards []gerritstream.ShardID) string {
	h := fnv.New64a()
	for _, id := range shards {
		_, _ = io.WriteString(h, string(id)+"\n") // a hash takes everything
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

// leave tells the others that this process will lead nothing any more,
// before the store is closed.
func (s *supervisor) leave(ctx context.Context) {
	if s.advertised == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignGrace)
	defer cancel()
	a := *s.advertised
	a.Leads, a.Readable = nil, false
	if err := s.c.cfg.Store.Advertise(ctx, a); err != nil {
		s.c.log.Debug("the end of this process was not announced", "err", err)
	}
}

// groupState returns the muster, with this process among its members.
func (s *supervisor) groupState(ctx context.Context, shards []gerritstream.ShardID) (gerritstream.GroupState, error) {
	m, err := s.c.cfg.Store.GroupState(ctx, shards)
	if err != nil {
		return gerritstream.GroupState{}, err
	}
	self := slices.IndexFunc(m.Members, func(o gerritstream.Member) bool { return o.ID == m.Self })
	if self >= 0 && m.Members[self].Damaged == nil {
		return m, nil
	}
	s.advertised = nil // it was taken away, or spoilt
	if err := s.advertise(ctx, shards); err != nil {
		return gerritstream.GroupState{}, err
	}
	return s.c.cfg.Store.GroupState(ctx, shards)
}

// rebalance decides about the shards that are to be run or closed: which of them
// are this process' business.
func (s *supervisor) rebalance(ctx context.Context, steps []plan.Step) (plan.Actions, error) {
	var shards []gerritstream.ShardID
	for _, step := range steps {
		if step.State == plan.Runnable || step.State == plan.Gone {
			shards = append(shards, step.Shard)
		}
	}
	s.judgeReadability()
	if err := s.advertise(ctx, shards); err != nil {
		return plan.Actions{}, err
	}
	m, err := s.groupState(ctx, shards)
	if err != nil {
		return plan.Actions{}, err
	}
	s.group = m
	s.watchGroup(ctx)
	s.warn()
	a := plan.Assign(shards, s.dropUnresponsive(m))
	s.noteUnclaimed(shards, a)
	s.showAssignment(shards, a)
	s.unsettled = a.Unsettled(shards, m)
	s.standby = a.StandsBy(shards, m)
	return a.Actions(shards, m), nil
}

// judgeReadability declares this process unreadable when it is, and another is not.
func (s *supervisor) judgeReadability() {
	blind := s.c.readability.isUnreadable()
	if !blind && s.c.readability.stalled() && s.anotherReads() {
		s.c.readability.lose()
		s.probeRetry.reset()
		s.probeAt = time.Now().Add(s.probeRetry.next())
		blind = true
	}
	if blind == s.unreadable {
		return
	}
	s.unreadable = blind
	s.c.tracker.set(func(b *gerritstream.Status) { b.Unreadable = blind })
	if blind {
		s.c.log.Warn("nothing can be read here: another process shall lead", "for", unreadableAfter)
	} else {
		s.c.log.Info("the stream can be read again")
	}
}

// anotherReads reports whether another member was readable when they were
// looked at last.
func (s *supervisor) anotherReads() bool {
	return slices.ContainsFunc(s.group.Members, func(o gerritstream.Member) bool {
		return o.ID != s.group.Self && o.Info.Readable && o.Damaged == nil
	})
}

// watchGroup waits for the members to be others than they are now. A wait for
// this is kept.
func (s *supervisor) watchGroup(ctx context.Context) {
	if s.groupWatch != nil {
		if changed, _ := s.groupWatch.seen.Changed(s.group.Members); !changed {
			return
		}
		s.groupWatch.cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &groupWatch{seen: s.group, cancel: cancel}
	s.groupWatch = w
	s.groupWatches++
	go func() {
		w.left, w.err = s.c.cfg.Store.WaitGroupChange(ctx, w.seen)
		if w.err != nil && ctx.Err() == nil {
			sleep(ctx, waitingEvery) // the plan finds out; only not too often
		}
		s.groupChanges <- w
	}()
}

// unwatchGroup takes in that a wait has ended, and tells when to plan for it.
// ok is false when it was of no use any more.
func (s *supervisor) unwatchGroup(w *groupWatch) (within time.Duration, ok bool) {
	w.cancel()
	s.groupWatches--
	if s.groupWatch != w {
		return 0, false
	}
	s.groupWatch = nil
	if w.left {
		return 0, true
	}
	return groupSettles, true
}

// warn says once of each member what an operator should know.
func (s *supervisor) warn() {
	there := map[string]bool{}
	for i := range s.group.Members {
		o := &s.group.Members[i]
		there[o.ID] = true
		if s.warned[o.ID] {
			continue
		}
		switch {
		case o.Damaged != nil:
			s.c.log.Warn("what a process says of itself cannot be understood: no shard is planned for it", "member", o.ID, "err", o.Damaged)
		case s.otherConfig(o):
			s.c.log.Warn("a process is configured differently: what becomes of an event depends on who reads it",
				"process", o.Info.Process, "member", o.ID)
		default:
			continue
		}
		s.warned[o.ID] = true
	}
	for id := range s.warned {
		if !there[id] {
			delete(s.warned, id)
		}
	}
}

// otherConfig reports whether a member is configured differently from this
// process.
func (s *supervisor) otherConfig(o *gerritstream.Member) bool {
	return o.Info.Config != "" && s.c.cfg.Self.Config != "" && o.Info.Config != s.c.cfg.Self.Config
}

// unclaimed is a shard that nobody leads or waits for, and that another member is
// to lead.
type unclaimed struct {
	owner string
	since time.Time
}

// dropUnresponsive returns the muster with those members as unreadable that have
// left a shard of theirs to nobody for too long: they may not know of it, or
// not be able to take it.
func (s *supervisor) dropUnresponsive(m gerritstream.GroupState) gerritstream.GroupState {
	members := slices.Clone(m.Members)
	for i := range members {
		for _, v := range s.unclaimed {
			if v.owner == members[i].ID && time.Since(v.since) >= unclaimedAtMost {
				members[i].Info.Readable = false
			}
		}
	}
	m.Members = members
	return m
}

// noteUnclaimed remembers which shards wait for whom.
func (s *supervisor) noteUnclaimed(shards []gerritstream.ShardID, a plan.Assignment) {
	vacant := map[gerritstream.ShardID]unclaimed{}
	for _, shard := range shards {
		owner := a.Owner[shard]
		if len(s.group.Candidates[shard]) > 0 || owner == s.group.Self || owner == "" {
			continue
		}
		v, ok := s.unclaimed[shard]
		if !ok || v.owner != owner {
			v = unclaimed{owner, time.Now()}
		}
		vacant[shard] = v
	}
	s.unclaimed = vacant
}

// showAssignment leaves in the status who is there, and whose each shard is and is
// to be.
func (s *supervisor) showAssignment(shards []gerritstream.ShardID, a plan.Assignment) {
	m := &s.group
	names, leads, planned := map[string]string{}, map[string]int{}, map[string]int{}
	for _, shard := range shards {
		planned[a.Owner[shard]]++
		if line := m.Candidates[shard]; len(line) > 0 && !line[0].Foreign {
			leads[line[0].Member]++
		}
	}
	members := make([]gerritstream.MemberStatus, len(m.Members))
	for i := range m.Members {
		o := &m.Members[i]
		names[o.ID] = o.Info.Process
		members[i] = gerritstream.MemberStatus{
			ID: o.ID, Process: o.Info.Process, Host: o.Info.Host, PID: o.Info.PID, Version: o.Info.Version, Self: o.ID == m.Self,
			Readable: o.Info.Readable, Leads: leads[o.ID], Planned: planned[o.ID], OtherConfig: s.otherConfig(o),
		}
		if o.Damaged != nil {
			members[i].Damaged = o.Damaged.Error()
		}
	}
	name := func(id string) string {
		if names[id] != "" {
			return names[id]
		}
		return id
	}
	s.c.tracker.assign(members, func(shard gerritstream.ShardID) (leader gerritstream.Candidate, plannedFor string) {
		if line := m.Candidates[shard]; len(line) > 0 {
			leader = line[0]
			if !leader.Foreign {
				leader.Member = name(leader.Member)
			}
		}
		if plannedFor = a.Owner[shard]; plannedFor == "" {
			plannedFor = a.Standby[shard]
		}
		return leader, name(plannedFor)
	})
}

// handOver gives a shard up to the one directly behind.
func (s *supervisor) handOver(w *worker) {
	if w.leaving {
		return
	}
	w.leaving = true
	w.log.Info("handing the shard over", "to", s.group.Candidates[w.shard][1].Member)
	w.cancel(errHandOver)
}
