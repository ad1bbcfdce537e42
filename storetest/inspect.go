package storetest

import (
	"maps"
	"slices"

	"github.com/gerritstream/gerritstream"
)

// Inspect returns what Store.Inspect does, without a process: for a look at
// what dead ones have left.
func (m *Memory) Inspect() (gerritstream.Inspection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	start, err := m.originLocked()
	if err != nil {
		return gerritstream.Inspection{}, err
	}
	in := gerritstream.Inspection{
		Origin:      start,
		Shards:      m.inspectShardsLocked(start),
		Queue:       int64(len(m.entries)),
		DeadLetters: int64(len(m.dead)),
		Discarded:   m.discarded,
	}
	for _, id := range slices.Sorted(maps.Keys(m.reports)) {
		if report, err := m.reports[id].decode(); err == nil {
			in.Reports = append(in.Reports, report)
		}
	}
	return in, nil
}

// inspectShardsLocked describes the shards of the current epoch, and those led
// without a position.
func (m *Memory) inspectShardsLocked(start *gerritstream.Origin) map[gerritstream.ShardID]gerritstream.InspectedShard {
	shards := map[gerritstream.ShardID]gerritstream.InspectedShard{}
	for shard, l := range m.leases {
		s := gerritstream.InspectedShard{Term: l.number}
		if l.holder != nil {
			s.Leader = l.holder.process.name
		}
		if s.Term > 0 {
			shards[shard] = s
		}
	}
	epoch := 0
	if start != nil {
		epoch = start.Epoch
	}
	for key, stored := range m.positions {
		if key.epoch != epoch {
			continue
		}
		p := stored.stored()
		s := shards[key.shard]
		s.Position, s.Committed = &p.Position, p.Committed
		shards[key.shard] = s
	}
	return shards
}
