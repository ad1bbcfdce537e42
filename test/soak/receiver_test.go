package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
)

// hookConsumer is the consumer of the webhook that the processes deliver for.
const hookConsumer = "webhook:soak"

// receiver is what a webhook posts to, in the test's process.
type receiver struct {
	s   *soak
	url string

	mu     sync.Mutex
	fault  http.HandlerFunc // under mu: answers instead; nil: events are taken
	met    int              // under mu: requests that met the fault
	ending chan struct{}    // closed when a fault ends; under mu
}

func newReceiver(s *soak) *receiver {
	r := &receiver{s: s}
	server := httptest.NewServer(r)
	s.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	r.url = server.URL
	s.log.Add(history.Event{Kind: history.KindConsumer, Consumer: hookConsumer})
	return r
}

// config writes a configuration file with the webhook, and returns its path.
func (r *receiver) config() string {
	path := filepath.Join(r.s.folder, "webhooks.yaml")
	text := fmt.Sprintf("webhooks:\n- {name: soak, url: %q, allow_private: true, timeout: 2s, order: change}\n", r.url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.s.t.Fatal(err)
	}
	return path
}

// ServeHTTP takes an event, unless a fault is on.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	fault := r.fault
	if fault != nil {
		r.met++
	}
	r.mu.Unlock()
	if fault != nil {
		fault(w, request)
		return
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, 16<<20))
	if err != nil { // its process was killed
		return
	}
	id := request.Header.Get("webhook-id")
	r.s.log.Add(history.Event{Kind: history.KindHandled, Consumer: hookConsumer,
		Items: []history.Item{{ID: id, Detail: orderKey(body, id)}}})
}

// orderKey returns the change that an event is about, within which the webhook
// keeps the order; other events are in no order here.
func orderKey(body []byte, id string) string {
	var e struct {
		Change struct {
			Project string
			Number  int
		}
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Change.Number == 0 {
		return "event " + id
	}
	return fmt.Sprintf("%s %d", e.Change.Project, e.Change.Number)
}

// fail has the receiver answer in another way for a while, and reports whether
// a request met that.
func (r *receiver) fail(ctx context.Context, d time.Duration, with http.HandlerFunc) bool {
	ending := make(chan struct{})
	r.mu.Lock()
	r.fault, r.met, r.ending = with, 0, ending
	r.mu.Unlock()
	within := time.Now().Add(d)
	for patience := time.Now().Add(metWithin); ; {
		if !pause(ctx, 50*time.Millisecond) || time.Now().After(within) && (r.hasMet() || time.Now().After(patience)) {
			break
		}
	}
	defer close(ending)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = nil
	return r.met > 0
}

func (r *receiver) hasMet() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.met > 0
}

// hang answers nothing until the fault ends or the process gives up.
func (r *receiver) hang(_ http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	ending := r.ending
	r.mu.Unlock()
	select {
	case <-ending:
	case <-request.Context().Done():
	}
	panic(http.ErrAbortHandler) // no answer
}

// receiverFaults are those of the webhook's receiver.
func receiverFaults(n *nemesis, r *receiver) []fault {
	answer := func(status int, retryAfter string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			w.WriteHeader(status)
		}
	}
	fails := func(name string, with http.HandlerFunc) fault {
		return fault{name: name, do: func(ctx context.Context) bool {
			return r.fail(ctx, n.between(time.Second, 3*time.Second), with)
		}}
	}
	return []fault{
		fails("receiver down", answer(http.StatusServiceUnavailable, "")),
		fails("receiver throttles", answer(http.StatusTooManyRequests, "1")),
		fails("receiver hangs", r.hang),
		fails("receiver cuts", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	}
}
