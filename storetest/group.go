package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// candidate is a candidacy for a shard.
type candidate struct {
	process *Process // nil: a foreign one
	foreign string   // the name of a foreign one
}

// enterLocked makes a candidate the last of a shard, unless it is one already,
// and reports whether it may lead.
func (m *Memory) enterLocked(shard gerritstream.ShardID, c *candidate) (mayLead bool) {
	l := m.leaseLocked(shard)
	if !slices.Contains(l.candidates, c) {
		if c.process != nil && c.process.death.Err() != nil {
			return false
		}
		l.candidates = append(l.candidates, c)
		m.changedLocked()
	}
	return l.holder == nil && l.candidates[0] == c
}

// leave ends a candidacy. A dead process stays a candidate for as long as it
// keeps its leaderships.
func (m *Memory) leave(shard gerritstream.ShardID, c *candidate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.process != nil && c.process.death.Err() != nil {
		return
	}
	if m.leaseLocked(shard).removeLocked(func(o *candidate) bool { return o == c }) {
		m.changedLocked()
	}
}

// removeLocked ends candidacies and reports whether there were any.
func (l *lease) removeLocked(goes func(*candidate) bool) bool {
	before := len(l.candidates)
	l.candidates = slices.DeleteFunc(l.candidates, goes)
	return len(l.candidates) < before
}

// Foreign makes a process of another program a candidate for a shard, which it
// leads once it is first. leave ends that.
func (m *Memory) Foreign(name string, shard gerritstream.ShardID) (leave func()) {
	c := &candidate{foreign: name}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enterLocked(shard, c)
	return func() { m.leave(shard, c) }
}

// WriteCheckpoint stores another program's checkpoint of a shard.
func (m *Memory) WriteCheckpoint(shard gerritstream.ShardID, after gerritstream.SequenceNumber) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoints[shard] = after
}

// Checkpoints implements gerritstream.Store.
func (p *Process) Checkpoints(
	ctx context.Context, shards []gerritstream.ShardID,
) (map[gerritstream.ShardID]gerritstream.SequenceNumber, error) {
	if err := p.lock(ctx); err != nil {
		return nil, err
	}
	defer p.memory.mu.Unlock()
	found := map[gerritstream.ShardID]gerritstream.SequenceNumber{}
	for _, shard := range shards {
		if after := p.memory.checkpoints[shard]; after != "" {
			found[shard] = after
		}
	}
	return found, nil
}

// WriteMember stores raw as the member info of a process, whatever it is; nil
// removes it.
func (m *Memory) WriteMember(p *Process, raw []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if raw == nil {
		delete(m.members, p.id)
	} else {
		m.members[p.id] = storekit.DecodeMember(p.id, raw)
	}
	m.changedLocked()
}

// Advertise implements gerritstream.Group.
func (p *Process) Advertise(ctx context.Context, info gerritstream.MemberInfo) error {
	raw, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("advertise: %w", err)
	}
	return p.write(ctx, Write{Point: PointAdvertise}, func() error {
		if p.death.Err() != nil {
			return ErrProcessDead
		}
		p.memory.members[p.id] = storekit.DecodeMember(p.id, raw)
		return nil
	})
}

// GroupState implements gerritstream.Group.
func (p *Process) GroupState(ctx context.Context, shards []gerritstream.ShardID) (gerritstream.GroupState, error) {
	if err := p.lock(ctx); err != nil {
		return gerritstream.GroupState{}, err
	}
	defer p.memory.mu.Unlock()
	return p.groupLocked(shards), nil
}

func (p *Process) groupLocked(shards []gerritstream.ShardID) gerritstream.GroupState {
	m := p.memory
	state := gerritstream.GroupState{
		Self: p.id, Members: m.membersLocked(), Candidates: map[gerritstream.ShardID][]gerritstream.Candidate{},
	}
	for _, shard := range shards {
		l := m.leases[shard]
		if l == nil {
			continue
		}
		var candidates []gerritstream.Candidate
		if l.holder != nil {
			candidates = append(candidates, gerritstream.Candidate{Member: l.holder.process.id})
		}
		for _, c := range l.candidates {
			if c.process == nil {
				candidates = append(candidates, gerritstream.Candidate{Member: c.foreign, Foreign: true})
			} else {
				candidates = append(candidates, gerritstream.Candidate{Member: c.process.id})
			}
		}
		if len(candidates) > 0 {
			state.Candidates[shard] = candidates
		}
	}
	return state
}

// membersLocked returns the members, by ID.
func (m *Memory) membersLocked() []gerritstream.Member {
	members := make([]gerritstream.Member, 0, len(m.members))
	for _, id := range slices.Sorted(maps.Keys(m.members)) {
		o := m.members[id]
		o.Info.Leads = slices.Clone(o.Info.Leads)
		members = append(members, o)
	}
	return members
}

// WaitGroupChange implements gerritstream.Group.
func (p *Process) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (urgent bool, err error) {
	shards := slices.Collect(maps.Keys(seen.Candidates))
	for {
		if err := p.lock(ctx); err != nil {
			return false, err
		}
		next, now := p.memory.changed, p.groupLocked(shards)
		p.memory.mu.Unlock()
		if changed, urgent := seen.Changed(now); changed {
			return urgent, nil
		}
		p.wait(ctx, next)
	}
}
