package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// presence is a process' beat and since when it has been seen just so.
type presence struct {
	beat  uint64
	since time.Time
	ttl   time.Duration // the longer one of that process' and ours
}

// processRow is a process as the file has it.
type processRow struct {
	id           string
	beat         uint64
	ttl, beaten  int64
	announcement sql.NullString // not valid: it is no member
}

// readProcesses reads all processes, by id.
func readProcesses(ctx context.Context, q rowsQuerier) (processes []processRow, err error) {
	rows, err := q.QueryContext(ctx, `SELECT id, beat, ttl, beaten, announcement FROM processes ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p processRow
		if err := rows.Scan(&p.id, &p.beat, &p.ttl, &p.beaten, &p.announcement); err != nil {
			return nil, err
		}
		processes = append(processes, p)
	}
	return processes, rows.Err()
}

// rowsQuerier is a database, a connection to it, or a transaction.
type rowsQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// readLines reads who waits for what, in the order of succession.
func readLines(ctx context.Context, q rowsQuerier) (lines map[gerritstream.ShardID][]string, err error) {
	rows, err := q.QueryContext(ctx, `SELECT shard, process FROM candidates ORDER BY n`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	lines = map[gerritstream.ShardID][]string{}
	for rows.Next() {
		var shard gerritstream.ShardID
		var process string
		if err := rows.Scan(&shard, &process); err != nil {
			return nil, err
		}
		lines[shard] = append(lines[shard], process)
	}
	return lines, rows.Err()
}

// see notes the beats that were read. A process that is seen for the first time
// may have been dead for long: then, and only then, the wall clock says since
// when. All processes of a file share it, and the next beat puts it right.
func (s *Store) see(processes []processRow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now() // behind the reading: seen first then
	seen := make(map[string]presence, len(processes))
	for _, p := range processes {
		ttl := max(time.Duration(p.ttl)*time.Millisecond, s.config.LeaseTTL)
		was, known := s.presences[p.id]
		switch {
		case known && was.beat == p.beat:
			seen[p.id] = presence{p.beat, was.since, ttl}
		case known:
			seen[p.id] = presence{p.beat, now, ttl}
		default:
			age := min(max(now.Sub(storekit.FromMillis(p.beaten)), 0), ttl)
			seen[p.id] = presence{p.beat, now.Add(-age), ttl}
		}
	}
	s.presences = seen
}

// alive tells whether a process has shown its beat within the TTL. now is not
// later than the moment of the last reading.
func (s *Store) alive(id string, now time.Time) bool {
	if id == s.id {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.presences[id]
	return ok && now.Sub(p.since) < p.ttl
}

// members returns those who have announced themselves and are alive.
func (s *Store) members(processes []processRow, now time.Time) []gerritstream.Member {
	members := make([]gerritstream.Member, 0, len(processes))
	for _, p := range processes {
		if p.announcement.Valid && s.alive(p.id, now) {
			members = append(members, storekit.DecodeMember(p.id, []byte(p.announcement.String)))
		}
	}
	return members
}

// Advertise implements gerritstream.Group.
func (s *Store) Advertise(ctx context.Context, a gerritstream.MemberInfo) error {
	announcement, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode announcement: %w", err)
	}
	return s.write(ctx, storekit.PointAdvertise, func(st *statements) error {
		if err := s.writeBeat(st); err != nil { // makes the process' row if it was forgotten
			return err
		}
		return st.exec(st.announce, string(announcement), s.id)
	})
}

// GroupState implements gerritstream.Group.
func (s *Store) GroupState(ctx context.Context, shards []gerritstream.ShardID) (gerritstream.GroupState, error) {
	if err := s.inPlace(); err != nil {
		return gerritstream.GroupState{}, err
	}
	m, err := s.muster(ctx, shards)
	return m, explainRead(s.path, err)
}

// muster reads everything at one moment.
func (s *Store) muster(ctx context.Context, shards []gerritstream.ShardID) (m gerritstream.GroupState, err error) {
	now := time.Now()
	tx, err := s.reading.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	processes, err := readProcesses(ctx, tx)
	if err != nil {
		return m, err
	}
	s.see(processes)
	lines, err := readLines(ctx, tx)
	if err != nil {
		return m, err
	}
	holders, err := readHolders(ctx, tx)
	if err != nil {
		return m, err
	}
	m = gerritstream.GroupState{
		Self: s.id, Members: s.members(processes, now), Candidates: map[gerritstream.ShardID][]gerritstream.Candidate{},
	}
	for _, shard := range shards {
		ids := lines[shard]
		if holder := holders[shard]; holder != "" {
			ids = slices.Insert(ids, 0, holder)
		}
		for _, id := range ids {
			if s.alive(id, now) {
				m.Candidates[shard] = append(m.Candidates[shard], gerritstream.Candidate{Member: id})
			}
		}
	}
	return m, nil
}

// readHolders reads who has the leases.
func readHolders(ctx context.Context, q rowsQuerier) (holders map[gerritstream.ShardID]string, err error) {
	rows, err := q.QueryContext(ctx, `SELECT shard, process FROM leases`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	holders = map[gerritstream.ShardID]string{}
	for rows.Next() {
		var shard gerritstream.ShardID
		var process string
		if err := rows.Scan(&shard, &process); err != nil {
			return nil, err
		}
		holders[shard] = process
	}
	return holders, rows.Err()
}

// lookout is one WaitGroupChange under way.
type lookout struct {
	seen gerritstream.GroupState
	news chan crewNews // of capacity 1
}

// crewNews is what a WaitGroupChange returns.
type crewNews struct {
	left bool
	err  error
}

// WaitGroupChange implements gerritstream.Group.
func (s *Store) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (left bool, err error) {
	o := &lookout{seen: seen, news: make(chan crewNews, 1)}
	s.mu.Lock()
	s.lookouts = append(s.lookouts, o)
	s.mu.Unlock()
	s.wakeWatcher.Set()
	select {
	case n := <-o.news:
		return n.left, n.err
	case <-ctx.Done():
		s.drop(o)
		return false, ctx.Err()
	case <-s.condemned:
		s.drop(o)
		return false, s.fate()
	case <-s.stop:
		return false, errClosed
	}
}

// drop ends a lookout.
func (s *Store) drop(o *lookout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookouts = slices.DeleteFunc(s.lookouts, func(x *lookout) bool { return x == o })
}

// tell gives a lookout its news.
func (s *Store) tell(o *lookout, n crewNews) {
	s.drop(o)
	select {
	case o.news <- n:
	default: // it has some already
	}
}

// readCrew renews what the watcher knows of processes and lines.
func (w *watcher) readCrew(ctx context.Context) (err error) {
	if w.crew, err = readProcesses(ctx, w.conn); err != nil {
		return err
	}
	w.store.see(w.crew)
	w.lines, err = readLines(ctx, w.conn)
	return err
}

// lookAtCrew tells those who wait for it that the crew has changed.
func (w *watcher) lookAtCrew(lookouts []*lookout, now time.Time) {
	if len(lookouts) == 0 {
		return
	}
	members := w.store.members(w.crew, now)
	for _, o := range lookouts {
		if changed, left := o.seen.Changed(members); changed {
			w.store.tell(o, crewNews{left: left})
		}
	}
}
