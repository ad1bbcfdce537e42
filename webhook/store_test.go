package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// memory is a state that processes share: a queue, its consumers, and hooks. It
// has of a store what the engine needs, and looks after what must never happen.
type memory struct {
	t *testing.T

	mu        sync.Mutex
	events    []queue.Event // under mu
	consumers map[string]*consumer
	states    map[string]webhook.State
	letters   map[string]webhook.Letter // by hook and event
	changed   chan struct{}             // closed and replaced at each change
	acks      int                       // writes
	judge     func(e *queue.Event) bool // whether an event may be acknowledged; nil: any may
}

// consumer is a consumer as stored.
type consumer struct {
	filter queue.Filter
	done   queue.Set
	handed int64
	holder *lease
}

func newMemory(t *testing.T) *memory {
	return &memory{
		t: t, consumers: map[string]*consumer{}, states: map[string]webhook.State{},
		letters: map[string]webhook.Letter{}, changed: make(chan struct{}),
	}
}

func (m *memory) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// add queues events.
func (m *memory) add(events ...queue.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, events...)
	m.changedLocked()
}

// process is one process' view of a memory: a webhook.Store that can die.
type process struct {
	m    *memory
	name string
	dead context.Context
	kill context.CancelFunc

	// fail decides on a write, before and after it is applied: an error is
	// returned instead of its result. nil: none fails.
	fail func(what string, applied bool) error

	silent atomic.Bool // writes get no answer
}

func (m *memory) process(name string) *process {
	p := &process{m: m, name: name}
	p.dead, p.kill = context.WithCancel(context.Background())
	context.AfterFunc(p.dead, func() { // as after the lease's TTL
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, c := range m.consumers {
			if c.holder != nil && c.holder.p == p {
				c.holder.endLocked(c)
			}
		}
		m.changedLocked()
	})
	return p
}

var errDead = errors.New("the process is dead")

// do runs f under the lock, in a process that lives.
func (p *process) do(ctx context.Context, f func(m *memory) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.dead.Err() != nil {
		return errDead
	}
	return f(p.m)
}

// write is do with faults.
func (p *process) write(ctx context.Context, what string, f func(m *memory) error) error {
	if p.fail != nil {
		if err := p.fail(what, false); err != nil {
			return err
		}
	}
	if p.silent.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	err := p.do(ctx, func(m *memory) error {
		defer m.changedLocked()
		return f(m)
	})
	if err == nil && p.fail != nil {
		err = p.fail(what, true)
	}
	return err
}

func (p *process) Read(ctx context.Context, _ string, after int64, most int) (events []queue.Event, err error) {
	return events, p.do(ctx, func(m *memory) error {
		i := sort.Search(len(m.events), func(i int) bool { return m.events[i].Number > after })
		events = slices.Clone(m.events[i:min(i+most, len(m.events))])
		return nil
	})
}

func (p *process) Wait(ctx context.Context, _ string, after int64) error {
	return p.await(ctx, func(m *memory) (bool, error) {
		n := len(m.events)
		return n > 0 && m.events[n-1].Number > after, nil
	})
}

// await waits until f returns true.
func (p *process) await(ctx context.Context, f func(m *memory) (bool, error)) error {
	for {
		ok, changed := false, (<-chan struct{})(nil)
		err := p.do(ctx, func(m *memory) (err error) {
			ok, err = f(m)
			changed = m.changed
			return err
		})
		if err != nil || ok {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.dead.Done():
			return errDead
		}
	}
}

func (p *process) Bounds(ctx context.Context) (oldest, newest int64, err error) {
	return oldest, newest, p.do(ctx, func(m *memory) error {
		if n := len(m.events); n > 0 {
			oldest, newest = m.events[0].Number, m.events[n-1].Number
		}
		return nil
	})
}

func (p *process) Since(context.Context, time.Time) (int64, error) { panic("not used") }

func (p *process) Seek(context.Context, string, int64) error { panic("not used") }

func (p *process) Remove(context.Context, string) error { panic("not used") }

func (p *process) Append(context.Context, string, []gerritstream.Entry) (int, error) {
	panic("not used")
}

func (p *process) Consumers(context.Context) ([]queue.Info, error) {
	panic("not used: it is not cheap")
}

func (p *process) Register(ctx context.Context, name string, f queue.Filter, after int64) error {
	return p.write(ctx, "register", func(m *memory) error {
		if m.consumers[name] != nil {
			return queue.ErrExists
		}
		m.consumers[name] = &consumer{filter: f, done: queue.Set{UpTo: after}, handed: after}
		return nil
	})
}

func (p *process) SetFilter(ctx context.Context, name string, f queue.Filter) error {
	return p.write(ctx, "set filter", func(m *memory) error {
		if m.consumers[name] == nil {
			return queue.ErrNoConsumer
		}
		m.consumers[name].filter = f
		return nil
	})
}

func (p *process) Reader(ctx context.Context, name string) (reader string, err error) {
	return reader, p.do(ctx, func(m *memory) error {
		if c := m.consumers[name]; c != nil && c.holder != nil {
			reader = c.holder.p.name
		}
		return nil
	})
}

