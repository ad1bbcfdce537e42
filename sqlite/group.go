package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// process is a process as the file has it.
type process struct {
	id          string
	heartbeat   uint64
	ttl, heldAt int64 // milliseconds; the last heartbeat, by the process' clock
}

// readProcesses reads all processes.
func readProcesses(ctx context.Context, q querier) (processes []process, err error) {
	err = each(ctx, q, func(rows *sql.Rows) error {
		var p process
		err := rows.Scan(&p.id, &p.heartbeat, &p.ttl, &p.heldAt)
		processes = append(processes, p)
		return err
	}, `SELECT id, beat, ttl, beaten FROM processes`)
	return processes, err
}

// readMembers reads what the processes advertise, by id, whether they are alive
// or not.
func readMembers(ctx context.Context, q querier) (members []gerritstream.Member, err error) {
	err = each(ctx, q, func(rows *sql.Rows) error {
		var id, info string
		err := rows.Scan(&id, &info)
		members = append(members, storekit.DecodeMember(id, []byte(info)))
		return err
	}, `SELECT process, info FROM members ORDER BY process`)
	return members, err
}

// The queries of readCandidates: who waits for a shard, in the order of
// succession, and the same with the holder of its lease first.
const (
	waitingCandidates = `SELECT shard, process FROM candidates ORDER BY n`
	allCandidates     = `SELECT shard, process FROM (SELECT shard, process, n FROM candidates
		UNION ALL SELECT shard, process, 0 FROM leases WHERE process <> '') ORDER BY n`
)

// readCandidates reads candidates, by process.
func readCandidates(ctx context.Context, q querier, query string) (map[gerritstream.ShardID][]string, error) {
	candidates := map[gerritstream.ShardID][]string{}
	err := each(ctx, q, func(rows *sql.Rows) error {
		var shard gerritstream.ShardID
		var id string
		err := rows.Scan(&shard, &id)
		candidates[shard] = append(candidates[shard], id)
		return err
	}, query)
	return candidates, err
}

// liveness is what this process has seen of the heartbeats of others.
type liveness struct {
	self string
	ttl  time.Duration

	mu   sync.Mutex
	seen map[string]unchangedHeartbeat // under mu: as read last
}

// unchangedHeartbeat is a process' heartbeat and since when it has been seen
// just so.
type unchangedHeartbeat struct {
	number uint64
	since  time.Time
	ttl    time.Duration // the longer one of that process' and ours
}

// observe notes the heartbeats that were read. A process that is seen for the
// first time may have been dead for long: then, and only then, the wall clock
// decides since when. All processes of a file share it, and the next heartbeat
// corrects it.
func (l *liveness) observe(processes []process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now() // after the reading: first seen then
	seen := make(map[string]unchangedHeartbeat, len(processes))
	for _, p := range processes {
		h := unchangedHeartbeat{p.heartbeat, now, max(time.Duration(p.ttl)*time.Millisecond, l.ttl)}
		was, known := l.seen[p.id]
		switch {
		case !known:
			age := min(max(now.Sub(storekit.FromMillis(p.heldAt)), 0), h.ttl)
			h.since = now.Add(-age)
		case was.number == p.heartbeat:
			h.since = was.since
		}
		seen[p.id] = h
	}
	l.seen = seen
}

// alive reports whether a process' heartbeat has changed within the TTL. now is
// not later than the moment of the last reading.
func (l *liveness) alive(id string, now time.Time) bool {
	if id == l.self {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.seen[id]
	return ok && now.Sub(h.since) < h.ttl
}

// others reports whether other processes are alive, as far as they were seen.
func (l *liveness) others() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for id, h := range l.seen {
		if id != l.self && now.Sub(h.since) < h.ttl {
			return true
		}
	}
	return false
}

// members returns those that are alive.
func (l *liveness) members(all []gerritstream.Member, now time.Time) []gerritstream.Member {
	members := make([]gerritstream.Member, 0, len(all))
	for _, m := range all {
		if l.alive(m.ID, now) {
			members = append(members, m)
		}
	}
	return members
}

// Advertise implements gerritstream.Group.
func (s *Store) Advertise(ctx context.Context, info gerritstream.MemberInfo) error {
	text, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode member info: %w", err)
	}
	err = s.publish(ctx, storekit.PointAdvertise, `INSERT INTO members (process, info) VALUES (?, ?)
		ON CONFLICT DO UPDATE SET info = excluded.info`, s.id, string(text))
	if err == nil {
		s.touches.touch()
	}
	return err
}

// Report implements gerritstream.Store.
func (s *Store) Report(ctx context.Context, status gerritstream.Status) error {
	text, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	return s.publish(ctx, storekit.PointReport, `INSERT INTO reports (process, report, reported) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET report = excluded.report, reported = excluded.reported`,
		s.id, string(text), s.config.Now().UnixMilli())
}

// publish writes what the process says of itself, with a heartbeat: that adds
// the process if the others have removed it.
func (s *Store) publish(ctx context.Context, p storekit.Point, write string, args ...any) error {
	return s.writer.write(ctx, p, func(tx *transaction) error {
		if err := s.heartbeat.write(tx); err != nil {
			return err
		}
		return tx.exec(write, args...)
	})
}

// GroupState implements gerritstream.Group.
func (s *Store) GroupState(ctx context.Context, shards []gerritstream.ShardID) (gerritstream.GroupState, error) {
	var g gerritstream.GroupState
	if err := s.check(); err != nil {
		return g, err
	}
	now := time.Now()
	var members []gerritstream.Member
	var candidates map[gerritstream.ShardID][]string
	err := view(ctx, s.reading, func(tx *sql.Tx) error {
		processes, err := readProcesses(ctx, tx)
		if err != nil {
			return err
		}
		s.liveness.observe(processes)
		if members, err = readMembers(ctx, tx); err != nil {
			return err
		}
		candidates, err = readCandidates(ctx, tx, allCandidates)
		return err
	})
	if err != nil {
		return g, explainRead(s.place.path, err)
	}
	return s.groupOf(members, candidates, shards, now), nil
}

// groupOf returns the state of the group with these members and candidates,
// of which those count that are alive. now is not later than the moment at
// which they were read.
func (s *Store) groupOf(
	members []gerritstream.Member, candidates map[gerritstream.ShardID][]string,
	shards []gerritstream.ShardID, now time.Time,
) gerritstream.GroupState {
	g := gerritstream.GroupState{
		Self: s.id, Members: s.liveness.members(members, now),
		Candidates: map[gerritstream.ShardID][]gerritstream.Candidate{},
	}
	for _, shard := range shards {
		for _, id := range candidates[shard] {
			if s.liveness.alive(id, now) {
				g.Candidates[shard] = append(g.Candidates[shard], gerritstream.Candidate{Member: id})
			}
		}
	}
	return g
}
