package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

// What expires is removed in small transactions of one round trip, so that
// commits are not held up and no old snapshot is kept. What is about to be
// removed is read before, as only this program knows what a consumer's filter
// keeps; the transaction then removes it only if the consumers that lose by it
// are as they were read, and if all of it is still there. Processes that sweep
// at the same time take turns.
const (
	sweepBatch = 1000                  // events a transaction
	sweepPause = 20 * time.Millisecond // between transactions, or as long as the last one took
	sweepTries = 20                    // of one sweep, in which consumers changed meanwhile
)

// removeExpired removes, in batches, the events held from before a time that no
// consumer waits for, and those held from before an earlier time in any case.
// It returns how many it removed, and how many of them the consumers that keep
// their place in the schema had not read.
func (s *Store) removeExpired(before, last time.Time) (total, unread int64, err error) {
	x := expiry{acked: before, all: last}
	if err := x.decide(s.life, s.db, s.config.RetentionMaxBytes); err != nil {
		return 0, 0, explain(err)
	}
	for _, read := range []func(context.Context, *Store) (*removal, error){x.events, x.additions, x.hookLetters} {
		n, missed, err := s.removeAll(read)
		total, unread = total+n, unread+missed
		if err != nil {
			return total, unread, explain(err)
		}
	}
	return total, unread, nil
}

// removeAll removes what read finds, until that is less than a batch.
func (s *Store) removeAll(read func(context.Context, *Store) (*removal, error)) (total, unread int64, err error) {
	for tries := 0; s.life.Err() == nil; {
		began := time.Now()
		r, err := read(s.life, s)
		if err != nil || len(r.keys) == 0 {
			return total, unread, err
		}
		removed, err := r.remove(s.life, s)
		switch {
		case err == nil && !removed, errors.Is(err, errUnknownOutcome):
			if tries++; tries == sweepTries { // the next sweep goes on
				return total, unread, err
			}
		case err != nil:
			return total, unread, err
		default:
			total += int64(len(r.keys))
			if r.consumers > 0 {
				unread += r.unread
			}
			if len(r.keys) < sweepBatch {
				return total, unread, nil
			}
		}
		storekit.Sleep(s.life, max(sweepPause, time.Since(began)))
	}
	return total, unread, nil
}

// expiry says which events expire: those held from before the one time that
// every consumer has acknowledged, and all that are held from before the other.
type expiry struct {
	acked, all time.Time // all is not the later one
	from       time.Time // what expires is held from then on: before lie only index entries of what was removed
}

// decide fits the times to what the queue holds. If that is too much, nothing
// waits for a consumer. If what all consumers have acknowledged is gone, there
// is no need to search the rest for it.
//
// The size of the tables does not tell what they hold: what was removed leaves
// room for what comes. So the newest events are taken for all. There are no
// more events than numbers, of which a change of the server's timeline leaves
// many out, and about as many as the server last found to a page.
func (x *expiry) decide(ctx context.Context, db *database, maxBytes int64) error {
	const rowBytes = 300 // of an event without its payload, with its entries in the indexes
	var held, each float64
	var oldest int64
	var floor *int64 // nil: there are no consumers
	_, err := db.get(ctx, []any{&held, &each, &oldest, &floor}, `SELECT least(h.n - o.n + 1.0,
				CASE WHEN c.relpages > 0 AND c.reltuples >= 0 THEN c.reltuples / c.relpages *
					(pg_relation_size(c.oid) / current_setting('block_size')::bigint) END),
			(SELECT coalesce(avg(octet_length(payload)), 0)::float8
				FROM (SELECT payload FROM @.events ORDER BY n DESC LIMIT 1000) newest),
			o.n, (SELECT min(n) FROM @.consumers)
		FROM @.head h, LATERAL (SELECT coalesce((SELECT min(n) FROM @.events), h.n + 1) AS n) o, pg_class c
		WHERE c.oid = to_regclass($1)`, db.schema+".events")
	switch {
	case err != nil:
	case held*(each+rowBytes) > float64(maxBytes), floor == nil:
		x.all = x.acked
	case *floor < oldest:
		x.acked = x.all
	}
	return err
}

// removal is what is about to be removed, of one table.
type removal struct {
	table, key string // and its key
	keys       []int64
	losers     []*loser
	consumers  int   // how many there are
	unread     int64 // of the keys: what none of them has acknowledged
	counted    bool  // by the counters
}

// loser is a consumer that may lose by a removal.
type loser struct {
	consumer *storekit.Loser
	stored   stored
}

