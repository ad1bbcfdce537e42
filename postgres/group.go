package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// age is how long ago the last heartbeat of a process was, in milliseconds.
const age = `(extract(epoch FROM clock_timestamp() - beaten) * 1000)::bigint`

// alive selects processes p that had a heartbeat within their TTL. One that is
// later than that was beaten before the server's clock was set back.
const alive = `abs(extract(epoch FROM clock_timestamp() - p.beaten)) * 1000 <= p.ttl`

// readProcesses reads all processes.
func readProcesses(b *batch, processes *[]lease.Process) {
	b.each(func(rows pgx.Rows) error {
		var p lease.Process
		var ttl, age int64
		err := rows.Scan(&p.ID, &p.Heartbeat, &ttl, &age)
		p.TTL, p.Age = millis(ttl), millis(age)
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
	if s.heartbeat.Leaving() {
		return errClosed
	}
	return s.write(ctx, p, func(b *batch) {
		b.exec(`WITH b AS (`+beat+`) `+write, s.beaten(args...)...)
	})
}

// GroupState implements gerritstream.Group.
func (s *Store) GroupState(ctx context.Context, shards []gerritstream.ShardID) (gerritstream.GroupState, error) {
	var g gerritstream.GroupState
	if err := s.check(); err != nil {
		return g, err
	}
	now := time.Now()
	var read lease.State
	err := s.db.view(ctx, func(b *batch) {
		readProcesses(b, &read.Processes)
		readMembers(b, &read.Members)
		read.Candidates = readCandidates(b, allCandidates)
	})
	if err != nil {
		return g, explainRead(err)
	}
	return s.watcher.Group(read, shards, now), nil
}
