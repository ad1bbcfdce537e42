package daemon

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/internal/telemetry"
	"github.com/gerritstream/gerritstream/internal/telemetry/telemetrytest"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// tracesTo returns a configuration of traces for a collector.
func tracesTo(t *testing.T, collector http.Handler, more ...string) *telemetry.Config {
	t.Helper()
	server := httptest.NewServer(collector)
	t.Cleanup(server.Close)
	c, err := telemetry.FromEnviron(append(more, "OTEL_EXPORTER_OTLP_ENDPOINT="+server.URL))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// runTraced queues 20 events of two shards, and returns the store's
// configuration.
func runTraced(t *testing.T, store string, traces *telemetry.Config) *config.Config {
	t.Helper()
	emulator := kinesistest.New(kinesistest.Options{NoLimits: true})
	if _, err := emulator.CreateStream("events", 2); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		event := fmt.Appendf(nil, `{"type":"change-merged","change":{"project":"p","number":%d}}`, i+1)
		if _, _, err := emulator.Put("events", fmt.Sprint(i), event); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(config.Sources{Flags: map[string][]string{
		"stream": {"events"}, "region": {"us-east-1"}, "start-at": {"trim-horizon"}, "admin": {"off"}, "store": {store},
	}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(t.Context(), Options{
		Config: c, UntilCaughtUp: true, Transport: emulator.Transport(), Traces: traces, Version: "v1",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return &c
}

// checkSpans checks that each event carries the span of the commit that queued
// it, which the collector has.
func checkSpans(t *testing.T, collector *telemetrytest.Collector, carried []string) {
	t.Helper()
	if faults := collector.Faults(); len(faults) > 0 || len(carried) != 20 {
		t.Fatalf("%d events, %v", len(carried), faults)
	}
	events := map[string]int64{}
	for _, traceparent := range carried {
		events[traceparent]++
	}
	for _, s := range collector.Spans() {
		n := events[s.Traceparent()]
		if got := s.Attributes["messaging.batch.message_count"]; got != n || s.Failed ||
			s.Attributes["gerritstream.outcome"] != "committed" || s.Attributes["gerritstream.stream"] != "events" {
			t.Errorf("%d events carry the span of %v: %v", n, got, s)
		}
		delete(events, s.Traceparent())
	}
	if len(events) > 0 {
		t.Errorf("the collector does not have %v", events)
	}
}

// A build can be traced back to its event: what Zuul restores of an event in
// its queue is the span of the commit that queued it.
func TestZuulLinksToTheSpanOfTheCommit(t *testing.T) {
	peers.Require(t, peers.Python)
	var collector telemetrytest.Collector
	zk := peers.SharedZooKeeper(t, peers.ZooKeeperOptions{})
	at := zk.Hosts() + peers.Chroot(t, zk)
	runTraced(t, "zookeeper://"+at, tracesTo(t, &collector))
	reader := peers.StartReader(t, peers.KazooOptions{Hosts: at}, "/zuul/events/connection/gerrit")
	pass, err := reader.Drain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var carried []string
	for _, e := range pass.Events {
		carried = append(carried, e.Span)
	}
	checkSpans(t, &collector, carried)
}

// A consumer of the SQLite queue gets the span as an attribute.
func TestTheQueueHasTheSpanOfTheCommit(t *testing.T) {
	var collector telemetrytest.Collector
	c := runTraced(t, "sqlite:"+filepath.Join(t.TempDir(), "g.db"), tracesTo(t, &collector, "OTEL_SERVICE_NAME=me"))
	var carried []string
	for _, e := range queued(t, c) {
		carried = append(carried, e.Event.Attributes["traceparent"])
	}
	checkSpans(t, &collector, carried)
	for _, s := range collector.Spans() {
		if s.Process["service.name"] != "me" || s.Process["service.version"] != "v1" ||
			!strings.HasPrefix(fmt.Sprint(s.Process["service.instance.id"]), hostname()+"-") {
			t.Errorf("the process is %v", s.Process)
		}
	}
}

// Whatever the collector does, all is queued; without one nothing is carried.
func TestTracesNeverHoldUpACommit(t *testing.T) {
	hanging := make(chan struct{})
	defer close(hanging) // before the server is closed
	for name, traces := range map[string]*telemetry.Config{
		"off": {},
		"hanging": tracesTo(t, &telemetrytest.Collector{Answer: func(http.ResponseWriter, *http.Request, int) bool {
			<-hanging
			return true
		}}, "OTEL_BSP_MAX_QUEUE_SIZE=1", "OTEL_BSP_SCHEDULE_DELAY=1"),
	} {
		began := time.Now()
		events := queued(t, runTraced(t, "sqlite:"+filepath.Join(t.TempDir(), "g.db"), traces))
		if len(events) != 20 || time.Since(began) > 30*time.Second {
			t.Errorf("%s: %d events after %s", name, len(events), time.Since(began))
		}
		for _, e := range events {
			if _, ok := e.Event.Attributes["traceparent"]; ok != (name != "off") {
				t.Errorf("%s: %q", name, e.Event.Attributes)
			}
		}
	}
}

// queued returns the events in a SQLite queue.
func queued(t *testing.T, c *config.Config) (entries []gerritstream.Entry) {
	t.Helper()
	reader, err := c.OpenQueueReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close(t.Context())
	for e, err := range reader.Events(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e.Entry)
	}
	return entries
}
