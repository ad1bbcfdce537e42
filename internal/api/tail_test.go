package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// lines decodes a tail: its verdicts, and its notes as texts.
func lines(t *testing.T, body string) (verdicts []Verdict, notes []string) {
	t.Helper()
	for text := range strings.Lines(body) {
		l, err := decodeLine([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if l.Note != nil {
			notes = append(notes, l.Note.Note)
		} else {
			verdicts = append(verdicts, *l.Verdict)
		}
	}
	return verdicts, notes
}

// What the process remembers has no payloads: those of queued events, and their
// numbers, come from the queue.
func TestTailShowsThePast(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.commit(300, "ref-updated")
		w.commit(300, "ref-updated")
		w.feed.Judged(shard0, record(9000), &gerritstream.Verdict{
			Filter: "type", Event: gerritstream.Event{Type: "ref-replicated"},
		})
		w.feed.Judged(shard0, record(9001), &gerritstream.Verdict{Bad: "json"})
		w.feed.Committed(shard0, 1, &gerritstream.Commit{DeadLetters: []gerritstream.DeadLetter{{
			Shard: shard0, Seq: "9001", Sub: gerritstream.NoSub, Reason: "json", Detail: "byte 0", Payload: []byte("x"),
		}}}, 0)
		verdicts, notes := lines(t, w.get("/v1/tail?stop=true&n=4&payload=true", "").body)
		if len(notes) != 1 || notes[0] != "verdicts of process one, which reads 1 of 1 shards" {
			t.Errorf("notes: %q", notes)
		}
		var got []string
		for i := range verdicts {
			v := &verdicts[i]
			got = append(got, v.Verdict+v.Rule+v.Reason)
			want, payload := int64(599+i), string(v.Payload)
			if v.Verdict == Queued && (v.N != want || !strings.Contains(payload, `"n":`)) {
				t.Errorf("event %d has payload %s, want event %d", v.N, v.Payload, want)
			}
			id := gerritstream.NewEventID(stream0, shard0, gerritstream.SequenceNumber(v.Sequence), gerritstream.NoSub)
			if v.Verdict != Dead && v.ID != id.String() {
				t.Errorf("%s has identity %s, not %s", v.Sequence, v.ID, id)
			}
		}
		if text := strings.Join(got, " "); text != "queued queued filteredtype deadjson" {
			t.Errorf("got %s", text)
		}
		for query, count := range map[string]int{
			"n=2000": 602, "n=2000&verdict=filtered,dead": 2, "n=5&type=ref-replicated": 1, "since=-1s": 602,
			"n=0": 0, "n=9&project=q": 2, // events without a project are kept
		} {
			if verdicts, _ := lines(t, w.get("/v1/tail?stop=true&"+query, "").body); len(verdicts) != count {
				t.Errorf("%s shows %d verdicts, not %d", query, len(verdicts), count)
			}
		}
	})
}

// serveReal runs a server on a socket.
func serveReal(t *testing.T, o Options) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	o.Path = path
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		began := time.Now()
		cancel()
		if err := errors.Join(<-ran, s.Close()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > stopTimeout+closeTimeout+time.Second {
			t.Errorf("the stop took %v", took)
		}
	})
	return path
}

// A tail over the socket shows what comes, in order, and ends with the process.
func TestTailFollows(t *testing.T) {
	feed := NewFeed()
	status := func() gerritstream.Status { return gerritstream.Status{Process: "one", Stream: stream0} }
	path := serveReal(t, Options{Feed: feed, Status: status, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tail, err := Tail(ctx, path, &TailQuery{Payload: true, Verdicts: []string{Filtered, Dead}})
	if err != nil {
		t.Fatal(err)
	}
	tp := &tape{t: t, feed: feed}
	next := 1
	for l, err := range tail {
		if err != nil {
			t.Fatal(err)
		}
		if l.Note == nil {
			if v := l.Verdict; v.Sequence != string(record(next).Seq) || string(v.Bytes) != "payload "+v.Sequence {
				t.Fatalf("got %+v, want record %d", v, next)
			}
			next++
		}
		if next == 20 {
			break
		}
		tp.judge(next, "f")
	}
	q := &TailQuery{Filter: queue.Filter{Types: []string{"^("}}}
	var p *Problem
	if _, err := Tail(ctx, path, q); !errors.As(err, &p) || p.Status != http.StatusBadRequest {
		t.Errorf("a wrong query gets %v", err)
	}
	tail, err = Tail(ctx, path, &TailQuery{Stop: true, N: 3})
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for l, err := range tail {
		switch {
		case l.Verdict != nil:
			count++
		case err != nil && !errors.Is(err, io.EOF):
			t.Error(err)
		}
	}
	if count != 3 {
		t.Errorf("%d verdicts", count)
	}
}

// A payload is shown as it was received.
func TestPayloadsStayAsTheyAre(t *testing.T) {
	var out strings.Builder
	v := NewVerdict(&gerritstream.Entry{Payload: []byte(`{"a":"<b> & \u00e9"}`)}, &gerritstream.Verdict{}, time.Now())
	if err := newEncoder(&out).Encode(v); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"payload":{"a":"<b> & \u00e9"}`) || !json.Valid([]byte(out.String())) {
		t.Error(out.String())
	}
}
