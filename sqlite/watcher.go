package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/pauses"
)

// lookEvery is how often the watcher looks into the file: how late a
// resignation is noticed without touches.
const lookEvery = 250 * time.Millisecond

// tables is a lease.Database: the tables of processes, candidates and leases,
// and what else calls wait for.
type tables struct {
	store *Store

	// Of the watcher's goroutine:
	conn         *sql.Conn // nil: to be opened
	version      int64     // of the file as read last
	pauses       pauses.Set
	pausesChange int64 // how often they were changed; never 0
}

// Read implements lease.Database. It reads nothing if the file was not written
// to since the last time.
func (o *tables) Read(state *lease.State) (changed bool, err error) {
	ctx := context.Background()
	defer func() {
		if err != nil {
			o.disconnect()
			err = explain(o.store.place.path, err)
		}
	}()
	if o.conn == nil {
		if o.conn, err = o.store.reading.Conn(ctx); err != nil {
			return false, err
		}
		o.version, o.pausesChange = 0, 0
	}
	var version int64
	if err := o.conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil || version == o.version {
		return false, err
	}
	if err := view(ctx, o.conn, func(tx *sql.Tx) error { return o.readChanged(ctx, tx, state) }); err != nil {
		return false, err
	}
	o.version = version
	return true, nil
}

// readChanged reads the processes, and of the rest what was changed.
func (o *tables) readChanged(ctx context.Context, tx *sql.Tx, state *lease.State) (err error) {
	c, was, paused := &state.Changes, state.Changes, o.pausesChange
	err = tx.QueryRowContext(ctx, `SELECT leases, candidates, members, pauses FROM changes`).
		Scan(&c.Leases, &c.Candidates, &c.Members, &o.pausesChange)
	if err == nil {
		state.Processes, err = readProcesses(ctx, tx)
	}
	if err == nil && c.Leases != was.Leases {
		state.Leases, err = readLeases(ctx, tx)
	}
	if err == nil && c.Candidates != was.Candidates {
		state.Candidates, err = readCandidates(ctx, tx, waitingCandidates)
	}
	if err == nil && c.Members != was.Members {
		state.Members, err = readMembers(ctx, tx)
	}
	if err == nil && o.pausesChange != paused {
		o.pauses, err = readPauses(ctx, tx)
	}
	return err
}

// readLeases reads all leases, without their holders' heartbeats.
func readLeases(ctx context.Context, q querier) (map[gerritstream.ShardID]lease.Lease, error) {
	leases := map[gerritstream.ShardID]lease.Lease{}
	err := each(ctx, q, func(rows *sql.Rows) error {
		var shard gerritstream.ShardID
		var l lease.Lease
		err := rows.Scan(&shard, &l.Term, &l.Process)
		leases[shard] = l
		return err
	}, `SELECT shard, term, process FROM leases`)
	return leases, err
}

// WaitEnded implements gerritstream.Store.
func (s *Store) WaitEnded(ctx context.Context, epoch int, shard gerritstream.ShardID) error {
	read := false
	return s.watcher.Await(ctx, func(changed bool, _ time.Time) (bool, error) {
		if read && !changed {
			return false, nil
		}
		pos, ok, err := readPosition(context.Background(), s.tables.conn, epoch, shard)
		if err != nil && !errors.Is(err, gerritstream.ErrNewerFormat) {
			s.tables.disconnect()
			return false, explain(s.place.path, err)
		}
		read = true
		return ok && pos.Ended, nil
	})
}

// WaitGroupChange implements gerritstream.Group.
func (s *Store) WaitGroupChange(ctx context.Context, seen gerritstream.GroupState) (bool, error) {
	return s.watcher.WaitGroupChange(ctx, seen)
}

// watch looks into the file for the life of the store.
func (s *Store) watch() {
	defer s.tables.disconnect()
	s.watcher.Run()
}

func (o *tables) disconnect() {
	if o.conn == nil {
		return
	}
	if err := o.conn.Close(); err != nil {
		o.store.log.Debug("cannot close the watching connection", "err", err)
	}
	o.conn = nil
}
