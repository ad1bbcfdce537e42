package gerritstream

import (
	"context"
	"hash/fnv"
	"io"
	"reflect"
	"slices"
	"strconv"
	"time"
)

const (
	planEvery     = 5 * time.Second        // whatever nobody tells of is seen by then
	musterSettles = 200 * time.Millisecond // members come and change in groups
	vacantAtMost  = 10 * time.Second       // a shard is nobody's so long before somebody else than planned takes it
)

// musterWatch is a WaitMuster under way.
type musterWatch struct {
	seen   Muster
	cancel context.CancelFunc
	left   bool
	err    error
}

// announce publishes what this process says of itself, if that is not what it
// said last. It goes before each muster, so that the muster's own wait is not
// ended by it.
func (s *supervisor) announce(ctx context.Context, shards []ShardID) error {
	a := s.cfg.Self
	a.Process, a.Leads, a.Readable, a.Plan = s.cfg.Process, s.board.leading(), !s.reach.isBlind(), hashOf(shards)
	if s.said != nil && reflect.DeepEqual(*s.said, a) {
		return nil
	}
	s.said = nil // what the others see is not known until it succeeds
	if err := s.cfg.Store.Announce(ctx, a); err != nil {
		return err
	}
	s.said = &a
	return nil
}

// hashOf tells sets of shards apart.
func hashOf(shards []ShardID) string {
	h := fnv.New64a()
	for _, id := range shards {
		_, _ = io.WriteString(h, string(id)+"\n") // a hash takes everything
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

// farewell tells the others that this process will lead nothing any more,
// before the store is closed.
func (s *supervisor) farewell(ctx context.Context) {
	if s.said == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignGrace)
	defer cancel()
	a := *s.said
	a.Leads, a.Readable = nil, false
	if err := s.cfg.Store.Announce(ctx, a); err != nil {
		s.log.Debug("the end of this process was not announced", "err", err)
	}
}

// look returns the muster, with this process among its members.
func (s *supervisor) look(ctx context.Context, shards []ShardID) (Muster, error) {
	m, err := s.cfg.Store.Muster(ctx, shards)
	if err != nil {
		return Muster{}, err
	}
	self := slices.IndexFunc(m.Members, func(o Member) bool { return o.ID == m.Self })
	if self >= 0 && m.Members[self].Damaged == nil {
		return m, nil
	}
	s.said = nil // it was taken away, or spoilt
	if err := s.announce(ctx, shards); err != nil {
		return Muster{}, err
	}
	return s.cfg.Store.Muster(ctx, shards)
}

// share decides about the shards that are to be run or closed: which of them
// are this process' business.
func (s *supervisor) share(ctx context.Context, steps []Step) (Orders, error) {
	var shards []ShardID
	for _, step := range steps {
		if step.Action == ActionRun || step.Action == ActionClose {
			shards = append(shards, step.Shard)
		}
	}
	s.judgeReach()
	if err := s.announce(ctx, shards); err != nil {
		return Orders{}, err
	}
	m, err := s.look(ctx, shards)
	if err != nil {
		return Orders{}, err
	}
	s.muster = m
	s.watchMuster(ctx)
	s.warn()
	a := Balance(shards, s.withoutIdlers(m))
	s.noteVacancies(shards, a)
	s.showShares(shards, a)
	s.unsettled = unsettled(shards, a, m)
	s.standby = standsBy(shards, a, m)
	return a.Orders(shards, m), nil
}

// standsBy returns the shards that another program leads and that this process
// is to stand by for.
func standsBy(shards []ShardID, a Assignment, m Muster) (all []ShardID) {
	for _, shard := range shards {
		if line := m.Lines[shard]; len(line) > 0 && line[0].Foreign && a.Standby[shard] == m.Self {
			all = append(all, shard)
		}
	}
	return all
}

// unsettled reports whether a shard is to be led by this process, or led on by
// another, and that has not come to pass: both sides look again soon, for
// nobody tells of lines that change. A process that planned without knowing of
// this one may have been faster.
func unsettled(shards []ShardID, a Assignment, m Muster) bool {
	return slices.ContainsFunc(shards, func(shard ShardID) bool {
		line, owner := m.Lines[shard], a.Owner[shard]
		leads := len(line) > 0 && line[0].is(m.Self)
		return leads != (owner == m.Self) && owner != ""
	})
}

// judgeReach declares this process unreadable when it is, and another is not.
func (s *supervisor) judgeReach() {
	blind := s.reach.isBlind()
	if !blind && s.reach.stalled() && s.anotherReads() {
		s.reach.lose()
		s.probeRetry.reset()
		s.probeAt = time.Now().Add(s.probeRetry.next())
		blind = true
	}
	if blind == s.blind {
		return
	}
	s.blind = blind
	s.board.set(func(b *Status) { b.Unreadable = blind })
	if blind {
		s.log.Warn("nothing can be read here: another process shall lead", "for", unreadableAfter)
	} else {
		s.log.Info("the stream can be read again")
	}
}

// anotherReads reports whether another member was readable when they were
// looked at last.
func (s *supervisor) anotherReads() bool {
	return slices.ContainsFunc(s.muster.Members, func(o Member) bool {
		return o.ID != s.muster.Self && o.Readable && o.Damaged == nil
	})
}

// watchMuster waits for the members to be others than they are now. A wait for
// this is kept.
func (s *supervisor) watchMuster(ctx context.Context) {
	if s.watching != nil {
		if changed, _ := s.watching.seen.Changed(s.muster.Members); !changed {
			return
		}
		s.watching.cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &musterWatch{seen: s.muster, cancel: cancel}
	s.watching = w
	s.watches++
	go func() {
		w.left, w.err = s.cfg.Store.WaitMuster(ctx, w.seen)
		if w.err != nil && ctx.Err() == nil {
			sleep(ctx, waitingEvery) // the plan finds out; only not too often
		}
		s.mustered <- w
	}()
}

// unwatchMuster takes in that a wait has ended, and tells when to plan for it.
// ok is false when it was of no use any more.
func (s *supervisor) unwatchMuster(w *musterWatch) (within time.Duration, ok bool) {
	w.cancel()
	s.watches--
	if s.watching != w {
		return 0, false
	}
	s.watching = nil
	if w.left {
		return 0, true
	}
	return musterSettles, true
}

// warn says once of each member what an operator should know.
func (s *supervisor) warn() {
	there := map[string]bool{}
	for i := range s.muster.Members {
		o := &s.muster.Members[i]
		there[o.ID] = true
		if s.warned[o.ID] {
			continue
		}
		switch {
		case o.Damaged != nil:
			s.log.Warn("what a process says of itself cannot be understood: no shard is planned for it", "member", o.ID, "err", o.Damaged)
		case s.otherConfig(o):
			s.log.Warn("a process is configured differently: what becomes of an event depends on who reads it",
				"process", o.Process, "member", o.ID)
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
func (s *supervisor) otherConfig(o *Member) bool {
	return o.Config != "" && s.cfg.Self.Config != "" && o.Config != s.cfg.Self.Config
}

// vacancy is a shard that nobody leads or waits for, and that another member is
// to lead.
type vacancy struct {
	owner string
	since time.Time
}

// withoutIdlers returns the muster with those members as unreadable that have
// left a shard of theirs to nobody for too long: they may not know of it, or
// not be able to take it.
func (s *supervisor) withoutIdlers(m Muster) Muster {
	members := slices.Clone(m.Members)
	for i := range members {
		for _, v := range s.vacant {
			if v.owner == members[i].ID && time.Since(v.since) >= vacantAtMost {
				members[i].Readable = false
			}
		}
	}
	m.Members = members
	return m
}

// noteVacancies remembers which shards wait for whom.
func (s *supervisor) noteVacancies(shards []ShardID, a Assignment) {
	vacant := map[ShardID]vacancy{}
	for _, shard := range shards {
		owner := a.Owner[shard]
		if len(s.muster.Lines[shard]) > 0 || owner == s.muster.Self || owner == "" {
			continue
		}
		v, ok := s.vacant[shard]
		if !ok || v.owner != owner {
			v = vacancy{owner, time.Now()}
		}
		vacant[shard] = v
	}
	s.vacant = vacant
}

// showShares leaves in the status who is there, and whose each shard is and is
// to be.
func (s *supervisor) showShares(shards []ShardID, a Assignment) {
	m := &s.muster
	names, leads, planned := map[string]string{}, map[string]int{}, map[string]int{}
	for _, shard := range shards {
		planned[a.Owner[shard]]++
		if line := m.Lines[shard]; len(line) > 0 && !line[0].Foreign {
			leads[line[0].Member]++
		}
	}
	members := make([]MemberStatus, len(m.Members))
	for i := range m.Members {
		o := &m.Members[i]
		names[o.ID] = o.Process
		members[i] = MemberStatus{
			ID: o.ID, Process: o.Process, Host: o.Host, PID: o.PID, Version: o.Version, Self: o.ID == m.Self,
			Readable: o.Readable, Leads: leads[o.ID], Planned: planned[o.ID], OtherConfig: s.otherConfig(o),
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
	s.board.shares(members, func(shard ShardID) (leader Contender, plannedFor string) {
		if line := m.Lines[shard]; len(line) > 0 {
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
	w.log.Info("handing the shard over", "to", s.muster.Lines[w.shard][1].Member)
	w.cancel(errHandOver)
}
