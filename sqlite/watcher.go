package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// lookEvery is how often candidates look at leases, and waiters at positions:
// how late a resignation is noticed.
const lookEvery = 250 * time.Millisecond

// watcher looks into the file for all candidacies and waiters of the process.
type watcher struct {
	store     *Store
	conn      *sql.Conn // nil: to be opened
	version   int64     // of the file when it was read last
	sightings map[gerritstream.ShardID]sighting
	lines     map[gerritstream.ShardID][]string // candidates by process, in the order of succession
	crew      []processRow
}

// waiter is one WaitEnded under way.
type waiter struct {
	epoch int
	shard gerritstream.ShardID
	ended chan struct{} // closed by the watcher
	seen  bool          // of the watcher: the position was looked at once
}

// WaitEnded implements gerritstream.Store.
func (s *Store) WaitEnded(ctx context.Context, epoch int, shard gerritstream.ShardID) error {
	w := &waiter{epoch: epoch, shard: shard, ended: make(chan struct{})}
	s.mu.Lock()
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waiters = slices.DeleteFunc(s.waiters, func(o *waiter) bool { return o == w })
	}()
	s.wakeWatcher.Set()
	select {
	case <-w.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.condemned:
		return s.fate()
	case <-s.stop:
		return errClosed
	}
}

// watch looks until stop.
func (s *Store) watch() {
	w := &watcher{store: s, sightings: map[gerritstream.ShardID]sighting{}}
	defer w.disconnect()
	tick := time.NewTicker(min(lookEvery, s.config.LeaseTTL/4))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.wakeWatcher:
		case <-s.stop:
			return
		}
		if err := w.look(); err != nil {
			w.trouble(err)
		}
	}
}

// trouble takes note of what kept the watcher from looking. What will not pass
// ends the candidacies.
func (w *watcher) trouble(err error) {
	w.disconnect()
	if passing(err) {
		w.store.log.Debug("look for free leaderships", "error", err)
		return
	}
	w.store.mu.Lock()
	candidacies, lookouts := slices.Clone(w.store.candidacies), slices.Clone(w.store.lookouts)
	w.store.mu.Unlock()
	for _, c := range candidacies {
		w.store.deliver(c, result{err: explainRead(w.store.path, err)})
	}
	for _, o := range lookouts {
		w.store.tell(o, crewNews{err: explainRead(w.store.path, err)})
	}
}

// look reads what changed, and acts on it, if anybody waits.
func (w *watcher) look() error {
	w.store.mu.Lock()
	candidacies, waiters := slices.Clone(w.store.candidacies), slices.Clone(w.store.waiters)
	lookouts := slices.Clone(w.store.lookouts)
	w.store.mu.Unlock()
	if len(candidacies)+len(waiters)+len(lookouts) == 0 {
		return nil
	}
	ctx := context.Background()
	now := time.Now() // before the reading: a lease is seen unchanged until then
	changed, err := w.changed(ctx)
	if err != nil {
		return err
	}
	if changed {
		if err := errors.Join(w.readLeases(ctx), w.readCrew(ctx)); err != nil {
			w.version = 0
			return err
		}
	}
	if err := w.lookForEnds(ctx, waiters, changed); err != nil {
		return err
	}
	w.takeFree(candidacies, now)
	w.lookAtCrew(lookouts, now)
	return nil
}

// changed tells whether anybody wrote since the last look.
func (w *watcher) changed(ctx context.Context) (bool, error) {
	if w.conn == nil {
		conn, err := w.store.reading.Conn(ctx)
		if err != nil {
			return false, err
		}
		w.conn, w.version = conn, 0
	}
	var version int64
	if err := w.conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
		return false, err
	}
	changed := version != w.version
	w.version = version
	return changed, nil
}

// readLeases renews the sightings of all leases.
func (w *watcher) readLeases(ctx context.Context) error {
	rows, err := w.conn.QueryContext(ctx, `SELECT l.shard, l.term, l.process, coalesce(p.beat, 0), coalesce(p.ttl, 0)
		FROM leases l LEFT JOIN processes p ON p.id = l.process`)
	if err != nil {
		return err
	}
	defer rows.Close()
	seen := map[gerritstream.ShardID]sighting{}
	for rows.Next() {
		var shard gerritstream.ShardID
		var l lease
		var ttl int64
		if err := rows.Scan(&shard, &l.term, &l.process, &l.beat, &ttl); err != nil {
			return err
		}
		longer := max(time.Duration(ttl)*time.Millisecond, w.store.config.LeaseTTL)
		seen[shard] = sight(w.sightings[shard], l, longer, time.Now()) // behind the reading: seen first then
	}
	if err := rows.Err(); err != nil {
		return err
	}
	w.sightings = seen
	return nil
}

