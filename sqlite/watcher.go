package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

// lookEvery is how often the watcher looks into the file: how late a
// resignation is noticed without touches.
const lookEvery = 250 * time.Millisecond

// watcher looks into the file for all calls of the process that wait.
type watcher struct {
	store *Store
	wake  storekit.Signal // for a look at once

	mu          sync.Mutex
	candidacies []*candidacy                  // under mu; oldest first
	waits       []*wait                       // under mu
	listed      map[gerritstream.ShardID]bool // under mu: shards for which the file has this process as a candidate

	// Of run:
	conn    *sql.Conn // nil: to be opened
	version int64     // of the file as read last
	seen    contents
	leases  map[gerritstream.ShardID]lease.Unchanged
	alive   []string // by id: the processes that are, as of the last look
	group   int      // how often something that matters to the group has changed
}

// contents are what the watcher has read from the file. Most writes change
// nothing but heartbeats; the rest is read again only if it was changed.
type contents struct {
	changes    changes
	processes  []lease.Process
	held       map[gerritstream.ShardID]lease.Lease // without heartbeats
	candidates map[gerritstream.ShardID][]string    // by process, in the order of succession
	members    []gerritstream.Member

	pauses       pauses.Set
	pausesChange int64 // how often they were changed; never 0
}

// changes are how often tables of the file were changed; never 0.
type changes struct{ leases, candidates, members int64 }

// wait is one call that waits for something to happen in the file.
type wait struct {
	// happened is called by the watcher after it has read the file. changed:
	// since the look before. now is not later than the reading.
	happened func(changed bool, now time.Time) (bool, error)
	done     chan error // of capacity 1
}

// await returns nil once something has happened.
func (w *watcher) await(ctx context.Context, happened func(changed bool, now time.Time) (bool, error)) error {
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
	read := false
	return s.watcher.await(ctx, func(changed bool, _ time.Time) (bool, error) {
		if read && !changed {
			return false, nil
		}
		pos, ok, err := readPosition(context.Background(), s.watcher.conn, epoch, shard)
		if err != nil && !errors.Is(err, gerritstream.ErrNewerFormat) {
			return false, err
		}
		read = true
		return ok && pos.Ended, nil
	})
}

// WaitGroupChange implements gerritstream.Group.
func (s *Store) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (bool, error) {
	shards, w := slices.Collect(maps.Keys(seen.Candidates)), s.watcher
	compared := -1  // w.group when this compared last
	var urgent bool // the watcher's, until it has happened: it may be at work when ctx ends
	err := w.await(ctx, func(_ bool, now time.Time) (changed bool, _ error) {
		if compared == w.group {
			return false, nil
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
		return changed, nil
	})
	if err != nil {
		return false, err
	}
	return urgent, nil
}

// run looks for the life of the store.
func (w *watcher) run() {
	defer w.disconnect()
	tick := time.NewTicker(min(lookEvery, w.store.config.LeaseTTL/4))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.wake:
		case <-w.store.life.Done():
			return
		}
		if err := w.look(context.Background()); err != nil {
			w.failed(err)
		}
	}
}

// look reads what changed, and acts on it, if any call waits.
func (w *watcher) look(ctx context.Context) error {
	w.mu.Lock()
	candidacies, waits := slices.Clone(w.candidacies), slices.Clone(w.waits)
	w.mu.Unlock()
	if len(candidacies)+len(waits) == 0 {
		return nil
	}
	now := time.Now() // before the reading: a lease is seen unchanged until then
	changed, err := w.read(ctx)
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

// read reads the file, if it was written to since the last look.
func (w *watcher) read(ctx context.Context) (changed bool, err error) {
	if w.conn == nil {
		if w.conn, err = w.store.reading.Conn(ctx); err != nil {
			return false, err
		}
		w.version, w.seen = 0, contents{}
	}
	var version int64
	if err := w.conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil || version == w.version {
		return false, err
	}
	was := w.seen.changes
	if err := view(ctx, w.conn, func(tx *sql.Tx) error { return w.seen.read(ctx, tx) }); err != nil {
		return false, err
	}
	w.store.liveness.Observe(w.seen.processes)
	w.observeLeases()
	if w.seen.changes != was {
		w.group++
	}
	w.version = version
	return true, nil
}

// read reads the processes, and of the rest what was changed.
func (c *contents) read(ctx context.Context, tx *sql.Tx) (err error) {
	was, paused := c.changes, c.pausesChange
	err = tx.QueryRowContext(ctx, `SELECT leases, candidates, members, pauses FROM changes`).
		Scan(&c.changes.leases, &c.changes.candidates, &c.changes.members, &c.pausesChange)
	if err == nil {
		c.processes, err = readProcesses(ctx, tx)
	}
	if err == nil && c.changes.leases != was.leases {
		c.held, err = readLeases(ctx, tx)
	}
	if err == nil && c.changes.candidates != was.candidates {
		c.candidates, err = readCandidates(ctx, tx, waitingCandidates)
	}
	if err == nil && c.changes.members != was.members {
		c.members, err = readMembers(ctx, tx)
	}
	if err == nil && c.pausesChange != paused {
		c.pauses, err = readPauses(ctx, tx)
	}
	return err
}

// readLeases reads all leases, without their holders' heartbeats.
func readLeases(ctx context.Context, q querier) (map[gerritstream.ShardID]lease.Lease, error) {
	leases := map[gerritstream.ShardID]lease.Lease{}
	err := each(ctx, q, func(rows *sql.Rows) error {
		var shard gerritstream.ShardID
		var l lease.Lease
		err := rows.Scan(&shard, &l.Term, &l.Process)
		leases[shard] = l
		return err
	}, `SELECT shard, term, process FROM leases`)
	return leases, err
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
		longer := max(holder.TTL, w.store.config.LeaseTTL)
		w.leases[shard] = w.leases[shard].Observe(l, longer, now)
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
	w.disconnect()
	if passing(err) {
		w.store.log.Debug("cannot look into the database", "err", err)
		return
	}
	err = explainRead(w.store.place.path, err)
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

func (w *watcher) disconnect() {
	if w.conn == nil {
		return
	}
	if err := w.conn.Close(); err != nil {
		w.store.log.Debug("cannot close the watching connection", "err", err)
	}
	w.conn = nil
}
