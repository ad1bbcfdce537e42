package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/gerritstream/gerritstream"
)

// Operator is a gerritstream.Operator of a Memory whose writes can be made to
// fail as those of a Process can.
type Operator struct {
	process *Process // for its writes; not a member
}

var _ gerritstream.Operator = (*Operator)(nil)

// Operator returns an operator of this state.
func (m *Memory) Operator() *Operator { return &Operator{m.Process("operator")} }

// Stored implements gerritstream.Operator.
func (o *Operator) Stored(ctx context.Context) (stored gerritstream.Stored, err error) {
	if err := o.process.lock(ctx); err != nil {
		return stored, err
	}
	m := o.process.memory
	defer m.mu.Unlock()
	if stored.Origin, err = m.originLocked(); err != nil {
		return stored, err
	}
	stored.Positions = map[gerritstream.ShardID]gerritstream.StoredPosition{}
	for key, held := range m.positions {
		switch {
		case key.Epoch == stored.Epoch():
			stored.Positions[key.Shard] = held.stored()
		case key.Epoch < stored.Epoch():
			stored.Earlier = append(stored.Earlier, key)
		}
	}
	slices.SortFunc(stored.Earlier, func(a, b gerritstream.PositionKey) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Shard, b.Shard))
	})
	return stored, nil
}

// SetPosition implements gerritstream.Operator.
func (o *Operator) SetPosition(ctx context.Context, epoch int, shard gerritstream.ShardID,
	change func(*gerritstream.StoredPosition) (gerritstream.Position, error),
) error {
	m := o.process.memory
	return o.process.write(ctx, Write{Point: PointSetPosition, Epoch: epoch, Shard: shard}, func() error {
		current, err := m.epochLocked()
		if err == nil && epoch != current {
			err = fmt.Errorf("epoch %d is not the current one, %d: %w", epoch, current, gerritstream.ErrConflict)
		}
		if err != nil {
			return err
		}
		key := gerritstream.PositionKey{Epoch: epoch, Shard: shard}
		var stored *gerritstream.StoredPosition
		if held := m.positions[key]; held != nil {
			stored = new(held.stored())
			if errors.Is(stored.Position.Unreadable, gerritstream.ErrNewerFormat) {
				return fmt.Errorf("set position of %s: %w", shard, stored.Position.Unreadable)
			}
		}
		pos, err := change(stored)
		if err != nil {
			return err
		}
		l := m.leaseLocked(shard)
		l.number++
		m.setLocked(key, pos, l.number)
		if l.holder != nil {
			m.takeAwayLocked(l, true)
		}
		return nil
	})
}

// CheckPosition implements gerritstream.Operator: any position may be set.
func (o *Operator) CheckPosition(context.Context, int, gerritstream.ShardID, gerritstream.Position) error {
	return nil
}

// epochLocked returns the current epoch.
func (m *Memory) epochLocked() (int, error) {
	origin, err := m.originLocked()
	return (&gerritstream.Stored{Origin: origin}).Epoch(), err
}

// RemovePositions implements gerritstream.Operator.
func (o *Operator) RemovePositions(ctx context.Context, which []gerritstream.PositionKey) (removed int, err error) {
	m := o.process.memory
	err = o.process.write(ctx, Write{Point: PointRemovePositions}, func() error {
		current, err := m.epochLocked()
		if err != nil {
			return err
		}
		for _, key := range which {
			held := m.positions[key]
			if held != nil && key.Epoch >= current && !held.stored().Position.Ended {
				return fmt.Errorf("remove position of %s: it has not ended: %w", key.Shard, gerritstream.ErrConflict)
			}
		}
		for _, key := range which {
			if m.positions[key] != nil {
				delete(m.positions, key)
				removed++
			}
		}
		return nil
	})
	return removed, err
}

// DeadLetters implements gerritstream.Operator.
func (o *Operator) DeadLetters(ctx context.Context) iter.Seq2[gerritstream.StoredDeadLetter, error] {
	return func(yield func(gerritstream.StoredDeadLetter, error) bool) {
		m := o.process.memory
		m.mu.Lock()
		dead := slices.Clone(m.dead)
		m.mu.Unlock()
		for _, d := range slices.Backward(dead) {
			if err := o.process.alive(ctx); err != nil {
				yield(gerritstream.StoredDeadLetter{}, err)
				return
			}
			d.DeadLetter.Payload = bytes.Clone(d.DeadLetter.Payload)
			if !yield(d, nil) {
				return
			}
		}
	}
}

// DeadLetter implements gerritstream.Operator.
func (o *Operator) DeadLetter(ctx context.Context, id gerritstream.EventID) (gerritstream.StoredDeadLetter, error) {
	if err := o.process.lock(ctx); err != nil {
		return gerritstream.StoredDeadLetter{}, err
	}
	m := o.process.memory
	defer m.mu.Unlock()
	i := m.findDeadLetterLocked(id)
	if i < 0 {
		return gerritstream.StoredDeadLetter{}, fmt.Errorf("read dead letter %s: %w", id, gerritstream.ErrNoDeadLetter)
	}
	d := m.dead[i]
	d.DeadLetter.Payload = bytes.Clone(d.DeadLetter.Payload)
	return d, nil
}

// findDeadLetterLocked returns the index of a dead letter; -1: it is not held.
func (m *Memory) findDeadLetterLocked(id gerritstream.EventID) int {
	return slices.IndexFunc(m.dead, func(l gerritstream.StoredDeadLetter) bool { return l.DeadLetter.ID == id })
}

// DropDeadLetters implements gerritstream.Operator.
func (o *Operator) DropDeadLetters(ctx context.Context, ids []gerritstream.EventID) (dropped int, err error) {
	m := o.process.memory
	err = o.process.write(ctx, Write{Point: PointDropDeadLetters}, func() error {
		for _, id := range ids {
			if i := m.findDeadLetterLocked(id); i >= 0 {
				m.dead = slices.Delete(m.dead, i, i+1)
				dropped++
			}
		}
		return nil
	})
	return dropped, err
}

// RedriveDeadLetter implements gerritstream.Operator.
func (o *Operator) RedriveDeadLetter(ctx context.Context, e gerritstream.Entry) error {
	m := o.process.memory
	return o.process.write(ctx, Write{Point: PointRedrive, Shard: e.Shard}, func() error {
		i := m.findDeadLetterLocked(e.ID)
		switch {
		case i < 0:
			return fmt.Errorf("redrive dead letter %s: %w", e.ID, gerritstream.ErrNoDeadLetter)
		case len(m.dead[i].DeadLetter.Payload) < m.dead[i].DeadLetter.Length:
			return fmt.Errorf("redrive dead letter %s: %w", e.ID, gerritstream.ErrTruncated)
		}
		m.queueLocked(e)
		m.dead = slices.Delete(m.dead, i, i+1)
		return nil
	})
}

// Close implements gerritstream.Operator.
func (o *Operator) Close(context.Context) error { return nil }
