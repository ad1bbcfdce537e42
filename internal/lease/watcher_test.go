package lease

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

// look is how often the processes of these tests look.
const look = 250 * time.Millisecond

// memory is what the processes of a test share. It counts every change of
// anything but heartbeats as one of everything.
type memory struct {
	mu    sync.Mutex
	state State
}

// process is one process in memory: a Database.
type process struct {
	id        string
	memory    *memory
	fault     error // of Read; under memory.mu
	heartbeat *Heartbeat
	watcher   *Watcher
	kill      context.CancelFunc
}

// join starts a process, for the time of a test.
func (m *memory) join(t *testing.T, id string) *process {
	t.Helper()
	life, kill := context.WithCancel(t.Context())
	p := &process{id: id, memory: m, kill: kill}
	p.heartbeat, p.watcher = New(Config{
		Process: id, Life: life, Database: p, TTL: ttl, Log: slog.New(slog.DiscardHandler),
		LookEvery: func([]gerritstream.ShardID) time.Duration { return look },
	})
	var running sync.WaitGroup
	running.Go(p.heartbeat.Run)
	running.Go(p.watcher.Run)
	t.Cleanup(func() { kill(); running.Wait() })
	return p
}

// changed counts a change.
func (m *memory) changed() {
	c := &m.state.Changes
	c.Leases, c.Candidates, c.Members = c.Leases+1, c.Candidates+1, c.Members+1
}

// beat writes a heartbeat of a process.
func (m *memory) beat(id string) {
	for i := range m.state.Processes {
		if p := &m.state.Processes[i]; p.ID == id {
			p.Heartbeat++
			return
		}
	}
	m.state.Processes = append(m.state.Processes, Process{ID: id, Heartbeat: 1, TTL: ttl})
}

func (p *process) Beat(_ context.Context, waiting Waiting) (map[gerritstream.ShardID]uint64, error) {
	keep, add := waiting()
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	state := &p.memory.state
	p.memory.beat(p.id)
	if state.Candidates == nil {
		state.Candidates = map[gerritstream.ShardID][]string{}
	}
	for shard, ids := range state.Candidates {
		if i := slices.Index(ids, p.id); i >= 0 && !slices.Contains(keep, shard) {
			state.Candidates[shard] = slices.Delete(ids, i, i+1)
			p.memory.changed()
		}
	}
	for _, shard := range add {
		if !slices.Contains(state.Candidates[shard], p.id) {
			state.Candidates[shard] = append(state.Candidates[shard], p.id)
			p.memory.changed()
		}
	}
	held := map[gerritstream.ShardID]uint64{}
	for shard, l := range state.Leases {
		if l.Process == p.id {
			held[shard] = l.Term
		}
	}
	return held, nil
}

func (p *process) Free(_ context.Context, leases map[gerritstream.ShardID]uint64) error {
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	for shard, number := range leases {
		if l := p.memory.state.Leases[shard]; l.Term == number && l.Process == p.id {
			p.memory.state.Leases[shard] = Lease{Term: number}
			p.memory.changed()
		}
	}
	return nil
}

func (p *process) Read(state *State) (changed bool, err error) {
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	if p.fault != nil {
		return false, p.fault
	}
	now := &p.memory.state
	*state = State{Changes: now.Changes, Processes: slices.Clone(now.Processes), Leases: maps.Clone(now.Leases)}
	state.Candidates = map[gerritstream.ShardID][]string{}
	for shard, ids := range now.Candidates {
		state.Candidates[shard] = slices.Clone(ids)
	}
	return true, nil
}

// write is a Take.
func (p *process) write(term *Term, seen Lease) error {
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	state := &p.memory.state
	now := state.Leases[shard]
	for _, other := range state.Processes {
		if other.ID == now.Process {
			now.Heartbeat = other.Heartbeat
		}
	}
	if now != seen {
		return ErrChanged
	}
	if state.Leases == nil {
		state.Leases = map[gerritstream.ShardID]Lease{}
	}
	state.Leases[shard] = Lease{Term: term.Number, Process: p.id}
	p.memory.beat(p.id)
	p.memory.changed()
	return nil
}

