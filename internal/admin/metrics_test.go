package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/pauses"
)

// scrape returns our lines of /metrics as a set.
func scrape(t *testing.T, m *Metrics) map[string]bool {
	t.Helper()
	_, _, body := serve(t, fixed(gerritstream.Status{}), m)("GET", "/metrics")
	found := map[string]bool{}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, namespace) {
			found[strings.TrimSpace(line)] = true
		}
	}
	return found
}

func expect(t *testing.T, got map[string]bool, want ...string) {
	t.Helper()
	for _, line := range want {
		if !got[line] {
			t.Errorf("missing: %s", line)
		}
	}
	if t.Failed() {
		t.Logf("got %v", got)
	}
}

func TestCounters(t *testing.T) {
	m := newMetrics()
	var observer consumer.Observer = m
	entry := func(eventType string) gerritstream.Entry {
		return gerritstream.Entry{Event: gerritstream.Event{Type: eventType}}
	}
	observer.PageRead("s", &gerritstream.Page{Records: make([]gerritstream.Record, 7)})
	observer.Judged("s", &gerritstream.Record{}, &gerritstream.Verdict{Filter: "type"})
	observer.Judged("s", &gerritstream.Record{}, &gerritstream.Verdict{})
	observer.Judged("s", &gerritstream.Record{}, &gerritstream.Verdict{Bad: "json", Filter: "type"})
	observer.Committed("s", 1, &gerritstream.Commit{
		Entries:     []gerritstream.Entry{entry("a"), entry("a"), entry("b"), entry("a")},
		DeadLetters: []gerritstream.DeadLetter{{Reason: "json"}, {Reason: "utf8"}},
	}, 3*time.Millisecond)
	observer.Lost("s", gerritstream.Interval{Why: gerritstream.WhyTrimmed})
	observer.TermEnded("s", 1, nil)
	observer.TermEnded("s", 2, fmt.Errorf("term: %w", gerritstream.ErrLeadershipLost))
	observer.TermEnded("s", 3, errors.New("disk"))
	observer.TermEnded("s", 4, errors.New("disk"))
	m.Request("GetRecords", "OK", 3*time.Millisecond)
	m.ReplyBytes(4096)
	m.SubscriptionBegan()
	m.SubscriptionBegan()
	m.SubscriptionEnded("Renewed")
	expect(t, scrape(t, m),
		"gerritstream_records_read_total 7",
		`gerritstream_events_filtered_total{rule="type"} 1`,
		`gerritstream_events_queued_total{type="a"} 3`,
		`gerritstream_events_queued_total{type="b"} 1`,
		`gerritstream_dead_letters_total{reason="json"} 1`,
		`gerritstream_dead_letters_total{reason="utf8"} 1`,
		`gerritstream_possibly_lost_intervals_total{why="trimmed"} 1`,
		`gerritstream_possibly_lost_intervals_total{why="recreated"} 0`,
		"gerritstream_commit_seconds_count 1",
		`gerritstream_commit_seconds_bucket{le="0.002"} 0`,
		`gerritstream_commit_seconds_bucket{le="0.004"} 1`,
		`gerritstream_terms_total{end="resigned"} 1`,
		`gerritstream_terms_total{end="lost"} 1`,
		`gerritstream_terms_total{end="failed"} 2`,
		`gerritstream_kinesis_requests_total{code="OK",operation="GetRecords"} 1`,
		`gerritstream_kinesis_request_seconds_count{operation="GetRecords"} 1`,
		"gerritstream_kinesis_reply_bytes_total 4096",
		"gerritstream_kinesis_subscriptions 1",
		`gerritstream_kinesis_subscription_ends_total{reason="Renewed"} 1`,
	)
}

