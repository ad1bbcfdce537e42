package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
)

// SessionHeader carries the token of a session.
const SessionHeader = "Gerritstream-Session"

// The bounds of a read.
const (
	defaultMax     = 100
	maxMax         = 500 // as many as are read at a time
	maxWait        = time.Minute
	defaultTimeout = time.Minute
	minTimeout     = time.Second
	maxTimeout     = 10 * time.Minute
	maxHold        = time.Minute
	bodyTimeout    = 10 * time.Second
)

// consumerNamed returns a consumer of a store. ErrNoConsumer.
func consumerNamed(ctx context.Context, store queue.Store, name string) (*queue.Info, error) {
	infos, err := store.Consumers(ctx)
	if err != nil {
		return nil, err
	}
	for i := range infos {
		if infos[i].Name == name {
			return &infos[i], nil
		}
	}
	return nil, fmt.Errorf("consumer %s: %w", name, queue.ErrNoConsumer)
}

// named returns the name in the path.
func named(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if err := queue.CheckName(name); err != nil {
		return "", badRequest("%v", err)
	}
	return name, nil
}

// body reads a request's body.
func body(w http.ResponseWriter, r *http.Request, into any) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // a test's recorder has none
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil && d.More() {
		err = errors.New("something follows the object")
	}
	_ = control.SetReadDeadline(time.Time{}) // a client may hang up much later
	if err != nil {
		return badRequest("the body is not the JSON object expected: %v", err)
	}
	return nil
}

// listConsumers serves GET /v1/consumers.
func (s *Server) listConsumers(w http.ResponseWriter, r *http.Request) error {
	infos, err := s.options.Queue.Consumers(r.Context())
	if err != nil {
		return err
	}
	if infos == nil {
		infos = []queue.Info{}
	}
	writeJSON(w, http.StatusOK, "application/json", infos)
	return nil
}

// showConsumer serves GET /v1/consumers/NAME.
func (s *Server) showConsumer(w http.ResponseWriter, r *http.Request) error {
	name, err := named(r)
	if err != nil {
		return err
	}
	return s.answerConsumer(w, r, http.StatusOK, name)
}

func (s *Server) answerConsumer(w http.ResponseWriter, r *http.Request, status int, name string) error {
	info, err := consumerNamed(r.Context(), s.options.Queue, name)
	if err != nil {
		return s.sessions.explain(r.Context(), name, err)
	}
	writeJSON(w, status, "application/json", info)
	return nil
}

// makeConsumer serves PUT /v1/consumers/NAME.
func (s *Server) makeConsumer(w http.ResponseWriter, r *http.Request) error {
	name, err := named(r)
	if err != nil {
		return err
	}
	want := struct {
		Filter queue.Filter `json:"filter"`
		Start  place        `json:"start"`
	}{Start: "last"}
	if err := body(w, r, &want); err != nil {
		return err
	}
	if _, err := want.Filter.Matcher(); err != nil {
		return badRequest("filter: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	after, _, err := Locate(r.Context(), s.options.Queue, string(want.Start))
	if err != nil {
		return err
	}
	switch err := s.options.Queue.Register(r.Context(), name, want.Filter, after); {
	case err == nil:
		return s.answerConsumer(w, r, http.StatusCreated, name)
	case !errors.Is(err, queue.ErrExists):
		return err
	}
	info, err := consumerNamed(r.Context(), s.options.Queue, name)
	if err == nil && queue.EncodeFilter(info.Filter) != queue.EncodeFilter(want.Filter) {
		return problem(http.StatusConflict, CodeExists, "consumer %s is there with another filter, %s", name,
			queue.EncodeFilter(info.Filter))
	}
	return s.answerConsumer(w, r, http.StatusOK, name)
}

// place is a place in the queue: a number, or a text that Locate takes.
type place string

// UnmarshalJSON implements json.Unmarshaler.
func (p *place) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*p = place(text)
		return nil
	}
	var n int64
	if err := json.Unmarshal(b, &n); err != nil {
		return errors.New("a place is a number or a text")
	}
	*p = place(strconv.FormatInt(n, 10))
	return nil
}

// Locate returns after which number a place in the queue is: "first", "last",
// the number of an event, or a time. said is for people: how a time was
// understood. A *Problem is a mistake in the place; other errors are the
// store's.
func Locate(ctx context.Context, q queue.Store, place string) (after int64, said string, err error) {
	oldest, newest, err := q.Bounds(ctx)
	if err != nil {
		return 0, "", err
	}
	number, err := strconv.ParseInt(place, 10, 64)
	switch {
	case place == "first":
		return oldest - 1, "", nil
	case place == "last":
		return newest, "", nil
	case err != nil || number < 0 || number > newest+1 && len(place) >= len("1000000000"): // a number, or a time
	case number < oldest:
		return 0, "", badRequest("event %d is not held any more; the oldest is %d", number, oldest)
	case number > newest+1:
		return 0, "", badRequest("there is no event %d yet; the newest is %d", number, newest)
	default:
		return number - 1, "", nil
	}
	now := time.Now()
	t, err := when.Parse(place, now)
	if err != nil {
		return 0, "", badRequest("%v, or first, last or the number of an event", err)
	}
	if t.After(now) {
		return 0, "", badRequest("%q is %s", place, when.Format(t, now))
	}
	n, err := q.Since(ctx, t)
	return n - 1, ", the first from " + when.Format(t, now) + " on", err
}

