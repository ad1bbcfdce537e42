package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Inspect implements gerritstream.Store. A file that can be read and not
// written to, as on a full disk, is an error: this process cannot use it.
func (s *Store) Inspect(ctx context.Context) (gerritstream.Inspection, error) {
	if err := errors.Join(s.check(), s.heartbeat.Check()); err != nil {
		return gerritstream.Inspection{}, err
	}
	in, err := inspect(ctx, s.reading, s.place.real)
	return in, explainRead(s.place.path, err)
}

// Inspect returns what the store in a file knows, without taking part in it:
// for `status`. The file may be in use; one that is missing is an error and is
// not made.
func Inspect(ctx context.Context, path string) (gerritstream.Inspection, error) {
	r, err := OpenReader(ctx, path)
	if err != nil {
		return gerritstream.Inspection{}, err
	}
	in, err := inspect(ctx, r.db, r.path)
	if err != nil {
		err = fmt.Errorf("inspect %s: %w", path, err)
	}
	return in, errors.Join(err, r.Close(ctx))
}

// inspect reads everything at one moment. path is where the file is.
func inspect(ctx context.Context, db *sql.DB, path string) (in gerritstream.Inspection, err error) {
	err = view(ctx, db, func(tx *sql.Tx) (err error) {
		if in.Origin, err = readOrigin(ctx, tx); err != nil {
			return err
		}
		size, err := walSize(path)
		if err != nil {
			return err
		}
		in.Log = &gerritstream.WriteAheadLog{Bytes: size}
		now := time.Now().UnixMilli()
		if err := inspectCounts(ctx, tx, &in); err != nil {
			return err
		}
		if err := inspectShards(ctx, tx, &in, now); err != nil {
			return err
		}
		return inspectReports(ctx, tx, &in, now)
	})
	return in, err
}

// inspectCounts reads how much the store holds, and how much it has removed.
func inspectCounts(ctx context.Context, tx *sql.Tx, in *gerritstream.Inspection) error {
	_, err := get(ctx, tx, []any{&in.Queue, &in.DeadLetters},
		`SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM dead_letters)`)
	if err != nil {
		return err
	}
	return each(ctx, tx, func(rows *sql.Rows) error {
		var name string
		var value int64
		err := rows.Scan(&name, &value)
		switch name {
		case walHeldSince:
			if value != 0 {
				in.Log.HeldSince = storekit.FromMillis(value)
			}
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
	}, `SELECT name, value FROM counters`)
}

// inspectShards reads the shards that were ever led or have a position in the
// current epoch. A process whose last heartbeat is older than its TTL leads
// nothing.
func inspectShards(ctx context.Context, tx *sql.Tx, in *gerritstream.Inspection, now int64) error {
	in.Shards = map[gerritstream.ShardID]gerritstream.InspectedShard{}
	return each(ctx, tx, func(rows *sql.Rows) error {
		var shard gerritstream.ShardID
		var s gerritstream.InspectedShard
		var raw []byte
		var committed int64
		err := rows.Scan(&shard, &s.Term, &s.Leader, &raw, &committed)
		if raw != nil {
			p := storekit.StoredPosition(raw, storekit.FromMillis(committed))
			s.Position, s.Committed = &p.Position, p.Committed
		}
		in.Shards[shard] = s
		return err
	}, `WITH shards (shard) AS (SELECT shard FROM leases WHERE shard NOT LIKE '`+storekit.LeaseOfConsumer+`%'
			UNION SELECT shard FROM positions WHERE epoch = ?1)
		SELECT s.shard, coalesce(l.term, 0), coalesce(p.name, ''), o.position, coalesce(o.committed, 0)
		FROM shards s LEFT JOIN leases l ON l.shard = s.shard
			LEFT JOIN processes p ON p.id = l.process AND p.beaten + p.ttl >= ?2
			LEFT JOIN positions o ON o.shard = s.shard AND o.epoch = ?1`,
		(&gerritstream.Stored{Origin: in.Origin}).Epoch(), now)
}

// inspectReports reads the reports of the processes that are alive. A report
// that cannot be understood is left out: another version wrote it, for people.
func inspectReports(ctx context.Context, tx *sql.Tx, in *gerritstream.Inspection, now int64) error {
	return each(ctx, tx, func(rows *sql.Rows) error {
		var r gerritstream.Report
		var at int64
		var status []byte
		err := rows.Scan(&r.Process, &at, &status)
		r.At = storekit.FromMillis(at)
		if json.Unmarshal(status, &r.Status) == nil {
			in.Reports = append(in.Reports, r)
		}
		return err
	}, `SELECT p.name, r.reported, r.report FROM processes p JOIN reports r ON r.process = p.id
		WHERE p.beaten + p.ttl >= ? ORDER BY p.name, p.id`, now)
}
