package postgres

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// The dead letters of webhooks lie in a table of their own: an event may have
// one for each hook, beside one that a sink refused, and a letter holds the
// whole event, so that it can be delivered after all. A letter is what a hook
// has not got: it is kept as long as events are kept for a consumer that is
// behind, and counts as expired for the hook when it is removed then.

// PutAside implements webhook.Store.
func (s *Store) PutAside(ctx context.Context, l webhook.Letter) error {
	consumer := queue.WebhookConsumer(l.Hook)
	args := append([]any{string(storekit.ConsumerLease(consumer)), s.id},
		columnsOf([]gerritstream.Entry{l.Event.Entry}, l.Event.Queued)...)
	args = append(args, l.Hook, l.Event.Number, l.Event.Replayed, clean(l.Detail), s.now())
	var leased bool
	err := s.write(ctx, storekit.PointWebhooks, func(b *batch) { b.get([]any{&leased}, nil, putAside, args...) })
	if err == nil && !leased {
		err = fmt.Errorf("%w: %w", queue.ErrLeaseLost, lease.ErrTaken)
	}
	if err != nil {
		return fmt.Errorf("put event %s aside for webhook %s: %w", l.Event.Entry.ID, l.Hook, err)
	}
	return nil
}

// putAside keeps an event ($3 to $15) as a letter ($16 to $20) while this
// process ($2) has the lease ($1) of the hook's consumer.
const putAside = `WITH fence AS MATERIALIZED (SELECT 1 FROM @.leases WHERE shard = $1 AND process = $2 FOR SHARE),
	put AS (INSERT INTO @.webhook_letters (` + eventValues + `, webhook, n, replayed, detail, put_aside_at)
		SELECT g.*, $16::text, $17::bigint, $18::boolean, $19::text, $20::timestamptz
		FROM unnest($3::uuid[], $4::text[], $5::text[], $6::int[], $7::timestamptz[], $8::text[], $9::text[],
			$10::text[], $11::bigint[], $12::timestamptz[], $13::timestamptz[], $14::bytea[], $15::json[]) g, fence
		ON CONFLICT (id, webhook) DO NOTHING)
	SELECT EXISTS (SELECT FROM fence)`

var _ webhook.Letters = (*Operator)(nil)

const hookLetterColumns = entryFields + `, replayed, letter, webhook, detail, put_aside_at`

// HookLetters implements webhook.Letters.
func (o *Operator) HookLetters(ctx context.Context) iter.Seq2[webhook.StoredLetter, error] {
	return func(yield func(webhook.StoredLetter, error) bool) {
		for before := int64(math.MaxInt64); ; {
			page, last, err := o.readHookLetters(ctx, `letter < $1 ORDER BY letter DESC LIMIT $2`,
				before, deadLetterPage)
			if err != nil {
				yield(webhook.StoredLetter{}, err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			if before = last; len(page) < deadLetterPage {
				return
			}
		}
	}
}

// HookLettersOf implements webhook.Letters.
func (o *Operator) HookLettersOf(ctx context.Context, id gerritstream.EventID) ([]webhook.StoredLetter, error) {
	letters, _, err := o.readHookLetters(ctx, `id = $1 ORDER BY webhook`, [16]byte(id))
	return letters, err
}

// readHookLetters reads the letters that a condition selects, and the number of
// the last one.
func (o *Operator) readHookLetters(
	ctx context.Context, where string, args ...any,
) (letters []webhook.StoredLetter, last int64, err error) {
	err = o.db.eachOfMany(ctx, func(rows pgx.Rows) (err error) {
		var l webhook.StoredLetter
		l.Letter.Event, err = scanEvent(rows, &last, &l.Letter.Hook, &l.Letter.Detail, &l.StoredAt)
		l.StoredAt = l.StoredAt.UTC()
		letters = append(letters, l)
		return err
	}, `SELECT `+hookLetterColumns+` FROM @.webhook_letters WHERE `+where, args...)
	if err != nil {
		return nil, 0, fmt.Errorf("read dead letters of webhooks in %s: %w", o.where, explainRead(err))
	}
	return letters, last, nil
}

// DropHookLetters implements webhook.Letters.
func (o *Operator) DropHookLetters(ctx context.Context, keys []webhook.LetterKey) (dropped int, err error) {
	hooks, ids := make([]string, len(keys)), make([][16]byte, len(keys))
	for i, key := range keys {
		hooks[i], ids[i] = key.Hook, [16]byte(key.ID)
	}
	err = o.write(ctx, storekit.PointDropDeadLetters, func(b *batch) {
		b.change(func(n int64) { dropped = int(n) }, `DELETE FROM @.webhook_letters
			WHERE (webhook, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))`, hooks, ids)
	})
	if err != nil {
		return 0, err
	}
	return dropped, nil
}

// RedriveHookLetter implements webhook.Letters. The event is appended whether
// or not it waits in the hook's queue under an earlier number: the process that
// put it aside may be about to acknowledge that number.
func (o *Operator) RedriveHookLetter(ctx context.Context, key webhook.LetterKey) error {
	consumer := queue.WebhookConsumer(key.Hook)
	var held, registered bool
	err := o.write(ctx, storekit.PointRedrive, func(b *batch) {
		b.get([]any{&held, &registered}, nil, redriveHookLetter, consumer, [16]byte(key.ID), key.Hook, time.Now())
	})
	switch {
	case err != nil:
	case !held:
		err = gerritstream.ErrNoDeadLetter
	case !registered:
		err = queue.ErrNoConsumer
	}
	if err != nil {
		return fmt.Errorf("redrive dead letter %s of webhook %s: %w", key.ID, key.Hook, err)
	}
	return nil
}

// redriveHookLetter appends the event ($2) of a hook's ($3) letter to the queue
// of its consumer ($1), at a time ($4), in place of the letter. If it was
// appended before and still waits, it moves behind everything.
const redriveHookLetter = `WITH c AS MATERIALIZED (SELECT n FROM @.consumers WHERE name = $1 FOR NO KEY UPDATE),
	l AS (DELETE FROM @.webhook_letters l USING c WHERE l.webhook = $3 AND l.id = $2 RETURNING l.*),
	h AS (UPDATE @.head SET n = greatest(n, (SELECT n FROM c)) + 1 WHERE (SELECT count(*) FROM l) > 0 RETURNING n),
	added AS (INSERT INTO @.additions (n, consumer, ` + eventValues + `)
		SELECT h.n, $1, l.id, l.shard, l.seq, l.sub, l.arrived, l.type, l.project, l.ref, l.change, l.created, $4,
			l.payload, l.attributes FROM l, h
		ON CONFLICT (consumer, id) DO UPDATE SET n = excluded.n, queued_at = excluded.queued_at)
	SELECT EXISTS (SELECT FROM @.webhook_letters WHERE webhook = $3 AND id = $2), EXISTS (SELECT FROM c)`
