package admin

import (
	"bufio"
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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/overview"
)

// fixed returns a status that never changes.
func fixed(s gerritstream.Status) func() gerritstream.Status {
	return func() gerritstream.Status { return s }
}

// viewOf returns what a process alone shows.
func viewOf(s gerritstream.Status) overview.View {
	return overview.New(&overview.Input{Process: s, Now: time.Now(), Setup: overview.Setup{Version: "v1.2.3"}})
}

// newMetrics returns metrics whose labels are the types themselves.
func newMetrics() *Metrics {
	return NewMetrics(MetricsOptions{Version: "v1.2.3", TypeLabel: func(s string) string { return s }})
}

// getter gets a path, after changing the request if need be.
type getter func(method, path string, change ...func(*http.Request)) (int, http.Header, string)

// serve runs a server for the length of a test and returns a function that gets
// a path from it.
func serve(t *testing.T, status func() gerritstream.Status, m *Metrics) getter {
	t.Helper()
	_, get := serveAt(t, status, m)
	return get
}

func serveAt(t *testing.T, status func() gerritstream.Status, m *Metrics) (*Server, getter) {
	t.Helper()
	s, err := New(Options{Address: "127.0.0.1:0", Status: status, Metrics: m,
		View: func() overview.View { return viewOf(status()) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	client := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	t.Cleanup(func() { cancel(); running.Wait(); client.CloseIdleConnections() })
	return s, func(method, path string, change ...func(*http.Request)) (int, http.Header, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range change {
			change(req)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header, string(body)
	}
}

func TestEndpoints(t *testing.T) {
	ready := gerritstream.Status{Listed: time.Now()}
	tests := []struct {
		status             gerritstream.Status
		method, path, body string
		code               int
	}{
		{ready, "GET", "/healthz", "ok\n", 200},
		{gerritstream.Status{}, "GET", "/healthz", "ok\n", 200},
		{ready, "GET", "/readyz", "ready\n", 200},
		{gerritstream.Status{}, "GET", "/readyz", "the stream has not been listed yet\n", 503},
		{ready, "HEAD", "/readyz", "", 200},
		{ready, "POST", "/healthz", "Method Not Allowed\n", 405},
		{ready, "GET", "/nothing", "404 page not found\n", 404},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			code, _, body := serve(t, fixed(tt.status), newMetrics())(tt.method, tt.path)
			if code != tt.code || body != tt.body {
				t.Errorf("got %d %q, want %d %q", code, body, tt.code, tt.body)
			}
		})
	}
}

// TestHealthIsProgress: a stalled process is unhealthy; one in trouble is not.
func TestHealthIsProgress(t *testing.T) {
	var still error
	status := gerritstream.Status{Trouble: "denied"}
	s, err := New(Options{Address: "127.0.0.1:0", Status: fixed(status), Metrics: newMetrics(),
		Alive: func() error { return still }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ask := func() (int, string) {
		rec := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://localhost/healthz", nil))
		return rec.Code, rec.Body.String()
	}
	if code, body := ask(); code != 200 || body != "ok\n" {
		t.Errorf("got %d %q", code, body)
	}
	still = errors.New("planning stalled for 3m0s")
	if code, body := ask(); code != 503 || body != "planning stalled for 3m0s\n" {
		t.Errorf("got %d %q", code, body)
	}
}

func TestPageEscapesWhatItShows(t *testing.T) {
	status := gerritstream.Status{
		Process: "a-1-x",
		Stream:  gerritstream.Stream{ARN: "arn:aws:kinesis:eu-west-1:123456789012:stream/gerrit"},
		Shards: []gerritstream.ShardStatus{{
			Shard: "shardId-000000000007", State: gerritstream.StateWaiting,
			WaitingFor: []gerritstream.ShardID{"shardId-000000000001"},
			Trouble:    "<script>alert(1)</script>",
		}},
	}
	code, header, body := serve(t, fixed(status), newMetrics())("GET", "/")
	if code != 200 || strings.Contains(body, "<script>alert") {
		t.Errorf("got %d\n%s", code, body)
	}
	for _, want := range []string{
		"stream/gerrit", "shardId-000000000007", "waits for its parent 1", "v1.2.3",
		"&lt;script&gt;", "Starting: the stream has not been listed yet",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if csp := header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("Content-Security-Policy: %q", csp)
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = New(Options{Address: taken.Addr().String(), Status: fixed(gerritstream.Status{}), Metrics: newMetrics()})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestOpenAddressIsLogged(t *testing.T) {
	for address, logged := range map[string]bool{"127.0.0.1:0": false, "[::1]:0": false, "localhost:0": false,
		"0.0.0.0:0": true, ":0": true} {
		var log strings.Builder
		s, err := New(Options{
			Address: address, Status: fixed(gerritstream.Status{}), Metrics: newMetrics(),
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
			continue // a host without IPv6
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "other hosts can read"); got != logged {
			t.Errorf("%s: logged: %v", address, got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("the second time: %v", err)
		}
	}
}

// TestStopCutsRequests that never end.
func TestStopCutsRequests(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	s, err := New(Options{Address: "127.0.0.1:0", Metrics: newMetrics(), Status: func() gerritstream.Status {
		close(asked)
		<-release
		return gerritstream.Status{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Run(ctx) }()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-asked
	cancel()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * stopTimeout):
		t.Error("it does not stop")
	}
	close(release)
}

// TestUpdates: the page's main part comes at once and again, for so many pages
// and no more, until the server stops.
func TestUpdates(t *testing.T) {
	var asked atomic.Int32
	address, stop := serveView(t, func() overview.View {
		return overview.View{Sentence: fmt.Sprintf("<asked %d times>", asked.Add(1))}
	})
	var open []*bufio.Reader
	for i := range maxUpdates + 1 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"updates", nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{}}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got := res.StatusCode; i < maxUpdates && got != http.StatusOK ||
			i == maxUpdates && got != http.StatusServiceUnavailable {
			t.Errorf("page %d gets %d", i, got)
		}
		open = append(open, bufio.NewReader(res.Body))
	}
	var text strings.Builder
	for !strings.Contains(text.String(), "asked 2 times&gt;") {
		line, err := open[0].ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %s", err, &text)
		}
		text.WriteString(line)
		if line != "\n" && !strings.HasPrefix(line, "data: ") {
			t.Errorf("not of an event: %q", line)
		}
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > stopTimeout {
		t.Errorf("it stopped after %v, by force", took)
	}
}
