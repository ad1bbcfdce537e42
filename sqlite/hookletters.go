package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math"
	"time"

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
	row := append([]any{l.Hook, l.Event.Number}, eventRow(&l.Event.Entry, l.Event.Queued.UnixMilli())...)
	row = append(row, l.Event.Replayed, l.Detail, s.config.Now().UnixMilli())
	err := s.writer.write(ctx, storekit.PointWebhooks, func(tx *transaction) error {
		var leased bool
		_, err := get(context.Background(), tx, []any{&leased},
			`SELECT EXISTS (SELECT 1 FROM leases WHERE shard = ? AND process = ?)`,
			string(storekit.ConsumerLease(consumer)), s.id)
		if err == nil && !leased {
			err = fmt.Errorf("%w: %w", queue.ErrLeaseLost, lease.ErrTaken)
		}
		if err != nil {
			return err
		}
		return tx.exec(`INSERT INTO webhook_letters (webhook, n, id, shard, seq, sub, arrived, type, project, ref,
			change, created, queued_at, payload, attributes, replayed, detail, put_aside_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (webhook, id) DO NOTHING`, row...)
	})
	if err != nil {
		return fmt.Errorf("put event %s aside for webhook %s: %w", l.Event.Entry.ID, l.Hook, err)
	}
	return nil
}

var _ webhook.Letters = (*Operator)(nil)

const hookLetterColumns = oldColumns + `attributes, replayed, letter, webhook, detail, put_aside_at`

// HookLetters implements webhook.Letters.
func (o *Operator) HookLetters(ctx context.Context) iter.Seq2[webhook.StoredLetter, error] {
	return func(yield func(webhook.StoredLetter, error) bool) {
		for before := int64(math.MaxInt64); ; {
			page, last, err := o.readHookLetters(ctx, `letter < ? ORDER BY letter DESC LIMIT ?`, before, deadLetterPage)
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
	letters, _, err := o.readHookLetters(ctx, `id = ? ORDER BY webhook`, id[:])
	return letters, err
}

// readHookLetters reads the letters that a condition selects, and the number of
// the last one. A file that no version with webhooks has opened yet has none.
func (o *Operator) readHookLetters(
	ctx context.Context, where string, args ...any,
) (letters []webhook.StoredLetter, last int64, err error) {
	s, err := readSchema(ctx, o.db)
	if err == nil && s.version >= webhooksSince {
		err = each(ctx, o.db, func(rows *sql.Rows) (err error) {
			var l webhook.StoredLetter
			var at int64
			l.Letter.Event, err = scanEvent(rows, &last, &l.Letter.Hook, &l.Letter.Detail, &at)
			l.StoredAt = storekit.FromMillis(at)
			letters = append(letters, l)
			return err
		}, `SELECT `+hookLetterColumns+` FROM webhook_letters WHERE `+where, args...)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read dead letters of webhooks in %s: %w", o.path, explainRead(o.path, err))
	}
	return letters, last, nil
}

const dropHookLetter = `DELETE FROM webhook_letters WHERE webhook = ? AND id = ?`

// DropHookLetters implements webhook.Letters.
func (o *Operator) DropHookLetters(ctx context.Context, keys []webhook.LetterKey) (dropped int, err error) {
	err = o.write(ctx, storekit.PointDropDeadLetters, func(tx *transaction) error {
		dropped = 0
		for _, key := range keys {
			n, err := tx.change(dropHookLetter, key.Hook, key.ID[:])
			if err != nil {
				return err
			}
			dropped += int(n)
		}
		return nil
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
	err := o.write(ctx, storekit.PointRedrive, func(tx *transaction) error {
		var held, registered bool
		_, err := get(context.Background(), tx, []any{&held, &registered},
			`SELECT EXISTS (SELECT 1 FROM webhook_letters WHERE webhook = ? AND id = ?),
				EXISTS (SELECT 1 FROM consumers WHERE name = ?)`, key.Hook, key.ID[:], consumer)
		switch {
		case err != nil:
			return err
		case !held:
			return gerritstream.ErrNoDeadLetter
		case !registered:
			return queue.ErrNoConsumer
		}
		if err := tx.exec(ensureSequence); err != nil {
			return err
		}
		if err := tx.exec(`DELETE FROM additions WHERE consumer = ? AND id = ?`, consumer, key.ID[:]); err != nil {
			return err
		}
		err = tx.exec(`INSERT INTO additions
			(n, consumer, id, shard, seq, sub, arrived, type, project, ref, change, created, queued_at, payload,
				attributes)
			SELECT max(q.seq, c.n) + 1, c.name, id, shard, l.seq, sub, arrived, type, project, ref, change, created, ?1,
				payload, attributes
			FROM webhook_letters l, consumers c, sqlite_sequence q
			WHERE l.webhook = ?2 AND l.id = ?3 AND c.name = ?4 AND q.name = 'events'`,
			time.Now().UnixMilli(), key.Hook, key.ID[:], consumer)
		if err != nil {
			return err
		}
		if err := tx.exec(advanceSequence); err != nil {
			return err
		}
		return tx.exec(dropHookLetter, key.Hook, key.ID[:])
	})
	if err != nil {
		return fmt.Errorf("redrive dead letter %s of webhook %s: %w", key.ID, key.Hook, err)
	}
	return nil
}

// oldHookLetters selects the letters put aside before a time (?1), among the
// first ones (?2).
const oldHookLetters = `SELECT letter FROM (SELECT letter, put_aside_at FROM webhook_letters ORDER BY letter LIMIT ?2)
	WHERE put_aside_at < ?1`

// removeHookLetters removes the letters that are held from before the time
// until which events are kept for consumers, and counts them for their hooks.
func removeHookLetters(tx *transaction, x expiry) (removed int64, err error) {
	losers := map[string]*storekit.Loser{}
	err = each(context.Background(), tx, func(rows *sql.Rows) error {
		var hook string
		var arrived int64
		if err := rows.Scan(&hook, &arrived); err != nil {
			return err
		}
		if losers[hook] == nil {
			losers[hook] = &storekit.Loser{Name: queue.WebhookConsumer(hook)}
		}
		losers[hook].Lose(arrived)
		return nil
	}, `SELECT webhook, arrived FROM webhook_letters WHERE letter IN (`+oldHookLetters+`)`, x.all, sweepBatch)
	for _, l := range losers {
		if err == nil {
			err = countLosses(tx, l)
		}
	}
	if err != nil {
		return 0, err
	}
	return tx.change(`DELETE FROM webhook_letters WHERE letter IN (`+oldHookLetters+`)`, x.all, sweepBatch)
}
