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
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

// Reader reads a store's file without taking part in it. It changes nothing and
// may be used while processes write.
type Reader struct {
	db      *sql.DB
	path    string
	info    os.FileInfo // of the file as it was opened
	closing closing

	hasAttributes atomic.Bool // the file's events have them: it is not, or no longer, of an older version
}

// OpenReader opens a file that is there. The error is one line that says what
// is wrong and what to do.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	r := &Reader{}
	var err error
	if r.path, err = existing(path); err == nil {
		r.info, err = os.Stat(r.path)
	}
	if err == nil {
		r.db, err = openExisting(ctx, r.path, dsn(r.path, "ro", "query_only(1)"))
	}
	if err != nil {
		return nil, openError("read store", path, err)
	}
	return r, nil
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

// openExisting opens a database, and refuses one that is not a store, and one
// of a newer version.
func openExisting(ctx context.Context, path, dsn string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2)
	s, err := readSchema(ctx, db)
	switch {
	case err != nil:
		err = explainRead(path, err)
	case s.empty():
		err = errors.New("it is empty: nothing has run on it yet")
	default:
		err = s.check()
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close closes the file; what is ranged over fails. It waits for nothing, and
// returns the same each time it is called.
func (r *Reader) Close(context.Context) error { return r.closing.do(r.db.Close) }

// The bounds of one read: it is short, so that the write-ahead log can be moved
// into the database, and what it reads is held in memory. A single event may be
// larger.
const (
	readPage  = 500
	readBytes = 4 << 20
)

// Events yields the events after a number (0: from the oldest held), in the
// order of their commits, to the last one there is. An error is the last pair.
func (r *Reader) Events(ctx context.Context, after int64) iter.Seq2[queue.Event, error] {
	return func(yield func(queue.Event, error) bool) {
		for {
			page, err := r.page(ctx, after)
			if err != nil {
				yield(queue.Event{}, fmt.Errorf("read events of %s: %w", r.path, explainRead(r.path, err)))
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

// Since returns the number of the oldest event that was queued or arrived at a
// time or later, whichever is later; one more than the newest's if there is
// none.
func (r *Reader) Since(ctx context.Context, t time.Time) (int64, error) {
	n, err := numberSince(ctx, r.db, t)
	if err != nil {
		return 0, fmt.Errorf("search events of %s: %w", r.path, explainRead(r.path, err))
	}
	return n, nil
}

// Last returns the number behind which are so many of the events that a filter
// keeps, or all of them if there are fewer.
func (r *Reader) Last(ctx context.Context, count int, m queue.Matcher) (before int64, err error) {
	rows, err := r.db.QueryContext(ctx, `SELECT n, type, project, ref FROM events ORDER BY n DESC`)
	if err != nil {
		return 0, fmt.Errorf("search events of %s: %w", r.path, explainRead(r.path, err))
	}
	defer rows.Close()
	for newest := true; rows.Next(); newest = false {
		var n int64
		var e gerritstream.Event
		if err := rows.Scan(&n, &e.Type, &e.Project, &e.Ref); err != nil {
			return 0, fmt.Errorf("search events of %s: %w", r.path, err)
		}
		if count == 0 {
			return n, nil
		}
		if newest {
			before = n
		}
		if m.Keeps(&e) {
			count--
			before = n - 1 // those between are not its: nobody reads them again
		}
	}
	return before, explainRead(r.path, rows.Err())
}

// Extent returns what the queue holds, of all that it ever held.
func (r *Reader) Extent(ctx context.Context) (e queue.Extent, err error) {
	var from sql.NullInt64
	_, err = get(ctx, r.db, []any{&from, &e.Newest, &e.Expired}, `SELECT
		(SELECT min(max(arrived, queued_at)) FROM events),
		coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0),
		coalesce((SELECT value FROM counters WHERE name = 'expired'), 0)`)
	if err != nil {
		return e, fmt.Errorf("read events of %s: %w", r.path, explainRead(r.path, err))
	}
	if from.Valid {
		e.Oldest = storekit.FromMillis(from.Int64)
	}
	return e, nil
}

// Number returns the number of an event; 0: it is not held.
func (r *Reader) Number(ctx context.Context, id gerritstream.EventID) (n int64, err error) {
	if _, err = get(ctx, r.db, []any{&n}, `SELECT n FROM events WHERE id = ?`, id[:]); err != nil {
		return 0, fmt.Errorf("search events of %s: %w", r.path, explainRead(r.path, err))
	}
	return n, nil
}

// FirstArrival returns when the first of the events after a number, up to
// another, arrived that arrived at a time or later; zero: there is none. It
// looks at each of them.
func (r *Reader) FirstArrival(ctx context.Context, after, upTo int64, from time.Time) (first time.Time, err error) {
	var at sql.NullInt64
	_, err = get(ctx, r.db, []any{&at}, `SELECT min(arrived) FROM events WHERE n > ? AND n <= ? AND arrived >= ?`,
		after, upTo, from.UnixMilli())
	if err != nil {
		return first, fmt.Errorf("search events of %s: %w", r.path, explainRead(r.path, err))
	}
	if at.Valid {
		first = storekit.FromMillis(at.Int64)
	}
	return first, nil
}

// followEvery is how often Follow looks for events once it has read all.
const followEvery = 100 * time.Millisecond

// Follow yields the events after a number (0: from the oldest held), as Events
// does, and then those that are queued later, within about a tenth of a second,
// until ctx ends or the caller breaks off. It holds a few MiB of events at a
// time, or one that is larger, and no lock on the file while the caller is busy
// or there is nothing to read.
//
// An error is the last pair: that of ctx, ErrStoreGone when another file has
// taken the place of this one, or one of SQLite's, after which Follow may be
// called again, with the Number of the last event handled. A consumer that must
// handle each event keeps that number with its results, and writes it to the
// table consumers, so that events which retention removes unread are noticed.
func (r *Reader) Follow(ctx context.Context, after int64) iter.Seq2[queue.Event, error] {
	return func(yield func(queue.Event, error) bool) {
		for {
			for e, err := range r.Events(ctx, after) {
				if !yield(e, err) || err != nil {
					return
				}
				after = e.Number
			}
			var end error
			if !storekit.Sleep(ctx, followEvery) {
				end = context.Cause(ctx)
			} else if info, err := os.Stat(r.path); errors.Is(err, os.ErrNotExist) {
				end = fmt.Errorf("%w: the file was removed while it was read", gerritstream.ErrStoreGone)
			} else if err == nil && !os.SameFile(info, r.info) {
				end = fmt.Errorf("%w: the file was replaced by another while it was read", gerritstream.ErrStoreGone)
			}
			if end != nil {
				yield(queue.Event{}, fmt.Errorf("follow events of %s: %w", r.path, end))
				return
			}
		}
	}
}

// page reads the next events. A file of an older version has no attributes.
func (r *Reader) page(ctx context.Context, after int64) (page []queue.Event, err error) {
	columns := eventColumns
	if !r.hasAttributes.Load() {
		s, err := readSchema(ctx, r.db)
		if err != nil {
			return nil, err
		}
		if s.version < attributesSince {
			columns = oldEventColumns
		} else {
			r.hasAttributes.Store(true)
		}
	}
	return scanEvents(ctx, r.db, `SELECT `+columns+` FROM events WHERE n > ? ORDER BY n LIMIT ?`, after, readPage)
}

// The columns that scanEvent takes, of events, of events in a file of a version
// without attributes, and of additions.
const (
	oldColumns = `n, id, shard, seq, sub, arrived, type, project, ref, coalesce(change, 0), created, queued_at,
		payload, `

	eventColumns    = oldColumns + `attributes, 0`
	oldEventColumns = oldColumns + `NULL, 0`
	additionColumns = oldColumns + `attributes, 1`
)

// scanEvents reads the events that a query selects, until they are larger than
// readBytes.
func scanEvents(ctx context.Context, q querier, query string, args ...any) (page []queue.Event, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
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
		size += e.Entry.Weight()
	}
	return page, rows.Err()
}

// scanEvent scans a row that begins with the columns of an event.
func scanEvent(rows *sql.Rows, rest ...any) (event queue.Event, err error) {
	var id, attributes []byte
	var arrived, queued int64
	var created sql.NullInt64
	e := &event.Entry
	err = rows.Scan(append([]any{&event.Number, &id, &e.Shard, &e.Seq, &e.Sub, &arrived, &e.Event.Type,
		&e.Event.Project, &e.Event.Ref, &e.Event.Change, &created, &queued, &e.Payload, &attributes,
		&event.Replayed}, rest...)...)
	if err != nil {
		return event, err
	}
	copy(e.ID[:], id)
	if len(attributes) > 0 {
		if err := json.Unmarshal(attributes, &e.Event.Attributes); err != nil {
			return event, fmt.Errorf("attributes of event %s: %w", e.ID, err)
		}
	}
	e.Arrived, event.Queued = storekit.FromMillis(arrived), storekit.FromMillis(queued)
	if created.Valid {
		e.Event.Created = storekit.FromMillis(created.Int64)
	}
	return event, nil
}
