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

// Operator is an operator's view of a Memory: a gerritstream.Operator whose
// writes can be made to fail as a Process' can.
type Operator struct {
	process *Process // for its writes; it is known to nobody
}

var _ gerritstream.Operator = (*Operator)(nil)

// Operator returns an operator of this state.
func (m *Memory) Operator() *Operator { return &Operator{m.Process("operator")} }

// Stored implements gerritstream.Operator.
func (o *Operator) Stored(ctx context.Context) (stored gerritstream.Stored, err error) {
	if err := o.process.alive(ctx); err != nil {
		return stored, err
	}
	m := o.process.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if stored.Origin, err = m.originLocked(); err != nil {
		return stored, err
	}
	stored.Positions = map[gerritstream.ShardID]gerritstream.StoredPosition{}
	for key, held := range m.positions {
		switch {
		case key.epoch == stored.Epoch():
			stored.Positions[key.shard] = held.stored()
		case key.epoch < stored.Epoch():
			stored.Earlier = append(stored.Earlier, gerritstream.PositionKey{Epoch: key.epoch, Shard: key.shard})
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
		if err := m.currentLocked(epoch); err != nil {
			return err
		}
		var stored *gerritstream.StoredPosition
		if held := m.positions[positionKey{epoch, shard}]; held != nil {
			s := held.stored()
			stored = &s
		}
		if stored != nil && errors.Is(stored.Position.Unreadable, gerritstream.ErrNewerFormat) {
			return fmt.Errorf("set position of %s: %w", shard, stored.Position.Unreadable)
		}
		pos, err := change(stored)
		if err != nil {
			return err
		}
		l := m.leaseLocked(shard)
		l.number++
		m.setLocked(positionKey{epoch, shard}, pos, l.number)
		if l.holder != nil {
			m.takeAwayLocked(l, true)
		}
		return nil
	})
}

// CheckPosition implements gerritstream.Operator: nobody else keeps positions here.
func (o *Operator) CheckPosition(context.Context, int, gerritstream.ShardID, gerritstream.Position) error {
	return nil
}

// currentLocked refuses an epoch that is not the current one.
func (m *Memory) currentLocked(epoch int) error {
	start, err := m.originLocked()
	if err != nil {
		return err
	}
	if now := (&gerritstream.Stored{Origin: start}).Epoch(); now != epoch {
		return fmt.Errorf("epoch %d is not the current one, %d: %w", epoch, now, gerritstream.ErrConflict)
	}
	return nil
}

// RemovePositions implements gerritstream.Operator.
func (o *Operator) RemovePositions(ctx context.Context, which []gerritstream.PositionKey) (removed int, err error) {
	m := o.process.memory
	err = o.process.write(ctx, Write{Point: PointRemovePositions}, func() error {
		start, err := m.originLocked()
		if err != nil {
			return err
		}
		current := (&gerritstream.Stored{Origin: start}).Epoch()
		for _, key := range which {
			held := m.positions[positionKey{key.Epoch, key.Shard}]
			if held != nil && key.Epoch >= current && !held.stored().Position.Ended {
				return fmt.Errorf("remove position of %s: it is not marked ended: %w", key.Shard, gerritstream.ErrConflict)
			}
		}
		for _, key := range which {
			if k := (positionKey{key.Epoch, key.Shard}); m.positions[k] != nil {
				delete(m.positions, k)
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
		letters := slices.Clone(m.dead)
		m.mu.Unlock()
		for _, l := range slices.Backward(letters) {
			if err := o.process.alive(ctx); err != nil {
				yield(gerritstream.StoredDeadLetter{}, err)
				return
			}
			l.DeadLetter.Payload = bytes.Clone(l.DeadLetter.Payload)
			if !yield(l, nil) {
				return
			}
		}
	}
}

// DeadLetter implements gerritstream.Operator.
func (o *Operator) DeadLetter(ctx context.Context, id gerritstream.EventID) (gerritstream.StoredDeadLetter, error) {
	if err := o.process.alive(ctx); err != nil {
		return gerritstream.StoredDeadLetter{}, err
	}
	m := o.process.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.findDeadLetterLocked(id)
	if i < 0 {
		return gerritstream.StoredDeadLetter{}, fmt.Errorf("read dead letter %s: %w", id, gerritstream.ErrNoDeadLetter)
	}
	l := m.dead[i]
	l.DeadLetter.Payload = bytes.Clone(l.DeadLetter.Payload)
	return l, nil
}

// letterLocked finds a dead letter; -1: it is not held.
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
