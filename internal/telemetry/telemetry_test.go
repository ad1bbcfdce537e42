package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/telemetry"
	"github.com/gerritstream/gerritstream/internal/telemetry/telemetrytest"
)

const patience = 20 * time.Second

// open sends spans to a server until the test ends.
func open(t *testing.T, url string, more ...string) (*telemetry.Traces, *log) {
	t.Helper()
	c, err := telemetry.FromEnviron(append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + url}, more...))
	if err != nil {
		t.Fatal(err)
	}
	var l log
	traces, err := telemetry.New(c, telemetry.Options{
		Version: "v1.2.3", Process: "host-1-abcd", Host: "host", Connection: "gerrit", Stream: "arn:s",
		System: "sqlite", Logger: slog.New(slog.NewTextHandler(&l, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { traces.Close(0) })
	return traces, &l
}

// log is what was logged.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve serves a collector until the test ends, and then looks for goroutines
// that are left.
func serve(tb testing.TB, c http.Handler) string {
	tb.Helper()
	leaks := goleak.IgnoreCurrent()
	server := httptest.NewServer(c)
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		goleak.VerifyNone(tb, leaks)
	})
	return server.URL
}

func await(t *testing.T, what string, seen func() bool) {
	t.Helper()
	look, deadline := time.NewTicker(5*time.Millisecond), time.After(patience)
	defer look.Stop()
	for !seen() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func commit(traces *telemetry.Traces) consumer.Span { return traces.Commit("shardId-000000000000", 7) }

// A collector reads, with OpenTelemetry's own types, what a span says.
func TestACommitIsASpan(t *testing.T) {
	var collector telemetrytest.Collector
	traces, l := open(t, serve(t, &collector)+"/base/", "OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20s3cret",
		"OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_RESOURCE_ATTRIBUTES=team=a%2Cb,host.name=other",
		"OTEL_SERVICE_NAME=events")
	before := time.Now()
	c := &gerritstream.Commit{
		Entries:     []gerritstream.Entry{{Seq: "9", Payload: []byte("abc")}, {Seq: "11", Payload: []byte("defg")}},
		DeadLetters: []gerritstream.DeadLetter{{Seq: "8"}},
	}
	fine := commit(traces)
	fine.Retried(errors.New("disk full"))
	fine.End(c, consumer.Committed, nil)
	lost := commit(traces)
	lost.End(&gerritstream.Commit{}, consumer.Unknown, errors.New("no reply \xff"))
	stopped := commit(traces)
	stopped.End(c, consumer.NotWritten, context.Canceled)
	traces.Close(patience)

	spans := collector.Spans()
	if len(spans) != 3 || len(collector.Faults()) > 0 {
		t.Fatalf("%d spans, %v", len(spans), collector.Faults())
	}
	if h := collector.Requests()[0]; h.Get("Authorization") != "Bearer s3cret" {
		t.Errorf("headers: %v", h)
	}
	s := &spans[0]
	if s.Name != "commit" || s.Kind != 4 || s.Parent != "" || s.Traceparent() != fine.Traceparent() || s.Failed ||
		s.Start.Before(before) || s.End.Before(s.Start) || s.Scope != "github.com/gerritstream/gerritstream v1.2.3" {
		t.Errorf("the span: %+v", s)
	}
	for name, want := range map[string]any{
		"gerritstream.shard": "shardId-000000000000", "gerritstream.term": int64(7), "gerritstream.stream": "arn:s",
		"gerritstream.bytes": int64(7), "gerritstream.dead_letters": int64(1), "gerritstream.seq.first": "8",
		"gerritstream.seq.last": "11", "gerritstream.outcome": "committed", "messaging.batch.message_count": int64(2),
		"messaging.destination.name": "gerrit", "messaging.system": "sqlite", "messaging.operation.type": "send",
	} {
		if s.Attributes[name] != want {
			t.Errorf("%s is %v, want %v", name, s.Attributes[name], want)
		}
	}
	for name, want := range map[string]any{
		"service.name": "events", "service.version": "v1.2.3", "service.instance.id": "host-1-abcd", "team": "a,b",
		"host.name": "other", "telemetry.sdk.language": "go",
	} {
		if s.Process[name] != want {
			t.Errorf("%s is %v, want %v", name, s.Process[name], want)
		}
	}
	if len(s.Events) != 1 || !strings.Contains(s.Events[0], "disk full") {
		t.Errorf("events: %q", s.Events)
	}
	if s := &spans[1]; !s.Failed || s.Status != "no reply ?" || s.Attributes["gerritstream.outcome"] != "unknown" ||
		s.Trace == spans[0].Trace || s.Attributes["gerritstream.seq.first"] != nil {
		t.Errorf("the span whose outcome is unknown: %+v", s)
	}
	if s := &spans[2]; s.Failed || s.Attributes["gerritstream.outcome"] != "not written" {
		t.Errorf("the span of a stop: %+v", s)
	}
	if n := traces.Counts(); n != (telemetry.Counts{Made: 3, Sent: 3}) || l.String() != "" {
		t.Errorf("%+v, %s", n, l)
	}
}

// A span that is not sampled is neither carried nor sent.
func TestNotSampled(t *testing.T) {
	var collector telemetrytest.Collector
	traces, _ := open(t, serve(t, &collector), "OTEL_TRACES_SAMPLER=always_off")
	s := commit(traces)
	if s.Traceparent() != "" {
		t.Errorf("it is carried: %s", s.Traceparent())
	}
	s.End(&gerritstream.Commit{}, consumer.Committed, nil)
	traces.Close(patience)
	if n := len(collector.Requests()); n != 0 || traces.Counts() != (telemetry.Counts{}) {
		t.Errorf("%d requests, %+v", n, traces.Counts())
	}
}

// What may pass is tried again, what may not is dropped, and each row of
// failures is logged once, without secrets, as is its end.
func TestACollectorThatFails(t *testing.T) {
	answers := []int{503, 200, 400, 401, 302, 200, 206}
	collector := &telemetrytest.Collector{Answer: func(w http.ResponseWriter, _ *http.Request, n int) bool {
		status := 200
		if n <= len(answers) {
			status = answers[n-1]
		}
		switch status {
		case 200:
			return false
		case 206: // one of its spans is not taken: partial_success {rejected_spans: 1, error_message: "s"}
			_, _ = w.Write([]byte{0x0a, 5, 0x08, 1, 0x12, 1, 's'})
			return true
		}
		w.Header().Set("Location", "http://localhost:1/s3cret")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("s3cret"))
		return true
	}}
	traces, l := open(t, serve(t, collector)+"?key=s3cret", "OTEL_BSP_SCHEDULE_DELAY=1")
	for i, want := range []telemetry.Counts{
		{1, 1, 0}, {2, 1, 1}, {3, 1, 2}, {4, 1, 3}, {5, 2, 3}, {6, 2, 4}, {7, 3, 4},
	} {
		commit(traces).End(&gerritstream.Commit{}, consumer.Committed, nil)
		await(t, fmt.Sprintf("span %d: %+v", i+1, want), func() bool { return traces.Counts() == want })
	}
	traces.Close(patience)
	text := l.String()
	if strings.Count(text, "level=WARN") != 2 || strings.Count(text, "spans are sent again") != 2 ||
		!strings.Contains(text, "answered 400 Bad Request") || !strings.Contains(text, "dropped=3") ||
		!strings.Contains(text, "a part of the spans only") || strings.Contains(text, "s3cret") {
		t.Errorf("the log:\n%s", text)
	}
}

