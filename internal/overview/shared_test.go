package overview

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

// What a process shares is small, whatever its events are, and survives the
// store.
func TestSharedIsBounded(t *testing.T) {
	var events []Event
	for i := range 50 {
		long := strings.Repeat("ä<\x00", 10_000)
		events = append(events, Event{At: now, Verdict: "queued", Type: long, Project: long, Ref: long, Why: long,
			Sequence: fmt.Sprint(i)})
	}
	text := NewShared(0.5, events)
	if len(text) > 10<<10 {
		t.Errorf("it has %d bytes", len(text))
	}
	r := gerritstream.Report{Status: gerritstream.Status{Extra: text}}
	if s := shared(&r); s.Delay == nil || *s.Delay != 0.5 || len(s.Events) != SharedEvents ||
		s.Events[1].Sequence != "1" {
		t.Errorf("of it came %+v", s)
	}
	for _, other := range []string{"", "7", `{"delay":"x"}`, "{"} {
		r.Status.Extra = json.RawMessage(other)
		if s := shared(&r); s.Delay != nil || s.Events != nil {
			t.Errorf("%q is %+v", other, s)
		}
	}
}

// The page shows the last events of all processes, the newest first, each once,
// and the delay of the slowest. Of a process that reports no more the delay is
// forgotten.
func TestEventsAndDelayOfTheGroup(t *testing.T) {
	event := func(ago time.Duration, shard, seq string) Event {
		return Event{At: now.Add(-ago), Verdict: "queued", Shard: shard, Sequence: seq}
	}
	other := func(process string, ago time.Duration, delay float64, events ...Event) gerritstream.Report {
		r := one(process, now.Add(-time.Hour), now.Add(-ago), 0)
		r.Status.Extra = NewShared(delay, events)
		return r
	}
	in := &Input{Process: one("a-1-x", now.Add(-time.Hour), now, 0).Status, Now: now, History: NewHistory(),
		Store: Store{At: now}}
	for i := range 60 {
		in.Events = append(in.Events, event(time.Duration(i)*time.Second, "0", fmt.Sprint(i)))
	}
	in.Store.Inspection.Reports = []gerritstream.Report{
		other("b-1-x", 5*time.Second, 3, event(1500*time.Millisecond, "1", "7"), event(3*time.Second, "0", "3")),
		other("c-1-x", 2*time.Minute, 9, event(2500*time.Millisecond, "2", "8")),
		other("a-1-x", 0, 99), // its own, as it was reported
	}
	v := New(in)
	var got []string
	for _, e := range v.Events {
		got = append(got, e.By+" "+e.Shard+"/"+e.Sequence)
	}
	want := []string{"a 0/0", "a 0/1", "b 1/7", "a 0/2", "c 2/8", "a 0/3", "a 0/4"}
	if len(got) < len(want) || !slices.Equal(got[:len(want)], want) || len(got) > shownEvents {
		t.Errorf("%d events: %q, want %q", len(got), got, want)
	}
	in.History.Add(in, 0.25)
	if d := in.History.delay(); d != 3 {
		t.Errorf("the delay is %v", d)
	}
	in.Store.Inspection.Reports = in.Store.Inspection.Reports[1:]
	in.History = NewHistory()
	if in.History.Add(in, 0.25); in.History.delay() != 0.25 {
		t.Errorf("alone the delay is %v", in.History.delay())
	}
}
