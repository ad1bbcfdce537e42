package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

var _ queue.Store = (*Store)(nil)

// Read implements queue.Store.
func (s *Store) Read(ctx context.Context, consumer string, after int64, most int) (events []queue.Event, err error) {
	err = s.patiently(ctx, func() (err error) {
		events, err = readQueue(ctx, s.db, consumer, after, most)
		return err
	})
	return events, err
}

// Wait implements queue.Store.
func (s *Store) Wait(ctx context.Context, consumer string, after int64) error {
	for {
		var there bool
		var newest int64
		err := s.patiently(ctx, func() error {
			_, err := s.db.get(ctx, []any{&newest, &there}, `SELECT (SELECT n FROM @.head),
				EXISTS (SELECT FROM @.events WHERE n > $1)
				OR EXISTS (SELECT FROM @.additions WHERE consumer = $2 AND n > $1)`, after, consumer)
			return err
		})
		if err != nil || there {
			return err
		}
		if err := s.tip.wait(ctx, newest); err != nil {
			return err
		}
	}
}

// patiently reads, and reads again for a while what failed for a reason that
// may pass, such as a fail-over of the server.
func (s *Store) patiently(ctx context.Context, read func() error) error {
	deadline := time.Now().Add(callPatience)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := s.check()
		if err == nil {
			err = read()
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !passing(err) || time.Now().After(deadline) || !storekit.Sleep(ctx, pause) {
			return explainQueue(err)
		}
	}
}

// Bounds implements queue.Store.
func (s *Store) Bounds(ctx context.Context) (oldest, newest int64, err error) {
	err = s.patiently(ctx, func() error {
		_, err := s.db.get(ctx, []any{&newest, &oldest},
			`SELECT n, least((SELECT min(n) FROM @.events), (SELECT min(n) FROM @.additions), n + 1) FROM @.head`)
		return err
	})
	return oldest, newest, err
}

// Since implements queue.Store.
func (s *Store) Since(ctx context.Context, t time.Time) (n int64, err error) {
	err = s.patiently(ctx, func() (err error) {
		n, err = numberSince(ctx, s.db, t)
		return err
	})
	return n, err
}

func numberSince(ctx context.Context, db *database, t time.Time) (n int64, err error) {
	err = db.eachOfMany(ctx, func(rows pgx.Rows) error { return rows.Scan(&n) }, `SELECT coalesce(
		(SELECT min(n) FROM @.events WHERE greatest(arrived, queued_at) >= $1), (SELECT n + 1 FROM @.head))`, t)
	return n, err
}

// Consumers implements queue.Store.
func (s *Store) Consumers(ctx context.Context) (infos []queue.Info, err error) {
	err = s.patiently(ctx, func() (err error) {
		infos, err = readConsumers(ctx, s.db)
		return err
	})
	return infos, err
}

// Register implements queue.Store.
func (s *Store) Register(ctx context.Context, name string, f queue.Filter, after int64) error {
	_, err := f.Matcher()
	if err == nil {
		err = queue.CheckStoredName(name)
	}
	if err == nil {
		var made int64
		err = s.write(ctx, storekit.PointConsumers, func(b *batch) {
			b.change(func(n int64) { made = n },
				`INSERT INTO @.consumers (name, n, at, filter, handed) VALUES ($1, $2, $3, nullif($4, ''), $2)
				ON CONFLICT DO NOTHING`, name, after, s.now(), queue.EncodeFilter(f))
		})
		if err == nil && made == 0 {
			err = queue.ErrExists
		}
	}
	if err != nil {
		return fmt.Errorf("register consumer %s: %w", name, err)
	}
	return nil
}

// Seek implements queue.Store.
func (s *Store) Seek(ctx context.Context, name string, after int64) error {
	return s.changeFree(ctx, "seek", name,
		`UPDATE @.leases SET term = term + 1, process = '' WHERE shard = $2`,
		`UPDATE @.consumers SET n = $3, handed = $3, ahead = $3, beyond = NULL, at = $4 WHERE name = $1`,
		after, s.now())
}

