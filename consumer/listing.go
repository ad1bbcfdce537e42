package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// listEvery is the upper bound for noticing a reshard that nobody reports.
const listEvery = 30 * time.Second

// streamView is the stream as this process has listed it. It belongs to the
// supervisor's goroutine.
type streamView struct {
	listing  gerritstream.Listing
	listed   time.Time // local: when the request for listing began
	nextList time.Time // local
	err      error     // of the last attempt to list
	retry    backoff   // after it
	began    time.Time // the service's time of the first listing

	missing  plan.Absences // shards with a position that are not listed, and since when
	gone     shardSet      // of these, for long enough
	reopened plan.Absences // shards that have ended and are listed as open, and since when
	ends     shardSet      // not in the listing yet, which was repeated for them
}

// listSoon makes the next round list the stream. It does not override the
// back-off after a listing that failed.
func (v *streamView) listSoon() {
	if v.err == nil {
		v.nextList = time.Now()
	}
}

// unlistedEnds reports whether shards have ended that were listed as open, for
// the first time each: their children are not listed yet.
func (v *streamView) unlistedEnds(positions storedPositions) (found bool) {
	for _, shard := range v.listing.Shards {
		if shard.Last == "" && positions[shard.ID].Ended && !v.ends[shard.ID] {
			v.ends[shard.ID] = true
			found = true
		}
	}
	return found
}

// hasChildren reports whether children of a shard are listed.
func (v *streamView) hasChildren(id gerritstream.ShardID) bool {
	return slices.ContainsFunc(v.listing.Shards, func(s gerritstream.Shard) bool {
		return slices.Contains(s.Parents, id)
	})
}

// list lists the stream and settles its origin when that is due. After a
// failure the listing before stays in use, so that leaders can still be
// elected.
func (s *supervisor) list(ctx context.Context) (done bool, err error) {
	v := &s.view
	if time.Now().Before(v.nextList) && (v.err != nil || !s.c.isHurried()) {
		return false, v.err
	}
	asked := time.Now()
	listing, err := s.cfg.Source.List(ctx)
	err = trouble.Mark(err, trouble.SourceFails)
	if errors.Is(err, gerritstream.ErrStreamNotFound) && !v.began.IsZero() {
		err = vanished(err)
	}
	if err == nil {
		s.c.clock.saw(listing.Now)
		if v.began.IsZero() {
			v.began = listing.Now
		}
		err = s.settleOrigin(ctx, listing)
	}
	if v.err = err; err != nil {
		v.nextList = time.Now().Add(v.retry.next())
		return false, err
	}
	v.retry.reset()
	v.listing, v.listed, v.nextList = listing, asked, time.Now().Add(listEvery)
	return true, nil
}

// vanished wraps ErrStreamNotFound for a stream that was there before.
func vanished(err error) error { return fmt.Errorf("the stream is gone: %w", err) }

// noteReopened finds shards that have ended here and that the stream lists as
// open, in two listings at least 30 s apart: the reply that ended them was
// wrong. Nothing reads them, and their records are not lost yet.
func (s *supervisor) noteReopened(positions storedPositions) {
	v, open := &s.view, shardSet{}
	for _, shard := range v.listing.Shards {
		if shard.Last != "" || !positions[shard.ID].Ended || v.hasChildren(shard.ID) {
			delete(v.reopened, shard.ID)
			continue
		}
		if first, ok := v.reopened[shard.ID]; !ok {
			v.reopened[shard.ID] = v.listed
		} else {
			open[shard.ID] = v.listed.Sub(first) >= plan.GoneAfter
		}
	}
	if fresh := s.c.tracker.reopened(open); len(fresh) > 0 {
		s.c.log.Error("ended shards are open in the stream; nothing reads them until their positions are set",
			"shards", trouble.SomeOf(fresh))
	}
}

// watchParents waits for the ends of parents that other processes read and that
// shards here wait for, and ends the waits for others.
func (s *supervisor) watchParents(parents shardSet) {
	for parent, cancel := range s.parents {
		if !parents[parent] {
			cancel()
		}
	}
	for parent := range parents {
		if s.parents[parent] != nil {
			continue
		}
		epoch := s.origin.Epoch
		ctx, cancel := context.WithCancel(s.tasks.ctx)
		s.parents[parent] = cancel
		s.tasks.start(func() {
			if err := s.cfg.Store.WaitEnded(ctx, epoch, parent); err != nil && ctx.Err() == nil {
				sleep(ctx, watchRetry)
			}
		}, func() (time.Duration, error) {
			cancel()
			delete(s.parents, parent)
			return planDebounce, nil
		})
	}
}
