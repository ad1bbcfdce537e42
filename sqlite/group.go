package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// readProcesses reads all processes. They share the clock of their host, by
// which their heartbeats are dated.
func readProcesses(ctx context.Context, q querier) (processes []lease.Process, err error) {
	err = each(ctx, q, func(rows *sql.Rows) error {
		var p lease.Process
		var ttl, beaten int64
		err := rows.Scan(&p.ID, &p.Heartbeat, &ttl, &beaten)
		p.TTL, p.Age = time.Duration(ttl)*time.Millisecond, time.Since(storekit.FromMillis(beaten))
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
		if err := s.beat(tx); err != nil {
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
	var read lease.State
	err := view(ctx, s.reading, func(tx *sql.Tx) (err error) {
		if read.Processes, err = readProcesses(ctx, tx); err != nil {
			return err
		}
		if read.Members, err = readMembers(ctx, tx); err != nil {
			return err
		}
		read.Candidates, err = readCandidates(ctx, tx, allCandidates)
		return err
	})
	if err != nil {
		return g, explainRead(s.place.path, err)
	}
	return s.watcher.Group(read, shards, now), nil
}
