package consumer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// batch gathers what one commit will carry: entries and dead letters in the
// order of their records, and how far they go.
type batch struct {
	entries []gerritstream.Entry
	dead    []gerritstream.DeadLetter
	weight  int

	// whole is how much of the chunk belongs to records that are complete, and
	// the position behind them.
	whole struct {
		entries, dead, weight int
		position              gerritstream.Position
	}
}

func (c *batch) size() int { return len(c.entries) + len(c.dead) }

// seal notes that everything gathered so far belongs to complete records.
func (c *batch) seal(at gerritstream.Position) {
	c.whole.entries, c.whole.dead, c.whole.weight, c.whole.position = len(c.entries), len(c.dead), c.weight, at
}

// drop forgets so many entries and dead letters from the front, and what
// weighed so much; the memory is used again.
func (c *batch) drop(entries, dead, weight int) {
	n := copy(c.entries, c.entries[entries:])
	clear(c.entries[n:])
	c.entries = c.entries[:n]
	m := copy(c.dead, c.dead[dead:])
	clear(c.dead[m:])
	c.dead = c.dead[:m]
	c.weight -= weight
	c.whole.entries, c.whole.dead, c.whole.weight = 0, 0, 0
}

// judge takes a page's records into the chunk, committing whenever it is full.
// What is left in it at the end is committed by the caller; every record judged
// has moved the cursor.
func (r *reader) judge(work context.Context, b *gerritstream.Page) error {
	debug := r.w.log.Enabled(work, slog.LevelDebug)
	r.batch.seal(r.cursor)
	for i := range b.Records {
		rec := &b.Records[i]
		if r.cursor.Covers(rec.Seq, rec.Sub) {
			continue
		}
		verdict := gerritstream.Verdict{Bad: rec.Bad, Detail: rec.Detail}
		if rec.Bad == "" {
			verdict = r.w.c.cfg.Classify(r.w.shard, rec)
		}
		r.w.c.cfg.Observer.Judged(r.w.shard, rec, &verdict)
		if debug {
			r.logRecord(rec, &verdict)
		}
		if err := r.take(work, rec, &verdict); err != nil {
			return err
		}
		r.advance(rec)
	}
	return nil
}

// advance moves the cursor past a record, or past a part of an aggregate.
func (r *reader) advance(rec *gerritstream.Record) {
	if !rec.Last {
		r.cursor.Partial = &gerritstream.Partial{Seq: rec.Seq, Sub: rec.Sub}
		return
	}
	r.cursor.After, r.cursor.Arrived, r.cursor.Partial, r.cursor.From = rec.Seq, rec.Arrived, nil, gerritstream.StartingPosition{}
	r.cursor.CheckpointedAt = time.Time{}
	r.batch.seal(r.cursor)
}

// take puts a record into the chunk as its verdict says, after making room for
// it.
func (r *reader) take(work context.Context, rec *gerritstream.Record, v *gerritstream.Verdict) error {
	if v.Bad == "" && v.Filter != "" {
		r.filtered++
		return nil
	}
	if v.Bad != "" {
		d := r.deadLetter(rec, v.Bad, v.Detail)
		if err := r.makeRoom(work, d.Weight()); err != nil {
			return err
		}
		r.batch.dead = append(r.batch.dead, d)
		r.batch.weight += d.Weight()
		return nil
	}
	e := gerritstream.Entry{
		ID: gerritstream.NewEventID(r.w.stream, r.w.shard, rec.Seq, rec.Sub), Shard: r.w.shard, Seq: rec.Seq, Sub: rec.Sub,
		Arrived: rec.Arrived, Event: v.Event, Payload: rec.Data,
	}
	if err := r.makeRoom(work, e.Weight()); err != nil {
		return err
	}
	r.batch.entries = append(r.batch.entries, e)
	r.batch.weight += e.Weight()
	return nil
}

func (r *reader) deadLetter(rec *gerritstream.Record, reason, detail string) gerritstream.DeadLetter {
	return gerritstream.DeadLetter{
		ID: gerritstream.NewEventID(r.w.stream, r.w.shard, rec.Seq, rec.Sub), Shard: r.w.shard, Seq: rec.Seq, Sub: rec.Sub,
		Arrived: rec.Arrived, Reason: reason, Detail: detail,
		Payload: rec.Data[:min(len(rec.Data), gerritstream.MaxDeadLetterBytes)], Length: len(rec.Data), SHA256: sha256.Sum256(rec.Data),
	}
}

// makeRoom commits, if it must, so that an item of this weight fits. Complete
// records go first, so that an aggregate is committed whole if it can be; one
// that cannot is committed in parts.
func (r *reader) makeRoom(work context.Context, weight int) error {
	c := &r.batch
	for c.size() > 0 && (c.size() >= r.limits.Items || c.weight+weight > r.limits.Weight) {
		n, m, of, at := len(c.entries), len(c.dead), c.weight, r.cursor
		if c.whole.entries+c.whole.dead > 0 {
			n, m, of, at = c.whole.entries, c.whole.dead, c.whole.weight, c.whole.position
		}
		if err := r.send(work, gerritstream.Commit{Position: at, Entries: c.entries[:n], DeadLetters: c.dead[:m]}); err != nil {
			return err
		}
		c.drop(n, m, of)
		c.whole.position = at
	}
	return nil
}