// TestEventDelay: events are as old as the local clock says, or the service's
// if that one is plainly another: its skew is measured to about a second.
func TestEventDelay(t *testing.T) {
	m := newMetrics()
	expect(t, scrape(t, m),
		`gerritstream_event_delay_seconds_count{stage="queued"} 0`,
		`gerritstream_event_delay_seconds_count{stage="acked"} 0`,
	)
	m.ClockSkew(-time.Hour)
	arrived := func(ago time.Duration) gerritstream.Entry {
		return gerritstream.Entry{Arrived: time.Now().Add(-time.Hour - ago)}
	}
	m.Committed("s", 1, &gerritstream.Commit{
		Entries: []gerritstream.Entry{arrived(2 * time.Second), arrived(20 * time.Second), arrived(-time.Minute)},
	}, time.Millisecond)
	m.EventAcked(arrived(100 * time.Second).Arrived)
	m.ClockSkew(-time.Second)
	m.EventAcked(time.Now().Add(-700 * time.Millisecond))
	expect(t, scrape(t, m),
		`gerritstream_event_delay_seconds_bucket{stage="queued",le="0.1"} 1`, // it is ahead of the clock
		`gerritstream_event_delay_seconds_bucket{stage="queued",le="1"} 1`,
		`gerritstream_event_delay_seconds_bucket{stage="queued",le="2.5"} 2`,
		`gerritstream_event_delay_seconds_bucket{stage="queued",le="10"} 2`,
		`gerritstream_event_delay_seconds_bucket{stage="queued",le="30"} 3`,
		`gerritstream_event_delay_seconds_bucket{stage="acked",le="0.5"} 0`,
		`gerritstream_event_delay_seconds_bucket{stage="acked",le="60"} 1`,
		`gerritstream_event_delay_seconds_bucket{stage="acked",le="300"} 2`,
	)
}

func TestGauges(t *testing.T) {
	handled := time.Now().Add(-time.Hour)
	start := &gerritstream.Origin{Retention: 24 * time.Hour, Trimmed: time.Now().Add(-2 * time.Hour)}
	status := gerritstream.Status{Origin: start, Shards: []gerritstream.ShardStatus{
		{Shard: "a", State: gerritstream.StateReading, Lag: 90 * time.Second, HandledUntil: handled},
		{Shard: "b", State: gerritstream.StateStandby, Lag: time.Hour, HandledUntil: handled},
		{Shard: "c", State: gerritstream.StateEnded, HandledUntil: handled, OpenAfterEnd: true},
		{Shard: "d", State: gerritstream.StateWaiting, Lag: 3 * time.Hour, HandledUntil: start.Trimmed.Add(-time.Hour)},
		{Shard: "e", State: gerritstream.StateStandby, Leader: gerritstream.ShardLeader{Foreign: true}},
		{Shard: "f", State: gerritstream.StateHalted},
		{Shard: "g", State: pauses.State, HandledUntil: handled},
	}}
	m := newMetrics()
	m.Follow(Gauges{
		Status: fixed(status),
		Pauses: func() pauses.Set { return pauses.Set{{Shard: "b"}, {Shard: "g"}} },
		Spans:  func() (made, sent int64) { return 9, 7 },
		Inspect: func() (gerritstream.Inspection, bool) {
			return gerritstream.Inspection{
				Queue: 12, Expired: 10, ExpiredUnread: 3, Log: &gerritstream.WriteAheadLog{Bytes: 4096},
			}, true
		},
	})
	m.ClockSkew(-3 * time.Second)
	got := scrape(t, m)
	expect(t, got,
		`gerritstream_shard_leader{shard="a"} 1`,
		`gerritstream_shard_lag_seconds{shard="a"} 90`,
		`gerritstream_shard_leader{shard="b"} 0`,
		"gerritstream_queue_depth 12",
		"gerritstream_shards_open_after_end 1",
		`gerritstream_events_expired_total{read="known"} 7`,
		`gerritstream_events_expired_total{read="unknown"} 3`,
		"gerritstream_wal_bytes 4096",
		"gerritstream_wal_held_seconds 0",
		"gerritstream_clock_skew_seconds -3",
		"gerritstream_spans_made_total 9",
		"gerritstream_spans_sent_total 7",
	)
	expect(t, got, // from shards of any leader
		`gerritstream_shard_lag_seconds{shard="b"} 3600`,
		`gerritstream_shard_lag_seconds{shard="d"} 10800`,
		`gerritstream_shard_lag_seconds{shard="f"} 0`,
		`gerritstream_shard_leader{shard="f"} 1`,
		`gerritstream_shard_leader{shard="g"} 1`,
		`gerritstream_shard_paused{shard="g"} 1`,
		`gerritstream_shard_paused{shard="b"} 1`,
		`gerritstream_shard_paused{shard="a"} 0`,
	)
	for line := range got {
		if strings.Contains(line, `shard="c"`) {
			t.Errorf("a shard that has ended is there: %s", line)
		}
		if strings.Contains(line, `shard="e"`) && !strings.Contains(line, "shard_leader") &&
			!strings.Contains(line, "shard_paused") {
			t.Errorf("made up of a shard that another program reads: %s", line)
		}
	}
	for shard, want := range map[string]float64{"a": 3600 - 3, "b": 3600 - 3, "d": 3*3600 - 3} {
		age := gauge(t, got, "position_age_seconds", shard)
		if age < want || age > want+60 {
			t.Errorf("%s: age %v, want about %v: by the service's clock, 3 s slower than ours", shard, age, want)
		}
		sum := age + gauge(t, got, "retention_headroom_seconds", shard)
		if trimmed := shard == "d"; !trimmed && (sum < 86399.9 || sum > 86400.1) {
			t.Errorf("%s: age and headroom make %v, want the retention", shard, sum)
		}
	}
	if headroom := gauge(t, got, "retention_headroom_seconds", "d"); headroom != -3600 {
		t.Errorf("headroom %v of what was trimmed an hour ago, whatever the retention is now", headroom)
	}
}