// Remove implements queue.Store.
func (s *Store) Remove(ctx context.Context, name string) error {
	// A process that believes to have the lease had it in a term that no other
	// process can have, and that it does not use again itself.
	return s.changeFree(ctx, "remove", name,
		`DELETE FROM @.leases WHERE shard = $2`, `DELETE FROM @.consumers WHERE name = $1`)
}

// lockConsumer locks the lease of a consumer and then its row, in the order
// that taking the lease and acknowledging use. Neither is possible until the
// transaction ends.
func lockConsumer(b *batch, name string) {
	b.exec(`SELECT FROM @.leases WHERE shard = $1 FOR UPDATE`, string(storekit.ConsumerLease(name)))
	b.exec(`SELECT FROM @.consumers WHERE name = $1 FOR UPDATE`, name)
}

// changeFree changes a consumer ($1) that no process reads as, and its lease
// ($2). The term of that grows, or it goes, so that a process which believes to
// have it, such as one that was frozen, can acknowledge nothing any more.
func (s *Store) changeFree(ctx context.Context, what, name, lease, consumer string, args ...any) error {
	var holder string
	there := false
	err := s.write(ctx, storekit.PointConsumers, func(b *batch) {
		holder, there = "", false
		lockConsumer(b, name)
		free := ` AND NOT EXISTS (SELECT FROM held)`
		b.get([]any{&holder, &there}, nil, `WITH held AS MATERIALIZED (SELECT p.name FROM @.leases l
				JOIN @.processes p ON p.id = l.process WHERE l.shard = $2 AND `+alive+`),
			was AS MATERIALIZED (SELECT 1 FROM @.consumers WHERE name = $1),
			lease AS (`+lease+free+`), changed AS (`+consumer+free+`)
			SELECT coalesce((SELECT name FROM held), ''), EXISTS (SELECT FROM was)`,
			append([]any{name, string(storekit.ConsumerLease(name))}, args...)...)
	})
	switch {
	case err != nil:
	case !there:
		err = queue.ErrNoConsumer
	case holder != "":
		err = fmt.Errorf("%w: %s", queue.ErrHeld, holder)
	}
	if err != nil {
		return fmt.Errorf("%s consumer %s: %w", what, name, err)
	}
	return nil
}

// stored is what the row of a consumer says is acknowledged.
type stored struct {
	n      int64
	beyond string // as in queue.EncodeRanges
}

func (s stored) done() (queue.Set, error) {
	ranges, err := queue.DecodeRanges(s.beyond)
	return queue.Set{UpTo: s.n}.Union(queue.Set{Beyond: ranges}), err
}

// Lease implements queue.Store.
func (s *Store) Lease(ctx context.Context, name string) (queue.Lease, error) {
	l, err := s.lease(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("lease consumer %s: %w", name, err)
	}
	return l, nil
}

func (s *Store) lease(ctx context.Context, name string) (*leasedConsumer, error) {
	there := false
	err := s.patiently(ctx, func() (err error) {
		there, err = s.db.get(ctx, nil, `SELECT FROM @.consumers WHERE name = $1`, name)
		return err
	})
	if err == nil && !there {
		err = queue.ErrNoConsumer
	}
	if err != nil {
		return nil, err
	}
	l := &leasedConsumer{info: queue.Info{Name: name}}
	if l.term, err = s.campaign(ctx, candidacy{
		epoch: anyEpoch, shard: storekit.ConsumerLease(name), enter: l.read, entered: l.entered,
	}); err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.stop = context.AfterFunc(l.term.held.Context(), func() {
		l.cancel(fmt.Errorf("%w: %w", queue.ErrLeaseLost, context.Cause(l.term.held.Context())))
	})
	return l, nil
}

// leasedConsumer is a queue.Lease: a term of a lease that is not a shard's.
type leasedConsumer struct {
	term   *term
	info   queue.Info
	filter string
	stored stored // as far as this process knows; other programs may change it
	found  bool   // the consumer is there
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   func() bool
}

