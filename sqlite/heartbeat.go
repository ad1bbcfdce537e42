package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
)

// forgetAfter is when the row of a process that stopped without leaving is
// removed.
const forgetAfter = time.Hour

// Beat implements lease.Database, in a transaction that goes before all others
// that wait. SQLite's busy timeout bounds it, and not its context.
func (o *tables) Beat(
	_ context.Context, waiting lease.Waiting,
) (held map[gerritstream.ShardID]uint64, err error) {
	s, listed := o.store, false
	if err := s.check(); err != nil {
		return nil, err
	}
	err = s.writer.doUrgent(func(tx *transaction) (err error) {
		if err := s.beat(tx); err != nil {
			return err
		}
		if listed, err = s.writeCandidates(tx, waiting); err != nil {
			return err
		}
		held = map[gerritstream.ShardID]uint64{}
		return each(context.Background(), tx, func(rows *sql.Rows) error {
			var shard gerritstream.ShardID
			var number uint64
			err := rows.Scan(&shard, &number)
			held[shard] = number
			return err
		}, `SELECT shard, term FROM leases WHERE process = ?`, s.id)
	})
	if err != nil {
		return nil, err
	}
	if listed {
		s.touches.touch()
	}
	return held, nil
}

// beat writes a heartbeat. It is part of everything that adds the process to
// the file, so that nothing does once the process has left.
func (s *Store) beat(tx *transaction) error {
	if s.heartbeat.Leaving() {
		return errClosed
	}
	now := s.config.Now()
	forgotten, err := tx.change(`DELETE FROM processes
		WHERE beaten < ? AND id <> ? AND id NOT IN (SELECT process FROM leases)`,
		now.Add(-forgetAfter).UnixMilli(), s.id)
	if err == nil && forgotten > 0 {
		err = tx.exec(`DELETE FROM candidates WHERE process NOT IN (SELECT id FROM processes)`)
	}
	if err != nil {
		return err
	}
	s.writer.beats++
	return tx.exec(`INSERT INTO processes (id, name, beat, ttl, beaten) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET beat = excluded.beat, beaten = excluded.beaten`,
		s.id, s.config.Process, s.writer.beats, s.config.LeaseTTL.Milliseconds(), now.UnixMilli())
}

// Free implements lease.Database.
func (o *tables) Free(_ context.Context, leases map[gerritstream.ShardID]uint64) error {
	err := o.store.writer.doUrgent(func(tx *transaction) error {
		for shard, number := range leases {
			if err := tx.exec(freeLease, shard, number, o.store.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		o.store.touches.touch()
	}
	return err
}

// freeLease frees a lease if this process still has it in this term.
const freeLease = `UPDATE leases SET process = '' WHERE shard = ? AND term = ? AND process = ?`

const removeCandidate = `DELETE FROM candidates WHERE process = ? AND shard = ?`

// writeCandidates writes for which shards this process is a candidate, where
// that differs from the file, and reports whether it did.
func (s *Store) writeCandidates(tx *transaction, waiting lease.Waiting) (changed bool, err error) {
	stored := map[gerritstream.ShardID]bool{}
	err = each(context.Background(), tx, func(rows *sql.Rows) error {
		var shard gerritstream.ShardID
		err := rows.Scan(&shard)
		stored[shard] = true
		return err
	}, `SELECT shard FROM candidates WHERE process = ?`, s.id)
	if err != nil {
		return false, err
	}
	keep, add := waiting()
	for shard := range stored {
		if !slices.Contains(keep, shard) {
			if err := tx.exec(removeCandidate, s.id, shard); err != nil {
				return changed, err
			}
			changed = true
		}
	}
	for _, shard := range add {
		if !stored[shard] {
			err := tx.exec(`INSERT INTO candidates (process, shard) VALUES (?, ?) ON CONFLICT DO NOTHING`, s.id, shard)
			if err != nil {
				return changed, err
			}
			changed = true
		}
	}
	return changed, nil
}
