package admin

import (
	"errors"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
)

const namespace = "gerritstream"

// MetricsOptions say what the metrics need to know about the process.
type MetricsOptions struct {
	Version string

	// Connection, Stream and Store are as in the settings.
	Connection, Stream, Store string

	// TypeLabel returns the label of an event type: one of a bounded set, since
	// the author of an event chooses its type.
	TypeLabel func(eventType string) string

	// Reasons and Rules are all values of the labels with these names. Their
	// counters exist from the start, at 0.
	Reasons, Rules []string

	// Webhooks are those in the settings. Their metrics exist from the start,
	// at 0, as well.
	Webhooks []string
}

// Metrics counts what a Consumer does, as its Observer and as that of package
// kinesis, in a registry of its own. What the status shows is taken from there
// when metrics are asked for (see Follow). All methods may be called by several
// goroutines at once.
type Metrics struct {
	registry  *prometheus.Registry
	typeLabel func(string) string

	read     prometheus.Counter
	queued   *prometheus.CounterVec
	filtered *prometheus.CounterVec
	dead     *prometheus.CounterVec
	lost     *prometheus.CounterVec
	commit   prometheus.Histogram
	terms    *prometheus.CounterVec

	delays  eventDelays
	kinesis kinesisMetrics
	hooks   hookMetrics

	skew atomic.Pointer[time.Duration] // of the service's clock, ahead of the local one; nil: not known
}

var _ consumer.Observer = (*Metrics)(nil)

// kinesisMetrics count what happens between the process and Kinesis.
type kinesisMetrics struct {
	requests    *prometheus.CounterVec
	requestTime *prometheus.HistogramVec
	bytes       prometheus.Counter

	subscriptions prometheus.Gauge
	ended         *prometheus.CounterVec // subscriptions
}

func newKinesisMetrics() kinesisMetrics {
	return kinesisMetrics{
		requests: counters("kinesis_requests_total", "Requests to Kinesis, by outcome.", "operation", "code"),
		bytes:    counter("kinesis_reply_bytes_total", "Bytes of pages as they were transferred."),
		subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "kinesis_subscriptions", Help: "Subscriptions that stand (enhanced fan-out).",
		}),
		ended: counters("kinesis_subscription_ends_total", "Subscriptions that ended, by reason.", "reason"),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "kinesis_request_seconds", Buckets: buckets,
			Help: "Time that a request to Kinesis took.",
		}, []string{"operation"}),
	}
}

// The values of the label end.
const (
	endResigned = "resigned"
	endLost     = "lost"
	endFailed   = "failed"
)

// NewMetrics returns metrics at zero.
func NewMetrics(o MetricsOptions) *Metrics {
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		typeLabel: o.TypeLabel,
		read:      counter("records_read_total", "Records read from the stream; a record read again counts again."),
		queued:    counters("events_queued_total", "Events committed to the queue.", "type"),
		filtered:  counters("events_filtered_total", "Events that a rule of the filter dropped.", "rule"),
		dead:      counters("dead_letters_total", "Records that became dead letters, by reason.", "reason"),
		lost: counters("possibly_lost_intervals_total",
			"Intervals in which records may have gone unread, by cause.", "why"),
		terms:   counters("terms_total", "Leaderships that ended, by how: resigned, lost or failed.", "end"),
		delays:  newEventDelays(),
		kinesis: newKinesisMetrics(),
		hooks:   newHookMetrics(o.Webhooks),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "commit_seconds", Buckets: buckets,
			Help: "Time that a commit took in the store.",
		}),
	}
	build := labelled("build_info", "1, with the version in the labels.",
		prometheus.Labels{"version": o.Version, "goversion": runtime.Version()})
	info := labelled("info", "1, with what the process reads and where it queues that in the labels.",
		prometheus.Labels{"connection": o.Connection, "stream": o.Stream, "store": o.Store, "version": o.Version})
	k := &m.kinesis
	m.registry.MustRegister(m.read, m.queued, m.filtered, m.dead, m.lost, m.commit, m.terms, m.delays.all, k.requests,
		k.requestTime, k.bytes, k.subscriptions, k.ended, m.hooks.deliveries, m.hooks.seconds, build, info,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for vec, labels := range map[*prometheus.CounterVec][]string{
		m.terms: {endResigned, endLost, endFailed}, m.dead: o.Reasons, m.filtered: o.Rules,
		m.lost: {
			gerritstream.WhyTrimmed, gerritstream.WhyBadPosition, gerritstream.WhyRecreated, gerritstream.WhyShardGone,
			gerritstream.WhyForeignLed,
		},
	} {
		for _, label := range labels {
			vec.WithLabelValues(label)
		}
	}
	return m
}

// labelled returns a gauge that is 1 and says everything in its labels.
func labelled(name, help string, labels prometheus.Labels) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels})
	g.Set(1)
	return g
}

var buckets = prometheus.ExponentialBuckets(0.001, 2, 14)

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// Handler answers with all metrics, in the format that the client asks for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
}

// Elected counts nothing: the status shows who leads.
func (m *Metrics) Elected(gerritstream.ShardID, uint64, gerritstream.Position, bool) {}

// PageRead counts records.
func (m *Metrics) PageRead(_ gerritstream.ShardID, page *gerritstream.Page) {
	m.read.Add(float64(len(page.Records)))
}