// campaign wins the shard in a term, within a limit.
func (p *process) campaign(t *testing.T, number uint64, limit time.Duration) *Term {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	term, err := p.watcher.Campaign(ctx, shard, p.write)
	if err != nil {
		t.Fatalf("campaign: %v", err)
	}
	if took := time.Since(began); term.Number != number || took > limit {
		t.Errorf("won term %d after %v, want %d within %v", term.Number, took, number, limit)
	}
	return term
}

// A lease that is resigned is taken with the next look; that of a process which
// died, after its TTL and not before.
func TestSuccession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a, b := m.join(t, "a"), m.join(t, "b")
		term := a.campaign(t, 1, 0)
		time.AfterFunc(time.Minute, func() {
			if err := term.Resign(func() error {
				return a.Free(t.Context(), map[gerritstream.ShardID]uint64{shard: 1})
			}); err != nil {
				t.Error(err)
			}
		})
		b.campaign(t, 2, time.Minute+look)
		b.kill()
		killed := time.Now()
		a.campaign(t, 3, ttl+look)
		if took := time.Since(killed); took < ttl-ttl/5 {
			t.Errorf("the lease was taken %v after its holder died", took)
		}
	})
}

// A free lease is left for a TTL to the first candidate that is alive, for it
// may be about to take it.
func TestALeaseIsLeftToTheFirstCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		holder, first, second := m.join(t, "holder"), m.join(t, "first"), m.join(t, "second")
		term := holder.campaign(t, 1, 0)
		go func() { // is alive, and tries in vain to take the lease
			_, _ = first.watcher.Campaign(t.Context(), shard, func(*Term, Lease) error {
				time.Sleep(ttl / 2) // for two heartbeats
				return gerritstream.ErrRetryLater
			})
		}()
		time.Sleep(time.Second)
		const delay = time.Minute
		time.AfterFunc(delay, func() { term.Finish(errResigned) })
		began := time.Now()
		second.campaign(t, 2, delay+ttl+2*look)
		if took := time.Since(began) - delay; took < ttl {
			t.Errorf("the second candidate won %v after the holder resigned", took)
		}
	})
}

// Who withdraws while the lease is being taken leaves no lease behind.
func TestAWithdrawnCampaignKeepsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a := m.join(t, "a")
		ctx, withdraw := context.WithTimeout(t.Context(), time.Second)
		defer withdraw()
		_, err := a.watcher.Campaign(ctx, shard, func(term *Term, seen Lease) error {
			err := a.write(term, seen)
			time.Sleep(2 * time.Second)
			return err
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the campaign returned %v", err)
		}
		time.Sleep(time.Minute)
		m.mu.Lock()
		defer m.mu.Unlock()
		if l := m.state.Leases[shard]; l != (Lease{Term: 1}) || !a.heartbeat.Idle() {
			t.Errorf("left the lease %+v", l)
		}
	})
}

// What may pass is waited for; any other error of a look ends what waits.
func TestErrorsOfALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := (&memory{}).join(t, "a")
		fail := func(err error) {
			a.memory.mu.Lock()
			defer a.memory.mu.Unlock()
			a.fault = err
		}
		fail(gerritstream.ErrRetryLater)
		time.AfterFunc(time.Minute, func() { fail(nil) })
		a.campaign(t, 1, time.Minute+look)
		damaged := errors.New("damaged")
		fail(damaged)
		if _, err := a.watcher.Campaign(t.Context(), "other", a.write); !errors.Is(err, damaged) {
			t.Errorf("the campaign returned %v", err)
		}
		err := a.watcher.Await(t.Context(), func(bool, time.Time) (bool, error) { return false, nil })
		if !errors.Is(err, damaged) {
			t.Errorf("the wait returned %v", err)
		}
	})
}
