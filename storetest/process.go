package storetest

import (
	"bytes"
	"context"
	"encoding/json"
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
	thaws  int           // under memory.mu; counts Freeze and Thaw, so that a late timer knows that it is late
}

// Process returns a new process on this state. Its name is what Inspect tells;
// a process of the same name is another one.
func (m *Memory) Process(name string) *Process {
	death, die := context.WithCancel(context.Background())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.processes++
	return &Process{memory: m, id: fmt.Sprintf("%s.%d", name, m.processes), name: name, death: death, die: die}
}

// ID is what a GroupState calls the process: its name and something that no other
// process has.
func (p *Process) ID() string { return p.id }

// Kill ends the process without a word, as SIGKILL does: its calls fail with
// ErrProcessDead, those under way included, and its terms end. After
// MemoryConfig.TakeoverAfter its leaderships are free, its candidacies over,
// and it is no member any more.
func (p *Process) Kill() {
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
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
// Thaw. It loses what Kill says after MemoryConfig.TakeoverAfter; it learns of
// that when it thaws.
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

// Thaw lets a frozen process go on. Terms that it lost meanwhile end.
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
// of terms, its places in lines and its membership, if still says so then.
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

// write runs apply under the lock, and has befall it what the hook decides.
func (p *Process) write(ctx context.Context, w Write, apply func() error) error {
	if err := p.alive(ctx); err != nil {
		return err
	}
	w.Process = p.name
	fault := p.memory.fault(w)
	if err := p.alive(ctx); err != nil { // the hook may have frozen or killed the process
		return err
	}
	m := p.memory
	m.mu.Lock()
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

// startLocked reads the start record; nil: none.
func (m *Memory) originLocked() (*gerritstream.Origin, error) {
	if m.origin == nil {
		return nil, nil
	}
	return storekit.DecodeOrigin(m.origin)
}

// Origin implements gerritstream.Store.
func (p *Process) Origin(ctx context.Context) (gerritstream.Origin, bool, error) {
	if err := p.alive(ctx); err != nil {
		return gerritstream.Origin{}, false, err
	}
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	start, err := p.memory.originLocked()
	if err != nil || start == nil {
		return gerritstream.Origin{}, false, err
	}
	return *start, true, nil
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
			return fmt.Errorf("set start: %w", gerritstream.ErrConflict)
		}
		m.origin, err = storekit.EncodeOrigin(next)
		return err
	})
}

// Positions implements gerritstream.Store.
func (p *Process) Positions(ctx context.Context, epoch int) (map[gerritstream.ShardID]gerritstream.Position, error) {
	if err := p.alive(ctx); err != nil {
		return nil, err
	}
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	positions := map[gerritstream.ShardID]gerritstream.Position{}
	for key, stored := range m.positions {
		if key.epoch != epoch {
			continue
		}
		var err error
		if positions[key.shard], err = storekit.ReadPosition(stored.raw); err != nil {
			return nil, fmt.Errorf("read position of %s: %w", key.shard, err)
		}
	}
	return positions, nil
}

// WaitEnded implements gerritstream.Store.
func (p *Process) WaitEnded(ctx context.Context, epoch int, shard gerritstream.ShardID) error {
	m := p.memory
	for {
		if err := p.alive(ctx); err != nil {
			return err
		}
		m.mu.Lock()
		changed := m.changed
		stored := m.positions[positionKey{epoch, shard}]
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

// pause waits so long, but not past the end of ctx or the death of the process.
func (p *Process) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-p.death.Done():
	}
}

// report is what a process reported, as stored. It is understood when somebody
// asks.
type report struct {
	process string // its name
	at      time.Time
	raw     []byte
}

func (r report) decode() (gerritstream.Report, error) {
	out := gerritstream.Report{Process: r.process, At: r.at}
	if err := json.Unmarshal(r.raw, &out.Status); err != nil {
		return out, fmt.Errorf("read report of %s: %w", r.process, err)
	}
	return out, nil
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

// WriteReport stores raw as what a process reported, whatever it is.
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