// expired selects what expires by the two times of an expiry ($1, $2) from a
// time on ($3), the oldest first. Both parts read the index in its order.
const expired = `SELECT * FROM (
		(SELECT n, arrived, type, project, ref, greatest(arrived, queued_at) AS held FROM @.events
			WHERE greatest(arrived, queued_at) < $2 AND greatest(arrived, queued_at) >= $3
			ORDER BY greatest(arrived, queued_at), n LIMIT $4)
		UNION ALL
		(SELECT n, arrived, type, project, ref, greatest(arrived, queued_at) FROM @.events
			WHERE greatest(arrived, queued_at) < $1 AND greatest(arrived, queued_at) >= greatest($2, $3)
				AND n <= (SELECT coalesce(min(n), 9223372036854775807) FROM @.consumers)
			ORDER BY greatest(arrived, queued_at), n LIMIT $4)
	) e ORDER BY held, n LIMIT $4`

// loserColumns are those of a consumer that scanLoser takes.
const loserColumns = `name, n, coalesce(beyond, ''), coalesce(filter, '')`

func scanLoser(rows pgx.Rows) (*loser, error) {
	var name, filter string
	var at stored
	err := rows.Scan(&name, &at.n, &at.beyond, &filter)
	return &loser{storekit.NewLoser(name, storekit.StoredDone(at.n, at.beyond), filter), at}, err
}

// events reads the next events that expire, and counts, for each consumer,
// those that it has not acknowledged and that its filter keeps.
func (x *expiry) events(ctx context.Context, s *Store) (*removal, error) {
	r := &removal{table: "@.events", key: "n", counted: true}
	args := []any{x.acked, x.all, x.from, sweepBatch}
	err := s.db.view(ctx, func(b *batch) {
		b.get([]any{&r.consumers}, nil, `SELECT count(*) FROM @.consumers`)
		b.each(func(rows pgx.Rows) error {
			l, err := scanLoser(rows)
			r.losers = append(r.losers, l)
			return err
		}, `SELECT `+loserColumns+` FROM @.consumers
			WHERE n < (SELECT max(n) FROM (`+expired+`) x) ORDER BY name`, args...)
		b.each(func(rows pgx.Rows) error {
			var n int64
			var arrived time.Time
			var e gerritstream.Event
			if err := rows.Scan(&n, &arrived, &e.Type, &e.Project, &e.Ref, &x.from); err != nil {
				return err
			}
			r.keys = append(r.keys, n)
			acknowledged := len(r.losers) < r.consumers // by those that have acknowledged everything
			for _, l := range r.losers {
				l.consumer.See(n, arrived.UnixMilli(), &e)
				acknowledged = acknowledged || l.consumer.Has(n)
			}
			if !acknowledged {
				r.unread++
			}
			return nil
		}, expired, args...)
	})
	return r, err
}

// oldAdditions selects the additions held from before a time ($1), among the
// first ones: their numbers grow with the time, as far as the processes' clocks
// agree.
const oldAdditions = `SELECT * FROM (SELECT n, consumer, arrived, type, project, ref, queued_at FROM @.additions
	ORDER BY n LIMIT $2) e WHERE greatest(arrived, queued_at) < $1`

// additions reads the next additions that expire.
func (x *expiry) additions(ctx context.Context, s *Store) (*removal, error) {
	r := &removal{table: "@.additions", key: "n", consumers: 1}
	losers := map[string]*loser{}
	err := s.db.view(ctx, func(b *batch) {
		b.each(func(rows pgx.Rows) error {
			l, err := scanLoser(rows)
			losers[l.consumer.Name], r.losers = l, append(r.losers, l)
			return err
		}, `SELECT `+loserColumns+` FROM @.consumers
			WHERE name IN (SELECT consumer FROM (`+oldAdditions+`) x) ORDER BY name`, x.all, sweepBatch)
		b.each(func(rows pgx.Rows) error {
			var name string
			var n int64
			var arrived time.Time
			var e gerritstream.Event
			err := rows.Scan(&n, &name, &arrived, &e.Type, &e.Project, &e.Ref)
			if l := losers[name]; err == nil && l != nil {
				l.consumer.See(n, arrived.UnixMilli(), &e)
			}
			r.keys = append(r.keys, n)
			return err
		}, `SELECT n, consumer, arrived, type, project, ref FROM (`+oldAdditions+`) x`, x.all, sweepBatch)
	})
	for _, l := range r.losers {
		r.unread += l.consumer.Lost
	}
	return r, err
}

