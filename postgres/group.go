package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// process is a process as it was read.
type process struct {
	id        string
	heartbeat uint64
	ttl, age  time.Duration // of its leases, and of the last heartbeat, by the server's clock
}

// age is how long ago the last heartbeat of a process was, in milliseconds.
const age = `(extract(epoch FROM clock_timestamp() - beaten) * 1000)::bigint`

// alive selects processes p that had a heartbeat within their TTL. One that is
// later than that was beaten before the server's clock was set back.
const alive = `abs(extract(epoch FROM clock_timestamp() - p.beaten)) * 1000 <= p.ttl`

// readProcesses reads all processes.
func readProcesses(b *batch, processes *[]process) {
	b.each(func(rows pgx.Rows) error {
		var p process
		var ttl, age int64
		err := rows.Scan(&p.id, &p.heartbeat, &ttl, &age)
		p.ttl, p.age = millis(ttl), millis(age)
		*processes = append(*processes, p)
		return err
	}, `SELECT id, beat, ttl, `+age+` FROM @.processes`)
}

// readMembers reads what the processes advertise, by id, whether they are alive
// or not.
func readMembers(b *batch, members *[]gerritstream.Member) {
	b.each(func(rows pgx.Rows) error {
		var id, info string
		err := rows.Scan(&id, &info)
		*members = append(*members, storekit.DecodeMember(id, []byte(info)))
		return err
	}, `SELECT process, info FROM @.members ORDER BY process`)
}

// The queries of readCandidates: who waits for a shard, in the order of
// succession, and the same with the holder of its lease first.
const (
	waitingCandidates = `SELECT shard, process FROM @.candidates ORDER BY n`
	allCandidates     = `SELECT shard, process FROM (SELECT shard, process, n FROM @.candidates
		UNION ALL SELECT shard, process, 0 FROM @.leases WHERE process <> '') a ORDER BY n`
)

// readCandidates reads candidates, by process.
func readCandidates(b *batch, query string) map[gerritstream.ShardID][]string {
	candidates := map[gerritstream.ShardID][]string{}
	b.each(func(rows pgx.Rows) error {
		var shard gerritstream.ShardID
		var id string
		err := rows.Scan(&shard, &id)
		candidates[shard] = append(candidates[shard], id)
		return err
	}, query)
	return candidates
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
// first time may have been dead for long: then, and only then, the server's
// clock decides since when. The next heartbeat corrects it.
func (l *liveness) observe(processes []process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now() // after the reading: first seen then
	seen := make(map[string]unchangedHeartbeat, len(processes))
	for _, p := range processes {
		h := unchangedHeartbeat{p.heartbeat, now, max(p.ttl, l.ttl)}
		was, known := l.seen[p.id]
		switch {
		case !known:
			h.since = now.Add(-min(max(p.age, 0), h.ttl))
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

// nextDeath returns how long from now the first of the other processes counts
// as dead, unless a heartbeat of it comes before; 0: none is alive.
func (l *liveness) nextDeath() (left time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for id, h := range l.seen {
		if d := h.ttl - now.Sub(h.since); id != l.self && d > 0 && (left == 0 || d < left) {
			left = d
		}
	}
	return left
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
	return s.publish(ctx, storekit.PointAdvertise, `INSERT INTO @.members (process, info) SELECT $1, $4::text
		ON CONFLICT (process) DO UPDATE SET info = excluded.info`, string(text))
}

// Report implements gerritstream.Store.
func (s *Store) Report(ctx context.Context, status gerritstream.Status) error {
	text, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	return s.publish(ctx, storekit.PointReport, `INSERT INTO @.reports (process, report, reported)
		SELECT $1, $4::text, $5::timestamptz
		ON CONFLICT (process) DO UPDATE SET report = excluded.report, reported = excluded.reported`,
		string(text), s.config.Now())
}

// publish writes what the process says of itself, with a heartbeat: that adds
// the process if the others have removed it.
func (s *Store) publish(ctx context.Context, p storekit.Point, write string, args ...any) error {
	if s.heartbeat.leaving.Load() {
		return errClosed
	}
	return s.write(ctx, p, func(b *batch) {
		b.exec(`WITH b AS (`+beat+`) `+write, s.heartbeat.beaten(args...)...)
	})
}

// GroupState implements gerritstream.Group.
func (s *Store) GroupState(ctx context.Context, shards []gerritstream.ShardID) (gerritstream.GroupState, error) {
	var g gerritstream.GroupState
	if err := s.check(); err != nil {
		return g, err
	}
	now := time.Now()
	var processes []process
	var members []gerritstream.Member
	var candidates map[gerritstream.ShardID][]string
	err := s.db.view(ctx, func(b *batch) {
		readProcesses(b, &processes)
		readMembers(b, &members)
		candidates = readCandidates(b, allCandidates)
	})
	if err != nil {
		return g, explainRead(err)
	}
	s.liveness.observe(processes)
	return s.groupOf(members, candidates, shards, now), nil
}

// groupOf returns the state of the group with these members and candidates,
// of which those count that are alive. now is not later than the moment at
// which they were read. A leader is not also a candidate: its row may be a
// moment older than its lease.
func (s *Store) groupOf(
	members []gerritstream.Member, candidates map[gerritstream.ShardID][]string,
	shards []gerritstream.ShardID, now time.Time,
) gerritstream.GroupState {
	g := gerritstream.GroupState{
		Self: s.id, Members: s.liveness.members(members, now),
		Candidates: map[gerritstream.ShardID][]gerritstream.Candidate{},
	}
	for _, shard := range shards {
		for i, id := range candidates[shard] {
			if s.liveness.alive(id, now) && (i == 0 || id != candidates[shard][0]) {
				g.Candidates[shard] = append(g.Candidates[shard], gerritstream.Candidate{Member: id})
			}
		}
	}
	return g
}
