package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// settleOrigin makes sure that the store has an origin, and that it is the
// listed stream's.
func (s *supervisor) settleOrigin(ctx context.Context, l gerritstream.Listing) error {
	for {
		stored, ok, err := s.cfg.Store.Origin(ctx)
		if err != nil {
			return err
		}
		var prev, known *gerritstream.Origin // as stored, and the one to go by
		var handled time.Time
		if ok {
			prev, known = &stored, &stored
			if stored.Stream.ARN == l.Stream.ARN && stored.Stream.Created.Before(l.Stream.Created) {
				positions, err := s.cfg.Store.Positions(ctx, stored.Epoch)
				if err != nil {
					return err
				}
				handled = plan.HandledUntil(positions)
			}
		}
		if !ok && s.origin != nil { // a new decision would skip what has arrived since the first
			s.c.log.Warn("origin was deleted from the store; writing it again")
			known = s.origin
		}
		want := s.cfg.StartAt
		if known == nil {
			if want, err = s.firstStart(ctx, l); err != nil {
				return err
			}
		}
		next, err := plan.NextOrigin(known, l, want, handled)
		if err != nil {
			return err
		}
		if next != prev {
			if err := s.cfg.Store.SetOrigin(ctx, prev, *next); errors.Is(err, gerritstream.ErrConflict) {
				continue // another process was faster: its origin counts
			} else if err != nil {
				return err
			}
		}
		if known != nil && known.Epoch == next.Epoch && known.Retention != 0 && known.Retention != next.Retention {
			s.c.log.Info("stream retention changed",
				"was", known.Retention, "is", next.Retention, "nothing_kept_before", next.Trimmed)
		}
		s.adopt(ctx, next, prev == nil || prev.Epoch != next.Epoch, l)
		return nil
	}
}

// firstStart returns where to start a stream that no process of this program
// has followed. Beside a foreign leader it is the tip, from which that leader
// reads, and not earlier: no older record may be queued after the leader's.
func (s *supervisor) firstStart(ctx context.Context, l gerritstream.Listing) (gerritstream.StartingPosition, error) {
	want := s.cfg.StartAt
	if want != (gerritstream.StartingPosition{}) {
		return want, nil
	}
	shards := make([]gerritstream.ShardID, len(l.Shards))
	for i, shard := range l.Shards {
		shards[i] = shard.ID
	}
	group, err := s.cfg.Store.GroupState(ctx, shards)
	if err != nil {
		return gerritstream.StartingPosition{}, err
	}
	for _, candidates := range group.Candidates {
		if len(candidates) > 0 && candidates[0].Foreign {
			s.c.log.Info("a foreign leader reads the stream; starting where it reads", "leader", candidates[0].Member)
			return gerritstream.StartingPosition{Time: l.Now}, nil
		}
	}
	return want, nil
}

// adopt takes an origin over: one that was there (made false) or one that this
// process just made. A new epoch ends everything that belongs to the one
// before.
func (s *supervisor) adopt(ctx context.Context, origin *gerritstream.Origin, made bool, l gerritstream.Listing) {
	known := s.origin
	s.origin = origin
	s.c.origin.Store(origin)
	from := any(origin.From.Time)
	if origin.From.TrimHorizon {
		from = "trim horizon"
	}
	switch {
	case known != nil && known.Epoch == origin.Epoch:
	case origin.Epoch > 0 && (made || known != nil):
		s.c.log.Warn("stream was deleted and recreated; restarting from its oldest record", "epoch", origin.Epoch)
		s.c.reportLost(s.c.log, "", origin.Lost[len(origin.Lost)-1])
		s.beginEpoch(ctx)
	case made && !origin.From.TrimHorizon:
		unread := min(l.Retention, origin.From.Time.Sub(l.Stream.Created))
		s.c.log.Info("origin recorded", "from", from, "retained_and_left_unread", max(0, unread).Round(time.Second))
	case made:
		s.c.log.Info("origin recorded", "from", from)
	default:
		s.c.log.Info("origin already recorded; ignoring --start-at", "epoch", origin.Epoch, "from", from)
	}
}
