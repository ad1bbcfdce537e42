package history_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
)

// consumed is the good history with a consumer that handles its four events,
// the second one twice.
func consumed(keys ...string) []history.Event {
	events := good()
	rows := events[queue].Items
	handle := func(rows ...history.Item) {
		e := history.Event{At: epoch.Add(time.Hour), Kind: history.KindHandled, Consumer: "work"}
		for _, row := range rows {
			handled := history.Item{ID: row.ID}
			if len(keys) > 0 {
				handled.Detail = keys[slices.IndexFunc(events[queue].Items,
					func(i history.Item) bool { return i.ID == row.ID })]
			}
			e.Items = append(e.Items, handled)
		}
		events = append(events, e)
	}
	events = append(events, history.Event{At: epoch, Kind: history.KindConsumer, Consumer: "work"})
	handle(rows[0], rows[1])
	handle(rows[1], rows[2])
	handle(rows[3])
	return events
}

func TestConsumersAreJudged(t *testing.T) {
	swap := func(e []history.Event) {
		last := len(e) - 1
		e[last].Items, e[last-1].Items[1] = []history.Item{e[last-1].Items[1]}, e[last].Items[0]
	}
	tests := []struct {
		name  string
		keys  []string
		spoil func(e []history.Event)
		count func(r history.Report) int // nil: it is good
		says  string
	}{
		{name: "good"},
		{"never handled", nil, func(e []history.Event) { e[len(e)-1].Items = nil }, lost, "never handled"},
		{"nothing handled", nil, func(e []history.Event) {
			for i := range e[deadLetters+2:] {
				e[deadLetters+2+i].Items = nil
			}
		}, lost, "never handled"},
		{"in another order", nil, swap, disordered, "after a later one"},
		{name: "in another order than of another key", keys: []string{"a", "a", "b", "c"}, spoil: swap},
		{"in another order of its key", []string{"a", "a", "b", "b"}, swap, disordered, "after a later one"},
		{"not of the queue", nil, func(e []history.Event) {
			e[len(e)-1].Items = append(e[len(e)-1].Items, history.Item{ID: "another"})
		}, unexpected, "never held"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events := consumed(tt.keys...)
			if tt.spoil != nil {
				tt.spoil(events)
			}
			r := history.Check(events)
			switch {
			case tt.count == nil:
				if work := r.Consumers["work"]; !r.Good() || *work != (history.Handled{Events: 4, Again: 1}) {
					t.Errorf("%+v, %+v", r, work)
				}
			case tt.count(r) == 0 || tt.count(r) != faults(r) ||
				!strings.Contains(strings.Join(r.Problems, "\n"), tt.says):
				t.Errorf("%+v", r)
			}
		})
	}
}
