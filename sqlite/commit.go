package sqlite

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

// commit writes a commit if the term still has its lease. All that takes time
// is done before the transaction. The events' payloads are not copied.
func (t *term) commit(ctx context.Context, c *gerritstream.Commit) error {
	if t.held.Context().Err() != nil {
		return context.Cause(t.held.Context())
	}
	s := t.store
	s.clock.Saw(c.Now)
	if err := c.Check(limits); err != nil {
		return err
	}
	now := s.config.Now()
	position := string(storekit.EncodePosition(c.Position, gerritstream.Stamp{Term: t.held.Number, Nonce: rand.Text()}))
	queuedAt := storekit.Dated(c.Now, now).UnixMilli()
	events := make([][]any, len(c.Entries))
	for i := range c.Entries {
		events[i] = eventRow(&c.Entries[i], queuedAt)
	}
	var discarded []gerritstream.DeadLetter
	rows := 1 + len(events) + len(c.DeadLetters)
	err := s.writer.writeRows(ctx, storekit.PointCommit, rows, func(tx *transaction) (err error) {
		// The fence: without the lease in this term, in an epoch that is
		// over, or while the shard is paused, there is nothing to select, and
		// nothing is written.
		n, err := tx.change(`INSERT INTO positions (epoch, shard, position, committed)
			SELECT ?1, shard, ?2, ?3 FROM leases
			WHERE shard = ?4 AND term = ?5 AND process = ?6 AND ?1 >= `+currentEpoch+`
				AND NOT EXISTS (SELECT 1 FROM pauses WHERE shard IN ('', ?4))
			ON CONFLICT DO UPDATE SET position = excluded.position, committed = excluded.committed`,
			t.epoch, position, now.UnixMilli(), t.shard, t.held.Number, s.id)
		if err != nil {
			return err
		}
		if n == 0 {
			return t.refused(tx)
		}
		for _, row := range events {
			if err := tx.exec(addEvent, row...); err != nil {
				return err
			}
		}
		discarded, err = addDeadLetters(tx, c.DeadLetters, now.UnixMilli())
		return err
	})
	if err == nil {
		s.discards.Log(discarded)
	}
	return err
}

// refused returns why the fence refused a commit.
func (t *term) refused(tx *transaction) error {
	if err := checkEpoch(tx, t.epoch); err != nil {
		return err
	}
	var held bool
	_, err := get(context.Background(), tx, []any{&held},
		`SELECT true FROM leases WHERE shard = ? AND term = ? AND process = ?`, t.shard, t.held.Number, t.store.id)
	switch {
	case err != nil:
		return err
	case held:
		return pauses.ErrPaused
	}
	return fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, lease.ErrTaken)
}

// addEvent queues an event, once. Its columns are those of eventRow.
const addEvent = `INSERT INTO events
	(id, shard, seq, sub, arrived, type, project, ref, change, created, queued_at, payload, attributes)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`

func eventRow(e *gerritstream.Entry, queuedAt int64) []any {
	var change, created, attributes any
	if e.Event.Change != 0 {
		change = e.Event.Change
	}
	if !e.Event.Created.IsZero() {
		created = e.Event.Created.UnixMilli()
	}
	if len(e.Event.Attributes) > 0 {
		text, _ := json.Marshal(e.Event.Attributes) // a map of strings has a form
		attributes = string(text)
	}
	return []any{
		e.ID[:], string(e.Shard), string(e.Seq), e.Sub, e.Arrived.UnixMilli(),
		e.Event.Type, e.Event.Project, e.Event.Ref, change, created, queuedAt, notNull(e.Payload), attributes,
	}
}

// notNull keeps the driver from storing an empty payload as NULL.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