func (p *process) HookStates(ctx context.Context) (states []webhook.State, err error) {
	return states, p.do(ctx, func(m *memory) error {
		states = slices.Collect(maps.Values(m.states))
		return nil
	})
}

func (p *process) HookState(ctx context.Context, hook string) (state webhook.State, err error) {
	return state, p.do(ctx, func(m *memory) error {
		state = m.states[hook]
		state.Name = hook
		return nil
	})
}

func (p *process) change(ctx context.Context, what, hook string, f func(*webhook.State)) error {
	return p.write(ctx, what, func(m *memory) error {
		state := m.states[hook]
		f(&state)
		m.states[hook] = state
		return nil
	})
}

func (p *process) ReportHook(ctx context.Context, hook string, r webhook.Report) error {
	return p.change(ctx, "report", hook, func(s *webhook.State) { s.Report = r })
}

func (p *process) PauseHook(ctx context.Context, hook string, pause webhook.Pause) error {
	return p.change(ctx, "pause", hook, func(s *webhook.State) {
		if s.Pause.Since.IsZero() {
			s.Pause = pause
		}
	})
}

func (p *process) ResumeHook(ctx context.Context, hook string) error {
	return p.change(ctx, "resume", hook, func(s *webhook.State) { s.Pause = webhook.Pause{} })
}

func (p *process) PutAside(ctx context.Context, l webhook.Letter) error {
	return p.write(ctx, "put aside", func(m *memory) error {
		key := letterKey(l.Hook, &l.Event)
		if _, held := m.letters[key]; !held {
			m.letters[key] = l
		}
		return nil
	})
}

func letterKey(hook string, e *queue.Event) string { return fmt.Sprint(hook, e.Entry.ID) }

func (p *process) Lease(ctx context.Context, name string) (queue.Lease, error) {
	l := &lease{p: p, name: name}
	err := p.await(ctx, func(m *memory) (bool, error) {
		c := m.consumers[name]
		if c == nil {
			return false, queue.ErrNoConsumer
		}
		if c.holder != nil {
			return false, nil
		}
		c.holder = l
		l.info = queue.Info{
			Name: name, Filter: c.filter, Acked: c.done.UpTo, Beyond: slices.Clone(c.done.Beyond), Handed: c.handed,
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l, nil
}

// Frontier and ShareFrontier are for consumers by arrival, which hooks are not.
func (p *process) Frontier(context.Context) (time.Time, error) { return time.Time{}, nil }

func (p *process) ShareFrontier(ctx context.Context, _ func() queue.Frontier) { <-ctx.Done() }

// lease is the lease of a consumer.
type lease struct {
	p      *process
	name   string
	info   queue.Info
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// endLocked ends the lease, which another process may win now.
func (l *lease) endLocked(c *consumer) {
	c.holder = nil
	if l.cancel != nil {
		l.cancel(queue.ErrLeaseLost)
	}
}

func (l *lease) Context() context.Context { return l.ctx }

func (l *lease) Consumer() queue.Info { return l.info }

func (l *lease) write(ctx context.Context, what string, f func(*consumer)) error {
	return l.p.write(ctx, what, func(m *memory) error {
		c := m.consumers[l.name]
		if c == nil || c.holder != l {
			l.cancel(queue.ErrLeaseLost)
			return queue.ErrLeaseLost
		}
		f(c)
		return nil
	})
}

func (l *lease) Deliver(ctx context.Context, upTo, _ int64) error {
	return l.write(ctx, "deliver", func(c *consumer) { c.handed = max(c.handed, upTo) })
}

func (l *lease) Ack(ctx context.Context, done queue.Set) error {
	if err := done.Check(); err != nil {
		return err
	}
	return l.write(ctx, "ack", func(c *consumer) {
		l.p.m.judgeLocked(c, done)
		c.done = c.done.Union(done)
		l.p.m.acks++
	})
}

// judgeLocked looks at what a set adds to what a consumer has acknowledged.
func (m *memory) judgeLocked(c *consumer, done queue.Set) {
	if m.judge == nil {
		return
	}
	for i := range m.events {
		e := &m.events[i]
		if e.Number > done.Last() {
			break
		}
		if e.Number <= c.done.UpTo || !done.Has(e.Number) || c.done.Has(e.Number) {
			continue
		}
		if _, aside := m.letters[letterKey("ci", e)]; !aside && !m.judge(e) {
			m.t.Errorf("event %d was acknowledged and neither delivered nor put aside", e.Number)
		}
	}
}

func (l *lease) Release(context.Context) error {
	l.p.m.mu.Lock()
	defer l.p.m.mu.Unlock()
	if c := l.p.m.consumers[l.name]; c != nil && c.holder == l && l.p.dead.Err() == nil {
		c.holder = nil
		l.p.m.changedLocked()
	}
	l.cancel(queue.ErrLeaseLost)
	return nil
}

// expire takes the lease of a hook away, as from a process that is frozen.
func (m *memory) expire(hook string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.consumers[queue.WebhookConsumer(hook)]; c != nil && c.holder != nil {
		c.holder.endLocked(c)
		m.changedLocked()
	}
}

var _ webhook.Store = (*process)(nil)
