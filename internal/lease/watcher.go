package lease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Watcher looks into the database for all calls of the process that wait.
// Several goroutines may call its methods at once.
type Watcher struct {
	config    Config
	heartbeat *Heartbeat
	liveness  *liveness
	wake      storekit.Signal // for a look at once

	mu          sync.Mutex
	candidacies []*candidacy                  // under mu; oldest first
	waits       []*wait                       // under mu
	listed      map[gerritstream.ShardID]bool // under mu: shards for which the database has this process as a candidate

	// Of Run:
	state  State
	leases map[gerritstream.ShardID]unchanged
	alive  []string // by id: the processes that are, as of the last look
	group  int      // how often something that matters to the group has changed
}

// wait is one call that waits for something to happen in the database.
type wait struct {
	happened Happened
	done     chan error // of capacity 1
}

// Happened reports whether something has happened. The goroutine that looks
// calls it after it has read the database; changed: since the look before. now
// is not later than the reading.
type Happened func(changed bool, now time.Time) (bool, error)

// Await returns nil once something has happened.
func (w *Watcher) Await(ctx context.Context, happened Happened) error {
	o := &wait{happened, make(chan error, 1)}
	w.mu.Lock()
	w.waits = append(w.waits, o)
	w.mu.Unlock()
	w.wake.Set()
	var err error
	select {
	case err = <-o.done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-w.config.Life.Done():
		err = context.Cause(w.config.Life)
	}
	w.endWait(o, err)
	return err
}

// endWait has a call return, unless it does already.
func (w *Watcher) endWait(o *wait, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.waits, o) {
		w.waits = without(w.waits, o)
		o.done <- err
	}
}

// without returns a list without one element.
func without[T comparable](list []T, x T) []T {
	return slices.DeleteFunc(list, func(o T) bool { return o == x })
}

// Wake has the Watcher look at once.
func (w *Watcher) Wake() { w.wake.Set() }

// Run looks for the life of the store.
func (w *Watcher) Run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-w.wake:
		case <-w.config.Life.Done():
			return
		}
		if err := w.look(); err != nil {
			w.failed(err)
		}
		timer.Reset(w.pause())
	}
}

// pause returns how long to wait for the next look: until another process
// counts as dead, if that comes first.
func (w *Watcher) pause() time.Duration {
	w.mu.Lock()
	var candidate []gerritstream.ShardID
	for _, c := range w.candidacies {
		candidate = append(candidate, c.shard)
	}
	w.mu.Unlock()
	pause := min(w.config.LookEvery(candidate), w.config.TTL/4)
	if left := w.liveness.nextDeath(); left > 0 {
		pause = min(pause, left)
	}
	return pause
}

// look reads what changed, and acts on it, if any call waits.
func (w *Watcher) look() error {
	w.mu.Lock()
	candidacies, waits := slices.Clone(w.candidacies), slices.Clone(w.waits)
	w.mu.Unlock()
	if len(candidacies)+len(waits) == 0 {
		return nil
	}
	now := time.Now() // before the reading: a lease is seen unchanged until then
	changed, err := w.read()
	if err != nil {
		return err
	}
	w.noteAlive(now)
	for _, o := range waits {
		happened, err := o.happened(changed, now)
		if err != nil {
			return err
		}
		if happened {
			w.endWait(o, nil)
		}
	}
	w.takeLeases(candidacies, now)
	return nil
}

// read reads the database.
func (w *Watcher) read() (changed bool, err error) {
	was := w.state.Changes
	if changed, err = w.config.Database.Read(&w.state); err != nil {
		w.state = State{}
		return false, err
	}
	if !changed {
		return false, nil
	}
	w.liveness.observe(w.state.Processes)
	w.observeLeases()
	if w.state.Changes != was {
		w.group++
	}
	return true, nil
}

// observeLeases notes since when the leases have not changed, nor their
// holders' heartbeats.
func (w *Watcher) observeLeases() {
	processes := make(map[string]Process, len(w.state.Processes))
	for _, p := range w.state.Processes {
		processes[p.ID] = p
	}
	now := time.Now() // after the reading: first seen then
	for shard, l := range w.state.Leases {
		holder := processes[l.Process]
		l.Heartbeat = holder.Heartbeat
		w.leases[shard] = w.leases[shard].observe(l, max(holder.TTL, w.config.TTL), now)
	}
	if len(w.leases) > len(w.state.Leases) {
		maps.DeleteFunc(w.leases, func(shard gerritstream.ShardID, _ unchanged) bool {
			_, held := w.state.Leases[shard]
			return !held
		})
	}
}

// noteAlive notes which processes are alive, which changes with time alone.
func (w *Watcher) noteAlive(now time.Time) {
	var alive []string
	for _, p := range w.state.Processes {
		if w.liveness.alive(p.ID, now) {
			alive = append(alive, p.ID)
		}
	}
	slices.Sort(alive)
	if !slices.Equal(alive, w.alive) {
		w.alive = alive
		w.group++
	}
}

// failed handles an error of a look. One that will not pass ends the calls that
// wait.
func (w *Watcher) failed(err error) {
	if errors.Is(err, gerritstream.ErrRetryLater) || w.config.Life.Err() != nil {
		w.config.Log.Debug("cannot look into the database", "err", err)
		return
	}
	w.mu.Lock()
	candidacies, waits := slices.Clone(w.candidacies), slices.Clone(w.waits)
	w.mu.Unlock()
	for _, c := range candidacies {
		w.decide(c, nil, err)
	}
	for _, o := range waits {
		w.endWait(o, err)
	}
}
