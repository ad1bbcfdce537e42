package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

const (
	sweepBatch = 500                   // events a transaction
	sweepPause = 20 * time.Millisecond // between transactions, so that other processes get to commit
)

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
			l.See(n, arrived, &e)
			acknowledged = acknowledged || l.Has(n)
		}
		if !acknowledged {
			unread++
		}
		return nil
	}, `SELECT n, arrived, type, project, ref FROM events WHERE n IN (`+expired+`)`, x.acked, x.all, sweepBatch)
	for _, l := range losers {
		if err == nil {
			err = countLosses(tx, l)
		}
	}
	return unread, err
}

// countLosses writes down what a consumer loses.
func countLosses(tx *transaction, l *storekit.Loser) error {
	if l.Lost == 0 {
		return nil
	}
	return tx.exec(`UPDATE consumers SET expired = expired + ?1,
		expired_from = min(coalesce(expired_from, ?2), ?2),
		expired_to = max(coalesce(expired_to, ?3), ?3) WHERE name = ?4`, l.Lost, l.From, l.To, l.Name)
}

// readLosers returns the consumers that have not acknowledged all that is about
// to be removed.
func readLosers(tx *transaction, x expiry) (losers []*storekit.Loser, err error) {
	err = each(context.Background(), tx, func(rows *sql.Rows) error {
		l, err := scanLoser(rows)
		losers = append(losers, l)
		return err
	}, `SELECT `+loserColumns+` FROM consumers
		WHERE n < (SELECT max(n) FROM (`+expired+`))`,
		x.acked, x.all, sweepBatch)
	return losers, err
}

// loserColumns are those of a consumer that scanLoser takes.
const loserColumns = `name, n, coalesce(beyond, ''), coalesce(filter, '')`

func scanLoser(rows *sql.Rows) (*storekit.Loser, error) {
	var name, beyond, filter string
	var n int64
	err := rows.Scan(&name, &n, &beyond, &filter)
	return storekit.NewLoser(name, storekit.StoredDone(n, beyond), filter), err
}
