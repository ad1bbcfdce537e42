package admin

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// TestWebhookMetrics: they are there before anything is delivered, and count
// what is.
func TestWebhookMetrics(t *testing.T) {
	known := hooks.Known{Receivers: map[string]string{"a": "https://a.example", "b": "https://b.example"}}
	m := NewMetrics(MetricsOptions{Webhooks: []string{"a", "b"}, TypeLabel: func(s string) string { return s }})
	m.Follow(Gauges{
		Status:    fixed(gerritstream.Status{}),
		Inspect:   func() (gerritstream.Inspection, bool) { return gerritstream.Inspection{}, false },
		Consumers: func() []queue.Info { return known.Consumers },
		Webhooks:  func() []hooks.View { return known.Views(time.Now()) },
	})
	got := scrape(t, m)
	for _, o := range webhook.Outcomes() {
		expect(t, got, `gerritstream_webhook_deliveries_total{outcome="`+string(o)+`",webhook="b"} 0`)
	}
	expect(t, got,
		`gerritstream_webhook_delivery_seconds_count{webhook="a"} 0`,
		`gerritstream_webhook_failing_seconds{webhook="a"} 0`,
		`gerritstream_webhook_paused{webhook="a"} 0`,
		`gerritstream_webhook_dead_letters{webhook="a"} 0`,
		`gerritstream_consumer_pending{consumer="webhook:a"} 0`,
		`gerritstream_consumer_oldest_seconds{consumer="webhook:a"} 0`,
		`gerritstream_consumer_expired_total{consumer="webhook:a"} 0`,
	)
	arrived := time.Now().Add(-20 * time.Second)
	for _, a := range []webhook.Attempt{
		{Outcome: webhook.Delivered, Arrived: arrived, Took: 3 * time.Millisecond},
		{Outcome: webhook.Failed, Arrived: arrived, Took: time.Second, Err: errors.New("no")},
		{Outcome: webhook.GivenUp, Arrived: arrived},
	} {
		m.Attempted("a", &a)
	}
	known.Consumers = []queue.Info{{Name: "webhook:a", Reader: "p", Pending: 2, Oldest: arrived, Expired: 7}}
	known.States = []webhook.State{
		{Name: "a", DeadLetters: 1, Report: webhook.Report{FailingSince: time.Now().Add(time.Hour)}},
		{Name: "b", Pause: webhook.Pause{Since: arrived}},
	}
	expect(t, scrape(t, m),
		`gerritstream_webhook_deliveries_total{outcome="delivered",webhook="a"} 1`,
		`gerritstream_webhook_deliveries_total{outcome="failed",webhook="a"} 1`,
		`gerritstream_webhook_deliveries_total{outcome="given_up",webhook="a"} 1`,
		`gerritstream_webhook_deliveries_total{outcome="delivered",webhook="b"} 0`,
		`gerritstream_webhook_delivery_seconds_count{webhook="a"} 2`,
		`gerritstream_webhook_delivery_seconds_bucket{webhook="a",le="0.004"} 1`,
		`gerritstream_event_delay_seconds_count{stage="acked"} 1`,
		`gerritstream_event_delay_seconds_bucket{stage="acked",le="10"} 0`,
		`gerritstream_webhook_failing_seconds{webhook="a"} 0`, // clocks differ
		`gerritstream_webhook_dead_letters{webhook="a"} 1`,
		`gerritstream_webhook_paused{webhook="b"} 1`,
		`gerritstream_consumer_pending{consumer="webhook:a"} 2`,
		`gerritstream_consumer_expired_total{consumer="webhook:a"} 7`,
	)
	known.States[0].Report.FailingSince = time.Now().Add(-time.Hour)
	for line := range scrape(t, m) {
		if value, ok := strings.CutPrefix(line, `gerritstream_webhook_failing_seconds{webhook="a"} `); ok {
			if !strings.HasPrefix(value, "3600") {
				t.Errorf("it has failed for %s s", value)
			}
		}
	}
}

// TestPageShowsWebhooks, the worst first.
func TestPageShowsWebhooks(t *testing.T) {
	known := hooks.Known{
		Receivers: map[string]string{"a": "https://a.example"},
		Consumers: []queue.Info{{Name: "webhook:a", Reader: "p"}, {Name: "webhook:b", Reader: "p"}},
		States: []webhook.State{{Name: "b", Report: webhook.Report{
			FailingSince: time.Now().Add(-time.Hour), LastError: "<no>", Failures: 3,
		}}},
	}
	page := httptest.NewRecorder()
	p := &pages{view: func() overview.View {
		return overview.New(&overview.Input{Now: time.Now(), Webhooks: known.Views(time.Now())})
	}}
	p.serve(page, httptest.NewRequest(http.MethodGet, "/", nil))
	body := page.Body.String()
	bad := strings.Index(body, `failing for 1h (3 failed): &lt;no&gt;; nothing waits</td>`)
	fine := strings.Index(body, `delivering; nothing waits</td>`)
	if page.Code != http.StatusOK || bad < 0 || fine < bad {
		t.Errorf("%d %d %d: %s", page.Code, bad, fine, body)
	}
}
