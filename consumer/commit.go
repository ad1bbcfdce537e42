package consumer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/pauses"
)

// batch gathers what one commit will carry: entries and dead letters in the
// order of their records, and how far they go.
type batch struct {
	entries []gerritstream.Entry
	dead    []gerritstream.DeadLetter
	weight  int

	// whole is how much of the batch belongs to complete records, and the
	// position after them.
	whole struct {
		entries, dead, weight int
		position              gerritstream.Position
	}
}

func (b *batch) size() int { return len(b.entries) + len(b.dead) }

// seal notes that everything gathered so far belongs to complete records.
func (b *batch) seal(at gerritstream.Position) {
	b.whole.entries, b.whole.dead, b.whole.weight, b.whole.position = len(b.entries), len(b.dead), b.weight, at
}

// drop removes the first entries and dead letters, and their weight. The memory
// is used again.
func (b *batch) drop(entries, dead, weight int) {
	n := copy(b.entries, b.entries[entries:])
	clear(b.entries[n:])
	b.entries = b.entries[:n]
	m := copy(b.dead, b.dead[dead:])
	clear(b.dead[m:])
	b.dead = b.dead[:m]
	b.weight -= weight
	b.whole.entries, b.whole.dead, b.whole.weight = 0, 0, 0
}

// judge takes a page's records into the batch, and commits whenever that is
// full. The caller commits the rest. Every record judged moves the cursor.
func (r *reader) judge(p *gerritstream.Page) error {
	debug := r.w.log.Enabled(r.work, slog.LevelDebug)
	r.batch.seal(r.cursor)
	for i := range p.Records {
		rec := &p.Records[i]
		if r.cursor.Covers(rec.Seq, rec.Sub) {
			continue
		}
		verdict := gerritstream.Verdict{Bad: rec.Bad, Detail: rec.Detail}
		if rec.Bad == "" {
			verdict = r.cfg.Classify(r.w.shard, rec)
		}
		r.cfg.Observer.Judged(r.w.shard, rec, &verdict)
		if debug {
			r.logRecord(rec, &verdict)
		}
		if err := r.take(rec, &verdict); err != nil {
			return err
		}
		if !rec.Last { // a part of an aggregate
			r.cursor.Partial = &gerritstream.Partial{Seq: rec.Seq, Sub: rec.Sub}
			continue
		}
		r.cursor.After, r.cursor.Arrived, r.cursor.Partial = rec.Seq, rec.Arrived, nil
		r.cursor.From, r.cursor.CheckpointedAt = gerritstream.StartingPosition{}, time.Time{}
		r.batch.seal(r.cursor)
	}
	return nil
}

// take puts a record into the batch as its verdict says, after making room.
func (r *reader) take(rec *gerritstream.Record, v *gerritstream.Verdict) error {
	if v.Bad == "" && v.Filter != "" {
		r.filtered++
		return nil
	}
	if v.Bad != "" {
		d := r.deadLetter(rec, v.Bad, v.Detail)
		if err := r.makeRoom(d.Weight()); err != nil {
			return err
		}
		r.batch.dead = append(r.batch.dead, d)
		r.batch.weight += d.Weight()
		return nil
	}
	e := gerritstream.Entry{
		ID: r.eventID(rec), Shard: r.w.shard, Seq: rec.Seq, Sub: rec.Sub, Arrived: rec.Arrived,
		Event: v.Event, Payload: rec.Data,
	}
	weight := e.Weight()
	if r.cfg.Tracer != nil {
		weight += spanWeight
	}
	if err := r.makeRoom(weight); err != nil {
		return err
	}
	r.batch.entries = append(r.batch.entries, e)
	r.batch.weight += weight
	return nil
}

func (r *reader) eventID(rec *gerritstream.Record) gerritstream.EventID {
	return gerritstream.NewEventID(r.w.origin.Stream, r.w.shard, rec.Seq, rec.Sub)
}

func (r *reader) deadLetter(rec *gerritstream.Record, reason, detail string) gerritstream.DeadLetter {
	return gerritstream.DeadLetter{
		ID: r.eventID(rec), Shard: r.w.shard, Seq: rec.Seq, Sub: rec.Sub, Arrived: rec.Arrived,
		Reason: reason, Detail: detail, Payload: rec.Data[:min(len(rec.Data), gerritstream.MaxDeadLetterBytes)],
		Length: len(rec.Data), SHA256: sha256.Sum256(rec.Data),
	}
}

// makeRoom commits, if it must, so that an item of this weight fits. Complete
// records go first, so that an aggregate is committed whole if possible, and
// otherwise in parts.
func (r *reader) makeRoom(weight int) error {
	b, limits := &r.batch, r.term.Limits()
	for b.size() > 0 && (b.size() >= limits.Items || b.weight+weight > limits.Weight) {
		entries, dead, weighing, at := len(b.entries), len(b.dead), b.weight, r.cursor
		if b.whole.entries+b.whole.dead > 0 {
			entries, dead, weighing, at = b.whole.entries, b.whole.dead, b.whole.weight, b.whole.position
		}
		c := gerritstream.Commit{Position: at, Entries: b.entries[:entries], DeadLetters: b.dead[:dead]}
		if err := r.send(c); err != nil {
			return err
		}
		b.drop(entries, dead, weighing)
		b.whole.position = at
	}
	return nil
}

// commit sends everything gathered, with the cursor.
func (r *reader) commit() error {
	b := &r.batch
	if err := r.send(gerritstream.Commit{Position: r.cursor, Entries: b.entries, DeadLetters: b.dead}); err != nil {
		return err
	}
	b.drop(len(b.entries), len(b.dead), b.weight)
	return nil
}

