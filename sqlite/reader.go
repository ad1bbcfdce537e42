package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Reader reads a store's file without becoming a member of it. It changes
// nothing and may be used while processes write.
type Reader struct {
	db      *sql.DB
	path    string
	info    os.FileInfo // of the file as it was opened
	closing closing

	hasAttributes atomic.Bool // events have them; else the file is of an older version, or was when it was looked at last
}

// Event is an event as the queue holds it.
type Event struct {
	gerritstream.Entry
	Number int64     // its place in the queue: grows in the order of the commits, with gaps, and never comes twice
	Queued time.Time // by the clock of the process that queued it, to the millisecond
}

// OpenReader opens a file that is there. The error is one line that says what
// is wrong and what to do.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	r, err := openReader(ctx, path)
	if err != nil {
		return nil, openError("read store", path, err)
	}
	return r, nil
}

func openReader(ctx context.Context, path string) (*Reader, error) {
	path, err := existing(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(path, "ro", "query_only(1)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2)
	if err := checkStore(ctx, db, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Reader{db: db, path: path, info: info}, nil
}

// existing returns the absolute path, without links, of a file that is there.
func existing(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("there is no such file: nothing has run on it yet, or the path is wrong (%w)", err)
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("it is not a regular file (%v)", info.Mode().Type())
	}
	return path, nil
}

// checkStore refuses a file that is no store, and one of a newer version.
func checkStore(ctx context.Context, db *sql.DB, path string) error {
	s, err := readSchema(ctx, db)
	switch {
	case err != nil:
		return explainRead(path, err)
	case s.empty():
		return errors.New("it is empty: nothing has run on it yet")
	}
	return s.check()
}

// Close closes the file; what is ranged over fails. It waits for nothing, and
// returns the same each time it is called.
func (r *Reader) Close(context.Context) error { return r.closing.close(r.db) }

// closing closes a database once.
type closing struct {
	once sync.Once
	err  error
}

func (c *closing) close(db *sql.DB) error {
	c.once.Do(func() { c.err = db.Close() })
	return c.err
}

// The bounds of what one read takes: reads are short, so that the WAL can be
// carried over into the file, and what was read is held. A single event may be
// larger.
const (
	readPage  = 500
	readBytes = 4 << 20
)

// Events yields the events behind a number (0: from the oldest held), in the
// order of their commits, to the last one there is. An error is the last pair.
func (r *Reader) Events(ctx context.Context, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			page, err := r.page(ctx, after)
			if err != nil {
				yield(Event{}, fmt.Errorf("read events of %s: %w", r.path, explainRead(r.path, err)))
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
				after = page[i].Number
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// followEvery is how often Follow looks for events once it has read all.
const followEvery = 100 * time.Millisecond

// Follow yields the events behind a number (0: from the oldest held), as Events
// does, and goes on with those that are queued later, within about a tenth of a
// second, until ctx ends or the caller breaks off. It holds a few MiB of events
// at a time, or one that is larger, and nothing of the file while the caller is
// busy or there is nothing to read.
//
// An error is the last pair: that of ctx, ErrStoreGone when another file lies
// in the place of this one, or one of SQLite's, after which it may be tried
// again. The Number of the last event handled is where to go on: a consumer
// that must handle each event keeps it with its results, and writes it to the
// table consumers, so that events which retention removes unread are noticed.
func (r *Reader) Follow(ctx context.Context, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			for e, err := range r.Events(ctx, after) {
				if !yield(e, err) || err != nil {
					return
				}
				after = e.Number
			}
			if err := r.pause(ctx); err != nil {
				yield(Event{}, fmt.Errorf("follow events of %s: %w", r.path, err))
				return
			}
		}
	}
}

// pause waits until it is time to look again. A file that is not this one any
// more is an error: nothing will come.
func (r *Reader) pause(ctx context.Context) error {
	timer := time.NewTimer(followEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	info, err := os.Stat(r.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: the file was removed while it was read", gerritstream.ErrStoreGone)
	case err == nil && !os.SameFile(info, r.info):
		return fmt.Errorf("%w: the file was replaced by another while it was read", gerritstream.ErrStoreGone)
	}
	return nil
}

// page reads the next events.
func (r *Reader) page(ctx context.Context, after int64) (page []Event, err error) {
	query, err := r.nextEvents(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := r.db.QueryContext(ctx, query, after, readPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for size := 0; size < readBytes && rows.Next(); {
		e, err := scanEvent(rows)
		if err != nil {
			return nil, err
		}
		page = append(page, e)
		size += e.Weight()
	}
	return page, rows.Err()
}

// What nextEvents returns: events behind a number, so many of them, with the
// columns of scanEvent.
const (
	eventColumns      = `SELECT n, id, shard, seq, sub, arrived, type, project, ref, coalesce(change, 0), created, queued_at, payload`
	behindNumber      = ` FROM events WHERE n > ? ORDER BY n LIMIT ?`
	withAttributes    = eventColumns + `, attributes` + behindNumber
	withoutAttributes = eventColumns + `, NULL` + behindNumber
)

// nextEvents returns the query for the next events. A file of an older version
// has no attributes.
func (r *Reader) nextEvents(ctx context.Context) (string, error) {
	if !r.hasAttributes.Load() {
		s, err := readSchema(ctx, r.db)
		if err != nil {
			return "", err
		}
		if s.version < attributesSince {
			return withoutAttributes, nil
		}
		r.hasAttributes.Store(true)
	}
	return withAttributes, nil
}

func scanEvent(rows *sql.Rows) (e Event, err error) {
	var id []byte
	var arrived, queued int64
	var created sql.NullInt64
	var attributes []byte
	if err := rows.Scan(&e.Number, &id, &e.Shard, &e.Seq, &e.Sub, &arrived, &e.Event.Type, &e.Event.Project, &e.Event.Ref,
		&e.Event.Change, &created, &queued, &e.Payload, &attributes); err != nil {
		return e, err
	}
	if len(attributes) > 0 {
		if err := json.Unmarshal(attributes, &e.Event.Attributes); err != nil {
			return e, fmt.Errorf("attributes of event %s: %w", e.ID, err)
		}
	}
	copy(e.ID[:], id)
	e.Arrived, e.Queued = storekit.FromMillis(arrived), storekit.FromMillis(queued)
	if created.Valid {
		e.Event.Created = storekit.FromMillis(created.Int64)
	}
	return e, nil
}

// DeadLetters returns the dead letters held, oldest first. They are bounded: at
// most 1,000, of 32 MiB together.
func (r *Reader) DeadLetters(ctx context.Context) (letters []gerritstream.DeadLetter, err error) {
	rows, err := r.db.QueryContext(ctx, `SELECT `+letterColumns+` FROM dead_letters ORDER BY n`)
	if err != nil {
		return nil, fmt.Errorf("read dead letters of %s: %w", r.path, explainRead(r.path, err))
	}
	defer rows.Close()
	for rows.Next() {
		_, l, err := scanLetter(rows)
		if err != nil {
			return nil, err
		}
		letters = append(letters, l.DeadLetter)
	}
	return letters, rows.Err()
}

// letterColumns are what scanLetter reads.
const letterColumns = `n, id, shard, seq, sub, arrived, reason, detail, payload, length, sha256, put_aside_at`

// scanner is a row, or the current one of several.
type scanner interface{ Scan(dest ...any) error }

// scanLetter reads a dead letter and its number.
func scanLetter(row scanner) (n int64, l gerritstream.StoredDeadLetter, err error) {
	var id, sum []byte
	var arrived, aside int64
	if err := row.Scan(&n, &id, &l.DeadLetter.Shard, &l.DeadLetter.Seq, &l.DeadLetter.Sub, &arrived, &l.DeadLetter.Reason, &l.DeadLetter.Detail, &l.DeadLetter.Payload, &l.DeadLetter.Length, &sum, &aside); err != nil {
		return 0, l, err
	}
	copy(l.DeadLetter.ID[:], id)
	copy(l.DeadLetter.SHA256[:], sum)
	l.DeadLetter.Arrived, l.StoredAt = storekit.FromMillis(arrived), storekit.FromMillis(aside)
	return n, l, nil
}
