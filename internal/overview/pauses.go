package overview

import (
	"slices"

	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/pauses"
)

// pausedFor is the state of a shard that is paused.
func (m *merged) pausedFor(p *pauses.Pause) string {
	return "paused by " + p.By + " for " + Span(m.in.Now.Sub(p.Since))
}

// pauseCauses are the pauses in force, those of one reason together. Somebody
// wanted them: a probe does not fail for them.
func (m *merged) pauseCauses() (all []Cause) {
	var of [][]string
	at := map[string]int{}
	for i := range m.in.Pauses {
		p := &m.in.Pauses[i]
		text := m.pauseText(p)
		n, seen := at[text]
		if !seen {
			n = len(all)
			at[text], of = n, append(of, nil)
			all = append(all, Cause{Level: Warning, Name: "paused", Help: "paused", Text: text, Detail: p.Reason,
				passing: true})
		}
		if p.Shard != pauses.All {
			of[n] = append(of[n], Short(p.Shard))
		}
	}
	for i, shards := range of {
		switch slices.SortFunc(shards, byNumber); len(shards) {
		case 0:
			all[i].Of = "all shards"
		case 1:
			all[i].Of = "shard " + shards[0]
		default:
			all[i].Of = "shards " + trouble.SomeOf(shards)
		}
	}
	return append(all, m.unbound()...)
}

func (m *merged) pauseText(p *pauses.Pause) string {
	text := "Reading is paused by " + p.By + " since " + clock(p.Since)
	switch {
	case p.Until.IsZero():
	case p.Until.Before(m.in.Now):
		text += ", and should have ended at " + clock(p.Until) + ": a process that reads the stream ends it"
	default:
		text += " until " + clock(p.Until)
	}
	return text
}

// unbound warns of paused shards that another program leads.
func (m *merged) unbound() []Cause {
	var shards []string
	var leader string
	for id, s := range m.in.Store.Inspection.Shards {
		if _, paused := m.in.Pauses.Of(id); paused && s.Foreign && !(s.Position != nil && s.Position.Ended) {
			shards, leader = append(shards, Short(id)), s.Leader
		}
	}
	if len(shards) == 0 {
		return nil
	}
	slices.SortFunc(shards, byNumber)
	return []Cause{{Level: Warning, Name: "paused", Help: "paused", kind: foreignLeads,
		Of:   "shards " + trouble.SomeOf(shards),
		Text: leader + " keeps to no pause, and leads " + plural(len(shards), "paused shard")}}
}