// send delivers to the sinks and commits. Everything that leaves a term goes
// through here.
func (r *reader) send(c gerritstream.Commit) error {
	span := r.startSpan(c.Entries)
	err := r.deliverAndStore(&c, span)
	span.end(&c, err)
	return err
}

func (r *reader) deliverAndStore(c *gerritstream.Commit, span *commitSpan) error {
	refused, err := r.deliver(c.Entries)
	if err != nil {
		return err
	}
	for i := range refused { // before the position passes them; repeated, they are the same dead letters
		first := &gerritstream.Commit{Position: r.committed, DeadLetters: refused[i : i+1]}
		if err := r.store(first, span); err != nil {
			return err
		}
	}
	return r.store(c, span)
}

// store commits, and retries until the term ends.
func (r *reader) store(c *gerritstream.Commit, span *commitSpan) error {
	retry := backoff{first: 50 * time.Millisecond, most: 5 * time.Second}
	for {
		began := time.Now()
		c.Now = r.c.clock.now()
		// THE COMMIT POINT. Above it nothing has happened that may not happen
		// again: the next leader reads the same records again. Below it they
		// are handed on. If the outcome is unknown, the term is over, and the
		// position that the next term begins with decides.
		done := r.c.tracker.wait(r.w.shard, "the store to commit", trouble.StoreAway)
		span.became(Unknown)
		err := r.term.Commit(r.work, *c)
		done()
		if err == nil {
			span.became(Committed)
			r.committed, r.since = c.Position, time.Now()
			r.c.tracker.committed(r.w.shard, c, r.filtered)
			r.w.fine()
			r.logDeadLetters(c.DeadLetters)
			r.filtered = 0
			r.cfg.Observer.Committed(r.w.shard, r.term.Number(), c, time.Since(began))
			return nil
		}
		if !errors.Is(err, gerritstream.ErrRetryLater) {
			return err
		}
		span.retried(err)
		if r.isHeld(err) {
			return err
		}
		r.w.trouble(whyOf(err, trouble.StoreAway), isGrave(err))
		if !retry.pause(r.work) {
			return context.Cause(r.work)
		}
	}
}

// deliver hands the entries to every sink, in order, and retries until the term
// ends. It returns a dead letter for each entry that a sink rejected.
func (r *reader) deliver(entries []gerritstream.Entry) (refused []gerritstream.DeadLetter, err error) {
	for _, sink := range r.cfg.Sinks {
		retry := backoff{first: 100 * time.Millisecond, most: 10 * time.Second}
		for rest := entries; len(rest) > 0; {
			if r.work.Err() != nil {
				return nil, context.Cause(r.work)
			}
			if paused, _ := r.c.paused.of(r.w.shard); paused {
				return nil, pauses.ErrPaused
			}
			done := r.c.tracker.wait(r.w.shard, "the sink "+sink.Name(), trouble.Sink)
			err := sink.Deliver(r.work, rest)
			done()
			var rejected *gerritstream.RejectedError
			switch {
			case err == nil:
				rest = nil
			case errors.As(err, &rejected) && rejected.Index >= 0 && rejected.Index < len(rest):
				e, why := &rest[rejected.Index], sink.Name()+": "+rejected.Reason
				rest = rest[rejected.Index+1:]
				i := slices.IndexFunc(refused, func(d gerritstream.DeadLetter) bool { return d.ID == e.ID })
				if i >= 0 { // by another sink
					refused[i].Detail += "; " + why
					continue
				}
				rec := gerritstream.Record{Seq: e.Seq, Sub: e.Sub, Arrived: e.Arrived, Data: e.Payload}
				refused = append(refused, r.deadLetter(&rec, gerritstream.ReasonRejected, why))
			default:
				r.w.trouble(why{fmt.Sprintf("deliver to %s: %v", sink.Name(), err), trouble.Sink}, isGrave(err))
				if !retry.pause(r.work) {
					return nil, context.Cause(r.work)
				}
			}
		}
	}
	return refused, nil
}

// logDeadLetters logs dead letters, those of one reason in a row together. A
// burst of them is a warning.
func (r *reader) logDeadLetters(dead []gerritstream.DeadLetter) {
	if len(dead) == 0 {
		return
	}
	grave := trouble.DeadLetterBurst(r.c.tracker.deadRate(), time.Now()) != ""
	for i := 0; i < len(dead); {
		d, n := &dead[i], 1
		for i+n < len(dead) && dead[i+n].Reason == d.Reason {
			n++
		}
		r.c.logbook.note(happening{
			topic: deadLetterTopic, cause: d.Reason, shard: r.w.shard, times: n, grave: grave,
			sample: []any{"reason", d.Reason, "detail", d.Detail, "seq", string(d.Seq), "id", d.ID.String()},
		})
		i += n
	}
}

// logRecord logs a record and its verdict, at level debug.
func (r *reader) logRecord(rec *gerritstream.Record, v *gerritstream.Verdict) {
	verdict := "queued"
	switch {
	case v.Bad != "":
		verdict = "dead letter: " + v.Bad
	case v.Filter != "":
		verdict = "filtered: " + v.Filter
	}
	r.w.log.Debug("event", "type", v.Event.Type, "project", v.Event.Project, "change", v.Event.Change,
		"seq", string(rec.Seq), "id", r.eventID(rec).String(), "verdict", verdict)
}
