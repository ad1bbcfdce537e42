package sqlite

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

// maxSkew is how far the local clock and the service's may differ before one of
// them must be wrong, and it is not known which.
const maxSkew = time.Hour

// clock is the service's clock, as far as commits reveal it.
type clock struct {
	mu      sync.Mutex
	service time.Time // under mu: a time it had reached; zero: not known
	at      time.Time // under mu: local, when that was
}

// saw notes a time that the service's clock has reached; zero: not known.
func (c *clock) saw(service time.Time) {
	if service.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.service, c.at = service, time.Now()
}

// now returns a time that the service's clock has reached by now; zero: not
// known. The local clock only measures how long ago that was noted, and not
// while the host sleeps.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.service.IsZero() {
		return time.Time{}
	}
	return c.service.Add(time.Since(c.at))
}

// differs reports whether the local clock and the service's cannot both be
// right.
func differs(service, local time.Time) bool { return service.Sub(local).Abs() > maxSkew }

// dated returns the time that dates something now: the local clock's, unless
// the service's, where known, contradicts it.
func dated(service, local time.Time) time.Time {
	if !service.IsZero() && differs(service, local) {
		return service
	}
	return local
}

const (
	sweepEvery = time.Minute
	sweepBatch = 500                   // events a transaction
	sweepPause = 20 * time.Millisecond // between transactions, so that other processes get to commit
)

// sweeper removes expired events.
type sweeper struct {
	store    *Store
	differed bool // the log has it that the clocks differ
	unread   bool // the log has it that events were removed unread
}

// run removes events for the life of the store.
func (w *sweeper) run() {
	if w.store.config.Retention < 0 {
		return
	}
	for {
		w.sweep()
		if !storekit.Sleep(w.store.life, sweepEvery) {
			return
		}
	}
}

// sweep removes the events that have expired by the service's clock: the local
// one may be corrected at any moment, and what is removed is gone. Nothing is
// removed while the service's time is not known, or the local clock contradicts
// it: one of them is wrong then.
func (w *sweeper) sweep() {
	s := w.store
	service, local := s.clock.now(), s.config.Now()
	if service.IsZero() {
		return
	}
	if differs(service, local) {
		if !w.differed {
			w.differed = true
			s.log.Warn("clocks differ by more than an hour; not removing events",
				"local", local.UTC(), "service", service.UTC())
		}
		return
	}
	w.differed = false
	n, unread, err := s.removeExpired(service.Add(-s.config.Retention), service.Add(-s.config.RetentionMax))
	if n > 0 {
		s.log.Info("removed expired events", "events", n, "retention", s.config.Retention.String())
	}
	if unread > 0 && !w.unread {
		w.unread = true
		s.log.Warn("removed unread events", "events", unread, "retention", s.config.RetentionMax.String())
	}
	if err != nil && s.life.Err() == nil {
		s.log.Warn("cannot remove expired events", "err", err)
	}
}

// removeExpired removes, in batches, the events held from before a time that no
// consumer waits for, and those held from before an earlier time in any case.
// It returns how many it removed, and how many of them the consumers that keep
// their place in the file had not read.
func (s *Store) removeExpired(before, last time.Time) (total, unread int64, err error) {
	for {
		var n, missed, added, addedMissed, letters int64
		err := s.writer.do(context.Background(), func(tx *transaction) (err error) {
			x := expiry{acked: before.UnixMilli(), all: last.UnixMilli()}
			if err := x.decide(tx, s.config.RetentionMaxBytes); err != nil {
				return err
			}
			if n, missed, err = removeBatch(tx, x, s.config.Now().UnixMilli()); err != nil {
				return err
			}
			if added, addedMissed, err = removeAdditions(tx, x); err != nil {
				return err
			}
			letters, err = removeHookLetters(tx, x)
			return err
		})
		if err != nil {
			return total, unread, err
		}
		total, unread = total+n+added+letters, unread+missed+addedMissed+letters
		if max(n, added, letters) < sweepBatch || !storekit.Sleep(s.life, sweepPause) {
			return total, unread, nil
		}
	}
}

// expiry says which events expire: those held from before the one time that
// every consumer has acknowledged, and all that are held from before the other.
type expiry struct{ acked, all int64 } // all is not the later one

// decide fits the times to what the file holds. If that is too much, nothing
// waits for a consumer. If what all consumers have acknowledged is gone, there
// is no need to search the rest for it.
func (x *expiry) decide(tx *transaction, maxBytes int64) error {
	var bytes, oldest int64
	var floor sql.NullInt64 // not valid: there are no consumers
	_, err := get(context.Background(), tx, []any{&bytes, &oldest, &floor},
		`SELECT (page_count - freelist_count) * page_size, coalesce((SELECT min(n) FROM events), 0),
			(SELECT min(n) FROM consumers)
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`)
	switch {
	case err != nil:
	case bytes > maxBytes, !floor.Valid:
		x.all = x.acked
	case floor.Int64 < oldest:
		x.acked = x.all
	}
	return err
}

