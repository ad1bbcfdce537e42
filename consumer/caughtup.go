package consumer

import (
	"fmt"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

const (
	beganError   = 10 * time.Second // a Source's times are lower bounds: Run may have begun this much later
	firstWaitLog = 15 * time.Second // after how long a run logs first what it waits for
)

// waitsFor returns the shards in which records that had arrived before Run
// began may not be committed yet, each with the reason; an empty one means that
// only the reading is waited for: see readingOf.
//
// A shard is caught up when it was read here to the tip, or past the beginning
// of Run; when its position was handled after that beginning, or is so much
// later that arrival times cannot be that wrong; or when a look past a foreign
// leader's checkpoint found nothing. A shard that has ended but was listed as
// open has children that are not listed yet.
func (s *supervisor) waitsFor(steps []plan.Step, positions storedPositions) (waits []trouble.Trouble) {
	add := func(shard gerritstream.ShardID, format string, args ...any) {
		waits = append(waits, trouble.Trouble{Of: []string{string(shard)}, Text: fmt.Sprintf(format, args...)})
	}
	for _, shard := range s.view.listing.Shards {
		if shard.Last == "" && positions[shard.ID].Ended {
			add(shard.ID, "it has ended, and its children are not listed yet")
		}
	}
	began := s.view.began.Add(beganError)
	for _, step := range steps {
		switch step.State {
		case plan.Ended:
		case plan.Gone:
			add(step.Shard, "it is gone from the stream, and not marked ended yet")
		case plan.Waiting:
			for _, parent := range step.WaitFor {
				add(step.Shard, "its parent %s is not read to its end yet", parent)
			}
		default:
			w, pos := s.workers[step.Shard], positions[step.Shard]
			here := s.atTip[step.Shard] || w != nil && w.atTip.Load()
			if !here && !s.c.tracker.known(step.Shard).foreign.clear.After(began) && !pos.CaughtUp.After(began) &&
				!pos.Arrived.After(began.Add(gerritstream.ArrivalError)) {
				add(step.Shard, "")
			}
		}
	}
	return waits
}

// readingOf says how far the reading of a shard is.
func readingOf(s *gerritstream.ShardStatus) string {
	switch {
	case s.Term != 0 && s.AtTip:
		return "it is read here, and has not passed the beginning of this run yet"
	case s.Term != 0:
		return fmt.Sprintf("it is read here, lagging by %s", s.Lag.Round(time.Second))
	case s.Leader.Foreign:
		return s.Leader.Process + " leads it, and may not have read everything yet"
	case s.Leader.Process != "":
		return "another process leads it, and has not committed yet what came before this run"
	}
	return "nobody leads it yet"
}

// logWaits logs once a minute what a run with UntilCaughtUp waits for.
func (s *supervisor) logWaits(waits []trouble.Trouble) {
	switch {
	case !s.cfg.UntilCaughtUp || len(waits) == 0:
	case s.waitLog.IsZero():
		s.waitLog = time.Now().Add(firstWaitLog - lineEvery)
	case time.Since(s.waitLog) >= lineEvery:
		s.waitLog = time.Now()
		for _, shard := range s.c.Status().Shards {
			for i := range waits {
				if w := &waits[i]; w.Of[0] == string(shard.Shard) && w.Text == "" {
					w.Text = readingOf(&shard)
					if p, paused := s.c.paused.now().Of(shard.Shard); paused && !shard.Leader.Foreign {
						w.Text = "it is " + p.String()
					}
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
