package admin

import (
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Gauges are what is looked up at the moment metrics are asked for.
type Gauges struct {
	Status func() gerritstream.Status

	// Queue returns how many events the store holds, or held when it answered
	// last; ok is false when that was never known.
	Queue func() (events int64, ok bool)

	// Stored returns what else the store tells of itself; ok is false when that
	// is not known. nil: there is nothing else.
	Stored func() (in gerritstream.Inspection, ok bool)
}

// Follow adds the gauges to the metrics. It is called once, before they are
// served.
func (m *Metrics) Follow(g Gauges) { m.registry.MustRegister(&gaugeCollector{g, &m.skew}) }

// gaugeCollector turns the state of the moment into metrics.
type gaugeCollector struct {
	Gauges
	skew *skew
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// The descriptions of the gauges. They are never written to.
var (
	descLeader   = desc("shard_leader", "1 while this process leads the shard, else 0.", "shard")
	descLag      = desc("shard_lag_seconds", "Distance from the tip of the shard, as far as this process knows.", "shard")
	descAge      = desc("position_age_seconds", "Time since everything that had arrived in the shard was handled.", "shard")
	descHeadroom = desc("retention_headroom_seconds", "Time until the stream begins to trim what was not handled yet.", "shard")
	descReopened = desc("shards_open_after_end", "Shards that ended here and are open in the stream: nothing reads them until their positions are set.")
	descQueue    = desc("queue_depth", "Events held by the store.")
	descExpired  = desc("events_expired_total", "Events that all processes on the store removed after their retention, by whether a consumer was known to have read them.", "read")
	descWAL      = desc("wal_bytes", "Size of SQLite's write-ahead log.")
	descWALHeld  = desc("wal_held_seconds", "For how long at least a reader has kept the write-ahead log from being carried over; 0: none does.")
	descSkew     = desc("clock_skew_seconds", "How far the service's clock is ahead of the local one, to about half a second.")
)

// Describe implements prometheus.Collector.
func (c *gaugeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLeader, descLag, descAge, descHeadroom, descReopened, descQueue, descExpired, descWAL, descWALHeld, descSkew} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *gaugeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ahead, known := c.skew.get()
	if known {
		gauge(descSkew, ahead.Seconds())
	}
	if events, ok := c.Queue(); ok {
		gauge(descQueue, float64(events))
	}
	c.collectStored(ch)
	status := c.Status()
	gauge(descReopened, float64(reopened(&status)))
	for i := range status.Shards {
		if s := &status.Shards[i]; s.State != gerritstream.StateEnded {
			c.collectShard(ch, s, status.Origin, time.Now().Add(ahead))
		}
	}
}

// reopened counts shards that ended here and are open in the stream.
func reopened(s *gerritstream.Status) (n int) {
	for i := range s.Shards {
		if s.Shards[i].OpenAfterEnd {
			n++
		}
	}
	return n
}

// collectShard turns what is known of an open shard into metrics, also when
// another process reads it. now is the service's time. What is known grows old
// by the clock, so that an alert fires when nothing is heard any more.
func (c *gaugeCollector) collectShard(ch chan<- prometheus.Metric, s *gerritstream.ShardStatus, start *gerritstream.Origin, now time.Time) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, string(s.Shard))
	}
	leads := s.State == gerritstream.StateReading || s.State == gerritstream.StateHalted
	if leads {
		gauge(descLeader, 1)
	} else {
		gauge(descLeader, 0)
	}
	if leads || !s.HandledUntil.IsZero() {
		gauge(descLag, s.Lag.Seconds())
	}
	if s.HandledUntil.IsZero() {
		return
	}
	gauge(descAge, max(0, now.Sub(s.HandledUntil)).Seconds())
	if start != nil && start.Retention > 0 {
		gauge(descHeadroom, headroom(start, s.HandledUntil, now).Seconds())
	}
}

// headroom returns how long it is until the stream begins to trim what arrived
// after a moment. It is negative when the stream has begun to.
func headroom(start *gerritstream.Origin, after, now time.Time) time.Duration {
	left := after.Sub(now.Add(-start.Retention))
	if after.Before(start.Trimmed) {
		return min(left, after.Sub(start.Trimmed))
	}
	return left
}

// The values of the label read.
const (
	readKnown   = "known"
	readUnknown = "unknown"
)

// collectStored turns what the store tells of itself into metrics.
func (c *gaugeCollector) collectStored(ch chan<- prometheus.Metric) {
	if c.Stored == nil {
		return
	}
	in, ok := c.Stored()
	if !ok {
		return
	}
	expired := func(n int64, read string) {
		ch <- prometheus.MustNewConstMetric(descExpired, prometheus.CounterValue, float64(n), read)
	}
	expired(in.Expired-in.ExpiredUnread, readKnown)
	expired(in.ExpiredUnread, readUnknown)
	if in.Log == nil {
		return
	}
	held := 0.0
	if since := in.Log.HeldSince; !since.IsZero() {
		held = max(0, time.Since(since).Seconds())
	}
	ch <- prometheus.MustNewConstMetric(descWAL, prometheus.GaugeValue, float64(in.Log.Bytes))
	ch <- prometheus.MustNewConstMetric(descWALHeld, prometheus.GaugeValue, held)
}
