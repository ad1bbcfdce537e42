package postgres

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// writeDeadLetters writes those dead letters ($24 to $38) of the shards in w
// that are not held yet, as far as there is room, and counts the rest. walk
// goes through them as storekit.DeadLetterRoom.Admit does. The room is locked
// before anything of it is known, and before numbers are taken.
var writeDeadLetters = `d AS MATERIALIZED (
		SELECT row_number() OVER (ORDER BY place) i, u.* FROM (SELECT generate_series(1, $25::bigint) place,
			unnest($24::text[]) under,
			` + unnested(26, deadLetterNames, deadLetterTypes) + `) u
		WHERE under IN (SELECT shard FROM w) AND NOT EXISTS (SELECT FROM @.dead_letters x WHERE x.id = u.id)),
	room AS MATERIALIZED (
		SELECT held, bytes FROM @.dead_letter_room WHERE (SELECT count(*) FROM d) > 0 FOR UPDATE),
	walk (i, held, bytes, kept) AS (
		SELECT 0::bigint, held, bytes, true FROM room
		UNION ALL SELECT d.i, walk.held + k.kept::int,
			walk.bytes + CASE WHEN k.kept THEN length(d.payload) ELSE 0 END, k.kept
		FROM walk JOIN d ON d.i = walk.i + 1
			CROSS JOIN LATERAL (
				SELECT walk.held < $37::bigint AND walk.bytes + length(d.payload) <= $38::bigint) k (kept)),
	kept AS (
		INSERT INTO @.dead_letters (` + deadLetterNames + `)
		SELECT ` + deadLetterNames + ` FROM walk JOIN d USING (i) WHERE kept
		ON CONFLICT (id) DO NOTHING RETURNING 1),
	counted AS (
		UPDATE @.counters SET value = value + (SELECT count(*) FROM walk WHERE NOT kept)
		WHERE name = 'discarded' AND (SELECT count(*) FROM walk WHERE NOT kept) > 0 RETURNING 1)`

const deadLetterNames = `id, shard, seq, sub, arrived, reason, detail, payload, length, sha256, put_aside_at`

// deadLetterTypes are the types of deadLetterNames.
var deadLetterTypes = []string{
	"uuid", "text", "text", "integer", "timestamptz", "text", "text", "bytea", "bigint", "bytea", "timestamptz",
}

// deadColumns are the columns of dead letters.
type deadColumns struct {
	id                         [][16]byte
	shard, seq, reason, detail []string
	sub                        []int32
	length                     []int64
	arrived, putAsideAt        []time.Time
	payload, sha256            [][]byte
}

func (c *deadColumns) add(d *gerritstream.DeadLetter, now time.Time) {
	c.id, c.shard, c.seq = append(c.id, d.ID), append(c.shard, string(d.Shard)), append(c.seq, string(d.Seq))
	c.reason, c.detail = append(c.reason, clean(d.Reason)), append(c.detail, clean(d.Detail))
	c.sub, c.length = append(c.sub, int32(d.Sub)), append(c.length, int64(d.Length))
	c.arrived, c.putAsideAt = append(c.arrived, d.Arrived), append(c.putAsideAt, now)
	c.payload, c.sha256 = append(c.payload, notNull(d.Payload)), append(c.sha256, d.SHA256[:])
}

// columns returns the parameters of writeDeadLetters.
func (c *deadColumns) columns() []any {
	return []any{
		int64(len(c.id)), c.id, c.shard, c.seq, c.sub, c.arrived, c.reason, c.detail, c.payload, c.length, c.sha256,
		c.putAsideAt, int64(gerritstream.MaxDeadLetters), int64(gerritstream.MaxDeadLetterStorage),
	}
}

// deadLetterColumns are those that scanDeadLetter reads.
const deadLetterColumns = `n, ` + deadLetterNames

// scanDeadLetter reads a dead letter and its number.
func scanDeadLetter(row pgx.Row) (n int64, stored gerritstream.StoredDeadLetter, err error) {
	var id [16]byte
	var sum []byte
	d := &stored.DeadLetter
	err = row.Scan(&n, &id, &d.Shard, &d.Seq, &d.Sub, &d.Arrived, &d.Reason, &d.Detail, &d.Payload, &d.Length, &sum,
		&stored.StoredAt)
	if err != nil {
		return 0, stored, err
	}
	d.ID = id
	copy(d.SHA256[:], sum)
	d.Arrived, stored.StoredAt = d.Arrived.UTC(), stored.StoredAt.UTC()
	return n, stored, nil
}

