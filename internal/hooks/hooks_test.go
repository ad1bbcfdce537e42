package hooks

import (
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

var now = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// reads is the consumer of a webhook that a process delivers for.
func reads(hook string) queue.Info { return queue.Info{Name: queue.WebhookConsumer(hook), Reader: "p"} }

// known has a webhook in each state.
func known() *Known {
	failing := webhook.Report{
		Last: webhook.Failed, LastError: "the receiver answered 503 Service Unavailable",
		FailingSince: ago(10 * time.Minute), Failures: 6, NextAttempt: now.Add(2 * time.Minute),
	}
	waiting := reads("failing")
	waiting.Pending, waiting.Oldest = 3, ago(11*time.Minute)
	unserved := queue.Info{Name: queue.WebhookConsumer("unserved"), Pending: 2, Oldest: ago(2 * time.Minute)}
	moving := queue.Info{Name: queue.WebhookConsumer("moving"), Pending: 2, Oldest: ago(30 * time.Second)}
	paused := queue.Info{Name: queue.WebhookConsumer("paused"), Pending: 1, Oldest: ago(time.Hour)}
	return &Known{
		Receivers: map[string]string{"failing": "https://h.example", "idle": "https://i.example"},
		Consumers: []queue.Info{
			{Name: "indexer", Pending: 9}, reads("fine"), reads("gone"), paused, waiting, moving, unserved, reads("refusing"),
		},
		States: []webhook.State{
			{Name: "failing", Report: failing}, {Name: "fine", DeadLetters: 2, GivenUp: 5},
			{Name: "gone", Pause: webhook.Pause{Since: ago(time.Minute), By: webhook.ByReceiver, Why: "410 Gone"}, Report: failing},
			{Name: "paused", Pause: webhook.Pause{Since: ago(2 * time.Hour), By: webhook.ByOperator, Why: "upgrade"}},
			{Name: "unserved", Report: failing},
			{Name: "refusing", Report: webhook.Report{Blocked: 2}},
		},
	}
}

// TestViews: each webhook has its state, and the worst come first.
func TestViews(t *testing.T) {
	want := []string{
		"gone: gone for 1m: 410 Gone; nothing waits",
		"failing: failing for 10m (6 failed): the receiver answered 503 Service Unavailable; next attempt in 2m; " +
			"3 events wait, the oldest for 11m",
		"unserved: nobody sends; 2 events wait, the oldest for 2m",
		"refusing: refusing: 2 events were refused and hold up those with their keys; nothing waits",
		"paused: paused for 2h: upgrade; one event waits, for 1h",
		"idle: not begun; nothing waits",
		"fine: delivering; nothing waits; dead letters: 2",
		"moving: delivering; 2 events wait, the oldest for 30s",
	}
	var got []string
	views := known().Views(now)
	for i := range views {
		got = append(got, views[i].Name+": "+views[i].Text(now))
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
	if v := views[1]; v.To != "https://h.example" || v.Reader != "p" || v.Pending != 3 {
		t.Errorf("failing is %+v", v)
	}
}

// TestTrouble: what passes by itself, or was meant, is none.
func TestTrouble(t *testing.T) {
	want := map[string]string{
		"gone": "the receiver answered 410 Gone 1m ago and gets nothing any more; `webhook resume` begins again",
		"failing": "its receiver has failed for 10m (6 failed): the receiver answered 503 Service Unavailable; " +
			"next attempt in 2m",
		"unserved": "no process delivers; 2 events wait, the oldest for 2m",
	}
	k := known()
	for _, v := range k.Views(now) {
		if got := v.Trouble(now); got != want[v.Name] {
			t.Errorf("%s: %q, want %q", v.Name, got, want[v.Name])
		}
	}
	k.Consumers[1].Fault = "no filter"
	want["fine"] = "its place in the queue cannot be used: no filter"
	k.States[0].Report.FailingSince = ago(4 * time.Minute)
	k.States[3].Pause.Since = ago(25 * time.Hour)
	want["failing"], want["paused"] = "", "it has been paused for 1d1h; one event waits, for 1h"
	for _, v := range k.Views(now) {
		if got := v.Trouble(now); got != want[v.Name] {
			t.Errorf("%s: %q, want %q", v.Name, got, want[v.Name])
		}
	}
}