// read reads, in the transaction that takes the lease, what it begins with.
// Whoever is changing the consumer has the row locked, and is waited for.
func (l *leasedConsumer) read(_ *term, b *batch) {
	l.found = false
	b.get([]any{&l.stored.n, &l.stored.beyond, &l.info.Handed, &l.info.Ahead, &l.filter}, func() { l.found = true },
		`SELECT n, coalesce(beyond, ''), greatest(n, handed),
			CASE WHEN ahead > greatest(n, handed) THEN ahead ELSE 0 END, coalesce(filter, '')
		FROM @.consumers WHERE name = $1 FOR SHARE`, l.info.Name)
}

// entered sets what was read.
func (l *leasedConsumer) entered(*term) error {
	if !l.found {
		return queue.ErrNoConsumer
	}
	l.info.Acked = l.stored.n
	return storekit.DecodeConsumer(&l.info, l.filter, l.stored.beyond)
}

// Context implements queue.Lease.
func (l *leasedConsumer) Context() context.Context { return l.ctx }

// Consumer implements queue.Lease.
func (l *leasedConsumer) Consumer() queue.Info { return l.info }

// leaseFence selects the lease while it is this term's, and keeps it so until
// the transaction ends: without it nothing is changed.
const leaseFence = `WITH fence AS MATERIALIZED
	(SELECT 1 FROM @.leases WHERE shard = $1 AND term = $2 AND process = $3 FOR SHARE)`

// fenced returns the arguments of leaseFence, and others.
func (l *leasedConsumer) fenced(args ...any) []any {
	t := l.term
	return append([]any{string(t.shard), int64(t.held.Number), t.store.id}, args...)
}

// Deliver implements queue.Lease.
func (l *leasedConsumer) Deliver(ctx context.Context, upTo, last int64) error {
	return l.write(ctx, func() (done bool, err error) {
		var n int64
		err = l.term.store.persist(ctx, func(b *batch) {
			b.change(func(changed int64) { n = changed },
				leaseFence+` UPDATE @.consumers SET handed = greatest(handed, $5), ahead = greatest(ahead, $6)
				FROM fence WHERE name = $4`, l.fenced(l.info.Name, upTo, last)...)
		})
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: %w", queue.ErrLeaseLost, lease.ErrTaken)
		}
		return err == nil, err
	})
}

// Ack implements queue.Lease. It is one round trip, unless another program has
// changed the row.
func (l *leasedConsumer) Ack(ctx context.Context, done queue.Set) error {
	if err := done.Check(); err != nil {
		return err
	}
	return l.write(ctx, func() (bool, error) { return l.ack(ctx, done) })
}

// ack acknowledges if the row is as this process knows it, and otherwise learns
// what it is, or that the lease is lost.
func (l *leasedConsumer) ack(ctx context.Context, done queue.Set) (acked bool, err error) {
	all, err := l.stored.done()
	if err != nil {
		return false, err
	}
	all = all.Union(done)
	if err := all.Check(); err != nil {
		return false, err
	}
	s, next := l.term.store, stored{all.UpTo, queue.EncodeRanges(all.Beyond)}
	var now stored
	var leased bool
	err = s.persist(ctx, func(b *batch) {
		acked, leased, now = false, false, stored{}
		b.change(func(n int64) { acked = n > 0 },
			leaseFence+` UPDATE @.consumers SET n = $5, beyond = nullif($6, ''), handed = greatest(handed, $5),
				ahead = greatest(ahead, $7), at = $8
			FROM fence WHERE name = $4 AND n = $9 AND coalesce(beyond, '') = $10`,
			l.fenced(l.info.Name, next.n, next.beyond, all.Last(), s.now(), l.stored.n, l.stored.beyond)...)
		b.get([]any{&now.n, &now.beyond}, func() { leased = true },
			leaseFence+` SELECT n, coalesce(beyond, '') FROM @.consumers, fence WHERE name = $4`,
			l.fenced(l.info.Name)...)
	})
	switch {
	case err != nil:
	case !leased:
		err = fmt.Errorf("%w: %w", queue.ErrLeaseLost, lease.ErrTaken)
	default:
		l.stored = now
	}
	return acked && err == nil, err
}

// write has something written while the lease is this term's. It may be written
// twice without harm: what failed for a reason that may pass, and what may have
// been written or not, is tried again while the lease is trusted.
func (l *leasedConsumer) write(ctx context.Context, try func() (done bool, err error)) error {
	return l.term.store.writer.intercept.Write(storekit.PointConsumers, func() error { return l.repeat(ctx, try) })
}

