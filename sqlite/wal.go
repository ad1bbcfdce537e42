package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

const (
	walLimit = 16 << 20               // bytes: what the -wal file is cut back to
	walEvery = 10 * time.Second       // between looks at it
	walWait  = 200 * time.Millisecond // how long cutting it back may hold up commits
)

// walKeeper keeps the -wal file bounded. SQLite moves commits from it into the
// database by itself, but reuses the file from its start only when it happens
// to find no reader in it, and never shrinks it.
type walKeeper struct {
	store *Store
	db    *sql.DB // without idle connections
	moved int64   // pages that had been moved, at the last look
	since int64   // local, milliseconds: since when a reader has prevented more; 0: none does
	noted int64   // what was written of that; -1: nothing yet
}

// run looks at the file for the life of the store.
func (w *walKeeper) run() {
	s := w.store
	db, err := sql.Open("sqlite", dsn(s.place.real, "rw", fmt.Sprintf("busy_timeout(%d)", walWait.Milliseconds())))
	if err != nil {
		s.log.Warn("cannot look after the write-ahead log", "err", err)
		return
	}
	defer func() { _ = db.Close() }()
	db.SetMaxIdleConns(-1)
	w.db, w.noted = db, -1
	tick := time.NewTicker(walEvery)
	defer tick.Stop()
	for {
		if err := w.look(); err != nil && s.life.Err() == nil {
			s.log.Debug("cannot look after the write-ahead log", "err", err)
		}
		select {
		case <-tick.C:
		case <-s.life.Done():
			return
		}
	}
}

// look cuts the -wal file back if it is too large, and writes since when a
// reader has prevented that. Processes that lead nothing leave it to those that
// do.
func (w *walKeeper) look() error {
	if w.store.heartbeat.Idle() {
		return nil
	}
	size, err := walSize(w.store.place.real)
	switch {
	case err != nil:
		return err
	case size <= walLimit:
		w.since = 0
	default:
		err = w.cut()
	}
	if w.since != w.noted && err == nil {
		err = w.store.writer.do(context.Background(), func(tx *transaction) error {
			return tx.exec(setCounter, walHeldSince, w.since)
		})
		if err == nil {
			w.noted = w.since
		}
	}
	return err
}

// cut moves the log into the database as far as readers permit, and if that is
// all of it, empties the file.
func (w *walKeeper) cut() error {
	size, moved, err := w.checkpoint("PASSIVE")
	switch {
	case err != nil, size < 0: // another process does it
	case moved >= size:
		w.since = 0
		_, _, err = w.checkpoint("TRUNCATE")
	case w.since == 0, moved != w.moved: // another reader is the oldest now
		w.since = w.store.config.Now().UnixMilli()
	}
	w.moved = moved
	return err
}

// checkpoint moves the log into the database. size is how many pages the log
// has, moved how many of them are in the database. The end of the store's life
// interrupts it: a large log takes longer than a stop may.
func (w *walKeeper) checkpoint(mode string) (size, moved int64, err error) {
	var busy int64
	err = w.db.QueryRowContext(w.store.life, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &size, &moved)
	return size, moved, err
}

// walHeldSince is the counter that holds since when a reader has kept the log
// from being moved into the database; 0: none does.
const walHeldSince = "wal held since"

// walSize returns the size of the -wal file of a database.
func walSize(path string) (int64, error) {
	info, err := os.Stat(path + beside[0])
	switch {
	case errors.Is(err, fs.ErrNotExist): // nobody has the database open
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("look at the write-ahead log: %w", err)
	}
	return info.Size(), nil
}
