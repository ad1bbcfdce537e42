package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

// Additions are events appended to the queue of one consumer. Their numbers
// come from the row head, as those of events do, so that both tables together
// are in the order of the commits. Triggers remove what a consumer has passed,
// and what was left of one that is removed.

// Append implements queue.Store.
func (s *Store) Append(ctx context.Context, name string, entries []gerritstream.Entry) (appended int, err error) {
	args := append([]any{name}, columnsOf(entries, s.config.Now())...)
	there := false
	err = s.write(ctx, storekit.PointConsumers, func(b *batch) {
		b.get([]any{&there, &appended}, nil, addAdditions, args...)
	})
	if err == nil && !there {
		err = queue.ErrNoConsumer
	}
	if err != nil {
		return 0, fmt.Errorf("append to consumer %s: %w", name, err)
	}
	return appended, nil
}

// columnsOf returns entries as the parameters of eventUnnest.
func columnsOf(entries []gerritstream.Entry, queuedAt time.Time) []any {
	var c eventColumns
	for i := range entries {
		c.add(&entries[i], queuedAt)
	}
	return c.columns()
}

// addAdditions appends events ($2 to $14) to the queue of a consumer ($1):
// those that do not wait there already. It is one statement, so that the server
// has all of it before it locks anything. The consumer's row stays as it is
// until the end; the numbers are taken last. A place in the queue that does not
// exist yet may be a consumer's.
const addAdditions = `WITH c AS MATERIALIZED (SELECT n, beyond FROM @.consumers WHERE name = $1 FOR NO KEY UPDATE),
	given AS MATERIALIZED (SELECT DISTINCT ON (id) * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::int[],
			$6::timestamptz[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::timestamptz[],
			$12::timestamptz[], $13::bytea[], $14::json[]) WITH ORDINALITY g (` + eventValues + `, k) ORDER BY id, k),
	fresh AS MATERIALIZED (SELECT g.*, row_number() OVER (ORDER BY g.k) AS place FROM given g, c
		WHERE NOT EXISTS (SELECT FROM @.additions a WHERE a.consumer = $1 AND a.id = g.id)
		AND NOT EXISTS (SELECT FROM @.events e WHERE e.id = g.id AND e.n > c.n AND NOT EXISTS
			(SELECT FROM json_array_elements(coalesce(c.beyond, '[]')::json) r
				WHERE e.n BETWEEN (r ->> 0)::bigint AND (r ->> 1)::bigint))),
	h AS (UPDATE @.head SET n = greatest(n, (SELECT n FROM c)) + (SELECT count(*) FROM fresh)
		WHERE (SELECT count(*) FROM fresh) > 0 RETURNING n - (SELECT count(*) FROM fresh) AS base),
	added AS (INSERT INTO @.additions (n, consumer, ` + eventValues + `)
		SELECT h.base + f.place, $1, ` + eventValues + ` FROM fresh f, h
		ON CONFLICT (consumer, id) DO NOTHING RETURNING n)
	SELECT EXISTS (SELECT FROM c), (SELECT count(*) FROM added)`

// readQueue reads the next events of a consumer, its additions among them.
func readQueue(ctx context.Context, db *database, consumer string, after int64, most int) ([]queue.Event, error) {
	return scanEvents(ctx, db, `SELECT * FROM (
			(SELECT `+eventFields+` FROM @.events WHERE n > $1 ORDER BY n LIMIT $2) UNION ALL
			(SELECT `+additionFields+` FROM @.additions WHERE consumer = $3 AND n > $1 ORDER BY n LIMIT $2)
		) waiting ORDER BY n LIMIT $2`, after, most, consumer)
}
