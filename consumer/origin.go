package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// settleOrigin sees to it that the stream has a start record, and that it is the
// listed stream's.
func (s *supervisor) settleOrigin(ctx context.Context, l gerritstream.Listing) error {
	for {
		stored, ok, err := s.c.cfg.Store.Origin(ctx)
		if err != nil {
			return err
		}
		var prev, known *gerritstream.Origin // as stored, and as it counts
		var handled time.Time
		if ok {
			prev, known = &stored, &stored
			if stored.Stream.ARN == l.Stream.ARN && stored.Stream.Created.Before(l.Stream.Created) {
				positions, err := s.c.cfg.Store.Positions(ctx, stored.Epoch)
				if err != nil {
					return err
				}
				handled = plan.HandledUntil(positions)
			}
		}
		if !ok && s.origin != nil {
			// It was deleted under a running process. One that is decided anew
			// would pass what has arrived since the first.
			s.c.log.Warn("the start record was deleted from the store: it is written anew, as it was")
			known = s.origin
		}
		want := s.c.cfg.StartAt
		if known == nil {
			if want, err = s.firstOrigin(ctx, l); err != nil {
				return err
			}
		}
		next, err := plan.NextOrigin(known, l, want, handled)
		if err != nil {
			return err
		}
		if next != prev {
			if err := s.c.cfg.Store.SetOrigin(ctx, prev, *next); errors.Is(err, gerritstream.ErrConflict) {
				continue // another process was faster: its record counts
			} else if err != nil {
				return err
			}
		}
		s.noteRetention(known, next)
		s.adopt(next, prev == nil || prev.Epoch != next.Epoch, l)
		return nil
	}
}

// firstOrigin is where a stream begins that no process of this program has
// followed. Beside another program that leads a shard it begins at the tip
// that this one reads from, and not before: nothing older is to come after
// what the other has queued.
func (s *supervisor) firstOrigin(ctx context.Context, l gerritstream.Listing) (gerritstream.StartingPosition, error) {
	want := s.c.cfg.StartAt
	if want != (gerritstream.StartingPosition{}) {
		return want, nil
	}
	shards := make([]gerritstream.ShardID, len(l.Shards))
	for i, shard := range l.Shards {
		shards[i] = shard.ID
	}
	m, err := s.c.cfg.Store.GroupState(ctx, shards)
	if err != nil {
		return gerritstream.StartingPosition{}, err
	}
	for _, line := range m.Candidates {
		if len(line) > 0 && line[0].Foreign {
			s.c.log.Info("another program leads: the stream begins where that reads", "leader", line[0].Member)
			return gerritstream.StartingPosition{Time: l.Now}, nil
		}
	}
	return want, nil
}

// noteRetention logs that the stream keeps its records for another time than
// before.
func (s *supervisor) noteRetention(was, is *gerritstream.Origin) {
	if was == nil || was.Epoch != is.Epoch || was.Retention == 0 || was.Retention == is.Retention {
		return
	}
	s.c.log.Info("the stream's retention was changed", "was", was.Retention, "is", is.Retention, "nothing_kept_before", is.Trimmed)
}

// adopt takes a start record over: one that was there (made false) or one that
// this process just made.
func (s *supervisor) adopt(start *gerritstream.Origin, made bool, l gerritstream.Listing) {
	known := s.origin
	s.origin = start
	s.c.origin.Store(start)
	switch {
	case known != nil && known.Epoch == start.Epoch:
	case start.Epoch > 0 && (made || known != nil):
		lost := start.Lost[len(start.Lost)-1]
		s.c.log.Warn("the stream was deleted and made anew: starting over at its trim horizon", "epoch", start.Epoch)
		s.c.reportLost(s.c.log, "", lost)
		s.endAll()
		s.reopened, s.looks = plan.Absences{}, nil
		s.missing, s.ends, s.tips, s.unclaimed = plan.Absences{}, map[gerritstream.ShardID]bool{}, map[gerritstream.ShardID]bool{}, nil
		s.pauses = map[gerritstream.ShardID]*backoff{}
	case made && !start.From.TrimHorizon:
		unread := min(l.Retention, start.From.Time.Sub(l.Stream.Created))
		s.c.log.Info("the stream is followed from here on", "from", start.From.Time,
			"retained_and_left_unread", max(0, unread).Round(time.Second))
	case made:
		s.c.log.Info("the stream is followed from its trim horizon on")
	default:
		from := any(start.From.Time)
		if start.From.TrimHorizon {
			from = "trim horizon"
		}
		s.c.log.Info("the store says where the stream begins: start_at is not used", "epoch", start.Epoch, "from", from)
	}
}