// commit sends everything gathered, with the cursor.
func (r *reader) commit(work context.Context) error {
	c := &r.batch
	if err := r.send(work, gerritstream.Commit{Position: r.cursor, Entries: c.entries, DeadLetters: c.dead}); err != nil {
		return err
	}
	c.drop(len(c.entries), len(c.dead), c.weight)
	return nil
}

// send delivers to the sinks and commits: the only way by which anything leaves
// a term.
func (r *reader) send(work context.Context, c gerritstream.Commit) error {
	refused, err := r.deliver(work, c.Entries)
	if err != nil {
		return err
	}
	for i := range refused { // before the position passes them; a second time they are the same dead letters
		if err := r.store(work, gerritstream.Commit{Position: r.committed, DeadLetters: refused[i : i+1]}); err != nil {
			return err
		}
	}
	return r.store(work, c)
}

// store commits, for as long as it takes while the term goes on.
func (r *reader) store(work context.Context, c gerritstream.Commit) error {
	retry := backoff{first: 50 * time.Millisecond, most: 5 * time.Second}
	for {
		began := time.Now()
		c.Now = r.w.c.clock.now()
		// THE COMMIT POINT. Above it nothing has happened that may not happen
		// again: the same records are read again by whoever leads next. Below
		// it they are handed on. When the outcome is unknown the term is over,
		// and the position that the next one begins with tells.
		done := r.w.c.tracker.wait(r.w.shard, "the store to commit")
		err := r.term.Commit(work, c)
		done()
		if err == nil {
			r.committed, r.stored, r.since = c.Position, true, time.Now()
			r.w.c.tracker.committed(r.w.shard, &c, r.filtered)
			r.w.fine()
			r.logDeadLetters(c.DeadLetters)
			r.filtered = 0
			r.w.c.cfg.Observer.Committed(r.w.shard, r.term.Number(), &c, time.Since(began))
			return nil
		}
		if !errors.Is(err, gerritstream.ErrRetryLater) {
			return err
		}
		r.w.trouble(err)
		if !retry.pause(work) {
			return context.Cause(work)
		}
	}
}

// logDeadLetters leaves in the log what has become of bad records, a reason at a
// time. Many of them are for a person to look at.
func (r *reader) logDeadLetters(letters []gerritstream.DeadLetter) {
	if len(letters) == 0 {
		return
	}
	grave := trouble.DeadLetterBurst(r.w.c.tracker.deadRate(), time.Now()) != ""
	for i := 0; i < len(letters); {
		d, n := &letters[i], 1
		for i+n < len(letters) && letters[i+n].Reason == d.Reason {
			n++
		}
		r.w.c.book.note(event{
			topic: deadLetterTopic, cause: d.Reason, shard: r.w.shard, times: n, grave: grave,
			sample: []any{"reason", d.Reason, "detail", d.Detail, "seq", string(d.Seq), "id", d.ID.String()},
		})
		i += n
	}
}

// deliver hands the entries to every sink, in order, for as long as it takes,
// and returns a dead letter for each that a sink will never take. It begins
// nothing once the term is over.
func (r *reader) deliver(work context.Context, entries []gerritstream.Entry) (refused []gerritstream.DeadLetter, err error) {
	for _, sink := range r.w.c.cfg.Sinks {
		retry := backoff{first: 100 * time.Millisecond, most: 10 * time.Second}
		for rest := entries; len(rest) > 0; {
			if work.Err() != nil {
				return nil, context.Cause(work)
			}
			done := r.w.c.tracker.wait(r.w.shard, "the sink "+sink.Name())
			err := sink.Deliver(work, rest)
			done()
			var rejected *gerritstream.RejectedError
			switch {
			case err == nil:
				rest = nil
			case errors.As(err, &rejected) && rejected.Index >= 0 && rejected.Index < len(rest):
				refused = r.refuse(refused, &rest[rejected.Index], sink.Name()+": "+rejected.Reason)
				rest = rest[rejected.Index+1:]
			default:
				r.w.trouble(fmt.Errorf("deliver to %s: %w", sink.Name(), err))
				if !retry.pause(work) {
					return nil, context.Cause(work)
				}
			}
		}
	}
	return refused, nil
}

// refuse adds a dead letter for an entry that a sink refused, or adds this
// refusal to the one that it has got already.
func (r *reader) refuse(letters []gerritstream.DeadLetter, e *gerritstream.Entry, why string) []gerritstream.DeadLetter {
	for i := range letters {
		if letters[i].ID == e.ID {
			letters[i].Detail += "; " + why
			return letters
		}
	}
	rec := gerritstream.Record{Seq: e.Seq, Sub: e.Sub, Arrived: e.Arrived, Data: e.Payload}
	return append(letters, r.deadLetter(&rec, gerritstream.ReasonRejected, why))
}

// logRecord writes the line that a record gets at level debug.
func (r *reader) logRecord(rec *gerritstream.Record, v *gerritstream.Verdict) {
	verdict := "queued"
	switch {
	case v.Bad != "":
		verdict = "dead letter: " + v.Bad
	case v.Filter != "":
		verdict = "filtered: " + v.Filter
	}
	r.w.log.Debug("event", "type", v.Event.Type, "project", v.Event.Project, "change", v.Event.Change,
		"seq", string(rec.Seq), "id", gerritstream.NewEventID(r.w.stream, r.w.shard, rec.Seq, rec.Sub).String(), "verdict", verdict)
}