// removeConsumer serves DELETE /v1/consumers/NAME.
func (s *Server) removeConsumer(w http.ResponseWriter, r *http.Request) error {
	return s.changeFree(w, r, func(name string) error { return s.options.Queue.Remove(r.Context(), name) })
}

// seek serves POST /v1/consumers/NAME/seek.
func (s *Server) seek(w http.ResponseWriter, r *http.Request) error {
	var want struct {
		To place `json:"to"`
	}
	if err := body(w, r, &want); err != nil {
		return err
	}
	after, _, err := Locate(r.Context(), s.options.Queue, string(want.To))
	if err != nil {
		return err
	}
	return s.changeFree(w, r, func(name string) error { return s.options.Queue.Seek(r.Context(), name, after) })
}

// changeFree changes a consumer that nobody reads as, other than the session
// whose token the request carries, which ends.
func (s *Server) changeFree(w http.ResponseWriter, r *http.Request, change func(name string) error) error {
	name, err := named(r)
	if err != nil {
		return err
	}
	if token := r.Header.Get(SessionHeader); token != "" {
		own, err := s.sessions.find(name, token)
		if err == nil {
			err = own.end(r.Context())
		}
		if err != nil {
			return err
		}
	}
	if client := s.sessions.client(name); client != "" {
		return held(name, client)
	}
	if err := change(name); err != nil {
		return s.sessions.explain(r.Context(), name, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// client names the client that reads as a consumer here; "": none.
func (all *sessions) client(name string) string {
	all.mu.Lock()
	defer all.mu.Unlock()
	if s := all.byName[name]; s != nil {
		return s.client
	}
	return ""
}

// endSession serves DELETE /v1/consumers/NAME/session.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	own, err := s.session(r)
	if err != nil {
		return err
	}
	if err := own.end(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// session returns the session whose token a request carries.
func (s *Server) session(r *http.Request) (*session, error) {
	name, err := named(r)
	if err != nil {
		return nil, err
	}
	token := r.Header.Get(SessionHeader)
	if token == "" {
		return nil, badRequest("the header %s is missing; a read returns it", SessionHeader)
	}
	return s.sessions.find(name, token)
}

// ack serves POST /v1/consumers/NAME/ack.
func (s *Server) ack(w http.ResponseWriter, r *http.Request) error {
	var want struct {
		N *int64 `json:"n"`
	}
	if err := body(w, r, &want); err != nil {
		return err
	}
	if want.N == nil || *want.N < 1 {
		return badRequest("n is not the number of an event")
	}
	own, err := s.session(r)
	if err != nil {
		return err
	}
	if err := own.ack(r.Context(), *want.N); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// reading is what a client asks of a read.
type reading struct {
	max           int
	wait, timeout time.Duration
	asList        bool           // one JSON array instead of lines
	options       []queue.Option // of a session that is opened
}

// read serves GET /v1/consumers/NAME/events.
func (s *Server) read(w http.ResponseWriter, r *http.Request) error {
	name, err := named(r)
	if err != nil {
		return err
	}
	want, err := parseReading(r)
	if err != nil {
		return err
	}
	own, opened, err := s.enter(r, name, &want)
	if err != nil {
		return err
	}
	events, err := own.read(r.Context(), want.max, want.wait, want.timeout)
	if err == nil {
		w.Header().Set(SessionHeader, own.token)
		if err = writeEvents(w, events, want.asList); err != nil {
			err = errGone(err)
		}
	}
	if opened && (err != nil || r.Context().Err() != nil) { // nobody knows the token
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), closeTimeout)
		defer cancel()
		_ = own.end(ctx) // else it ends by itself
	}
	return err
}

// enter returns the session of the request's token, or opens one.
func (s *Server) enter(r *http.Request, name string, want *reading) (own *session, opened bool, err error) {
	if token := r.Header.Get(SessionHeader); token != "" {
		own, err = s.sessions.find(name, token)
		return own, false, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), max(want.wait, leaseTimeout))
	defer cancel()
	own, err = s.sessions.open(ctx, name, r.RemoteAddr, want)
	return own, err == nil, err
}

// writeEvents answers with events.
func writeEvents(w http.ResponseWriter, events []queue.Event, asList bool) error {
	views := make([]Event, len(events))
	for i := range events {
		views[i] = NewEvent(&events[i])
	}
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // a test's recorder has none
	encoder := newEncoder(w)
	if asList {
		w.Header().Set("Content-Type", "application/json")
		return errors.Join(encoder.Encode(views), control.Flush())
	}
	w.Header().Set("Content-Type", contentNDJSON)
	for i := range views {
		if err := encoder.Encode(&views[i]); err != nil {
			return err
		}
	}
	return control.Flush()
}
