package e2e

import (
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
	tb     testing.TB
	addr   string
	server *http.Server // nil: it is down
}

func newReceiver(tb testing.TB) *receiver {
	tb.Helper()
	r := &receiver{Receiver: webhooktest.NewReceiver(), tb: tb, addr: "127.0.0.1:0"}
	r.up()
	tb.Cleanup(r.down)
	return r
}

func (r *receiver) up() {
	r.tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(r.tb.Context(), "tcp", r.addr)
	if err != nil {
		r.tb.Fatal(err)
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
	tb       testing.TB
	server   *kinesistest.Server
	endpoint string
	puts     int
}

func newChangeStream(tb testing.TB) *changeStream {
	tb.Helper()
	s := &changeStream{tb: tb, server: kinesistest.New(kinesistest.Options{})}
	if _, err := s.server.CreateStream(streamName, 4); err != nil {
		tb.Fatal(err)
	}
	served := httptest.NewServer(s.server)
	tb.Cleanup(func() {
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
		s.tb.Fatal(err)
	}
}

// withWebhook returns the path of a configuration with a webhook.
func withWebhook(tb testing.TB, addr string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "gerritstream.yaml")
	config := fmt.Sprintf("webhooks:\n- {name: ci, url: 'http://%s/', allow_private: true, timeout: 5s}\n", addr)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// queued returns the events of a database, in the order of the queue.
func queued(tb testing.TB, database string) (events []queue.Event) {
	tb.Helper()
	r, err := sqlite.OpenReader(tb.Context(), database)
	if err != nil {
		return nil // it does not exist yet
	}
	defer func() { _ = r.Close(context.WithoutCancel(tb.Context())) }()
	for e, err := range r.Events(tb.Context(), 0) {
		if err != nil {
			tb.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// newest returns the number of the newest event of a database, how many the
// webhook has yet to deliver, and which process does.
func newest(tb testing.TB, database string) (number, pending int64, reader string) {
	tb.Helper()
	store, err := sqlite.OpenQueue(tb.Context(), sqlite.Config{Path: database})
	if err != nil {
		return 0, 0, ""
	}
	defer func() { _ = store.Close(context.WithoutCancel(tb.Context())) }()
	_, number, err = store.Bounds(tb.Context())
	if err != nil {
		return 0, 0, "" // the file may be locked
	}
	infos, err := store.Consumers(tb.Context())
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
func await(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(5 * time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("not in time: %s", what)
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

// BenchmarkReadingBesideWebhooks measures how long events take from their
// arrival to the queue, 500 a second, without a webhook, with one, and with one
// whose receiver is down.
func BenchmarkReadingBesideWebhooks(b *testing.B) {
	for _, kind := range []string{"none", "up", "down"} {
		b.Run("receiver="+kind, func(b *testing.B) { readBeside(b, kind) })
	}
}

// readBeside reads b.N events beside a webhook of a kind.
func readBeside(b *testing.B, kind string) {
	stream, database, r := newChangeStream(b), newDatabase(b), newReceiver(b)
	var more []string
	if kind != "none" {
		more = append(more, "--config", withWebhook(b, r.addr))
	}
	var processes []*program
	for range 3 {
		processes = append(processes, start(b, fromStart(stream.endpoint, database, more...)...))
	}
	eventually(b, "it reads", func() bool {
		stream.put()
		n, _, _ := newest(b, database)
		return n > 0
	})
	if kind == "down" {
		r.down()
	}
	warm := stream.puts
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	b.ResetTimer()
	for stream.puts < warm+b.N {
		<-tick.C
		stream.put()
	}
	await(b, "all is queued", func() bool { n, _, _ := newest(b, database); return n >= int64(stream.puts) })
	b.StopTimer()
	var delays []time.Duration
	for _, e := range queued(b, database)[warm:] {
		delays = append(delays, e.Queued.Sub(e.Entry.Arrived))
	}
	slices.Sort(delays)
	for _, percent := range []int{50, 95, 99} {
		delay := delays[len(delays)*percent/100]
		b.ReportMetric(float64(delay.Milliseconds()), fmt.Sprintf("p%d-ms", percent))
	}
	b.ReportMetric(float64(len(r.Deliveries())), "delivered")
	for _, p := range processes {
		p.Kill()
	}
}
