package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Inspect implements gerritstream.Store.
func (s *Store) Inspect(ctx context.Context) (gerritstream.Inspection, error) {
	if err := s.check(); err != nil {
		return gerritstream.Inspection{}, err
	}
	in, err := inspect(ctx, s.db)
	return in, explainRead(err)
}

// Inspect returns what the store in a schema knows, without taking part in it:
// for `status`. The errors are those of Open.
func Inspect(ctx context.Context, config Config) (gerritstream.Inspection, error) {
	db, where, err := openToRead(ctx, &config, 1)
	if err != nil {
		return gerritstream.Inspection{}, openError("read store", where, err)
	}
	defer db.pool.Close()
	in, err := inspect(ctx, db)
	if err != nil {
		err = openError("inspect", where, err)
	}
	return in, err
}

// inspect reads everything at one moment.
func inspect(ctx context.Context, db *database) (in gerritstream.Inspection, err error) {
	var raw []byte
	var epoch int
	err = db.view(ctx, func(b *batch) {
		b.get([]any{&raw}, nil, selectOrigin)
		b.get([]any{&epoch}, nil, `SELECT `+currentEpoch)
		inspectCounts(b, &in)
		inspectShards(b, &in)
		inspectReports(b, &in)
	})
	if err == nil && raw != nil {
		in.Origin, err = storekit.DecodeOrigin(raw)
	}
	return in, err
}

// inspectCounts reads how much the store holds, and how much it has removed.
func inspectCounts(b *batch, in *gerritstream.Inspection) {
	b.get([]any{&in.Queue, &in.DeadLetters}, nil,
		`SELECT (SELECT count(*) FROM @.events), (SELECT count(*) FROM @.dead_letters)`)
	b.each(func(rows pgx.Rows) error {
		var name string
		var value int64
		err := rows.Scan(&name, &value)
		switch name {
		case "discarded":
			in.Discarded = value
		case "expired":
			in.Expired = value
		case "expired unread":
			in.ExpiredUnread = value
		case "expired unread at":
			in.ExpiredUnreadAt = storekit.FromMillis(value)
		}
		return err
	}, `SELECT name, value FROM @.counters`)
}

// inspectShards reads the shards that were ever led or have a position in the
// current epoch. A process whose last heartbeat is older than its TTL leads
// nothing.
func inspectShards(b *batch, in *gerritstream.Inspection) {
	in.Shards = map[gerritstream.ShardID]gerritstream.InspectedShard{}
	b.each(func(rows pgx.Rows) error {
		var shard gerritstream.ShardID
		var s gerritstream.InspectedShard
		var raw []byte
		var committed *time.Time
		err := rows.Scan(&shard, &s.Term, &s.Leader, &raw, &committed)
		if raw != nil {
			p := decodePosition(raw, committed)
			s.Position, s.Committed = &p.Position, p.Committed
		}
		in.Shards[shard] = s
		return err
	}, `WITH epoch (n) AS (SELECT `+currentEpoch+`),
		shards (shard) AS (SELECT shard FROM @.leases WHERE NOT starts_with(shard, '`+storekit.LeaseOfConsumer+`')
			UNION SELECT shard FROM @.positions WHERE epoch = (SELECT n FROM epoch))
		SELECT s.shard, coalesce(l.term, 0), coalesce(p.name, ''), o.position, o.committed
		FROM shards s LEFT JOIN @.leases l ON l.shard = s.shard
			LEFT JOIN @.processes p ON p.id = l.process AND `+alive+`
			LEFT JOIN @.positions o ON o.shard = s.shard AND o.epoch = (SELECT n FROM epoch)`)
}

// inspectReports reads the reports of the processes that are alive. A report
// that cannot be understood is left out: another version wrote it, for people.
func inspectReports(b *batch, in *gerritstream.Inspection) {
	b.each(func(rows pgx.Rows) error {
		var r gerritstream.Report
		var status []byte
		err := rows.Scan(&r.Process, &r.At, &status)
		r.At = r.At.UTC()
		if json.Unmarshal(status, &r.Status) == nil {
			in.Reports = append(in.Reports, r)
		}
		return err
	}, `SELECT p.name, r.reported, r.report FROM @.processes p JOIN @.reports r ON r.process = p.id
		WHERE `+alive+` ORDER BY p.name, p.id`)
}

// decodePosition reads a position and when it was committed; nil: not known.
func decodePosition(raw []byte, committed *time.Time) gerritstream.StoredPosition {
	var at time.Time
	if committed != nil {
		at = committed.UTC()
	}
	return storekit.StoredPosition(raw, at)
}