// Nothing listens: commits go on, the queue stays within its bound, and a stop
// takes no longer than it may.
func TestNoCollector(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	traces, l := open(t, "http://"+address, "OTEL_BSP_MAX_QUEUE_SIZE=10", "OTEL_BSP_SCHEDULE_DELAY=1")
	for range 1000 {
		commit(traces).End(&gerritstream.Commit{}, consumer.Committed, nil)
	}
	traces.Close(50 * time.Millisecond)
	await(t, "the goroutines of a closed one", func() bool { return goleak.Find(leaks) == nil })
	if n := traces.Counts(); n.Made != 1000 || n.Sent != 0 || n.Failed > 30 {
		t.Errorf("%+v", n)
	}
	if text := l.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "spans=1000 of=1000") {
		t.Errorf("the log:\n%s", text)
	}
}

// A collector that never answers holds up neither commits nor the stop.
func TestACollectorThatHangs(t *testing.T) {
	came := make(chan struct{}, 10)
	collector := &telemetrytest.Collector{Answer: func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client is gone
		came <- struct{}{}
		<-r.Context().Done()
		return true
	}}
	traces, l := open(t, serve(t, collector), "OTEL_BSP_SCHEDULE_DELAY=1")
	commit(traces).End(&gerritstream.Commit{}, consumer.Committed, nil)
	select {
	case <-came:
	case <-time.After(patience):
		t.Fatal("no request came")
	}
	commit(traces).End(&gerritstream.Commit{}, consumer.Committed, nil)
	began := time.Now()
	traces.Close(50 * time.Millisecond)
	if took := time.Since(began); took > patience/2 {
		t.Errorf("closing took %s", took)
	}
	if text := l.String(); !strings.Contains(text, "spans=2 of=2") {
		t.Errorf("the log:\n%s", text)
	}
}

func TestTry(t *testing.T) {
	collector := &telemetrytest.Collector{Answer: func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.URL.Path != "/v1/traces" || r.Header.Get("X-Key") != "right" {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}}
	url := serve(t, collector)
	for key, want := range map[string]string{"right": "", "wrong": "the collector answered 403 Forbidden"} {
		c, err := telemetry.FromEnviron([]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + url, "OTEL_EXPORTER_OTLP_HEADERS=x-key=" + key,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := telemetry.Try(t.Context(), c); fmt.Sprint(err) != want && (err != nil || want != "") {
			t.Errorf("%s: %v, want %q", key, err, want)
		}
	}
	if spans, faults := collector.Spans(), collector.Faults(); len(spans)+len(faults) > 0 {
		t.Errorf("%v, %v", spans, faults)
	}
}
