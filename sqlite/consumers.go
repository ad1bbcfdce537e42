package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

var _ queue.Store = (*Store)(nil)

// Read implements queue.Store.
func (s *Store) Read(ctx context.Context, consumer string, after int64, most int) ([]queue.Event, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	events, err := readQueue(ctx, s.reading, consumer, after, most)
	return events, explainQueue(s.place.path, err)
}

// Wait implements queue.Store.
func (s *Store) Wait(ctx context.Context, consumer string, after int64) error {
	for {
		if err := s.check(); err != nil {
			return err
		}
		var there bool
		_, err := get(ctx, s.reading, []any{&there}, `SELECT EXISTS (SELECT 1 FROM events WHERE n > ?1)
			OR EXISTS (SELECT 1 FROM additions WHERE consumer = ?2 AND n > ?1)`, after, consumer)
		if err != nil || there {
			return explainQueue(s.place.path, err)
		}
		if !storekit.Sleep(ctx, followEvery) {
			return context.Cause(ctx)
		}
	}
}

// Bounds implements queue.Store.
func (s *Store) Bounds(ctx context.Context) (oldest, newest int64, err error) {
	if err := s.check(); err != nil {
		return 0, 0, err
	}
	_, err = get(ctx, s.reading, []any{&newest, &oldest},
		`WITH used (n) AS (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0))
		SELECT n, min(coalesce((SELECT min(events.n) FROM events), n + 1),
			coalesce((SELECT min(additions.n) FROM additions), n + 1)) FROM used`)
	return oldest, newest, explainQueue(s.place.path, err)
}

// Since implements queue.Store.
func (s *Store) Since(ctx context.Context, t time.Time) (n int64, err error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	n, err = numberSince(ctx, s.reading, t)
	return n, explainQueue(s.place.path, err)
}

func numberSince(ctx context.Context, q querier, t time.Time) (n int64, err error) {
	_, err = get(ctx, q, []any{&n}, `SELECT coalesce(
		(SELECT min(n) FROM events WHERE max(arrived, queued_at) >= ?),
		(SELECT seq + 1 FROM sqlite_sequence WHERE name = 'events'), 1)`, t.UnixMilli())
	return n, err
}

// Consumers implements queue.Store.
func (s *Store) Consumers(ctx context.Context) ([]queue.Info, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	infos, err := readConsumers(ctx, s.reading, s.config.Now())
	return infos, explainQueue(s.place.path, err)
}