// expired selects what expires by the two times of an expiry (?1, ?2), the
// oldest first, up to a number (?3).
const expired = `SELECT n FROM events WHERE max(arrived, queued_at) < ?1 AND (max(arrived, queued_at) < ?2
	OR n <= coalesce((SELECT min(consumers.n) FROM consumers), n)) ORDER BY max(arrived, queued_at), n LIMIT ?3`

// The ways to write counters.
const (
	setCounter   = `INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value`
	addToCounter = setCounter + ` + value`
)

// removeBatch removes some of the events held from before a time, and counts
// them. Where no consumer keeps its place, nobody knows what was read: such
// events count as unread in the file, and not in the result.
func removeBatch(tx *transaction, x expiry, now int64) (n, unread int64, err error) {
	var consumers int
	if _, err := get(context.Background(), tx, []any{&consumers}, `SELECT count(*) FROM consumers`); err != nil {
		return 0, 0, err
	}
	unread, err = countLost(tx, x, consumers)
	if err != nil {
		return 0, 0, err
	}
	n, err = tx.change(`DELETE FROM events WHERE n IN (`+expired+`)`, x.acked, x.all, sweepBatch)
	if err != nil || n == 0 {
		return 0, 0, err
	}
	if consumers == 0 {
		unread = n
	}
	if err := tx.exec(addToCounter, "expired", n); err != nil || unread == 0 {
		return n, 0, err
	}
	if err := tx.exec(addToCounter, "expired unread", unread); err != nil || consumers == 0 {
		return n, 0, err
	}
	return n, unread, tx.exec(setCounter, "expired unread at", now)
}

// countLost counts, for each consumer, those of the events about to be removed
// that it has not acknowledged and that its filter keeps. unread are those that
// no consumer has acknowledged. What was acknowledged beyond a consumer's n is
// decoded once for it: that may be thousands of ranges, and the transaction
// keeps all processes' heartbeats waiting.
func countLost(tx *transaction, x expiry, consumers int) (unread int64, err error) {
	losers, err := readLosers(tx, x)
	if err != nil || len(losers) == 0 {
		return 0, err
	}
	err = each(context.Background(), tx, func(rows *sql.Rows) error {
		var n, arrived int64
		var e gerritstream.Event
		if err := rows.Scan(&n, &arrived, &e.Type, &e.Project, &e.Ref); err != nil {
			return err
		}
		acknowledged := len(losers) < consumers // by those that have acknowledged everything
		for _, l := range losers {
			l.see(n, arrived, &e)
			acknowledged = acknowledged || l.done.Has(n)
		}
		if !acknowledged {
			unread++
		}
		return nil
	}, `SELECT n, arrived, type, project, ref FROM events WHERE n IN (`+expired+`)`, x.acked, x.all, sweepBatch)
	for _, l := range losers {
		if err == nil {
			err = l.count(tx)
		}
	}
	return unread, err
}

// loser is a consumer that loses events.
type loser struct {
	name     string
	done     queue.Set
	matcher  queue.Matcher
	lost     int64
	from, to int64 // arrival of the first and the last
}

// newLoser returns a consumer. One whose filter cannot be read loses
// everything.
func newLoser(name string, done queue.Set, filter string) *loser {
	l := &loser{name: name, done: done}
	if f, err := queue.DecodeFilter(filter); err == nil {
		l.matcher, _ = f.Matcher()
	}
	return l
}

// lose notes that the consumer loses an event.
func (l *loser) lose(arrived int64) {
	if l.lost == 0 {
		l.from, l.to = arrived, arrived
	}
	l.lost++
	l.from, l.to = min(l.from, arrived), max(l.to, arrived)
}

// see notes that an event is about to be removed.
func (l *loser) see(n, arrived int64, e *gerritstream.Event) {
	if !l.done.Has(n) && l.matcher.Keeps(e) {
		l.lose(arrived)
	}
}

// count writes down what the consumer loses.
func (l *loser) count(tx *transaction) error {
	if l.lost == 0 {
		return nil
	}
	return tx.exec(`UPDATE consumers SET expired = expired + ?1,
		expired_from = min(coalesce(expired_from, ?2), ?2),
		expired_to = max(coalesce(expired_to, ?3), ?3) WHERE name = ?4`, l.lost, l.from, l.to, l.name)
}

// readLosers returns the consumers that have not acknowledged all that is about
// to be removed.
func readLosers(tx *transaction, x expiry) (losers []*loser, err error) {
	err = each(context.Background(), tx, func(rows *sql.Rows) error {
		var name, filter string
		var done queue.Set
		err := scanDone(rows, &done, &name, &filter)
		losers = append(losers, newLoser(name, done, filter))
		return err
	}, `SELECT n, coalesce(beyond, ''), name, coalesce(filter, '') FROM consumers
		WHERE n < (SELECT max(n) FROM (`+expired+`))`,
		x.acked, x.all, sweepBatch)
	return losers, err
}
