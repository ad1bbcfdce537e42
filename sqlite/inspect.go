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

// Inspect implements gerritstream.Store.
func (s *Store) Inspect(ctx context.Context) (gerritstream.Inspection, error) {
	if err := s.inPlace(); err != nil {
		return gerritstream.Inspection{}, err
	}
	in, err := inspect(ctx, s.reading, s.place.real)
	return in, explainRead(s.path, err)
}

// Inspect returns what the store in a file knows, without becoming a member of
// it: for `status`. The file may be in use; one that is missing is an error and
// is not made.
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
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return in, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if in.Origin, err = readStart(ctx, tx); err != nil {
		return in, err
	}
	size, err := walSize(path)
	if err != nil {
		return in, err
	}
	in.Log = &gerritstream.WriteAheadLog{Bytes: size}
	if err := inspectCounts(ctx, tx, &in); err != nil {
		return in, err
	}
	now := time.Now().UnixMilli()
	if in.Shards, err = inspectShards(ctx, tx, in.Origin, now); err != nil {
		return in, err
	}
	in.Reports, err = inspectReports(ctx, tx, now)
	return in, err
}

// inspectCounts reads how much there is, and how much was there.
func inspectCounts(ctx context.Context, tx *sql.Tx, in *gerritstream.Inspection) error {
	err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM dead_letters)`).
		Scan(&in.Queue, &in.DeadLetters)
	if err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, `SELECT name, value FROM counters`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var value int64
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
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
	}
	return rows.Err()
}

// inspectShards describes the shards that were ever led or have a position in
// the current epoch. A process whose last beat is longer ago than its leases
// live leads nothing.
func inspectShards(ctx context.Context, tx *sql.Tx, start *gerritstream.Origin, now int64) (map[gerritstream.ShardID]gerritstream.InspectedShard, error) {
	epoch := 0
	if start != nil {
		epoch = start.Epoch
	}
	rows, err := tx.QueryContext(ctx, `
		WITH shards (shard) AS (SELECT shard FROM leases UNION SELECT shard FROM positions WHERE epoch = ?1)
		SELECT s.shard, coalesce(l.term, 0), coalesce(p.name, ''), o.position, coalesce(o.committed, 0)
		FROM shards s LEFT JOIN leases l ON l.shard = s.shard
			LEFT JOIN processes p ON p.id = l.process AND p.beaten + p.ttl >= ?2
			LEFT JOIN positions o ON o.shard = s.shard AND o.epoch = ?1`, epoch, now)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	shards := map[gerritstream.ShardID]gerritstream.InspectedShard{}
	for rows.Next() {
		shard, s, err := scanShard(rows)
		if err != nil {
			return nil, err
		}
		shards[shard] = s
	}
	return shards, rows.Err()
}

func scanShard(rows *sql.Rows) (shard gerritstream.ShardID, s gerritstream.InspectedShard, err error) {
	var raw []byte
	var committed int64
	if err := rows.Scan(&shard, &s.Term, &s.Leader, &raw, &committed); err != nil {
		return "", s, err
	}
	if raw == nil {
		return shard, s, nil
	}
	p := storekit.StoredPosition(raw, storekit.FromMillis(committed))
	s.Position, s.Committed = &p.Position, p.Committed
	return shard, s, nil
}

// inspectReports returns the reports of the processes that are alive. One that
// cannot be understood is left out: it is another version's, and for people.
func inspectReports(ctx context.Context, tx *sql.Tx, now int64) (reports []gerritstream.Report, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT name, reported, report FROM processes
		WHERE report IS NOT NULL AND beaten + ttl >= ? ORDER BY name, id`, now)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r gerritstream.Report
		var at int64
		var status []byte
		if err := rows.Scan(&r.Process, &at, &status); err != nil {
			return nil, err
		}
		r.At = storekit.FromMillis(at)
		if json.Unmarshal(status, &r.Status) == nil {
			reports = append(reports, r)
		}
	}
	return reports, rows.Err()
}
