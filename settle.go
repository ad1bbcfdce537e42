package gerritstream

import (
	"context"
	"errors"
	"time"
)

// settleStart sees to it that the stream has a start record, and that it is the
// listed stream's.
func (s *supervisor) settleStart(ctx context.Context, l Listing) error {
	for {
		stored, ok, err := s.cfg.Store.Start(ctx)
		if err != nil {
			return err
		}
		var prev, known *Start // as stored, and as it counts
		var handled time.Time
		if ok {
			prev, known = &stored, &stored
			if stored.Stream.ARN == l.Stream.ARN && stored.Stream.Created.Before(l.Stream.Created) {
				positions, err := s.cfg.Store.Positions(ctx, stored.Epoch)
				if err != nil {
					return err
				}
				handled = handledUntil(positions)
			}
		}
		if !ok && s.start != nil {
			// It was deleted under a running process. One that is decided anew
			// would pass what has arrived since the first.
			s.log.Warn("the start record was deleted from the store: it is written anew, as it was")
			known = s.start
		}
		want := s.cfg.StartAt
		if known == nil {
			if want, err = s.firstStart(ctx, l); err != nil {
				return err
			}
		}
		next, err := nextStart(known, l, want, handled)
		if err != nil {
			return err
		}
		if next != prev {
			if err := s.cfg.Store.SetStart(ctx, prev, *next); errors.Is(err, ErrConflict) {
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

// firstStart is where a stream begins that no process of this program has
// followed. Beside another program that leads a shard it begins at the tip
// that this one reads from, and not before: nothing older is to come after
// what the other has queued.
func (s *supervisor) firstStart(ctx context.Context, l Listing) (StartAt, error) {
	want := s.cfg.StartAt
	if want != (StartAt{}) {
		return want, nil
	}
	shards := make([]ShardID, len(l.Shards))
	for i, shard := range l.Shards {
		shards[i] = shard.ID
	}
	m, err := s.cfg.Store.Muster(ctx, shards)
	if err != nil {
		return StartAt{}, err
	}
	for _, line := range m.Lines {
		if len(line) > 0 && line[0].Foreign {
			s.log.Info("another program leads: the stream begins where that reads", "leader", line[0].Member)
			return StartAt{Time: l.Now}, nil
		}
	}
	return want, nil
}

// noteRetention logs that the stream keeps its records for another time than
// before.
func (s *supervisor) noteRetention(was, is *Start) {
	if was == nil || was.Epoch != is.Epoch || was.Retention == 0 || was.Retention == is.Retention {
		return
	}
	s.log.Info("the stream's retention was changed", "was", was.Retention, "is", is.Retention, "nothing_kept_before", is.Trimmed)
}

// adopt takes a start record over: one that was there (made false) or one that
// this process just made.
func (s *supervisor) adopt(start *Start, made bool, l Listing) {
	known := s.start
	s.start = start
	s.begins.Store(start)
	switch {
	case known != nil && known.Epoch == start.Epoch:
	case start.Epoch > 0 && (made || known != nil):
		lost := start.Lost[len(start.Lost)-1]
		s.log.Warn("the stream was deleted and made anew: starting over at its trim horizon", "epoch", start.Epoch)
		s.reportLost(s.log, "", lost)
		s.endAll()
		s.reopened, s.looks = absences{}, nil
		s.missing, s.ends, s.tips, s.vacant = absences{}, map[ShardID]bool{}, map[ShardID]bool{}, nil
		s.pauses = map[ShardID]*backoff{}
	case made && !start.From.TrimHorizon:
		unread := min(l.Retention, start.From.Time.Sub(l.Stream.Created))
		s.log.Info("the stream is followed from here on", "from", start.From.Time,
			"retained_and_left_unread", max(0, unread).Round(time.Second))
	case made:
		s.log.Info("the stream is followed from its trim horizon on")
	default:
		from := any(start.From.Time)
		if start.From.TrimHorizon {
			from = "trim horizon"
		}
		s.log.Info("the store says where the stream begins: start_at is not used", "epoch", start.Epoch, "from", from)
	}
}
