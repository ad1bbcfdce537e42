package api

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shard0 = gerritstream.ShardID("shardId-000000000000")

var stream0 = gerritstream.Stream{
	ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/gerrit", Created: time.UnixMilli(1_700_000_000_000),
}

// world is a server over a queue in SQLite, without a socket: requests go to
// its handler.
type world struct {
	t      *testing.T
	path   string
	store  *sqlite.Store
	term   gerritstream.Term
	seq    int
	feed   *Feed
	server *Server
	base   context.Context
	noted  int // acknowledged events that were told of
	stop   context.CancelCauseFunc
}

// inBubble runs a test in a bubble, in which waiting takes no time.
func inBubble(t *testing.T, do func(t *testing.T, w *world)) {
	t.Helper()
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, folder)
		do(t, w)
	})
}

func newWorld(t *testing.T, folder string) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(folder, "g.db"), feed: NewFeed()}
	w.store = w.open("one")
	w.must(w.store.SetOrigin(t.Context(), nil, gerritstream.Origin{
		Stream: stream0, Epoch: 1, From: gerritstream.StartingPosition{TrimHorizon: true},
	}))
	var err error
	w.term, err = w.store.Campaign(t.Context(), 1, shard0)
	w.must(err)
	w.begin()
	t.Cleanup(func() {
		w.stop(errStopping)
		w.server.sessions.wait()
	})
	return w
}

// begin begins to serve, also after a stop.
func (w *world) begin() {
	w.base, w.stop = context.WithCancelCause(context.Background())
	w.server = w.serve(w.store)
}

// open opens the store as another process would.
func (w *world) open(process string) *sqlite.Store {
	w.t.Helper()
	store, err := sqlite.Open(w.t.Context(), sqlite.Config{Path: w.path, Process: process, PollOnly: true})
	w.must(err)
	w.t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	return store
}

func (w *world) serve(q queue.Store) *Server {
	status := func() gerritstream.Status {
		return gerritstream.Status{Process: "one", Stream: stream0, Shards: []gerritstream.ShardStatus{
			{Shard: shard0, State: gerritstream.StateReading},
		}}
	}
	s := &Server{options: Options{Feed: w.feed, Status: status, Queue: q, Logger: slog.New(slog.DiscardHandler)}}
	s.options.Acked = func(time.Time) { w.noted++ }
	s.sessions = newSessions(w.base, &s.options)
	return s
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// commit queues events of a type, and tells the feed as a consumer would.
func (w *world) commit(count int, eventType string) {
	w.t.Helper()
	var c gerritstream.Commit
	for range count {
		w.seq++
		seq := gerritstream.SequenceNumber(strconv.Itoa(w.seq))
		c.Entries = append(c.Entries, gerritstream.Entry{
			ID: gerritstream.NewEventID(stream0, shard0, seq, gerritstream.NoSub), Shard: shard0, Seq: seq,
			Sub: gerritstream.NoSub, Arrived: time.Now(), Event: gerritstream.Event{Type: eventType, Project: "p"},
			Payload: fmt.Appendf(nil, `{"type":%q,"n":%d}`, eventType, w.seq),
		})
		c.Position = gerritstream.Position{After: seq, Arrived: time.Now()}
		w.feed.Judged(shard0, &gerritstream.Record{Seq: seq}, &gerritstream.Verdict{})
	}
	w.must(w.term.Commit(w.t.Context(), c))
	w.feed.Committed(shard0, 1, &c, 0)
}

// exec changes the database behind everybody's back.
func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.path+"?_pragma=busy_timeout(5000)")
	w.must(err)
	defer db.Close()
	_, err = db.Exec(query, args...)
	w.must(err)
}

// answer is what the server answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// request is one to be sent.
type request struct {
	method, path, token, body, accept string
	ctx                               context.Context // nil: of the server
	server                            *Server         // nil: the world's
}

func (w *world) send(r *request) answer {
	w.t.Helper()
	ctx, server := w.base, w.server
	if r.ctx != nil {
		ctx = r.ctx
	}
	if r.server != nil {
		server = r.server
	}
	req := httptest.NewRequestWithContext(ctx, r.method, r.path, strings.NewReader(r.body))
	req.RemoteAddr = "a client of the test"
	if r.token != "" {
		req.Header.Set(SessionHeader, r.token)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	rec := httptest.NewRecorder()
	handler := server.handler()
	handler.ServeHTTP(rec, req)
	a := answer{rec.Code, rec.Header(), rec.Body.String()}
	_, pattern := handler.(*http.ServeMux).Handler(req) //nolint:errcheck,forcetypeassert // it is one
	conforms(w.t, pattern, &a)
	return a
}

func (w *world) get(path, token string) answer {
	return w.send(&request{method: http.MethodGet, path: path, token: token})
}

func (w *world) post(path, token, body string) answer {
	return w.send(&request{method: http.MethodPost, path: path, token: token, body: body})
}

// make makes a consumer that begins with the oldest event.
func (w *world) make(name string) {
	w.t.Helper()
	a := w.send(&request{method: http.MethodPut, path: "/v1/consumers/" + name, body: `{"start":"first"}`})
	if a.status != http.StatusCreated {
		w.t.Fatalf("the consumer was not made: %d %s", a.status, a.body)
	}
}

// numbers checks that an answer has the events from one number to another, and
// whether they are marked as redelivered. It returns the session's token.
func (w *world) numbers(a answer, from, to int64, redelivered bool) string {
	w.t.Helper()
	if a.status != http.StatusOK {
		w.t.Fatalf("status %d: %s", a.status, a.body)
	}
	next := from
	for text := range strings.Lines(a.body) {
		var e Event
		w.must(json.Unmarshal([]byte(text), &e))
		if e.N != next || e.Redelivered != redelivered || len(e.Payload) == 0 {
			w.t.Errorf("got event %d, redelivered %v, payload %s; want event %d, redelivered %v", e.N, e.Redelivered,
				e.Payload, next, redelivered)
		}
		next = e.N + 1
	}
	if next != to+1 {
		w.t.Fatalf("the events end before %d, not after %d:\n%s", next, to, a.body)
	}
	return a.header.Get(SessionHeader)
}

// refused checks that an answer is a problem with a code and a text.
func (w *world) refused(a answer, status int, code, text string) {
	w.t.Helper()
	var p Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		w.t.Fatalf("status %d: %s", a.status, a.body)
	}
	if a.status != status || p.Status != status || p.Code != code || !strings.Contains(p.Detail, text) ||
		strings.Contains(p.Detail, "\n") || a.header.Get("Content-Type") != "application/problem+json" {
		w.t.Errorf("got %d %+v, want %d %s %q", a.status, p, status, code, text)
	}
}

// acked checks what the store has as acknowledged.
func (w *world) acked(name string, want int64) {
	w.t.Helper()
	info, err := consumerNamed(w.t.Context(), w.store, name)
	w.must(err)
	if info.Acked != want {
		w.t.Errorf("%s has acknowledged up to %d, not %d", name, info.Acked, want)
	}
}
