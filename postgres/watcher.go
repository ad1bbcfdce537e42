package postgres

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

// How often the watcher looks into the tables, if any call waits. A candidate
// looks more often: that is how late a resignation is noticed without
// notifications. One for a shard is so for moments, until the shard is handed
// over; one for a consumer may be so for days.
const (
	lookEvery         = 500 * time.Millisecond
	lookForLease      = 250 * time.Millisecond
	lookWithoutNotice = 50 * time.Millisecond // for a shard's lease, when no notification comes
)

// watcher looks into the tables for all calls of the process that wait.
type watcher struct {
	store    *Store
	wake     storekit.Signal // for a look at once
	notified atomic.Bool     // notifications wake it as well

	mu          sync.Mutex
	candidacies []*candidacy                  // under mu; oldest first
	waits       []*wait                       // under mu
	listed      map[gerritstream.ShardID]bool // under mu: shards for which this process is to be a candidate

	// Of run:
	seen   contents
	leases map[gerritstream.ShardID]lease.Unchanged
	alive  []string // by id: the processes that are, as of the last look
	group  int      // how often something that matters to the group has changed
}

// contents are what the watcher has read. Heartbeats change all the time; the
// rest is read again only if it was changed.
type contents struct {
	changes    changes
	processes  []lease.Process
	held       map[gerritstream.ShardID]lease.Lease // without heartbeats
	candidates map[gerritstream.ShardID][]string    // by process, in the order of succession
	members    []gerritstream.Member
	pauses     pauses.Set
}

// changes are how often tables were changed; never 0.
type changes struct{ leases, candidates, members, pauses int64 }

// wait is one call that waits for something to happen.
type wait struct {
	// happened is called by the watcher after it has read the tables. now is
	// not later than the reading.
	happened func(now time.Time) bool
	position *gerritstream.PositionKey // happened has to know this one; nil: none
	stored   *string                   // of the watcher: the position as read last; nil: none
	done     chan error                // of capacity 1
}

// await returns nil once something has happened.
func (w *watcher) await(ctx context.Context, o *wait) error {
	o.done = make(chan error, 1)
	w.mu.Lock()
	w.waits = append(w.waits, o)
	w.mu.Unlock()
	w.wake.Set()
	var err error
	select {
	case err = <-o.done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-w.store.life.Done():
		err = context.Cause(w.store.life)
	}
	w.endWait(o, err)
	return err
}