// lookForEnds wakes the waiters whose shards have ended.
func (w *watcher) lookForEnds(ctx context.Context, waiters []*waiter, changed bool) error {
	for _, o := range waiters {
		if o.seen && !changed {
			continue
		}
		pos, ok, err := readPosition(ctx, w.conn, o.epoch, o.shard)
		if err != nil && !errors.Is(err, gerritstream.ErrNewerFormat) {
			return err
		}
		o.seen = true
		if ok && pos.Ended {
			w.store.mu.Lock()
			w.store.waiters = slices.DeleteFunc(w.store.waiters, func(x *waiter) bool { return x == o })
			w.store.mu.Unlock()
			close(o.ended)
		}
	}
	return nil
}

// takeFree takes the leases that may be taken, for the oldest candidacy of each
// shard, all at once. The other candidacies stand in line.
func (w *watcher) takeFree(candidacies []*candidacy, now time.Time) {
	var takes sync.WaitGroup
	taking := map[gerritstream.ShardID]bool{}
	var wait []*candidacy
	for _, c := range candidacies {
		seen := w.sightings[c.shard]
		if taking[c.shard] || !seen.mayTake(w.store.id, w.store.leads(c.shard), w.behind(c.shard, now), now) {
			wait = append(wait, c)
			continue
		}
		taking[c.shard] = true
		takes.Go(func() { w.store.take(c, seen.lease) })
	}
	takes.Wait()
	w.store.standInLine(wait)
}

// behind tells whether another process that is alive is first in a shard's
// line.
func (w *watcher) behind(shard gerritstream.ShardID, now time.Time) bool {
	for _, id := range w.lines[shard] {
		if id == w.store.id {
			return false
		}
		if w.store.alive(id, now) {
			return true
		}
	}
	return false
}

// standInLine notes that candidacies wait, and has that written.
func (s *Store) standInLine(candidacies []*candidacy) {
	s.mu.Lock()
	news := false
	for _, c := range candidacies {
		news = news || !c.waits && !c.withdrawn
		c.waits = true
	}
	s.mu.Unlock()
	if news {
		s.wakeKeeper.Set()
	}
}

// leads tells whether this process has a term of a shard.
func (s *Store) leads(shard gerritstream.ShardID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.terms[shard] != nil
}

func (w *watcher) disconnect() {
	if w.conn == nil {
		return
	}
	if err := w.conn.Close(); err != nil {
		w.store.log.Debug("close the watching connection", "error", err)
	}
	w.conn = nil
}

// errMoved: the lease is not as it was seen.
var errMoved = errors.New("another candidate was faster")

// take tries to win a lease that was seen free or dead, and tells the candidacy
// if it did, or cannot.
func (s *Store) take(c *candidacy, seen lease) {
	t := s.newTerm(c, seen)
	err := s.write(context.Background(), storekit.PointCampaign, func(st *statements) error { return t.take(st, seen) })
	s.mu.Lock()
	delete(s.taking, c.shard)
	if err == nil {
		s.terms[c.shard] = t
	}
	s.mu.Unlock()
	switch {
	case err == nil:
		s.beaten(t.began)
		s.log.Debug("won a leadership", "shard", c.shard, "term", t.number)
		s.deliver(c, result{term: t})
	case errors.Is(err, errMoved), errors.Is(err, gerritstream.ErrRetryLater):
		// The next look tells more.
	case errors.Is(err, errUnknownOutcome):
		s.wakeKeeper.Set() // to free the lease, should the process have it
	default:
		s.wakeKeeper.Set()
		s.deliver(c, result{err: err})
	}
}

// newTerm makes the term that a candidacy is about to win. Its number was never
// tried before.
func (s *Store) newTerm(c *candidacy, seen lease) *term {
	t := &term{store: s, epoch: c.epoch, shard: c.shard, began: time.Now()}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	t.number = max(seen.term, s.tried[c.shard]) + 1
	s.tried[c.shard], s.taking[c.shard] = t.number, t.number
	return t
}

// take writes that the term has the lease, if that is still as it was seen, and
// reads the position.
func (t *term) take(st *statements, seen lease) (err error) {
	s := t.store
	var now lease
	if _, err := st.get(st.getLease, []any{t.shard}, []any{&now.term, &now.process, &now.beat}); err != nil {
		return err
	}
	if now != seen {
		return errMoved
	}
	if err := st.inEpoch(t.epoch); err != nil {
		return err
	}
	if t.beginning.Position, t.beginning.Stored, err = positionOf(st, t.epoch, t.shard); err != nil {
		return fmt.Errorf("read position of %s: %w", t.shard, err)
	}
	if err := s.writeBeat(st); err != nil {
		return err
	}
	if err := st.exec(st.stopWaiting, s.id, t.shard); err != nil {
		return err
	}
	return st.exec(st.takeLease, t.shard, t.number, s.id)
}
