package main

import (
	"testing"

	"github.com/gerritstream/gerritstream/gerrittest"
)

// TestBadRecordsStayBelowWhatAStoreKeeps: of more than 1,000 dead letters a
// store would keep only the count, and they would count as lost.
func TestBadRecordsStayBelowWhatAStoreKeeps(t *testing.T) {
	for events := 1; events <= maxDemoEvents; events += 1 + events/3 {
		if bad := gerrittest.BadKinds() + events/badEvery(events); bad > maxBad+gerrittest.BadKinds() {
			t.Errorf("%d bad records among %d", bad, events)
		}
	}
	bad, traffic := 0, gerrittest.New(demoSeed, gerrittest.Options{BadEvery: 20})
	for range 20_000 {
		if traffic.Next().Want == gerrittest.DeadLetter {
			bad++
		}
	}
	if bad < 800 || bad > 1200 {
		t.Errorf("%d bad records, where one of 20 was asked for", bad)
	}
}
