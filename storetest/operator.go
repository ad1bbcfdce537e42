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
	if stored.Start, err = m.startLocked(); err != nil {
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

// stored returns a position with what is beside it.
func (p *position) stored() gerritstream.StoredPosition {
	s := gerritstream.StoredPosition{Committed: p.committed}
	var err error
	if s.Position, s.Stamp, err = gerritstream.DecodePosition(p.raw); err != nil {
		s.Position = gerritstream.Position{Unreadable: err}
	}
	return s
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

// Obeyed implements gerritstream.Operator: nobody else keeps positions here.
func (o *Operator) Obeyed(context.Context, int, gerritstream.ShardID, gerritstream.Position) error {
	return nil
}

// currentLocked refuses an epoch that is not the current one.
func (m *Memory) currentLocked(epoch int) error {
	start, err := m.startLocked()
	if err != nil {
		return err
	}
	if now := (&gerritstream.Stored{Start: start}).Epoch(); now != epoch {
		return fmt.Errorf("epoch %d is not the current one, %d: %w", epoch, now, gerritstream.ErrConflict)
	}
	return nil
}

// RemovePositions implements gerritstream.Operator.
func (o *Operator) RemovePositions(ctx context.Context, which []gerritstream.PositionKey) (removed int, err error) {
	m := o.process.memory
	err = o.process.write(ctx, Write{Point: PointRemovePositions}, func() error {
		start, err := m.startLocked()
		if err != nil {
			return err
		}
		current := (&gerritstream.Stored{Start: start}).Epoch()
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

// Letters implements gerritstream.Operator.
func (o *Operator) Letters(ctx context.Context) iter.Seq2[gerritstream.Letter, error] {
	return func(yield func(gerritstream.Letter, error) bool) {
		m := o.process.memory
		m.mu.Lock()
		letters := slices.Clone(m.dead)
		m.mu.Unlock()
		for _, l := range slices.Backward(letters) {
			if err := o.process.alive(ctx); err != nil {
				yield(gerritstream.Letter{}, err)
				return
			}
			l.Payload = bytes.Clone(l.Payload)
			if !yield(l, nil) {
				return
			}
		}
	}
}

// Letter implements gerritstream.Operator.
func (o *Operator) Letter(ctx context.Context, id gerritstream.EventID) (gerritstream.Letter, error) {
	if err := o.process.alive(ctx); err != nil {
		return gerritstream.Letter{}, err
	}
	m := o.process.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.letterLocked(id)
	if i < 0 {
		return gerritstream.Letter{}, fmt.Errorf("read letter %s: %w", id, gerritstream.ErrNoLetter)
	}
	l := m.dead[i]
	l.Payload = bytes.Clone(l.Payload)
	return l, nil
}

// letterLocked finds a dead letter; -1: it is not held.
func (m *Memory) letterLocked(id gerritstream.EventID) int {
	return slices.IndexFunc(m.dead, func(l gerritstream.Letter) bool { return l.ID == id })
}

// DropLetters implements gerritstream.Operator.
func (o *Operator) DropLetters(ctx context.Context, ids []gerritstream.EventID) (dropped int, err error) {
	m := o.process.memory
	err = o.process.write(ctx, Write{Point: PointDropLetters}, func() error {
		for _, id := range ids {
			if i := m.letterLocked(id); i >= 0 {
				m.dead = slices.Delete(m.dead, i, i+1)
				dropped++
			}
		}
		return nil
	})
	return dropped, err
}

// RetryLetter implements gerritstream.Operator.
func (o *Operator) RetryLetter(ctx context.Context, e gerritstream.Entry) error {
	m := o.process.memory
	return o.process.write(ctx, Write{Point: PointRetryLetter, Shard: e.Shard}, func() error {
		i := m.letterLocked(e.ID)
		switch {
		case i < 0:
			return fmt.Errorf("retry letter %s: %w", e.ID, gerritstream.ErrNoLetter)
		case len(m.dead[i].Payload) < m.dead[i].Length:
			return fmt.Errorf("retry letter %s: %w", e.ID, gerritstream.ErrCut)
		}
		m.queueLocked(e)
		m.dead = slices.Delete(m.dead, i, i+1)
		return nil
	})
}

// Close implements gerritstream.Operator.
func (o *Operator) Close(context.Context) error { return nil }
