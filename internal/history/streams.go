package history

import (
	"time"

	"github.com/gerritstream/gerritstream"
)

// streams assigns events to the streams that had the same name one after the
// other.
type streams struct {
	created []time.Time
	home    map[place]int // the stream on which a record was put
	terms   map[termKey]int
}

type termKey struct {
	process string
	shard   gerritstream.ShardID
	number  uint64
}

// perStream returns the events of each stream. A record belongs to the stream
// on which it was put, wherever it is found; a term to the stream of its
// position, because a leadership may outlive its stream by a moment; everything
// else to the stream of its time.
func perStream(events []Event) [][]Event {
	s := streams{home: map[place]int{}, terms: map[termKey]int{}}
	for i := range events {
		if e := &events[i]; e.Kind == KindCreated {
			s.created = append(s.created, e.At)
		}
	}
	if len(s.created) < 2 {
		return [][]Event{events}
	}
	for i := range events {
		if e := &events[i]; e.Kind == KindPut {
			for j := range e.Items {
				at := e.place(&e.Items[j])
				s.home[at] = s.at(e.At)
				s.home[place{at.shard, at.seq, gerritstream.NoSub}] = s.at(e.At) // a position names the whole aggregate
			}
		}
	}
	parts := make([][]Event, len(s.created))
	for i := range events {
		e := &events[i]
		if outcomes[e.Kind] != "" {
			s.divide(e, parts)
			continue
		}
		of := s.of(e)
		parts[of] = append(parts[of], *e)
	}
	return parts
}

// at returns the stream of a time.
func (s *streams) at(t time.Time) int {
	n := len(s.created) - 1
	for n > 0 && t.Before(s.created[n]) {
		n--
	}
	return n
}

// of returns the stream of an event.
func (s *streams) of(e *Event) int {
	key := termKey{e.Process, e.Shard, e.Term}
	switch e.Kind {
	case KindElected:
		of, ok := s.home[place{e.Shard, e.after(), gerritstream.NoSub}]
		if !ok {
			of = s.at(e.At)
		}
		s.terms[key] = of
		return of
	case KindCommitted, KindTermEnded:
		if of, ok := s.terms[key]; ok {
			return of
		}
	}
	return s.at(e.At)
}

// divide gives each stream those items of an event that were put on it, and the
// last stream those that were put on none.
func (s *streams) divide(e *Event, parts [][]Event) {
	items := make([][]Item, len(parts))
	for j := range e.Items {
		of, ok := s.home[e.place(&e.Items[j])]
		if !ok {
			of = len(parts) - 1
		}
		items[of] = append(items[of], e.Items[j])
	}
	for of := range parts {
		part := *e
		part.Items = items[of]
		parts[of] = append(parts[of], part)
	}
}