func (l *leasedConsumer) repeat(ctx context.Context, try func() (done bool, err error)) error {
	deadline := time.Now().Add(callPatience)
	for pause := 10 * time.Millisecond; ; {
		if l.ctx.Err() != nil {
			return context.Cause(l.ctx)
		}
		done, err := try()
		switch {
		case done:
			return nil
		case errors.Is(err, queue.ErrLeaseLost):
			l.term.held.Finish(lease.ErrTaken)
			return err
		case err == nil: // it has learnt what to write
		case !mayRepeat(err), time.Now().After(deadline), !storekit.Sleep(ctx, pause):
			return err
		}
		pause = min(2*pause, time.Second)
	}
}

// mayRepeat reports whether something that may be written twice is to be
// written again.
func mayRepeat(err error) bool {
	return errors.Is(err, errUnknownOutcome) || errors.Is(err, gerritstream.ErrRetryLater) || passing(err)
}

// Release implements queue.Lease.
func (l *leasedConsumer) Release(ctx context.Context) error { return l.term.Resign(ctx) }

// consumerColumns are those of a consumer c that scanConsumer takes, with the
// process p that reads as it. Programs that keep a row by themselves may date
// it with any time.
const consumerColumns = `c.name, c.n, coalesce(c.beyond, ''), least(greatest(c.at, '0001-01-01Z'), '9999-12-31Z'),
	coalesce(c.filter, ''), greatest(c.n, c.handed),
	CASE WHEN c.ahead > greatest(c.n, c.handed) THEN c.ahead ELSE 0 END, c.expired, c.expired_from, c.expired_to`

// readConsumers reads all consumers at one moment, and counts what is pending.
func readConsumers(ctx context.Context, db *database) (infos []queue.Info, err error) {
	err = db.look(ctx, func(ctx context.Context, tx *lookout) error {
		infos = []queue.Info{}
		err := tx.each(ctx, func(rows pgx.Rows) error {
			var reader string
			info, err := scanConsumer(rows, &reader)
			info.Reader = reader
			infos = append(infos, info)
			return err
		}, `SELECT `+consumerColumns+`, coalesce(p.name, '')
			FROM @.consumers c LEFT JOIN @.leases l ON l.shard = '`+storekit.LeaseOfConsumer+`' || c.name
				LEFT JOIN @.processes p ON p.id = l.process AND `+alive+` ORDER BY c.name`)
		if err != nil {
			return err
		}
		return countPending(ctx, tx, infos)
	})
	return infos, err
}

func scanConsumer(rows pgx.Rows, rest ...any) (info queue.Info, err error) {
	var filter, beyond string
	var from, to *time.Time
	err = rows.Scan(append([]any{&info.Name, &info.Acked, &beyond, &info.AckedAt, &filter, &info.Handed, &info.Ahead,
		&info.Expired, &from, &to}, rest...)...)
	if err != nil {
		return info, err
	}
	info.AckedAt = info.AckedAt.UTC()
	if info.Expired > 0 && from != nil && to != nil {
		info.ExpiredFrom, info.ExpiredTo = from.UTC(), to.UTC()
	}
	if err := storekit.DecodeConsumer(&info, filter, beyond); err != nil {
		info.Fault = err.Error()
	}
	return info, nil
}

// look reads several things of one moment, one after the other. It is for what
// takes well below a second: meanwhile no old version of a row is removed. If
// this process stops, the server ends it.
func (d *database) look(ctx context.Context, read func(context.Context, *lookout) error) error {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	tx, err := d.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = '10s'`); err != nil {
		return err
	}
	return read(ctx, &lookout{d, tx})
}

// lookout reads what is there at one moment.
type lookout struct {
	db *database
	tx pgx.Tx
}

func (l *lookout) each(ctx context.Context, scan func(pgx.Rows) error, text string, args ...any) error {
	rows, err := l.tx.Query(ctx, l.db.sql(text), args...)
	if err != nil {
		return err
	}
	return scanAll(rows, scan)
}
