package storekit

import (
	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// Loser is a consumer that may lose events which are about to be removed.
// Times are milliseconds since 1970.
type Loser struct {
	Name     string
	Lost     int64 // how many
	From, To int64 // arrival of the first and the last of them

	done    queue.Set
	matcher queue.Matcher
}

// NewLoser returns a consumer as it is stored. One whose filter cannot be read
// loses everything.
func NewLoser(name string, done queue.Set, filter string) *Loser {
	l := &Loser{Name: name, done: done}
	if f, err := queue.DecodeFilter(filter); err == nil {
		l.matcher, _ = f.Matcher()
	}
	return l
}

// Has reports whether the consumer has acknowledged an event.
func (l *Loser) Has(n int64) bool { return l.done.Has(n) }

// See notes that an event is about to be removed.
func (l *Loser) See(n, arrived int64, e *gerritstream.Event) {
	if !l.done.Has(n) && l.matcher.Keeps(e) {
		l.Lose(arrived)
	}
}

// Lose notes that the consumer loses an event.
func (l *Loser) Lose(arrived int64) {
	if l.Lost == 0 {
		l.From, l.To = arrived, arrived
	}
	l.Lost++
	l.From, l.To = min(l.From, arrived), max(l.To, arrived)
}
