package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// Reader reads a store's schema without taking part in it. It changes nothing,
// needs only the privileges of a reader, and may be used while processes write,
// on a standby as well.
type Reader struct {
	db      *database
	where   string
	closing closing
}

// readerConnections is how many connections a Reader may have.
const readerConnections = 2

// OpenReader opens a schema that is there. The errors are those of Open.
func OpenReader(ctx context.Context, config Config) (*Reader, error) {
	r := &Reader{}
	var err error
	if r.db, r.where, err = openToRead(ctx, &config, readerConnections); err != nil {
		return nil, openError("read store", r.where, err)
	}
	return r, nil
}

// Close closes the connections; what is ranged over fails. It returns the same
// each time it is called.
func (r *Reader) Close(context.Context) error {
	return r.closing.do(func() error {
		r.db.pool.Close()
		return nil
	})
}

// The bounds of one read, which is held in memory, and whose snapshot keeps the
// server from removing old versions of rows. A single event may be larger.
const (
	readPage  = 500
	readBytes = 4 << 20
)

// readPatience bounds a read of any number of rows without their payloads.
const readPatience = time.Minute

// Events yields the events after a number (0: from the oldest held), in the
// order of their commits, to the last one there is. No transaction is open
// while the caller is busy. An error is the last pair.
func (r *Reader) Events(ctx context.Context, after int64) iter.Seq2[queue.Event, error] {
	return func(yield func(queue.Event, error) bool) {
		for {
			page, err := r.page(ctx, after)
			if err != nil {
				yield(queue.Event{}, r.failed("read events", err))
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

// outagePatience is how long a Reader in the midst of events waits for a server
// that is away, such as one that fails over.
const outagePatience = time.Minute

// page reads the next events, again and again while the server is away.
func (r *Reader) page(ctx context.Context, after int64) ([]queue.Event, error) {
	deadline := time.Now().Add(outagePatience)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		page, err := readEvents(ctx, r.db, after, readPage)
		if !passing(err) || ctx.Err() != nil || time.Now().After(deadline) || !storekit.Sleep(ctx, pause) {
			return page, err
		}
	}
}

// failed describes the error of a read.
func (r *Reader) failed(what string, err error) error {
	return fmt.Errorf("%s of %s: %w", what, r.where, explainRead(err))
}

// Since returns the number of the oldest event that was queued or arrived at a
// time or later, whichever is later; one more than the newest's if there is
// none.
func (r *Reader) Since(ctx context.Context, t time.Time) (int64, error) {
	n, err := numberSince(ctx, r.db, t)
	if err != nil {
		return 0, r.failed("search events", err)
	}
	return n, nil
}

// searchPage is how many events a search looks at in one statement.
const searchPage = 10_000

// Last returns the number behind which are so many of the events that a filter
// keeps, or all of them if there are fewer.
func (r *Reader) Last(ctx context.Context, count int, m queue.Matcher) (before int64, err error) {
	before, err = lastOf(ctx, r.db, count, m)
	if err != nil {
		return 0, r.failed("search events", err)
	}
	return before, nil
}

func lastOf(ctx context.Context, db *database, count int, m queue.Matcher) (before int64, err error) {
	for upTo, looked := int64(1<<62), searchPage; looked == searchPage; {
		looked = 0
		limit := searchPage
		if count == 0 {
			limit = 1
		}
		err := db.eachOfMany(ctx, func(rows pgx.Rows) error {
			var e gerritstream.Event
			var n int64
			if err := rows.Scan(&n, &e.Type, &e.Project, &e.Ref); err != nil {
				return err
			}
			if newest := upTo == 1<<62 && looked == 0; newest {
				before = n
			}
			looked, upTo = looked+1, n-1
			if count > 0 && m.Keeps(&e) {
				count--
				before = n - 1 // those between are not its: nobody reads them again
			}
			return nil
		}, `SELECT n, type, project, ref FROM @.events WHERE n <= $1 ORDER BY n DESC LIMIT $2`, upTo, limit)
		if err != nil || count == 0 {
			return before, err
		}
	}
	return before, nil
}

// Extent returns what the queue holds, of all that it ever held.
func (r *Reader) Extent(ctx context.Context) (e queue.Extent, err error) {
	var from *time.Time
	_, err = r.db.get(ctx, []any{&from, &e.Newest, &e.Expired}, `SELECT
		(SELECT min(greatest(arrived, queued_at)) FROM @.events), (SELECT n FROM @.head),
		coalesce((SELECT value FROM @.counters WHERE name = 'expired'), 0)`)
	if err != nil {
		return e, r.failed("read events", err)
	}
	if from != nil {
		e.Oldest = from.UTC()
	}
	return e, nil
}

// Number returns the number of an event; 0: it is not held.
func (r *Reader) Number(ctx context.Context, id gerritstream.EventID) (n int64, err error) {
	if _, err = r.db.get(ctx, []any{&n}, `SELECT n FROM @.events WHERE id = $1`, [16]byte(id)); err != nil {
		return 0, r.failed("search events", err)
	}
	return n, nil
}

// FirstArrival returns when the first of the events after a number, up to
// another, arrived that arrived at a time or later; zero: there is none. It
// looks at each of them.
func (r *Reader) FirstArrival(ctx context.Context, after, upTo int64, from time.Time) (first time.Time, err error) {
	err = r.db.eachOfMany(ctx, func(rows pgx.Rows) error {
		var at *time.Time
		err := rows.Scan(&at)
		if at != nil {
			first = at.UTC()
		}
		return err
	}, `SELECT min(arrived) FROM @.events WHERE n > $1 AND n <= $2 AND arrived >= $3`, after, upTo, from)
	if err != nil {
		return first, r.failed("search events", err)
	}
	return first, nil
}

// Consumers returns all consumers, by name.
func (r *Reader) Consumers(ctx context.Context) ([]queue.Info, error) {
	infos, err := readConsumers(ctx, r.db)
	if err != nil {
		return nil, r.failed("read consumers", err)
	}
	return infos, nil
}

// HookStates returns what is kept of the webhooks.
func (r *Reader) HookStates(ctx context.Context) ([]webhook.State, error) {
	states, err := readHooks(ctx, r.db, `true`)
	if err != nil {
		return nil, r.failed("read webhooks", err)
	}
	return states, nil
}

// followEvery is how often Follow looks for events once it has read all.
const followEvery = 100 * time.Millisecond

// Follow yields the events after a number (0: from the oldest held), as Events
// does, and then those that are queued later, within about a tenth of a second,
// until ctx ends or the caller breaks off. It holds a few MiB of events at a
// time, or one that is larger, and no transaction while the caller is busy or
// there is nothing to read.
//
// An error is the last pair: that of ctx, or one of the server's, if that was
// away for a minute, after which Follow may be called again, with the Number of
// the last event handled. A consumer that must handle each event keeps that
// number with its results, and writes it to the table consumers, so that events
// which retention removes unread are noticed.
func (r *Reader) Follow(ctx context.Context, after int64) iter.Seq2[queue.Event, error] {
	return func(yield func(queue.Event, error) bool) {
		for {
			for e, err := range r.Events(ctx, after) {
				if !yield(e, err) || err != nil {
					return
				}
				after = e.Number
			}
			if !storekit.Sleep(ctx, followEvery) {
				yield(queue.Event{}, r.failed("follow events", context.Cause(ctx)))
				return
			}
		}
	}
}

// The columns that scanEvent takes, of events and of additions.
const (
	entryFields    = `n, ` + eventValues
	eventFields    = entryFields + `, false AS replayed`
	additionFields = entryFields + `, true AS replayed`
)

// readEvents reads the next events, until they are larger than readBytes.
func readEvents(ctx context.Context, db *database, after int64, most int) ([]queue.Event, error) {
	return scanEvents(ctx, db, `SELECT `+eventFields+` FROM @.events WHERE n > $1 ORDER BY n LIMIT $2`, after, most)
}

// scanEvents reads the events that a query selects, in their order, until they
// are larger than readBytes. The server leaves out what is beyond: it looks at
// the lengths, not at the payloads, which it keeps apart if they are large.
func scanEvents(ctx context.Context, db *database, query string, args ...any) (page []queue.Event, err error) {
	query = `SELECT ` + entryFields + `, replayed
		FROM (SELECT *, sum(octet_length(payload)) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
			AS before FROM (` + query + `) page) measured
		WHERE before IS NULL OR before < ` + readBytesText + ` ORDER BY n`
	err = db.each(ctx, func(rows pgx.Rows) error {
		e, err := scanEvent(rows)
		page = append(page, e)
		return err
	}, query, args...)
	return page, err
}

// readBytesText is readBytes, for SQL.
const readBytesText = `4194304`

// scanEvent scans a row that begins with the columns of an event.
func scanEvent(rows pgx.Rows, rest ...any) (event queue.Event, err error) {
	var attributes []byte
	var change *int64
	var created *time.Time
	e := &event.Entry
	err = rows.Scan(append([]any{&event.Number, (*[16]byte)(&e.ID), (*string)(&e.Shard), (*string)(&e.Seq), &e.Sub,
		&e.Arrived, &e.Event.Type, &e.Event.Project, &e.Event.Ref, &change, &created, &event.Queued, &e.Payload,
		&attributes, &event.Replayed}, rest...)...)
	if err != nil {
		return event, err
	}
	if len(attributes) > 0 {
		if err := json.Unmarshal(attributes, &e.Event.Attributes); err != nil {
			return event, fmt.Errorf("attributes of event %s: %w", e.ID, err)
		}
	}
	e.Arrived, event.Queued = e.Arrived.UTC(), event.Queued.UTC()
	if change != nil {
		e.Event.Change = *change
	}
	if created != nil {
		e.Event.Created = created.UTC()
	}
	return event, nil
}

// eachOfMany calls scan for each row of a query that may take longer than a
// call.
func (d *database) eachOfMany(ctx context.Context, scan func(pgx.Rows) error, text string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	rows, err := d.pool.Query(ctx, d.sql(text), args...)
	if err != nil {
		return flat(err)
	}
	return scanAll(rows, scan)
}

// openToRead connects to a schema that is there, on a standby as well, and
// changes nothing. The name of the place is returned with an error as well.
func openToRead(ctx context.Context, c *Config, connections int) (db *database, where string, err error) {
	where = "PostgreSQL"
	if err := c.complete(); err != nil {
		return nil, where, fmt.Errorf("%w: %w", gerritstream.ErrUnusable, err)
	}
	pool, err := c.connecting(connections)
	if err != nil {
		return nil, where, err
	}
	where = place(pool.ConnConfig, c.Schema)
	conn, err := connectOnce(ctx, c)
	if err != nil {
		return nil, where, err
	}
	look, err := inspectServer(ctx, conn, c.Schema)
	if err == nil {
		err = look.check(c.Schema)
	}
	if err == nil {
		err = look.checkMade(c.Schema)
	}
	_ = conn.Close(context.WithoutCancel(ctx)) // nothing depends on it
	if err == nil {
		db, err = openDatabase(ctx, pool, c.Schema, look)
	}
	return db, where, err
}

// checkMade refuses a schema in which there is no store yet.
func (s *server) checkMade(schema string) error {
	if s.version > 0 {
		return nil
	}
	return fmt.Errorf("%w: there is no store in the schema %s: nothing has run on it yet, or the name is wrong",
		gerritstream.ErrUnusable, schema)
}