// Judged counts what the filter drops.
func (m *Metrics) Judged(_ gerritstream.ShardID, _ *gerritstream.Record, v *gerritstream.Verdict) {
	if v.Bad == "" && v.Filter != "" {
		m.filtered.WithLabelValues(v.Filter).Inc()
	}
}

// Committed counts what is durable, and how long that took.
func (m *Metrics) Committed(_ gerritstream.ShardID, _ uint64, c *gerritstream.Commit, took time.Duration) {
	m.commit.Observe(took.Seconds())
	now := m.serviceNow()
	for i := range c.Entries {
		m.delays.queued.Observe(delay(c.Entries[i].Arrived, now))
	}
	for i := 0; i < len(c.Entries); { // a shard has few types, so they come in runs
		eventType, n := c.Entries[i].Event.Type, 1
		for i+n < len(c.Entries) && c.Entries[i+n].Event.Type == eventType {
			n++
		}
		m.queued.WithLabelValues(m.typeLabel(eventType)).Add(float64(n))
		i += n
	}
	for i := range c.DeadLetters {
		m.dead.WithLabelValues(c.DeadLetters[i].Reason).Inc()
	}
}

// EventAcked notes that a consumer of this process acknowledged an event, which
// had arrived at a time.
func (m *Metrics) EventAcked(arrived time.Time) {
	m.delays.acked.Observe(delay(arrived, m.serviceNow()))
}

// plainSkew is more than measuring the skew may err by.
const plainSkew = 2 * time.Second

// serviceNow is the time by the service's clock, which events arrived by: the
// local one's, unless they plainly differ.
func (m *Metrics) serviceNow() time.Time {
	now := time.Now()
	if ahead := m.skew.Load(); ahead != nil && ahead.Abs() > plainSkew {
		now = now.Add(*ahead)
	}
	return now
}

// Lost counts intervals.
func (m *Metrics) Lost(_ gerritstream.ShardID, i gerritstream.Interval) {
	m.lost.WithLabelValues(i.Why).Inc()
}

// TermEnded counts terms.
func (m *Metrics) TermEnded(_ gerritstream.ShardID, _ uint64, cause error) {
	end := endFailed
	switch {
	case cause == nil:
		end = endResigned
	case errors.Is(cause, gerritstream.ErrLeadershipLost):
		end = endLost
	}
	m.terms.WithLabelValues(end).Inc()
}

// Request counts a request to Kinesis by its operation and by "OK" or the code
// of its error. Both come from bounded sets.
func (m *Metrics) Request(operation, code string, took time.Duration) {
	m.kinesis.requests.WithLabelValues(operation, code).Inc()
	m.kinesis.requestTime.WithLabelValues(operation).Observe(took.Seconds())
}

// ReplyBytes counts the bytes of pages as they were transferred.
func (m *Metrics) ReplyBytes(n int) { m.kinesis.bytes.Add(float64(n)) }

// SubscriptionBegan counts a subscription of enhanced fan-out.
func (m *Metrics) SubscriptionBegan() { m.kinesis.subscriptions.Inc() }

// SubscriptionEnded counts it as ended, by one of a bounded set of reasons.
func (m *Metrics) SubscriptionEnded(reason string) {
	m.kinesis.subscriptions.Dec()
	m.kinesis.ended.WithLabelValues(reason).Inc()
}

// ClockSkew notes how far the service's clock is ahead of the local one.
func (m *Metrics) ClockSkew(ahead time.Duration) { m.skew.Store(&ahead) }

// Ahead returns how far the service's clock is ahead of the local one, as far
// as that is known.
func (m *Metrics) Ahead() time.Duration {
	if ahead := m.skew.Load(); ahead != nil {
		return *ahead
	}
	return 0
}

// DelaySince returns within how many seconds of their arrival 99 in 100 events
// were queued here, of those since the last call; below 0: there were none. One
// goroutine calls it.
func (m *Metrics) DelaySince() float64 {
	var now dto.Metric
	if histogram, ok := m.delays.queued.(prometheus.Histogram); !ok || histogram.Write(&now) != nil {
		return -1
	}
	buckets := now.GetHistogram().GetBucket()
	total := now.GetHistogram().GetSampleCount() - m.delays.before.GetSampleCount()
	was := m.delays.before.GetBucket()
	m.delays.before = now.GetHistogram()
	if total == 0 {
		return -1
	}
	rank, below, from := 0.99*float64(total), 0.0, 0.0
	for i, b := range buckets {
		n := float64(b.GetCumulativeCount())
		if i < len(was) {
			n -= float64(was[i].GetCumulativeCount())
		}
		if n >= rank {
			return from + (b.GetUpperBound()-from)*(rank-below)/(n-below)
		}
		below, from = n, b.GetUpperBound()
	}
	return from
}

// eventDelays are the distances of events from their arrival. The stages are
// looked up once, for they are observed for each event.
type eventDelays struct {
	all           *prometheus.HistogramVec
	queued, acked prometheus.Observer
	before        *dto.Histogram // of queued, at the last DelaySince; nil: there was none
}

func newEventDelays() eventDelays {
	all := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "event_delay_seconds",
		Help: "Time from an event's arrival in the stream until it was queued, and until a consumer of this process " +
			"acknowledged it.",
		Buckets: []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400},
	}, []string{"stage"})
	return eventDelays{all: all, queued: all.WithLabelValues("queued"), acked: all.WithLabelValues("acked")}
}

// delay returns how many seconds ago an event arrived.
func delay(arrived, now time.Time) float64 { return max(0, now.Sub(arrived).Seconds()) }
