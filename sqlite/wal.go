package sqlite

import (
	"context"
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

// tend keeps the -wal file bounded until stop. SQLite carries commits over into
// the database by itself, but uses the file from its beginning again only when
// it happens to find no reader in it, and never makes it smaller.
func (s *Store) tend() {
	ctx, cancel := context.WithCancel(context.Background()) // carrying a large log over takes longer than a stop may
	defer cancel()
	s.running.Go(func() {
		<-s.stop
		cancel()
	})
	tick := time.NewTicker(walEvery)
	defer tick.Stop()
	w := walKeeper{store: s, said: -1}
	for {
		if err := w.look(ctx); err != nil && !errors.Is(err, errClosed) && s.fate() == nil {
			s.log.Debug("look after the write-ahead log", "error", err)
		}
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
	}
}

// walKeeper looks after the -wal file.
type walKeeper struct {
	store   *Store
	carried int64 // pages that had been carried over, at the last look
	since   int64 // local, milliseconds: from when on a reader has kept more from being so; 0: none does
	said    int64 // what was written down of that; -1: nothing yet
}

// look cuts the -wal file back if it is too large, and writes down since when a
// reader has prevented that. Processes that lead nothing leave it to those that
// do.
func (w *walKeeper) look(ctx context.Context) error {
	if !w.store.leadsAny() {
		return nil
	}
	size, err := w.store.walSize()
	switch {
	case err != nil:
		return err
	case size <= walLimit:
		w.since = 0
	default:
		err = w.cut(ctx)
	}
	if w.since != w.said && err == nil {
		err = w.store.writer.do(context.Background(), func(st *statements) error { return st.exec(st.note, walHeldSince, w.since) })
		if err == nil {
			w.said = w.since
		}
	}
	return err
}

// cut carries the log over into the database as far as readers let it, and if
// that is all of it, makes its file small.
func (w *walKeeper) cut(ctx context.Context) error {
	log, carried, err := w.store.checkpoint(ctx, "PASSIVE")
	switch {
	case err != nil, log < 0: // another process is at it
	case carried >= log:
		w.since = 0
		_, _, err = w.store.checkpoint(ctx, "TRUNCATE")
	case w.since == 0, carried != w.carried: // another reader is the oldest now
		w.since = w.store.config.Now().UnixMilli()
	}
	w.carried = carried
	return err
}

// walHeldSince is the counter that says since when a reader has kept the log
// from being carried over; 0: none does.
const walHeldSince = "wal held since"

// checkpoint carries the log over into the database, and with TRUNCATE empties
// its file. log is how many pages it has, carried how many of them are carried
// over.
func (s *Store) checkpoint(ctx context.Context, mode string) (log, carried int64, err error) {
	var busy int64
	err = s.tending.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &log, &carried)
	return log, carried, err
}

// walSize returns how large the -wal file is.
func (s *Store) walSize() (int64, error) { return walSize(s.place.real) }

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

// leadsAny reports whether this process leads anything.
func (s *Store) leadsAny() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.terms) > 0
}
