package consumer

import (
	"fmt"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// waitsFor returns what is not caught up: shards of which it is not certain
// that what had arrived before Run began is committed, each with the reason.
// None: everything is.
//
// Certain is what was read here to the tip, or past the beginning of Run; and
// of what another process committed, that all was handled at a time after that
// beginning, or a record so much later that arrival times cannot be that wrong;
// and a look behind the checkpoint of another program that leads, when it found
// nothing there. A shard that has ended but was listed as open has children
// that were not listed yet. Where the reading is all that is waited for, the
// reason is left empty: see reading.
func (s *supervisor) waitsFor(steps []plan.Step, positions map[gerritstream.ShardID]gerritstream.Position) (waits []trouble.Trouble) {
	add := func(shard gerritstream.ShardID, format string, args ...any) {
		waits = append(waits, trouble.Trouble{Of: []string{string(shard)}, Text: fmt.Sprintf(format, args...)})
	}
	for _, shard := range s.listing.Shards {
		if shard.Last == "" && positions[shard.ID].Ended {
			add(shard.ID, "it has ended, and its children are not listed yet")
		}
	}
	for _, step := range steps {
		switch step.State {
		case plan.Ended:
		case plan.Gone:
			add(step.Shard, "it is gone from the stream, and not marked ended yet")
		case plan.Waiting:
			for _, parent := range step.WaitFor {
				add(step.Shard, "it waits for its parent %s, whose end was not read yet", parent)
			}
		default:
			w, pos := s.workers[step.Shard], positions[step.Shard]
			here := s.tips[step.Shard] || w != nil && w.wasAtTip.Load()
			began := s.begun.Add(begunError)
			if here || s.c.tracker.foreignClear(step.Shard).After(began) || pos.CaughtUp.After(began) || pos.Arrived.After(began.Add(gerritstream.ArrivalError)) {
				continue
			}
			add(step.Shard, "")
		}
	}
	return waits
}

// reading says how far the reading of a shard is.
func reading(s *gerritstream.ShardStatus) string {
	switch {
	case s.Term != 0 && s.AtTip:
		return "it is read here, and was not seen to pass the beginning of this run yet"
	case s.Term != 0:
		return fmt.Sprintf("it is read here, %s behind", s.Lag.Round(time.Second))
	case s.Leader.Foreign:
		return s.Leader.Process + " leads it, and was not seen to have read everything yet"
	case s.Leader.Process != "":
		return "another process leads it, and has not committed yet what came before this run"
	}
	return "nobody leads it yet"
}

// sayWaits tells the log once a minute what a run that ends when it is caught
// up waits for.
func (s *supervisor) sayWaits(waits []trouble.Trouble) {
	switch {
	case !s.c.cfg.UntilCaughtUp || len(waits) == 0:
	case s.saidWaits.IsZero():
		s.saidWaits = time.Now().Add(firstWait - lineEvery)
	case time.Since(s.saidWaits) >= lineEvery:
		s.saidWaits = time.Now()
		for _, shard := range s.c.tracker.status().Shards {
			for i := range waits {
				if w := &waits[i]; w.Of[0] == string(shard.Shard) && w.Text == "" {
					w.Text = reading(&shard)
				}
			}
		}
		var texts []string
		for _, group := range trouble.Group(waits) {
			texts = append(texts, group.String())
		}
		s.c.log.Info("not caught up yet", "shards", len(waits), "waits_for", strings.Join(texts, "; "))
	}
}

// firstWait is after how long a run says for the first time what it waits for.
const firstWait = 15 * time.Second
