package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Process is one process' view of a Memory: a gerritstream.Store that can die,
// freeze and thaw.
type Process struct {
	memory *Memory
	id     string
	name   string

	death  context.Context // ends with the process
	die    context.CancelFunc
	frozen chan struct{} // under memory.mu; nil: not frozen; closed by Thaw
	lost   []*term       // under memory.mu; terms taken away while frozen
	thaws  int           // under memory.mu; counts Freeze and Thaw, so that a timer notices a later one
}

// Process returns a new process on this state. Its name is what Inspect shows;
// two processes may have the same.
func (m *Memory) Process(name string) *Process {
	death, die := context.WithCancel(context.Background())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	return &Process{memory: m, id: fmt.Sprintf("%s.%d", name, m.count), name: name, death: death, die: die}
}

// ID returns what a GroupState calls the process: its name and a number.
func (p *Process) ID() string { return p.id }

// Kill ends the process without a word, as SIGKILL does: its calls fail with
// ErrProcessDead, those under way included, and its terms end. After
// MemoryConfig.TakeoverAfter its leaderships are free, its candidacies over,
// and it is no longer a member.
func (p *Process) Kill() {
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	p.killLocked()
}

func (p *Process) killLocked() {
	m := p.memory
	if p.death.Err() != nil {
		return
	}
	p.die()
	delete(m.reports, p.id)
	terms := m.holdersLocked(p)
	for _, t := range terms {
		t.endLocked(ErrProcessDead)
	}
	m.changedLocked()
	m.expireLaterLocked(p, terms, func() bool { return true })
}

// Freeze stops the process where it stands, as SIGSTOP does: its calls wait for
// Thaw. After MemoryConfig.TakeoverAfter it loses what a killed process loses,
// and notices when it thaws.
func (p *Process) Freeze() {
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.frozen != nil {
		return
	}
	p.frozen = make(chan struct{})
	p.thaws++
	now := p.thaws
	m.expireLaterLocked(p, m.holdersLocked(p), func() bool { return p.thaws == now })
}

// Thaw resumes a frozen process. Terms that it lost meanwhile end.
func (p *Process) Thaw() {
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.frozen == nil {
		return
	}
	close(p.frozen)
	p.frozen = nil
	p.thaws++
	for _, t := range p.lost {
		t.endLocked(errExpired)
	}
	p.lost = nil
	m.changedLocked()
}

// expireLaterLocked takes from a process, after TakeoverAfter, the leaderships
// of terms, its candidacies and its membership, if still returns true then.
func (m *Memory) expireLaterLocked(p *Process, terms []*term, still func() bool) {
	expire := func() {
		if !still() {
			return
		}
		for _, t := range terms {
			if l := m.leases[t.shard]; l.holder == t {
				m.takeAwayLocked(l, true)
			}
		}
		for _, l := range m.leases {
			l.removeLocked(func(c *candidate) bool { return c.process == p })
		}
		delete(m.members, p.id)
		m.changedLocked()
	}
	if m.config.TakeoverAfter <= 0 {
		expire()
		return
	}
	time.AfterFunc(m.config.TakeoverAfter, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		expire()
	})
}

// alive waits while the process is frozen and fails once it is dead or ctx has
// ended.
func (p *Process) alive(ctx context.Context) error {
	for {
		if p.death.Err() != nil {
			return ErrProcessDead
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p.memory.mu.Lock()
		frozen := p.frozen
		p.memory.mu.Unlock()
		if frozen == nil {
			return nil
		}
		select {
		case <-frozen:
		case <-p.death.Done():
		case <-ctx.Done():
		}
	}
}

// lock waits like alive and locks the Memory.
func (p *Process) lock(ctx context.Context) error {
	err := p.alive(ctx)
	if err == nil {
		p.memory.mu.Lock()
	}
	return err
}

// write runs apply under the lock and has it suffer the fault that FailNext or
// the hook decides on.
func (p *Process) write(ctx context.Context, w Write, apply func() error) error {
	if err := p.alive(ctx); err != nil {
		return err
	}
	w.Process = p.name
	m := p.memory
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	fault := m.faults.take(w.Point)
	if fault == NoFault && hook != nil {
		fault = hook(w)
	}
	if err := p.lock(ctx); err != nil { // the hook may have frozen or killed the process
		return err
	}
	defer m.mu.Unlock()
	switch fault {
	case Refuse:
		return fmt.Errorf("%s: %w", w.Point, ErrInjected)
	case RetryLater:
		return fmt.Errorf("%s: %w: %w", w.Point, ErrInjected, gerritstream.ErrRetryLater)
	case CrashBefore:
		p.killLocked()
		return ErrProcessDead
	}
	if err := apply(); err != nil {
		return err
	}
	m.changedLocked()
	switch fault {
	case ApplyButError:
		return fmt.Errorf("%s: reply lost: %w", w.Point, ErrInjected)
	case CrashAfter:
		p.killLocked()
		return ErrProcessDead
	}
	return nil
}

// originLocked reads the origin; nil: none.
func (m *Memory) originLocked() (*gerritstream.Origin, error) {
	if m.origin == nil {
		return nil, nil
	}
	return storekit.DecodeOrigin(m.origin)
}

// Origin implements gerritstream.Store.
func (p *Process) Origin(ctx context.Context) (gerritstream.Origin, bool, error) {
	if err := p.lock(ctx); err != nil {
		return gerritstream.Origin{}, false, err
	}
	defer p.memory.mu.Unlock()
	origin, err := p.memory.originLocked()
	if err != nil || origin == nil {
		return gerritstream.Origin{}, false, err
	}
	return *origin, true, nil
}

// SetOrigin implements gerritstream.Store.
func (p *Process) SetOrigin(ctx context.Context, prev *gerritstream.Origin, next gerritstream.Origin) error {
	m := p.memory
	return p.write(ctx, Write{Point: PointSetOrigin}, func() error {
		held, err := m.originLocked()
		if err != nil {
			return err
		}
		if !storekit.SameOrigin(held, prev) {
			return fmt.Errorf("set origin: %w", gerritstream.ErrConflict)
		}
		m.origin, err = storekit.EncodeOrigin(next)
		return err
	})
}

// Positions implements gerritstream.Store.
func (p *Process) Positions(ctx context.Context, epoch int) (map[gerritstream.ShardID]gerritstream.Position, error) {
	if err := p.lock(ctx); err != nil {
		return nil, err
	}
	m := p.memory
	defer m.mu.Unlock()
	positions := map[gerritstream.ShardID]gerritstream.Position{}
	for key, stored := range m.positions {
		if key.Epoch != epoch {
			continue
		}
		var err error
		if positions[key.Shard], err = storekit.ReadPosition(stored.raw); err != nil {
			return nil, fmt.Errorf("read position of %s: %w", key.Shard, err)
		}
	}
	return positions, nil
}

// WaitEnded implements gerritstream.Store.
func (p *Process) WaitEnded(ctx context.Context, epoch int, shard gerritstream.ShardID) error {
	m := p.memory
	for {
		if err := p.lock(ctx); err != nil {
			return err
		}
		changed := m.changed
		stored := m.positions[gerritstream.PositionKey{Epoch: epoch, Shard: shard}]
		m.mu.Unlock()
		if stored != nil && stored.stored().Position.Ended {
			return nil
		}
		p.wait(ctx, changed)
	}
}

// wait returns at a change, at the end of ctx, and at the death of the process.
func (p *Process) wait(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-changed:
	case <-ctx.Done():
	case <-p.death.Done():
	}
}
