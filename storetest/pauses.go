package storetest

import (
	"context"
	"slices"

	"github.com/gerritstream/gerritstream/pauses"
)

var (
	_ pauses.Store  = (*Process)(nil)
	_ pauses.Keeper = (*Operator)(nil)
)

// Pauses implements pauses.Keeper.
func (p *Process) Pauses(ctx context.Context) (pauses.Set, error) {
	if err := p.lock(ctx); err != nil {
		return nil, err
	}
	defer p.memory.mu.Unlock()
	return slices.Clone(p.memory.paused), nil
}

// ChangePauses implements pauses.Keeper.
func (p *Process) ChangePauses(
	ctx context.Context, change func(pauses.Set) (pauses.Set, error),
) (set pauses.Set, err error) {
	m := p.memory
	err = p.write(ctx, Write{Point: PointPauses}, func() error {
		next, err := change(slices.Clone(m.paused))
		if err == nil {
			_, err = pauses.Encode(next)
		}
		if err == nil {
			set, m.paused = next, slices.Clone(next)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return set, nil
}

// WaitPauses implements pauses.Store.
func (p *Process) WaitPauses(ctx context.Context, seen pauses.Set) error {
	m := p.memory
	for {
		if err := p.lock(ctx); err != nil {
			return err
		}
		changed, same := m.changed, m.paused.Equal(seen)
		m.mu.Unlock()
		if !same {
			return nil
		}
		p.wait(ctx, changed)
	}
}

// Pauses implements pauses.Keeper.
func (o *Operator) Pauses(ctx context.Context) (pauses.Set, error) { return o.process.Pauses(ctx) }

// ChangePauses implements pauses.Keeper.
func (o *Operator) ChangePauses(
	ctx context.Context, change func(pauses.Set) (pauses.Set, error),
) (pauses.Set, error) {
	return o.process.ChangePauses(ctx, change)
}