// gauge returns the value of a shard's gauge.
func gauge(t *testing.T, got map[string]bool, name, shard string) (v float64) {
	t.Helper()
	for line := range got {
		if text, ok := strings.CutPrefix(line, fmt.Sprintf("%s_%s{shard=%q} ", namespace, name, shard)); ok {
			if _, err := fmt.Sscan(text, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Errorf("no %s of %s", name, shard)
	return 0
}

// TestCountersExistFromTheStart: counters begin at 0, so that a first increase
// shows.
func TestCountersExistFromTheStart(t *testing.T) {
	m := NewMetrics(MetricsOptions{TypeLabel: strings.Clone, Reasons: []string{"json", "aggregate"},
		Rules: []string{"types"}})
	expect(t, scrape(t, m),
		`gerritstream_dead_letters_total{reason="json"} 0`,
		`gerritstream_dead_letters_total{reason="aggregate"} 0`,
		`gerritstream_events_filtered_total{rule="types"} 0`,
		`gerritstream_possibly_lost_intervals_total{why="trimmed"} 0`,
		`gerritstream_terms_total{end="lost"} 0`,
	)
}

// TestTroubleIsTheWorstOfEachSection: each section of the runbook has a metric,
// at 0 while nothing of it is wrong.
func TestTroubleIsTheWorstOfEachSection(t *testing.T) {
	m := newMetrics()
	m.Follow(Gauges{
		Status:  fixed(gerritstream.Status{}),
		Inspect: func() (gerritstream.Inspection, bool) { return gerritstream.Inspection{}, false },
		Causes: func() []overview.Cause {
			return []overview.Cause{
				{Help: "sink", Level: overview.Warning},
				{Help: "webhook", Level: overview.Trouble},
				{Help: "webhook", Level: overview.Warning},
			}
		},
	})
	want := []string{`gerritstream_trouble{cause="sink"} 1`, `gerritstream_trouble{cause="webhook"} 2`}
	for _, section := range overview.Sections() {
		if section != "sink" && section != "webhook" {
			want = append(want, fmt.Sprintf("gerritstream_trouble{cause=%q} 0", section))
		}
	}
	expect(t, scrape(t, m), want...)
}

// TestOpenMetrics: who asks for OpenMetrics gets that, to its last line.
func TestOpenMetrics(t *testing.T) {
	_, header, body := serve(t, fixed(gerritstream.Status{}), newMetrics())("GET", "/metrics", func(r *http.Request) {
		r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	})
	if got := header.Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text; version=1.0.0") ||
		!strings.HasSuffix(body, "\n# EOF\n") {
		t.Errorf("got %s:\n%s", got, body)
	}
	for _, line := range []string{
		"# TYPE gerritstream_records_read counter\n", "gerritstream_records_read_total 0.0\n",
	} {
		if !strings.Contains(body, line) {
			t.Errorf("missing: %s", line)
		}
	}
}

// TestInfo: what a process reads and where to is in the labels.
func TestInfo(t *testing.T) {
	m := NewMetrics(MetricsOptions{Version: "v1", Connection: "gerrit", Stream: "events", Store: "sqlite:g.db",
		TypeLabel: strings.Clone})
	expect(t, scrape(t, m), `gerritstream_info{connection="gerrit",store="sqlite:g.db",stream="events",version="v1"} 1`)
}

// TestUnknownGaugesAreAbsent before the first listing.
func TestUnknownGaugesAreAbsent(t *testing.T) {
	m := newMetrics()
	m.Follow(Gauges{
		Status:  fixed(gerritstream.Status{}),
		Inspect: func() (gerritstream.Inspection, bool) { return gerritstream.Inspection{}, false },
	})
	for line := range scrape(t, m) {
		for _, name := range []string{"clock_skew", "queue_depth", "shard_", "position_", "retention_"} {
			if strings.HasPrefix(line, namespace+"_"+name) {
				t.Errorf("made up: %s", line)
			}
		}
	}
}

func TestBuildInfo(t *testing.T) {
	for line := range scrape(t, newMetrics()) {
		if strings.HasPrefix(line, "gerritstream_build_info{") {
			if !strings.Contains(line, `version="v1.2.3"`) || !strings.HasSuffix(line, " 1") {
				t.Errorf("got %s", line)
			}
			return
		}
	}
	t.Error("no build_info")
}

// BenchmarkCommitted is what metrics cost a commit of 500 events.
func BenchmarkCommitted(b *testing.B) {
	m := newMetrics()
	c := gerritstream.Commit{Entries: make([]gerritstream.Entry, 500)}
	for i := range c.Entries {
		c.Entries[i].Event.Type = "ref-updated"
		c.Entries[i].Arrived = time.Now().Add(-time.Duration(i) * 10 * time.Millisecond)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Committed("s", 1, &c, time.Millisecond)
	}
}

// TestDelaySince: of the events since the last call alone, within the bucket of
// the slowest in a hundred.
func TestDelaySince(t *testing.T) {
	m := newMetrics()
	if d := m.DelaySince(); d >= 0 {
		t.Errorf("without an event it is %v", d)
	}
	queue := func(n int, ago time.Duration) {
		c := gerritstream.Commit{Entries: make([]gerritstream.Entry, n)}
		for i := range c.Entries {
			c.Entries[i].Arrived = time.Now().Add(-ago)
		}
		m.Committed("", 1, &c, 0)
	}
	queue(970, 0)
	queue(30, 7*time.Second)
	if d := m.DelaySince(); d < 5 || d > 10 {
		t.Errorf("with 3 in 100 of 7 s it is %v", d)
	}
	queue(1000, 300*time.Millisecond)
	if d := m.DelaySince(); d < 0.25 || d > 0.5 {
		t.Errorf("with all of 0.3 s it is %v", d)
	}
}
