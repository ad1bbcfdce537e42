package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
)

const (
	contentNDJSON = "application/x-ndjson"

	maxTails     = 16
	writeTimeout = 30 * time.Second // for a client that takes nothing
	resolveMost  = 8                // reads of the queue for one batch of lines
	resolvePage  = 500              // events, for each
)

// Note is a line of a tail that is about the tail itself.
type Note struct {
	Note   string `json:"note"`             // for people
	Missed int    `json:"missed,omitempty"` // lines that were left out because the client took too long
}

// TailQuery is what a client of GET /v1/tail asks for.
type TailQuery struct {
	Since    string       // a time as people type it; empty: the last N verdicts
	N        int          // at most Remembered
	Filter   queue.Filter // of types, projects and refs
	Verdicts []string     // none: all
	Payload  bool         // with the payloads, as far as they are known
	Stop     bool         // end with the newest verdict instead of waiting for more
}

// tail serves GET /v1/tail.
func (s *Server) tail(w http.ResponseWriter, r *http.Request) error {
	q, err := parseTail(r.URL.Query())
	if err != nil {
		return err
	}
	o := &onlooker{payloads: q.payload, wants: q.wants()}
	if s.tails.Add(1) > maxTails {
		s.tails.Add(-1)
		return problem(http.StatusServiceUnavailable, CodeTooMany, "%d clients look on already", maxTails)
	}
	defer s.tails.Add(-1)
	past := s.options.Feed.look(o, q.n)
	defer s.options.Feed.leave(o)
	w.Header().Set("Content-Type", contentNDJSON)
	w.Header().Set("Cache-Control", "no-store")
	t := &tailing{server: s, query: q, response: http.NewResponseController(w), w: w}
	if err := t.begin(past); err != nil {
		return errGone(err)
	}
	for !q.stop {
		select {
		case <-r.Context().Done():
			return nil
		case <-o.wake:
		}
		lines, missed := o.take()
		if err := t.write(r.Context(), lines, missed); err != nil {
			return errGone(err)
		}
	}
	return nil
}

// errGone marks an error after which nothing more can be said to the client.
func errGone(err error) error { return fmt.Errorf("%w: %w", errAnswered, err) }

// tailing is one client's tail.
type tailing struct {
	server   *Server
	query    tailQuery
	w        http.ResponseWriter
	response *http.ResponseController

	// Numbers in the queue: of the last event found for the lines of the batch
	// before, and for those before that. Shards commit side by side, so that
	// a line may come a batch later than one that follows it in the queue. 0:
	// none yet.
	after, before int64
}

// begin says what is shown, and shows the past.
func (t *tailing) begin(past []line) error {
	status := t.server.options.Status()
	reads := 0
	for i := range status.Shards {
		if status.Shards[i].State == gerritstream.StateReading {
			reads++
		}
	}
	if err := t.encode(Note{Note: fmt.Sprintf("verdicts of process %s, which reads %d of %d shards",
		status.Process, reads, len(status.Shards))}); err != nil {
		return err
	}
	return t.write(context.Background(), past, 0)
}

// write writes lines, and how many were missed after them.
func (t *tailing) write(ctx context.Context, lines []line, missed int) error {
	numbers := t.resolve(ctx, lines)
	stream := t.server.options.Status().Stream
	for i := range lines {
		s := &lines[i].seen
		entry := s.entry
		entry.Payload = lines[i].payload
		if entry.ID == (gerritstream.EventID{}) {
			entry.ID = gerritstream.NewEventID(stream, entry.Shard, entry.Seq, entry.Sub)
		}
		v := NewVerdict(&entry, &gerritstream.Verdict{Filter: s.filter, Bad: s.bad, Detail: s.detail}, s.at)
		if e, ok := numbers[entry.ID]; ok {
			v.N, v.Queued = e.Number, e.Queued
			v.setPayload(e.Entry.Payload)
		}
		if err := t.encode(v); err != nil {
			return err
		}
	}
	if missed > 0 {
		text := fmt.Sprintf("%d lines were left out: this client takes them too slowly", missed)
		if err := t.encode(Note{Note: text, Missed: missed}); err != nil {
			return err
		}
	}
	return t.response.Flush()
}

// encode writes a value as a line.
func (t *tailing) encode(v any) error {
	_ = t.response.SetWriteDeadline(time.Now().Add(writeTimeout)) // a test's recorder has none
	return newEncoder(t.w).Encode(v)
}

// resolve looks up queued events in the queue, for their numbers and payloads,
// so that nobody has to copy them while they are read from the stream. Those
// that are not found, such as all of a queue that is Zuul's, are left out.
func (t *tailing) resolve(ctx context.Context, lines []line) map[gerritstream.EventID]*queue.Event {
	store := t.server.options.Queue
	want := map[gerritstream.EventID]bool{}
	for i := range lines {
		if s := &lines[i].seen; s.kind() == Queued {
			want[s.entry.ID] = true
		}
	}
	if store == nil || !t.query.payload || len(want) == 0 {
		return nil
	}
	after := t.before
	if t.before, t.after = t.after, 0; t.before == 0 {
		_, newest, err := store.Bounds(ctx)
		if err != nil {
			return nil
		}
		after = max(0, newest-int64(2*len(lines)+resolvePage)) // other processes queue as well
	}
	found := map[gerritstream.EventID]*queue.Event{}
	for range resolveMost {
		events, err := store.Read(ctx, "", after, resolvePage)
		if err != nil || len(events) == 0 {
			break
		}
		for i := range events {
			if e := &events[i]; want[e.Entry.ID] {
				found[e.Entry.ID] = e
				t.after = max(t.after, e.Number)
			}
		}
		after = events[len(events)-1].Number
		if len(found) == len(want) {
			break
		}
	}
	return found
}

// tailQuery is a TailQuery that was checked.
type tailQuery struct {
	since    time.Time // zero: the last n
	n        int
	matcher  queue.Matcher
	verdicts map[string]bool
	payload  bool
	stop     bool
}

// wants returns what decides whether a verdict is shown.
func (q *tailQuery) wants() func(*seen) bool {
	return func(s *seen) bool {
		return q.verdicts[s.kind()] && !s.at.Before(q.since) && q.matcher.Keeps(&s.entry.Event)
	}
}

// kind returns the name of the verdict.
func (s *seen) kind() string {
	switch {
	case s.bad != "":
		return Dead
	case s.filter != "":
		return Filtered
	}
	return Queued
}

// since reads a time as people type it.
func since(text string) (time.Time, error) {
	now := time.Now()
	t, err := when.Parse(text, now)
	if err != nil {
		return t, badRequest("since: %v", err)
	}
	return t, nil
}