// oldHookLetters selects the letters put aside before a time ($1), among the
// first ones.
const oldHookLetters = `SELECT * FROM (SELECT letter, webhook, arrived, put_aside_at FROM @.webhook_letters
	ORDER BY letter LIMIT $2) e WHERE put_aside_at < $1`

// hookLetters reads the next dead letters of webhooks that are older than
// events are kept for consumers. All of them are lost for their hooks.
func (x *expiry) hookLetters(ctx context.Context, s *Store) (*removal, error) {
	r := &removal{table: "@.webhook_letters", key: "letter", consumers: 1}
	losers := map[string]*loser{}
	err := s.db.view(ctx, func(b *batch) {
		b.each(func(rows pgx.Rows) error {
			l, err := scanLoser(rows)
			losers[l.consumer.Name], r.losers = l, append(r.losers, l)
			return err
		}, `SELECT `+loserColumns+` FROM @.consumers
			WHERE name IN (SELECT '`+queue.WebhookConsumer("")+`' || webhook FROM (`+oldHookLetters+`) x)
			ORDER BY name`, x.all, sweepBatch)
		b.each(func(rows pgx.Rows) error {
			var hook string
			var letter int64
			var arrived time.Time
			err := rows.Scan(&letter, &hook, &arrived)
			if l := losers[queue.WebhookConsumer(hook)]; err == nil && l != nil {
				l.consumer.Lose(arrived.UnixMilli())
			}
			r.keys = append(r.keys, letter)
			return err
		}, `SELECT letter, webhook, arrived FROM (`+oldHookLetters+`) x`, x.all, sweepBatch)
	})
	r.unread = int64(len(r.keys))
	return r, err
}

// remove removes what was read, and writes down what consumers lose. It does
// nothing and returns false if that has changed since.
func (r *removal) remove(ctx context.Context, s *Store) (removed bool, err error) {
	names, beyonds := []string{}, []string{}
	var ns, lost []int64
	var from, to []time.Time
	for _, l := range r.losers {
		names, ns, beyonds = append(names, l.consumer.Name), append(ns, l.stored.n), append(beyonds, l.stored.beyond)
		lost = append(lost, l.consumer.Lost)
		from, to = append(from, storekit.FromMillis(l.consumer.From)), append(to, storekit.FromMillis(l.consumer.To))
	}
	var unread, unreadAt int64
	if r.counted {
		if unread = r.unread; r.consumers > 0 && unread > 0 {
			unreadAt = s.config.Now().UnixMilli()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	err = s.db.write(ctx, func(b *batch) {
		b.exec(`SELECT pg_advisory_xact_lock($1)`, lockKey("retention of "+s.config.Schema))
		b.exec(`SELECT FROM @.consumers WHERE name = ANY ($1::text[]) ORDER BY name FOR NO KEY UPDATE`, names)
		b.get([]any{&removed}, nil, `WITH same AS MATERIALIZED (SELECT
				(SELECT count(*) FROM `+r.table+` WHERE `+r.key+` = ANY ($1::bigint[])) = cardinality($1::bigint[])
				AND (SELECT count(*) FROM @.consumers c
						JOIN unnest($2::text[], $3::bigint[], $4::text[]) l (name, n, beyond)
							ON c.name = l.name AND c.n = l.n AND coalesce(c.beyond, '') = l.beyond)
					= cardinality($2::text[]) AS yes),
			gone AS (DELETE FROM `+r.table+` WHERE `+r.key+` = ANY ($1::bigint[]) AND (SELECT yes FROM same)),
			lose AS (UPDATE @.consumers c SET expired = expired + l.lost,
					expired_from = least(expired_from, l.first), expired_to = greatest(expired_to, l.last)
				FROM unnest($2::text[], $5::bigint[], $6::timestamptz[], $7::timestamptz[]) l (name, lost, first, last)
				WHERE c.name = l.name AND l.lost > 0 AND (SELECT yes FROM same)),
			count AS (INSERT INTO @.counters AS k (name, value)
				SELECT name, value FROM unnest($8::text[], $9::bigint[]) v (name, value)
				WHERE value > 0 AND (SELECT yes FROM same)
				ON CONFLICT (name) DO UPDATE SET value = excluded.value +
					CASE excluded.name WHEN 'expired unread at' THEN 0 ELSE k.value END)
			SELECT yes FROM same`, r.keys, names, ns, beyonds, lost, from, to,
			[]string{"expired", "expired unread", "expired unread at"}, []int64{r.countedKeys(), unread, unreadAt})
	})
	return removed, err
}

// countedKeys returns how many events the counters count as removed.
func (r *removal) countedKeys() int64 {
	if !r.counted {
		return 0
	}
	return int64(len(r.keys))
}
