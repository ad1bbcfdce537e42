package webhook

import (
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream/queue"
)

// window holds the events that were read and are not done with, in a line for
// each key. The goroutine of a term owns it.
type window struct {
	order   Order
	lines   map[string]*line
	count   int // of events
	bytes   int // of their payloads
	sending int // lines with a request under way
}

// line is the events of one key, in the order of the queue. Only the first is
// sent.
type line struct {
	key     string
	items   []*item
	sending bool
	wait    time.Time // the first is not sent again before
}

// item is an event and what became of its attempts in this term.
type item struct {
	event    queue.Event
	attempts int
	refusals int // attempts that were answered by a refusal of this event

	// failedAt is when the last attempt failed for a reason that may be the
	// receiver's; zero: it did not. Once the receiver takes another event it
	// was this one's: alone counts those.
	failedAt time.Time
	alone    int
	last     *Attempt
}

func newWindow(order Order) *window { return &window{order: order, lines: map[string]*line{}} }

// keyOf returns the key within which the order of an event is kept.
func keyOf(order Order, e *queue.Event) string {
	event := &e.Entry.Event
	switch {
	case order == ByShard:
		return string(e.Entry.Shard)
	case order == ByProject:
		return event.Project
	case order == Unordered:
		return strconv.FormatInt(e.Number, 10)
	case event.Change != 0:
		return event.Project + "\x00#" + strconv.FormatInt(event.Change, 10)
	default:
		return event.Project + "\x00" + event.Ref
	}
}

// add adds events, in the order of the queue.
func (w *window) add(events []queue.Event) {
	for i := range events {
		key := keyOf(w.order, &events[i])
		l := w.lines[key]
		if l == nil {
			l = &line{key: key}
			w.lines[key] = l
		}
		l.items = append(l.items, &item{event: events[i]})
		w.count++
		w.bytes += len(events[i].Entry.Payload)
	}
}

// pop removes the first event of a line.
func (w *window) pop(l *line) {
	w.count--
	w.bytes -= len(l.items[0].event.Entry.Payload)
	l.items[0] = nil
	l.items = l.items[1:]
	l.wait = time.Time{}
	if len(l.items) == 0 {
		delete(w.lines, l.key)
	}
}

// next returns the line to send from: of those that may send, the one whose
// event is the oldest; in a probe of a receiver that fails the one that was
// tried least, so that one event which the receiver cannot bear does not keep
// it from the others. nil: there is none.
func (w *window) next(now time.Time, probe bool) *line {
	var best *line
	for _, l := range w.lines {
		if !l.sending && !now.Before(l.wait) && (best == nil || l.before(best, probe)) {
			best = l
		}
	}
	return best
}

func (l *line) before(other *line, probe bool) bool {
	a, b := l.items[0], other.items[0]
	if probe && a.attempts != b.attempts {
		return a.attempts < b.attempts
	}
	return a.event.Number < b.event.Number
}

// wake returns when a line that waits may send; zero: none waits.
func (w *window) wake(now time.Time) time.Time {
	var first time.Time
	for _, l := range w.lines {
		if !l.sending && l.wait.After(now) && (first.IsZero() || l.wait.Before(first)) {
			first = l.wait
		}
	}
	return first
}

// blocked counts the lines whose first event was refused or failed alone.
func (w *window) blocked() int {
	n := 0
	for _, l := range w.lines {
		if i := l.items[0]; i.refusals+i.alone > 0 {
			n++
		}
	}
	return n
}

// receiverIsUp charges the failures of events to them, because the receiver has
// taken another one since: each waits by itself now.
func (w *window) receiverIsUp() {
	for _, l := range w.lines {
		if i := l.items[0]; !l.sending && !i.failedAt.IsZero() {
			i.alone++
			l.wait = i.failedAt.Add(backOff(i.alone))
			i.failedAt = time.Time{}
		}
	}
}
