package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
)

// report is what a process reported, as stored. It is decoded on inspection.
type report struct {
	process string // its name
	at      time.Time
	raw     []byte
}

// Report implements gerritstream.Store.
func (p *Process) Report(ctx context.Context, status gerritstream.Status) error {
	raw, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return p.write(ctx, Write{Point: PointReport}, func() error {
		p.memory.reports[p.id] = report{p.name, time.Now(), raw}
		return nil
	})
}

// WriteReport stores raw as the report of a process, whatever it is.
func (m *Memory) WriteReport(p *Process, raw []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reports[p.id] = report{p.name, time.Now(), bytes.Clone(raw)}
}

// Inspect implements gerritstream.Store.
func (p *Process) Inspect(ctx context.Context) (gerritstream.Inspection, error) {
	if err := p.alive(ctx); err != nil {
		return gerritstream.Inspection{}, err
	}
	return p.memory.Inspect()
}

// Inspect returns what Store.Inspect does, without a process: for what dead
// ones have left.
func (m *Memory) Inspect() (gerritstream.Inspection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	origin, err := m.originLocked()
	if err != nil {
		return gerritstream.Inspection{}, err
	}
	in := gerritstream.Inspection{
		Origin:      origin,
		Shards:      map[gerritstream.ShardID]gerritstream.InspectedShard{},
		Queue:       int64(len(m.entries)),
		DeadLetters: int64(len(m.dead)),
		Discarded:   m.discarded,
	}
	for shard, l := range m.leases {
		s := gerritstream.InspectedShard{Term: l.number}
		if l.holder != nil {
			s.Leader = l.holder.process.name
		}
		if s.Term > 0 {
			in.Shards[shard] = s
		}
	}
	for key, held := range m.positions {
		if key.Epoch == (&gerritstream.Stored{Origin: origin}).Epoch() {
			stored, s := held.stored(), in.Shards[key.Shard]
			s.Position, s.Committed = &stored.Position, stored.Committed
			in.Shards[key.Shard] = s
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.reports)) {
		r := m.reports[id]
		report := gerritstream.Report{Process: r.process, At: r.at}
		if json.Unmarshal(r.raw, &report.Status) == nil {
			in.Reports = append(in.Reports, report)
		}
	}
	return in, nil
}
