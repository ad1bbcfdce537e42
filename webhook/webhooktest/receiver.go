// Package webhooktest is a receiver of webhooks for tests: it notes what comes
// and misbehaves as it is told, over a network in memory or any other.
package webhooktest

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Delivery is a request that came to a Receiver with its whole body.
type Delivery struct {
	ID     string // webhook-id
	Header http.Header
	Body   []byte
	Began  time.Time
	Ended  time.Time // when it was answered; zero: not yet
	Status int       // what it was answered by; 0: no complete answer
}

// Reaction answers a request, or does not, and returns the status of an answer
// that was complete.
type Reaction func(w http.ResponseWriter, r *http.Request) (status int)

// Receiver is an http.Handler that notes deliveries. It answers 204 until it is
// told something else. Several goroutines may use it at once.
type Receiver struct {
	mu         sync.Mutex
	decide     func(n int, d *Delivery) Reaction // under mu
	deliveries []*Delivery                       // under mu, in the order in which their bodies were complete
	took       map[string]bool                   // under mu: the ids of what was answered by 2xx
	underWay   int                               // under mu
	most       int                               // under mu: the greatest underWay
	changed    chan struct{}                     // under mu: closed and replaced at each change
}

// NewReceiver returns a Receiver.
func NewReceiver() *Receiver {
	return &Receiver{took: map[string]bool{}, changed: make(chan struct{})}
}

// React has the receiver decide on each delivery by f from now on. n counts
// deliveries from 0. A nil Reaction answers 204.
func (r *Receiver) React(f func(n int, d *Delivery) Reaction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decide = f
}

// Always has the receiver react in one way from now on.
func (r *Receiver) Always(reaction Reaction) {
	r.React(func(int, *Delivery) Reaction { return reaction })
}

// Deliveries returns what has come so far.
func (r *Receiver) Deliveries() []Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Delivery, len(r.deliveries))
	for i, d := range r.deliveries {
		all[i] = *d
	}
	return all
}

// Took reports whether an event was answered by 2xx.
func (r *Receiver) Took(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.took[id]
}

// Most returns how many requests were under way at the same time at most.
func (r *Receiver) Most() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}

// Changed returns a channel that is closed when another delivery has come or
// was answered.
func (r *Receiver) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	d := &Delivery{ID: request.Header.Get("Webhook-Id"), Header: request.Header, Began: time.Now()}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	d.Body = body
	reaction := r.begin(d)
	status := 0
	defer func() { // also when the reaction cuts the connection
		r.mu.Lock()
		defer r.mu.Unlock()
		d.Ended, d.Status = time.Now(), status
		r.took[d.ID] = r.took[d.ID] || status/100 == 2
		r.underWay--
		r.changedLocked()
	}()
	status = reaction(w, request)
}

func (r *Receiver) begin(d *Delivery) Reaction {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.deliveries)
	r.deliveries = append(r.deliveries, d)
	r.underWay++
	r.most = max(r.most, r.underWay)
	r.changedLocked()
	if r.decide != nil {
		if reaction := r.decide(n, d); reaction != nil {
			return reaction
		}
	}
	return Answer(http.StatusNoContent)
}

func (r *Receiver) changedLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Answer answers a status, with headers given as names and values in turn.
func Answer(status int, headers ...string) Reaction {
	return func(w http.ResponseWriter, _ *http.Request) int {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		return status
	}
}

// After waits before it reacts. It does not wait for a client that has gone.
func After(pause time.Duration, reaction Reaction) Reaction {
	return func(w http.ResponseWriter, r *http.Request) int {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
			return reaction(w, r)
		case <-r.Context().Done():
			return 0
		}
	}
}

// Hang never answers.
func Hang(_ http.ResponseWriter, r *http.Request) int {
	<-r.Context().Done()
	return 0
}

// HangMidAnswer answers 200 and never ends its body.
func HangMidAnswer(w http.ResponseWriter, r *http.Request) int {
	begin(w)
	<-r.Context().Done()
	return 0
}

// Drip answers 200 and a body that comes byte by byte, one each pause, and has
// no end.
func Drip(pause time.Duration) Reaction {
	return func(w http.ResponseWriter, r *http.Request) int {
		for r.Context().Err() == nil {
			begin(w)
			After(pause, func(http.ResponseWriter, *http.Request) int { return 0 })(w, r)
		}
		return 0
	}
}

// begin writes a part of an answer whose end is announced to come later.
func begin(w http.ResponseWriter) {
	w.Header().Set("Content-Length", strconv.Itoa(1<<20))
	_, _ = w.Write([]byte("."))
	_ = http.NewResponseController(w).Flush()
}

// Twice answers 200 twice, one behind the other, and closes the connection.
func Twice(w http.ResponseWriter, _ *http.Request) int {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return 0
	}
	time.AfterFunc(time.Millisecond, func() { // once the receiver has noted the answer
		for range 2 {
			_, _ = buffered.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		_ = buffered.Flush()
		_ = conn.Close()
	})
	return http.StatusOK
}

// Flood answers 200 and a body of so many bytes, as fast as it is read.
func Flood(bytes int) Reaction {
	return func(w http.ResponseWriter, _ *http.Request) int {
		w.Header().Set("Content-Length", strconv.Itoa(bytes))
		block := make([]byte, 32<<10)
		for bytes > 0 {
			n, err := w.Write(block[:min(bytes, len(block))])
			if err != nil {
				break
			}
			bytes -= n
		}
		return http.StatusOK
	}
}

// Cut cuts the connection instead of an answer.
func Cut(http.ResponseWriter, *http.Request) int { panic(http.ErrAbortHandler) }

// CutMidAnswer answers 200, and cuts the connection within the body.
func CutMidAnswer(w http.ResponseWriter, _ *http.Request) int {
	begin(w)
	panic(http.ErrAbortHandler)
}
