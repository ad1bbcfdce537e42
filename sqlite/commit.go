package sqlite

import (
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// encoded is a commit in the form in which it is written: everything that takes
// time is done before the transaction.
type encoded struct {
	term      *term
	position  string
	at        int64
	events    [][]any
	letters   []gerritstream.DeadLetter
	discarded []gerritstream.DeadLetter // by the last write
}

// encode prepares a commit. The events' payloads are not copied.
func (t *term) encode(c *gerritstream.Commit) *encoded {
	now := t.store.config.Now().UnixMilli()
	queued := dated(c.Now, t.store.config.Now()).UnixMilli()
	stamp := gerritstream.Stamp{Term: t.number, Nonce: rand.Text()}
	w := &encoded{
		term:     t,
		position: string(storekit.EncodePosition(c.Position, stamp)),
		at:       now,
		events:   make([][]any, len(c.Entries)),
		letters:  c.DeadLetters,
	}
	for i := range c.Entries {
		w.events[i] = eventRow(&c.Entries[i], queued)
	}
	return w
}

// eventRow is an entry as the columns of addEvent.
func eventRow(e *gerritstream.Entry, queued int64) []any {
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
	return []any{e.ID[:], string(e.Shard), string(e.Seq), e.Sub, e.Arrived.UnixMilli(),
		e.Event.Type, e.Event.Project, e.Event.Ref, change, created, queued, notNull(e.Payload), attributes}
}

// notNull keeps the driver from storing an empty payload as NULL.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// write writes the commit, if the term still has its lease.
func (w *encoded) write(st *statements) error {
	w.discarded = nil
	t := w.term
	n, err := st.changed(st.setPosition, t.epoch, w.position, w.at, t.shard, t.number, t.store.id)
	if err != nil {
		return err
	}
	if n == 0 {
		if err := st.inEpoch(t.epoch); err != nil {
			return err
		}
		return fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, errTaken)
	}
	for _, row := range w.events {
		if err := st.exec(st.addEvent, row...); err != nil {
			return err
		}
	}
	return w.putAside(st)
}

// putAside writes the dead letters that are not held yet, as far as there is
// room.
func (w *encoded) putAside(st *statements) error {
	if len(w.letters) == 0 {
		return nil
	}
	var room storekit.DeadLetterRoom
	if _, err := st.get(st.sumLetters, nil, []any{&room.Held, &room.Bytes}); err != nil {
		return err
	}
	for i := range w.letters {
		d := &w.letters[i]
		var exists bool
		if _, err := st.get(st.letterExists, []any{d.ID[:]}, []any{&exists}); err != nil {
			return err
		}
		if exists {
			continue
		}
		if !room.Admit(d) {
			w.discarded = append(w.discarded, *d)
			continue
		}
		if err := st.exec(st.addLetter, letterRow(d, w.at)...); err != nil {
			return err
		}
	}
	if len(w.discarded) == 0 {
		return nil
	}
	return st.exec(st.count, "discarded", len(w.discarded))
}

// letterRow is a dead letter as the columns of addLetter.
func letterRow(d *gerritstream.DeadLetter, now int64) []any {
	return []any{d.ID[:], string(d.Shard), string(d.Seq), d.Sub, d.Arrived.UnixMilli(),
		d.Reason, d.Detail, notNull(d.Payload), d.Length, d.SHA256[:], now}
}
