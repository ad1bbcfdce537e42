package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/queue"
)

// Gauges are what is looked up when metrics are asked for.
type Gauges struct {
	Status func() gerritstream.Status

	// Inspect returns what the store held when it last answered; ok is false
	// when it never did.
	Inspect func() (in gerritstream.Inspection, ok bool)

	// Consumers returns those of the store's queue, in the same way. nil: it
	// has none.
	Consumers func() []queue.Info

	// Webhooks returns those of the settings and of the store, in the same way.
	// nil: there are none.
	Webhooks func() []hooks.View

	// Pauses returns the pauses in force. nil: there are none.
	Pauses func() pauses.Set

	// Spans returns how many sampled spans were made, and how many of them a
	// collector took. nil: traces are off.
	Spans func() (made, sent int64)

	// Causes returns what the status page names as wrong. nil: nothing ever is.
	Causes func() []overview.Cause
}

// Follow adds the gauges to the metrics. It is called once, before they are
// served.
func (m *Metrics) Follow(g Gauges) { m.registry.MustRegister(&gaugeCollector{g, m}) }

// gaugeCollector turns the current state into metrics.
type gaugeCollector struct {
	gauges  Gauges
	metrics *Metrics
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// The descriptions of the gauges. They are never written to.
var (
	descLeader   = desc("shard_leader", "1 while this process leads the shard, else 0.", "shard")
	descLag      = desc("shard_lag_seconds", "Distance from the shard's tip, as far as this process knows.", "shard")
	descAge      = desc("position_age_seconds", "Age of the newest time up to which the shard was handled.", "shard")
	descPaused   = desc("shard_paused", "1 while the shard is paused, by whomever it is led, else 0.", "shard")
	descHeadroom = desc("retention_headroom_seconds", "Time until the stream trims what was not handled yet.", "shard")
	descReopened = desc("shards_open_after_end",
		"Shards that ended here and are open in the stream: nothing reads them until their positions are set.")
	descQueue   = desc("queue_depth", "Events held by the store.")
	descExpired = desc("events_expired_total", "Events that all processes on the store removed after their retention, "+
		"by whether a consumer was known to have read them.", "read")
	descPending = desc("consumer_pending", "Events that wait for the consumer.", "consumer")
	descOldest  = desc("consumer_oldest_seconds", "Age of the oldest event that waits for the consumer; 0: none does.",
		"consumer")
	descUnread = desc("consumer_expired_total",
		"Events that were removed before the consumer had acknowledged them.", "consumer")
	descWAL     = desc("wal_bytes", "Size of SQLite's write-ahead log.")
	descWALHeld = desc("wal_held_seconds",
		"How long a reader has kept the write-ahead log from being checkpointed, at least; 0: none does.")
	descTrouble = desc("trouble", "What the status page of this process names as wrong, by section of the runbook: "+
		"2 is trouble, 1 a warning, 0 neither.", "cause")
	descSpansMade = desc("spans_made_total", "Spans of commits, for a collector of traces.")
	descSpansSent = desc("spans_sent_total", "Spans of commits that the collector took.")
	descSkew      = desc("clock_skew_seconds",
		"How far the service's clock is ahead of the local one, to about half a second.")
)

// Describe implements prometheus.Collector.
func (c *gaugeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descLeader, descLag, descAge, descHeadroom, descReopened, descQueue, descExpired, descWAL, descWALHeld,
		descSkew, descPending, descOldest, descUnread, descHookFailing, descHookPaused, descHookLetters,
		descTrouble, descPaused, descSpansMade, descSpansSent,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *gaugeCollector) Collect(ch chan<- prometheus.Metric) {
	var ahead time.Duration // of the local clock
	if skew := c.metrics.skew.Load(); skew != nil {
		ahead = *skew
		send(ch, descSkew, ahead.Seconds())
	}
	if in, ok := c.gauges.Inspect(); ok {
		collectStore(ch, &in)
	}
	if c.gauges.Consumers != nil {
		for _, info := range c.gauges.Consumers() {
			collectConsumer(ch, &info, time.Now())
		}
	}
	if c.gauges.Webhooks != nil {
		for _, v := range c.gauges.Webhooks() {
			collectHook(ch, &v, time.Now())
		}
	}
	if c.gauges.Causes != nil {
		collectCauses(ch, c.gauges.Causes())
	}
	if c.gauges.Spans != nil {
		made, sent := c.gauges.Spans()
		ch <- prometheus.MustNewConstMetric(descSpansMade, prometheus.CounterValue, float64(made))
		ch <- prometheus.MustNewConstMetric(descSpansSent, prometheus.CounterValue, float64(sent))
	}
	status := c.gauges.Status()
	reopened := 0
	var paused pauses.Set
	if c.gauges.Pauses != nil {
		paused = c.gauges.Pauses()
	}
	for i := range status.Shards {
		s := &status.Shards[i]
		if s.OpenAfterEnd {
			reopened++
		}
		if s.State != gerritstream.StateEnded {
			collectShard(ch, s, status.Origin, time.Now().Add(ahead))
			held := 0.0
			if _, ok := paused.Of(s.Shard); ok {
				held = 1
			}
			send(ch, descPaused, held, string(s.Shard))
		}
	}
	send(ch, descReopened, float64(reopened))
}

func send(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// collectShard turns what is known of an open shard into metrics, also when
// another process reads it. now is the service's time. Without news, ages grow
// with the clock, so that an alert fires.
func collectShard(
	ch chan<- prometheus.Metric, s *gerritstream.ShardStatus, origin *gerritstream.Origin, now time.Time,
) {
	shard, leads, leader := string(s.Shard), false, 0.0
	if s.State == gerritstream.StateReading || s.State == gerritstream.StateHalted || s.State == pauses.State {
		leads, leader = true, 1
	}
	send(ch, descLeader, leader, shard)
	if leads || !s.HandledUntil.IsZero() {
		send(ch, descLag, s.Lag.Seconds(), shard)
	}
	if s.HandledUntil.IsZero() {
		return
	}
	send(ch, descAge, max(0, now.Sub(s.HandledUntil)).Seconds(), shard)
	if origin != nil && origin.Retention > 0 {
		send(ch, descHeadroom, overview.Headroom(origin, s.HandledUntil, now).Seconds(), shard)
	}
}

// collectConsumer turns what is known of a consumer into metrics.
func collectConsumer(ch chan<- prometheus.Metric, info *queue.Info, now time.Time) {
	oldest := 0.0
	if info.Pending > 0 {
		oldest = max(0, now.Sub(info.Oldest)).Seconds()
	}
	send(ch, descPending, float64(info.Pending), info.Name)
	send(ch, descOldest, oldest, info.Name)
	ch <- prometheus.MustNewConstMetric(descUnread, prometheus.CounterValue, float64(info.Expired), info.Name)
}

// collectCauses turns what is wrong into metrics: the worst of each section.
func collectCauses(ch chan<- prometheus.Metric, causes []overview.Cause) {
	worst := map[string]overview.Level{}
	for i := range causes {
		worst[causes[i].Help] = max(worst[causes[i].Help], causes[i].Level)
	}
	for _, section := range overview.Sections() {
		send(ch, descTrouble, float64(worst[section]), section)
	}
}

// collectStore turns an inspection of the store into metrics.
func collectStore(ch chan<- prometheus.Metric, in *gerritstream.Inspection) {
	send(ch, descQueue, float64(in.Queue))
	for read, n := range map[string]int64{"known": in.Expired - in.ExpiredUnread, "unknown": in.ExpiredUnread} {
		ch <- prometheus.MustNewConstMetric(descExpired, prometheus.CounterValue, float64(n), read)
	}
	if in.Log != nil {
		held := 0.0
		if since := in.Log.HeldSince; !since.IsZero() {
			held = max(0, time.Since(since).Seconds())
		}
		send(ch, descWAL, float64(in.Log.Bytes))
		send(ch, descWALHeld, held)
	}
}
