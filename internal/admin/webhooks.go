package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

var _ webhook.Observer = (*Metrics)(nil)

// hookMetrics count what webhooks of this process do.
type hookMetrics struct {
	deliveries *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
}

// newHookMetrics returns the metrics of these webhooks at zero.
func newHookMetrics(names []string) hookMetrics {
	m := hookMetrics{
		deliveries: counters("webhook_deliveries_total", "Attempts to deliver events, by outcome.",
			"webhook", "outcome"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "webhook_delivery_seconds", Buckets: buckets,
			Help: "Time from the beginning of a request to the end of its answer.",
		}, []string{"webhook"}),
	}
	for _, name := range names {
		m.seconds.WithLabelValues(name)
		for _, o := range webhook.Outcomes() {
			m.deliveries.WithLabelValues(name, string(o))
		}
	}
	return m
}

// Attempted counts an attempt. An event that was delivered counts as
// acknowledged: that follows at once.
func (m *Metrics) Attempted(hook string, a *webhook.Attempt) {
	m.hooks.deliveries.WithLabelValues(hook, string(a.Outcome)).Inc()
	if a.Outcome == webhook.GivenUp {
		return
	}
	m.hooks.seconds.WithLabelValues(hook).Observe(a.Took.Seconds())
	if a.Outcome == webhook.Delivered {
		m.EventAcked(a.Arrived)
	}
}

// The descriptions of the gauges of webhooks.
var (
	descHookFailing = desc("webhook_failing_seconds", "For how long the receiver has failed; 0: it does not.",
		"webhook")
	descHookPaused  = desc("webhook_paused", "1 while the webhook is paused, else 0.", "webhook")
	descHookLetters = desc("webhook_dead_letters", "Dead letters of the webhook that the store holds.", "webhook")
)

// collectHook turns what is known of a webhook into metrics. One that has not
// begun has no consumer yet, and the metrics of one nevertheless.
func collectHook(ch chan<- prometheus.Metric, v *hooks.View, now time.Time) {
	failing, paused := 0.0, 0.0
	switch v.State {
	case hooks.Failing:
		failing = max(0, now.Sub(v.Since)).Seconds()
	case hooks.Gone, hooks.Paused:
		paused = 1
	case hooks.Idle:
		collectConsumer(ch, &queue.Info{Name: queue.WebhookConsumer(v.Name)}, now)
	}
	send(ch, descHookFailing, failing, v.Name)
	send(ch, descHookPaused, paused, v.Name)
	send(ch, descHookLetters, float64(v.DeadLetters), v.Name)
}
