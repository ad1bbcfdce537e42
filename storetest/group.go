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

// candidate is a place in a line.
type candidate struct {
	process *Process // nil: a foreign one
	foreign string   // what is known of a foreign one
}

// lineUpLocked puts a candidate at the end of a line, unless it is in it, and
// tells whether it is its turn.
func (m *Memory) enterLocked(shard gerritstream.ShardID, c *candidate) (turn bool) {
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

// leave takes a candidate out of a line. A dead process does not: its place
// goes with its leaderships.
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

// leaveLocked takes candidates out of the line and tells whether there were
// any.
func (l *lease) removeLocked(goes func(*candidate) bool) bool {
	before := len(l.candidates)
	l.candidates = slices.DeleteFunc(l.candidates, goes)
	return len(l.candidates) < before
}

// Foreign has a process of another program queue up for a shard, where it leads
// once it is first. leave ends that.
func (m *Memory) Foreign(name string, shard gerritstream.ShardID) (leave func()) {
	c := &candidate{foreign: name}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enterLocked(shard, c)
	return func() { m.leave(shard, c) }
}

// WriteCheckpoint has another program say how far it is with a shard.
func (m *Memory) WriteCheckpoint(shard gerritstream.ShardID, after gerritstream.SequenceNumber) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoints[shard] = after
}

// Checkpoints implements gerritstream.Store.
func (p *Process) Checkpoints(ctx context.Context, shards []gerritstream.ShardID) (map[gerritstream.ShardID]gerritstream.SequenceNumber, error) {
	if err := p.alive(ctx); err != nil {
		return nil, err
	}
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	found := map[gerritstream.ShardID]gerritstream.SequenceNumber{}
	for _, shard := range shards {
		if after := p.memory.checkpoints[shard]; after != "" {
			found[shard] = after
		}
	}
	return found, nil
}

// WriteMember stores raw as what a process announced, whatever it is; nil
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
func (p *Process) Advertise(ctx context.Context, a gerritstream.MemberInfo) error {
	raw, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
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
	if err := p.alive(ctx); err != nil {
		return gerritstream.GroupState{}, err
	}
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	muster := gerritstream.GroupState{
		Self: p.id, Members: m.membersLocked(), Candidates: map[gerritstream.ShardID][]gerritstream.Candidate{},
	}
	for _, shard := range shards {
		if line := m.candidatesLocked(shard); len(line) > 0 {
			muster.Candidates[shard] = line
		}
	}
	return muster, nil
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

// lineLocked returns who leads a shard and who waits.
func (m *Memory) candidatesLocked(shard gerritstream.ShardID) (line []gerritstream.Candidate) {
	l := m.leases[shard]
	if l == nil {
		return nil
	}
	if l.holder != nil {
		line = append(line, gerritstream.Candidate{Member: l.holder.process.id})
	}
	for _, c := range l.candidates {
		if c.process == nil {
			line = append(line, gerritstream.Candidate{Member: c.foreign, Foreign: true})
		} else {
			line = append(line, gerritstream.Candidate{Member: c.process.id})
		}
	}
	return line
}

// WaitGroupChange implements gerritstream.Group.
func (p *Process) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (left bool, err error) {
	m := p.memory
	for {
		if err := p.alive(ctx); err != nil {
			return false, err
		}
		m.mu.Lock()
		changed, now := m.changed, m.membersLocked()
		m.mu.Unlock()
		if changed, left := seen.Changed(now); changed {
			return left, nil
		}
		p.wait(ctx, changed)
	}
}