// endWait has a call return, unless it does already.
func (w *watcher) endWait(o *wait, err error) {
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

// WaitEnded implements gerritstream.Store.
func (s *Store) WaitEnded(ctx context.Context, epoch int, shard gerritstream.ShardID) error {
	o := &wait{position: &gerritstream.PositionKey{Epoch: epoch, Shard: shard}}
	o.happened = func(time.Time) bool {
		if o.stored == nil {
			return false
		}
		pos, err := storekit.ReadPosition([]byte(*o.stored))
		return err == nil && pos.Ended
	}
	return s.watcher.await(ctx, o)
}

// WaitGroupChange implements gerritstream.Group.
func (s *Store) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (bool, error) {
	shards, w := slices.Collect(maps.Keys(seen.Candidates)), s.watcher
	compared := -1  // w.group when this compared last
	var urgent bool // the watcher's, until it has happened: it may be at work when ctx ends
	err := w.await(ctx, &wait{happened: func(now time.Time) (changed bool) {
		if compared == w.group {
			return false
		}
		compared = w.group
		candidates := make(map[gerritstream.ShardID][]string, len(shards))
		for _, shard := range shards {
			if leader := w.leases[shard].Lease.Process; leader != "" {
				candidates[shard] = []string{leader}
			}
			candidates[shard] = append(candidates[shard], w.seen.candidates[shard]...)
		}
		changed, urgent = seen.Changed(s.liveness.Group(w.seen.members, candidates, shards, now))
		return changed
	}})
	if err != nil {
		return false, err
	}
	return urgent, nil
}

// run looks for the life of the store.
func (w *watcher) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-w.wake:
		case <-w.store.life.Done():
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
func (w *watcher) pause() time.Duration {
	pause := lookEvery
	w.mu.Lock()
	for _, c := range w.candidacies {
		if pause = min(pause, lookForLease); c.epoch != anyEpoch && !w.notified.Load() {
			pause = lookWithoutNotice
			break
		}
	}
	w.mu.Unlock()
	pause = min(pause, w.store.config.LeaseTTL/4)
	if left := w.store.liveness.NextDeath(); left > 0 {
		pause = min(pause, left)
	}
	return pause
}

// look reads what changed, and acts on it, if any call waits.
func (w *watcher) look() error {
	w.mu.Lock()
	candidacies, waits := slices.Clone(w.candidacies), slices.Clone(w.waits)
	w.mu.Unlock()
	if len(candidacies)+len(waits) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(w.store.life, callPatience)
	defer cancel()
	now := time.Now() // before the reading: a lease is seen unchanged until then
	if err := w.read(ctx, waits); err != nil {
		return err
	}
	w.noteAlive(now)
	for _, o := range waits {
		if o.happened(now) {
			w.endWait(o, nil)
		}
	}
	w.takeLeases(candidacies, now)
	return nil
}

// poll reads at one moment how often the tables were changed, the processes,
// and the positions ($1, $2) that calls wait for.
const poll = `SELECT c.leases, c.candidates, c.members, c.pauses, p.ids, p.beats, p.ttls, p.ages,
		array(SELECT o.position FROM unnest($1::integer[], $2::text[]) WITH ORDINALITY w (epoch, shard, i)
			LEFT JOIN @.positions o ON o.epoch = w.epoch AND o.shard = w.shard ORDER BY w.i)
	FROM @.changes c, (SELECT coalesce(array_agg(id), '{}') ids, coalesce(array_agg(beat), '{}') beats,
		coalesce(array_agg(ttl), '{}') ttls, coalesce(array_agg(` + age + `), '{}') ages FROM @.processes) p`

// read reads the tables.
func (w *watcher) read(ctx context.Context, waits []*wait) error {
	epochs, shards, waiting := []int32{}, []string{}, []*wait{}
	for _, o := range waits {
		if o.position != nil {
			epochs, shards = append(epochs, int32(o.position.Epoch)), append(shards, string(o.position.Shard))
			waiting = append(waiting, o)
		}
	}
	was, c := w.seen.changes, contents{}
	var ids []string
	var beats, ttls, ages []int64
	var positions []*string
	_, err := w.store.control.get(ctx, []any{&c.changes.leases, &c.changes.candidates, &c.changes.members,
		&c.changes.pauses, &ids, &beats, &ttls, &ages, &positions}, poll, epochs, shards)
	if err != nil {
		return err
	}
	for i, id := range ids {
		c.processes = append(c.processes, lease.Process{
			ID: id, Heartbeat: uint64(beats[i]), TTL: millis(ttls[i]), Age: millis(ages[i]),
		})
	}
	w.store.liveness.Observe(c.processes)
	// What is read below may be newer than the counts: then it is read again.
	if err := c.readChanged(ctx, w.store.control, &w.seen); err != nil {
		return err
	}
	w.seen = c
	w.observeLeases()
	if c.changes != was {
		w.group++
	}
	for i, o := range waiting {
		o.stored = positions[i]
	}
	return nil
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// readChanged reads the tables that were changed since other contents were
// read, and keeps those contents of the rest.
func (c *contents) readChanged(ctx context.Context, db *database, was *contents) error {
	c.held, c.candidates, c.members, c.pauses = was.held, was.candidates, was.members, was.pauses
	if c.changes == was.changes {
		return nil
	}
	var read storedPauses
	defer func() {
		if c.changes.pauses != was.changes.pauses {
			c.pauses = read.set
		}
	}()
	return db.view(ctx, func(b *batch) {
		if c.changes.pauses != was.changes.pauses {
			b.each(read.scan, selectPauses)
		}
		if c.changes.leases != was.changes.leases {
			c.held = readLeases(b)
		}
		if c.changes.candidates != was.changes.candidates {
			c.candidates = readCandidates(b, waitingCandidates)
		}
		if c.changes.members != was.changes.members {
			c.members = nil
			readMembers(b, &c.members)
		}
	})
}

// readLeases reads all leases, without their holders' heartbeats.
func readLeases(b *batch) map[gerritstream.ShardID]lease.Lease {
	leases := map[gerritstream.ShardID]lease.Lease{}
	b.each(func(rows pgx.Rows) error {
		var shard gerritstream.ShardID
		var l lease.Lease
		err := rows.Scan(&shard, &l.Term, &l.Process)
		leases[shard] = l
		return err
	}, `SELECT shard, term, process FROM @.leases`)
	return leases
}

// observeLeases notes since when the leases have not changed, nor their
// holders' heartbeats.
func (w *watcher) observeLeases() {
	processes := make(map[string]lease.Process, len(w.seen.processes))
	for _, p := range w.seen.processes {
		processes[p.ID] = p
	}
	now := time.Now() // after the reading: first seen then
	for shard, l := range w.seen.held {
		holder := processes[l.Process]
		l.Heartbeat = holder.Heartbeat
		w.leases[shard] = w.leases[shard].Observe(l, max(holder.TTL, w.store.config.LeaseTTL), now)
	}
	if len(w.leases) > len(w.seen.held) {
		maps.DeleteFunc(w.leases, func(shard gerritstream.ShardID, _ lease.Unchanged) bool {
			_, held := w.seen.held[shard]
			return !held
		})
	}
}

// noteAlive notes which processes are alive, which changes with time alone.
func (w *watcher) noteAlive(now time.Time) {
	var alive []string
	for _, p := range w.seen.processes {
		if w.store.liveness.Alive(p.ID, now) {
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
func (w *watcher) failed(err error) {
	if passing(err) || w.store.life.Err() != nil {
		w.store.log.Debug("cannot look into the database", "err", err)
		return
	}
	err = explainRead(err)
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
