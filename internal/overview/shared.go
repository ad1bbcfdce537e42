package overview

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
)

// What a process shares is bounded: it is written to the store with each of its
// reports.
const (
	SharedEvents = 5
	sharedText   = 100 // bytes of a project or a ref
	shownEvents  = 50
)

// Shared is what a process tells the others in its reports besides its Status.
type Shared struct {
	Delay  *float64 `json:"delay,omitempty"`  // seconds: of 99 in 100 events lately; nil: there were none
	Events []Event  `json:"events,omitempty"` // some of the last, the newest first
}

// NewShared returns the JSON of what a process shares: delay, unless it is
// Unknown, and a few of its last events, the newest first.
func NewShared(delay float64, events []Event) json.RawMessage {
	var s Shared
	if delay >= 0 {
		s.Delay = &delay
	}
	for _, e := range events[:min(len(events), SharedEvents)] {
		for _, text := range []*string{&e.Why, &e.Type, &e.Project, &e.Ref, &e.Sequence} {
			if len(*text) > sharedText {
				*text = strings.ToValidUTF8((*text)[:sharedText], "") + "…"
			}
		}
		s.Events = append(s.Events, e)
	}
	text, err := json.Marshal(&s)
	if err != nil {
		return nil // no number that JSON lacks is shared
	}
	return text
}

// shared returns what a process has shared. What cannot be read was shared by
// another version, or another program: it is nothing.
func shared(r *gerritstream.Report) (s Shared) {
	if json.Unmarshal(r.Status.Extra, &s) != nil {
		return Shared{}
	}
	s.Events = s.Events[:min(len(s.Events), SharedEvents)]
	return s
}

// delay returns the greatest of the processes' delays: that of the asked one,
// which may be Unknown, and those of others that have reported lately.
func (m *merged) delay(own float64) float64 {
	for i := range m.reports {
		r := &m.reports[i]
		if s := shared(r); r.Process != m.in.Process.Process && s.Delay != nil && m.in.Now.Sub(r.At) < time.Minute {
			own = max(own, *s.Delay)
		}
	}
	return own
}

// events returns the last events of the group, the newest first: of the asked
// process as many as there is room for.
func (m *merged) events() []Event {
	var others []Event
	for i := range m.reports {
		r := &m.reports[i]
		if r.Process == m.in.Process.Process {
			continue
		}
		for _, e := range shared(r).Events {
			e.By = m.where(r.Process, false)
			others = append(others, e)
		}
	}
	newest := func(a, b Event) int { return b.At.Compare(a.At) }
	slices.SortStableFunc(others, newest)
	others = others[:min(len(others), shownEvents/2)]
	all := slices.Clone(m.in.Events[:min(len(m.in.Events), shownEvents-len(others))])
	for i := range all {
		all[i].By = m.where(m.in.Process.Process, false)
	}
	all = append(all, others...)
	slices.SortStableFunc(all, newest)
	seen := map[[2]string]bool{} // a record may have been handled by two
	return slices.DeleteFunc(all, func(e Event) bool {
		key := [2]string{e.Shard, cmp.Or(e.Sequence, e.At.String())}
		again := seen[key]
		seen[key] = true
		return again
	})
}
