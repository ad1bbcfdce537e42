package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream/queue"
)

// noting is a target that notes when it got how many events.
type noting struct {
	events int
	most   int
	err    error
}

func (n *noting) put(_ context.Context, events []queue.Event) error {
	if n.err == nil {
		n.events += len(events)
		n.most = max(n.most, len(events))
	}
	return n.err
}

func (n *noting) said() string { return "" }

func (n *noting) close(context.Context) error { return nil }

// Events go at the rate, a tenth of a second's worth at a time, and what could
// not be handed on is kept.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for rate, most := range map[string]int{"50/s": 5, "600/m": 1, "3/s": 1, "5000": 100} {
			each, err := parseRate(rate)
			if err != nil {
				t.Fatal(err)
			}
			to, told, began := &noting{}, 0, time.Now()
			p := &pacer{each: each, target: to, progress: func(int64, *queue.Event) { told++ }}
			for time.Since(began) < time.Minute {
				if err := p.add(t.Context(), &queue.Event{}); err != nil {
					t.Fatal(err)
				}
			}
			if want := int(time.Minute / each); to.events < want-most || to.events > want+2*most || to.most != most {
				t.Errorf("%s: %d events in a minute, %d at once, want %d, %d", rate, to.events, to.most, want, most)
			}
			if told < 5 || told > 7 {
				t.Errorf("%s: progress was told %d times in a minute", rate, told)
			}
		}
	})
}

// What could not be handed on is the first that is to be replayed again.
func TestPacerFails(t *testing.T) {
	to := &noting{}
	p := &pacer{target: to}
	for n := range int64(150) {
		if n == 120 {
			to.err = errors.New("full")
		}
		if err := p.add(t.Context(), &queue.Event{Number: n + 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flush(t.Context()); !errors.Is(err, to.err) || p.done != 100 || p.first().Number != 101 {
		t.Errorf("%v after %d events; the first that is left is %v", err, p.done, p.first())
	}
}