// deadLetterPage is how many dead letters one read takes: a megabyte at most.
const deadLetterPage = 16

// DeadLetters implements gerritstream.Operator.
func (o *Operator) DeadLetters(ctx context.Context) iter.Seq2[gerritstream.StoredDeadLetter, error] {
	return func(yield func(gerritstream.StoredDeadLetter, error) bool) {
		for before := int64(math.MaxInt64); ; {
			var page []gerritstream.StoredDeadLetter
			err := o.db.each(ctx, func(rows pgx.Rows) error {
				n, d, err := scanDeadLetter(rows)
				page, before = append(page, d), n
				return err
			}, `SELECT `+deadLetterColumns+` FROM @.dead_letters WHERE n < $1 ORDER BY n DESC LIMIT $2`,
				before, deadLetterPage)
			if err != nil {
				err = fmt.Errorf("read dead letters of %s: %w", o.where, explainRead(err))
				yield(gerritstream.StoredDeadLetter{}, err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			if len(page) < deadLetterPage {
				return
			}
		}
	}
}

// DeadLetter implements gerritstream.Operator.
func (o *Operator) DeadLetter(
	ctx context.Context, id gerritstream.EventID,
) (d gerritstream.StoredDeadLetter, err error) {
	found := false
	err = o.db.each(ctx, func(rows pgx.Rows) (err error) {
		found = true
		_, d, err = scanDeadLetter(rows)
		return err
	}, `SELECT `+deadLetterColumns+` FROM @.dead_letters WHERE id = $1`, [16]byte(id))
	if err == nil && !found {
		err = gerritstream.ErrNoDeadLetter
	}
	if err != nil {
		return d, fmt.Errorf("read dead letter %s: %w", id, explainRead(err))
	}
	return d, nil
}

// DropDeadLetters implements gerritstream.Operator.
func (o *Operator) DropDeadLetters(ctx context.Context, ids []gerritstream.EventID) (dropped int, err error) {
	which := make([][16]byte, len(ids))
	for i, id := range ids {
		which[i] = id
	}
	err = o.write(ctx, storekit.PointDropDeadLetters, func(b *batch) {
		b.exec(lockDeadLetterRoom)
		b.change(func(n int64) { dropped = int(n) }, `DELETE FROM @.dead_letters WHERE id = ANY ($1::uuid[])`, which)
	})
	if err != nil {
		return 0, err
	}
	return dropped, nil
}

// lockDeadLetterRoom comes before all that adds dead letters or removes them,
// and before numbers are taken.
const lockDeadLetterRoom = `SELECT FROM @.dead_letter_room FOR UPDATE`

// redriveEvent removes a dead letter, if all of its record is held, and queues
// the event ($2 to $14, in columns of one row) under the next number. It
// returns how many it removed.
var redriveEvent = `WITH w AS (
		DELETE FROM @.dead_letters WHERE id = ANY ($2::uuid[]) AND length(payload) >= length RETURNING 1),
	h AS (UPDATE @.head SET n = n + $1::bigint WHERE (SELECT count(*) FROM w) > 0 RETURNING n - $1 AS base),
	i AS (
		INSERT INTO @.events (` + eventNames + `)
		SELECT base + i, ` + eventValues + `
		FROM h, (SELECT generate_series(1, $1) i, ` + unnested(2, eventValues, eventTypes) + `) e
		ON CONFLICT (id) DO NOTHING)
	SELECT count(*) FROM w`

// RedriveDeadLetter implements gerritstream.Operator.
func (o *Operator) RedriveDeadLetter(ctx context.Context, e gerritstream.Entry) error {
	var row eventColumns
	row.add(&e, time.Now())
	var removed int64
	var held bool
	err := o.write(ctx, storekit.PointRedrive, func(b *batch) {
		removed, held = 0, false
		b.exec(lockDeadLetterRoom)
		b.get([]any{&held}, nil, `SELECT EXISTS (SELECT FROM @.dead_letters WHERE id = $1)`, [16]byte(e.ID))
		b.get([]any{&removed}, nil, redriveEvent, append([]any{int64(1)}, row.columns()...)...)
	})
	switch {
	case err != nil:
	case !held:
		err = gerritstream.ErrNoDeadLetter
	case removed == 0:
		err = gerritstream.ErrTruncated
	}
	if err != nil {
		return fmt.Errorf("redrive dead letter %s: %w", e.ID, err)
	}
	return nil
}