// Consumers returns all consumers, by name. A file that no version with
// consumers has opened yet has none.
func (r *Reader) Consumers(ctx context.Context) ([]queue.Info, error) {
	s, err := readSchema(ctx, r.db)
	if err == nil && s.version < consumersSince {
		return nil, nil
	}
	var infos []queue.Info
	if err == nil {
		infos, err = readConsumers(ctx, r.db, time.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("read consumers of %s: %w", r.path, explainRead(r.path, err))
	}
	return infos, nil
}

// Register implements queue.Store.
func (s *Store) Register(ctx context.Context, name string, f queue.Filter, after int64) error {
	if _, err := f.Matcher(); err != nil {
		return fmt.Errorf("register consumer %s: %w", name, err)
	}
	if err := queue.CheckStoredName(name); err != nil {
		return err
	}
	err := s.writer.write(ctx, storekit.PointConsumers, func(tx *transaction) error {
		n, err := tx.change(`INSERT INTO consumers (name, n, at, filter, handed) VALUES (?1, ?2, ?3, nullif(?4, ''), ?2)
			ON CONFLICT DO NOTHING`, name, after, s.config.Now().UnixMilli(), queue.EncodeFilter(f))
		if err == nil && n == 0 {
			err = queue.ErrExists
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("register consumer %s: %w", name, err)
	}
	return nil
}

// Seek implements queue.Store.
func (s *Store) Seek(ctx context.Context, name string, after int64) error {
	return s.changeFree(ctx, "seek", name, func(tx *transaction) error {
		return tx.exec(`UPDATE consumers SET n = ?1, handed = ?1, ahead = ?1, beyond = NULL, at = ?2 WHERE name = ?3`,
			after, s.config.Now().UnixMilli(), name)
	})
}

// Remove implements queue.Store.
func (s *Store) Remove(ctx context.Context, name string) error {
	return s.changeFree(ctx, "remove", name, func(tx *transaction) error {
		// A process that believes to have the lease had it in a term that no
		// other process can have, and that it does not use again itself.
		if err := tx.exec(`DELETE FROM leases WHERE shard = ?`, string(storekit.ConsumerLease(name))); err != nil {
			return err
		}
		return tx.exec(`DELETE FROM consumers WHERE name = ?`, name)
	})
}

// changeFree changes a consumer that no process reads as. The term of its lease
// grows, so that a process which believes to have it, such as one that was
// frozen, can acknowledge nothing any more.
func (s *Store) changeFree(ctx context.Context, what, name string, change func(*transaction) error) error {
	err := s.writer.write(ctx, storekit.PointConsumers, func(tx *transaction) error {
		var holder string
		ok, err := get(context.Background(), tx, []any{&holder},
			`SELECT coalesce((SELECT p.name FROM leases l JOIN processes p ON p.id = l.process
				WHERE `+alive+` AND l.shard = ?2), '') FROM consumers WHERE name = ?3`,
			s.config.Now().UnixMilli(), string(storekit.ConsumerLease(name)), name)
		switch {
		case err != nil:
			return err
		case !ok:
			return queue.ErrNoConsumer
		case holder != "":
			return fmt.Errorf("%w: %s", queue.ErrHeld, holder)
		}
		err = tx.exec(`UPDATE leases SET term = term + 1, process = '' WHERE shard = ?`,
			string(storekit.ConsumerLease(name)))
		if err != nil {
			return err
		}
		return change(tx)
	})
	if err != nil {
		return fmt.Errorf("%s consumer %s: %w", what, name, err)
	}
	return nil
}

// Lease implements queue.Store.
func (s *Store) Lease(ctx context.Context, name string) (queue.Lease, error) {
	var info queue.Info
	enter := func(_ *term, tx *transaction) (err error) {
		info, err = readConsumer(tx, name)
		return err
	}
	t, err := s.campaign(ctx, candidacy{shard: storekit.ConsumerLease(name), enter: enter})
	if err != nil {
		return nil, fmt.Errorf("lease consumer %s: %w", name, err)
	}
	l := &leasedConsumer{term: t, info: info}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.stop = context.AfterFunc(t.held.Context(), func() {
		l.cancel(fmt.Errorf("%w: %w", queue.ErrLeaseLost, context.Cause(t.held.Context())))
	})
	return l, nil
}

// leasedConsumer is a queue.Lease: a term of a lease that is not a shard's.
type leasedConsumer struct {
	term   *term
	info   queue.Info
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   func() bool
}

// Context implements queue.Lease.
func (l *leasedConsumer) Context() context.Context { return l.ctx }

// Consumer implements queue.Lease.
func (l *leasedConsumer) Consumer() queue.Info { return l.info }

// Deliver implements queue.Lease.
func (l *leasedConsumer) Deliver(ctx context.Context, upTo, last int64) error {
	return l.write(ctx, func(tx *transaction, _ int64) error {
		return tx.exec(`UPDATE consumers SET handed = max(handed, ?), ahead = max(ahead, ?) WHERE name = ?`,
			upTo, last, l.info.Name)
	})
}

// Ack implements queue.Lease.
func (l *leasedConsumer) Ack(ctx context.Context, done queue.Set) error {
	if err := done.Check(); err != nil {
		return err
	}
	return l.write(ctx, func(tx *transaction, now int64) error {
		all, err := readDone(tx, l.info.Name)
		if err != nil {
			return err
		}
		all = all.Union(done)
		if err := all.Check(); err != nil {
			return err
		}
		return tx.exec(`UPDATE consumers SET n = ?1, beyond = nullif(?2, ''), handed = max(handed, ?1),
			ahead = max(ahead, ?3), at = ?4 WHERE name = ?5`,
			all.UpTo, queue.EncodeRanges(all.Beyond), all.Last(), now, l.info.Name)
	})
}

// readDone reads what a consumer has acknowledged.
func readDone(tx *transaction, name string) (done queue.Set, err error) {
	var beyond string
	_, err = get(context.Background(), tx, []any{&done.UpTo, &beyond},
		`SELECT n, coalesce(beyond, '') FROM consumers WHERE name = ?`, name)
	if err == nil {
		done.Beyond, err = queue.DecodeRanges(beyond)
	}
	return done, err
}

// write changes the consumer's row while the lease is this term's.
func (l *leasedConsumer) write(ctx context.Context, change func(tx *transaction, now int64) error) error {
	s := l.term.store
	err := s.writer.write(ctx, storekit.PointConsumers, func(tx *transaction) error {
		// The fence: without the lease in this term nothing is changed.
		var leased bool
		_, err := get(context.Background(), tx, []any{&leased}, `SELECT EXISTS (SELECT 1 FROM leases, consumers
			WHERE shard = ? AND term = ? AND process = ? AND name = ?)`,
			string(l.term.shard), l.term.held.Number, s.id, l.info.Name)
		if err == nil && !leased {
			err = fmt.Errorf("%w: %w", queue.ErrLeaseLost, lease.ErrTaken)
		}
		if err != nil {
			return err
		}
		return change(tx, s.config.Now().UnixMilli())
	})
	if errors.Is(err, queue.ErrLeaseLost) {
		l.term.held.Finish(lease.ErrTaken)
	}
	return err
}

// Release implements queue.Lease.
func (l *leasedConsumer) Release(ctx context.Context) error { return l.term.Resign(ctx) }

// readConsumer reads what a lease of a consumer begins with.
func readConsumer(tx *transaction, name string) (info queue.Info, err error) {
	var filter, beyond string
	info.Name = name
	ok, err := get(context.Background(), tx, []any{&info.Acked, &beyond, &info.Handed, &info.Ahead, &filter},
		`SELECT n, coalesce(beyond, ''), max(n, handed), iif(ahead > max(n, handed), ahead, 0), coalesce(filter, '')
		FROM consumers WHERE name = ?`, name)
	if err == nil && !ok {
		err = queue.ErrNoConsumer
	}
	if err == nil {
		err = storekit.DecodeConsumer(&info, filter, beyond)
	}
	return info, err
}

// alive selects processes p that had a heartbeat within their TTL, at a time
// (?1). One that is later than that was beaten before the clock was set back.
const alive = `p.beaten BETWEEN ?1 - p.ttl AND ?1 + p.ttl`

// readConsumers reads all consumers at one moment, and counts what is pending.
func readConsumers(ctx context.Context, db *sql.DB, now time.Time) (infos []queue.Info, err error) {
	err = view(ctx, db, func(tx *sql.Tx) error {
		infos = []queue.Info{}
		err := each(ctx, tx, func(rows *sql.Rows) error {
			info, err := scanConsumer(rows)
			infos = append(infos, info)
			return err
		}, `SELECT c.name, c.n, coalesce(c.beyond, ''), c.at, coalesce(c.filter, ''), max(c.n, c.handed),
			iif(c.ahead > max(c.n, c.handed), c.ahead, 0), c.expired,
			coalesce(c.expired_from, 0), coalesce(c.expired_to, 0), coalesce(p.name, '')
			FROM consumers c LEFT JOIN leases l ON l.shard = '`+storekit.LeaseOfConsumer+`' || c.name
				LEFT JOIN processes p ON p.id = l.process AND `+alive+` ORDER BY c.name`, now.UnixMilli())
		if err != nil {
			return err
		}
		return countPending(ctx, tx, infos)
	})
	return infos, err
}

func scanConsumer(rows *sql.Rows) (info queue.Info, err error) {
	var at, from, to int64
	var filter, beyond string
	err = rows.Scan(&info.Name, &info.Acked, &beyond, &at, &filter, &info.Handed, &info.Ahead,
		&info.Expired, &from, &to, &info.Reader)
	if err != nil {
		return info, err
	}
	info.AckedAt = storekit.FromMillis(at)
	if info.Expired > 0 {
		info.ExpiredFrom, info.ExpiredTo = storekit.FromMillis(from), storekit.FromMillis(to)
	}
	if err := storekit.DecodeConsumer(&info, filter, beyond); err != nil {
		info.Fault = err.Error()
	}
	return info, nil
}
