package e2e

import (
	"cmp"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/webhook/webhooktest"
)

var flagWebhookEvents = flag.Int("webhook.events", 120, "events of TestWebhookReceiverIsDown")

// receiver is a webhook's receiver at a port of its own, which can be down.
type receiver struct {
	*webhooktest.Receiver
	t      *testing.T
	addr   string
	server *http.Server // nil: it is down
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{Receiver: webhooktest.NewReceiver(), t: t, addr: "127.0.0.1:0"}
	r.up()
	t.Cleanup(r.down)
	return r
}

func (r *receiver) up() {
	r.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(r.t.Context(), "tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = listener.Addr().String()
	r.server = &http.Server{Handler: r.Receiver, ReadHeaderTimeout: patience}
	go func() { _ = r.server.Serve(listener) }() // until down
}

func (r *receiver) down() {
	if r.server != nil {
		_ = r.server.Close()
		r.server = nil
	}
}

// changeStream is a stream of events about changes.
type changeStream struct {
	t        *testing.T
	server   *kinesistest.Server
	endpoint string
	puts     int
}

func newChangeStream(t *testing.T) *changeStream {
	t.Helper()
	s := &changeStream{t: t, server: kinesistest.New(kinesistest.Options{})}
	if _, err := s.server.CreateStream(streamName, 4); err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(s.server)
	t.Cleanup(func() {
		served.CloseClientConnections()
		served.Close()
	})
	s.endpoint = served.URL
	return s
}

// put puts an event of one of some changes.
func (s *changeStream) put() {
	s.puts++
	change := 1 + s.puts%97
	data := fmt.Sprintf(`{"type":"comment-added","project":"tools","change":{"project":"tools","number":%d,`+
		`"branch":"main"},"n":%d,"eventCreatedOn":1767225600}`, change, s.puts)
	if _, _, err := s.server.Put(streamName, fmt.Sprint(s.puts), []byte(data)); err != nil {
		s.t.Fatal(err)
	}
}

// withWebhook returns the path of a configuration with a webhook.
func withWebhook(t *testing.T, addr string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gerritstream.yaml")
	config := fmt.Sprintf("webhooks:\n- {name: ci, url: 'http://%s/', allow_private: true, timeout: 5s}\n", addr)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// queued returns the events of a database, in the order of the queue.
func queued(t *testing.T, database string) (events []queue.Event) {
	t.Helper()
	r, err := sqlite.OpenReader(t.Context(), database)
	if err != nil {
		return nil // it does not exist yet
	}
	defer func() { _ = r.Close(context.WithoutCancel(t.Context())) }()
	for e, err := range r.Events(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// newest returns the number of the newest event of a database, how many the
// webhook has yet to deliver, and which process does.
func newest(t *testing.T, database string) (number, pending int64, reader string) {
	t.Helper()
	store, err := sqlite.OpenQueue(t.Context(), sqlite.Config{Path: database})
	if err != nil {
		return 0, 0, ""
	}
	defer func() { _ = store.Close(context.WithoutCancel(t.Context())) }()
	_, number, err = store.Bounds(t.Context())
	if err != nil {
		return 0, 0, "" // the file may be locked
	}
	infos, err := store.Consumers(t.Context())
	if err != nil || len(infos) == 0 {
		return number, number, ""
	}
	return number, infos[0].Pending, infos[0].Reader
}

// A webhook's receiver is down while events come, and three processes are
// killed and restarted all the while, then and when it is back: each event is
// delivered, under its id, and the first times those of a change come they
// come in the order of the queue.
func TestWebhookReceiverIsDown(t *testing.T) {
	t.Parallel()
	stream, database, r := newChangeStream(t), newDatabase(t), newReceiver(t)
	args := fromStart(stream.endpoint, database, "--config", withWebhook(t, r.addr), "--log-format", "text")
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // it chooses whom to kill
	processes := make([]*program, 3)
	for i := range processes {
		processes[i] = start(t, args...)
	}
	eventually(t, "the webhook has begun", func() bool {
		stream.put()
		return len(r.Deliveries()) > 0
	})
	kills := 0
	kill := func() { // who delivers, if anybody does
		i := random.IntN(len(processes))
		_, _, reader := newest(t, database)
		for j, p := range processes {
			if strings.Contains(reader, fmt.Sprint(p.Process.Pid)) {
				i = j
			}
		}
		processes[i].Kill()
		processes[i] = start(t, args...)
		kills++
	}
	r.down()
	perKill := max(*flagWebhookEvents/20, 40)
	for n := range *flagWebhookEvents {
		stream.put()
		if n%perKill == perKill/2 {
			<-time.After(time.Duration(random.IntN(1000)) * time.Millisecond)
			kill()
		}
	}
	await(t, "all is queued", func() bool { n, _, _ := newest(t, database); return n >= int64(stream.puts) })
	r.React(func(int, *webhooktest.Delivery) webhooktest.Reaction {
		return webhooktest.After(5*time.Millisecond, webhooktest.Answer(200)) // so that there is time to kill
	})
	r.up()
	last := 0
	await(t, "all is delivered", func() bool {
		if n := len(r.Deliveries()); n-last > *flagWebhookEvents/5 && n < *flagWebhookEvents {
			last = n
			kill()
		}
		_, pending, _ := newest(t, database)
		return pending == 0
	})
	judgeDeliveries(t, queued(t, database), r.Deliveries(), stream.puts)
	t.Logf("%d events, %d deliveries, %d kills", stream.puts, len(r.Deliveries()), kills)
}

// await waits for what takes longer than eventually allows.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(5 * time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// judgeDeliveries compares what came with what the queue holds.
func judgeDeliveries(t *testing.T, events []queue.Event, deliveries []webhooktest.Delivery, puts int) {
	t.Helper()
	byID := map[string]*queue.Event{}
	for i := range events {
		byID[events[i].Entry.ID.String()] = &events[i]
	}
	if len(events) != puts || len(byID) != puts {
		t.Errorf("%d events with %d ids are queued, want %d", len(events), len(byID), puts)
	}
	seen, last := map[string]bool{}, map[int64]int64{}
	for _, d := range deliveries {
		e := byID[d.ID]
		if e == nil || sha256.Sum256(d.Body) != sha256.Sum256(e.Entry.Payload) {
			t.Fatalf("%q came, with %q", d.ID, d.Body)
		}
		if d.Status != http.StatusOK && d.Status != http.StatusNoContent || seen[d.ID] {
			continue
		}
		seen[d.ID] = true
		if change := e.Entry.Event.Change; e.Number < last[change] {
			t.Errorf("event %d of change %d came after %d", e.Number, change, last[change])
		} else {
			last[change] = e.Number
		}
	}
	// The webhook begins with what is queued after its first start.
	begin := slices.IndexFunc(events, func(e queue.Event) bool { return seen[e.Entry.ID.String()] })
	for _, e := range events[max(begin, 0):] {
		if !seen[e.Entry.ID.String()] {
			t.Errorf("event %d was not delivered", e.Number)
		}
	}
	if begin < 0 || begin > puts/2 {
		t.Errorf("the webhook began with event %d of %d", begin, puts)
	}
}

// TestReadingBesideWebhooks measures how long events take from their arrival to
// the queue without a webhook, with one, and with one whose receiver is down.
func TestReadingBesideWebhooks(t *testing.T) {
	if *flagWebhookEvents < 1000 {
		t.Skip("it measures; give -webhook.events 10000")
	}
	for _, kind := range []string{"none", "up", "down", "none", "up", "down"} {
		stream, database, r := newChangeStream(t), newDatabase(t), newReceiver(t)
		var more []string
		if kind != "none" {
			more = append(more, "--config", withWebhook(t, r.addr))
		}
		var processes []*program
		for range 3 {
			processes = append(processes, start(t, fromStart(stream.endpoint, database, more...)...))
		}
		eventually(t, "it reads", func() bool {
			stream.put()
			n, _, _ := newest(t, database)
			return n > 0
		})
		if kind == "down" {
			r.down()
		}
		warm := stream.puts
		began := time.Now()
		for tick := time.NewTicker(2 * time.Millisecond); stream.puts < warm+*flagWebhookEvents; <-tick.C {
			stream.put()
		}
		await(t, "all is queued", func() bool { n, _, _ := newest(t, database); return n >= int64(stream.puts) })
		var delays []time.Duration
		for _, e := range queued(t, database)[warm:] {
			delays = append(delays, e.Queued.Sub(e.Entry.Arrived))
		}
		slices.SortFunc(delays, func(a, b time.Duration) int { return cmp.Compare(a, b) })
		n := len(delays)
		t.Logf("webhook %-4s: %d events in %v; arrival to queue p50 %v p95 %v p99 %v; %d delivered", kind, n,
			time.Since(began).Round(time.Millisecond), delays[n/2], delays[n*95/100], delays[n*99/100],
			len(r.Deliveries()))
		for _, p := range processes {
			p.Kill()
		}
	}
}
