package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/gerritstream/gerritstream/internal/storekit"
)

// statements are all that the writer says, prepared. They run without a
// deadline: SQLite's own busy timeout bounds each.
type statements struct {
	begin, commit, rollback, savepoint, undo, release *sql.Stmt

	getStart, setStart             *sql.Stmt
	getPosition, setPosition       *sql.Stmt
	currentEpoch                   *sql.Stmt
	getLease, takeLease, freeLease *sql.Stmt
	freeLeases, heldLeases         *sql.Stmt
	beat, forget, leave            *sql.Stmt
	report, announce               *sql.Stmt
	waiting, wait, stopWaiting     *sql.Stmt
	forgetWaiting, leaveWaiting    *sql.Stmt
	addEvent                       *sql.Stmt
	letterExists, sumLetters       *sql.Stmt
	addLetter                      *sql.Stmt
	count, note                    *sql.Stmt
	countUnread, expire            *sql.Stmt

	all []*sql.Stmt
}

// addEvent queues an event, once. Its columns are those of eventRow.
const addEvent = `INSERT INTO events (id, shard, seq, sub, arrived, type, project, ref, change, created, queued_at, payload, attributes)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`

// overdue are the events held from before a time, the oldest first, so many of
// them.
const overdue = `SELECT n FROM events WHERE max(arrived, queued_at) < ? ORDER BY max(arrived, queued_at) LIMIT ?`

// prepare prepares all statements on a connection.
func prepare(ctx context.Context, conn *sql.Conn) (s statements, err error) {
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&s.begin, `BEGIN IMMEDIATE`},
		{&s.commit, `COMMIT`},
		{&s.rollback, `ROLLBACK`},
		{&s.savepoint, `SAVEPOINT job`},
		{&s.undo, `ROLLBACK TO job`},
		{&s.release, `RELEASE job`},

		{&s.getStart, `SELECT record FROM start`},
		{&s.setStart, `INSERT INTO start (one, record) VALUES (1, ?) ON CONFLICT DO UPDATE SET record = excluded.record`},

		{&s.getPosition, `SELECT position FROM positions WHERE epoch = ? AND shard = ?`},
		{&s.currentEpoch, `SELECT ` + currentEpoch},
		// The fence: without the lease in this term, or in an epoch that is
		// over, there is nothing to select, and nothing is written.
		{&s.setPosition, `INSERT INTO positions (epoch, shard, position, committed)
			SELECT ?1, shard, ?2, ?3 FROM leases WHERE shard = ?4 AND term = ?5 AND process = ?6 AND ?1 >= ` + currentEpoch + `
			ON CONFLICT DO UPDATE SET position = excluded.position, committed = excluded.committed`},

		{&s.getLease, `SELECT l.term, l.process, coalesce(p.beat, 0)
			FROM leases l LEFT JOIN processes p ON p.id = l.process WHERE l.shard = ?`},
		{&s.takeLease, `INSERT INTO leases (shard, term, process) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET term = excluded.term, process = excluded.process`},
		{&s.freeLease, `UPDATE leases SET process = '' WHERE shard = ? AND term = ? AND process = ?`},
		{&s.freeLeases, `UPDATE leases SET process = '' WHERE process = ?`},
		{&s.heldLeases, `SELECT shard, term FROM leases WHERE process = ?`},

		{&s.beat, `INSERT INTO processes (id, name, beat, ttl, beaten) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET beat = excluded.beat, beaten = excluded.beaten`},
		{&s.forget, `DELETE FROM processes WHERE beaten < ? AND id <> ? AND id NOT IN (SELECT process FROM leases)`},
		{&s.leave, `DELETE FROM processes WHERE id = ?`},
		{&s.report, `UPDATE processes SET report = ?, reported = ? WHERE id = ?`},

		{&s.announce, `UPDATE processes SET announcement = ? WHERE id = ?`},

		{&s.waiting, `SELECT shard FROM candidates WHERE process = ?`},
		{&s.wait, `INSERT INTO candidates (process, shard) VALUES (?, ?) ON CONFLICT DO NOTHING`},
		{&s.stopWaiting, `DELETE FROM candidates WHERE process = ? AND shard = ?`},
		{&s.forgetWaiting, `DELETE FROM candidates WHERE process NOT IN (SELECT id FROM processes)`},
		{&s.leaveWaiting, `DELETE FROM candidates WHERE process = ?`},

		{&s.addEvent, addEvent},
		{&s.letterExists, `SELECT count(*) FROM dead_letters WHERE id = ?`},
		{&s.sumLetters, `SELECT count(*), coalesce(sum(length(payload)), 0) FROM dead_letters`},
		{&s.addLetter, `INSERT INTO dead_letters
			(id, shard, seq, sub, arrived, reason, detail, payload, length, sha256, put_aside_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&s.count, `INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value`},
		{&s.note, `INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value`},
		{&s.countUnread, `SELECT count(*), EXISTS (SELECT 1 FROM consumers) FROM (` + overdue + `)
			WHERE n > (SELECT coalesce(max(n), 0) FROM consumers)`},
		{&s.expire, `DELETE FROM events WHERE n IN (` + overdue + `)`},
	} {
		if *p.stmt, err = conn.PrepareContext(ctx, p.text); err != nil {
			s.close()
			return statements{}, err
		}
		s.all = append(s.all, *p.stmt)
	}
	return s, nil
}

// currentEpoch is the epoch of the start record; 0 while there is none that can
// be read.
const currentEpoch = `(SELECT coalesce(max(json_extract(CASE WHEN json_valid(record) THEN record END, '$.epoch')), 0) FROM start)`

// inEpoch returns ErrStaleEpoch if the start record is of a later epoch.
func (s *statements) inEpoch(epoch int) error {
	var current int
	if _, err := s.get(s.currentEpoch, nil, []any{&current}); err != nil {
		return err
	}
	return storekit.CheckEpoch(epoch, current)
}

func (s *statements) close() {
	for _, stmt := range s.all {
		_ = stmt.Close() // closing a statement reports the statement's last failure, which was handled
	}
	s.all = nil
}

func (s *statements) exec(stmt *sql.Stmt, args ...any) error {
	_, err := stmt.ExecContext(context.Background(), args...)
	return err
}

// changed runs a statement and tells how many rows it changed.
func (s *statements) changed(stmt *sql.Stmt, args ...any) (int64, error) {
	r, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// get reads one row into dest. ok is false when there is none.
func (s *statements) get(stmt *sql.Stmt, args, dest []any) (ok bool, err error) {
	err = stmt.QueryRowContext(context.Background(), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
