package sqlite

import (
	"context"
	"errors"
	"time"
)

const (
	sweepEvery = time.Minute
	sweepBatch = 500                   // events a transaction
	sweepPause = 20 * time.Millisecond // between transactions, so that commits of other processes find room
)

// sweep removes events older than the retention until stop.
func (s *Store) sweep() {
	if s.config.Retention < 0 {
		return
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		n, err := s.removeExpired(time.Now().Add(-s.config.Retention))
		if n > 0 {
			s.log.Info("removed events that were kept for their time", "events", n, "retention", s.config.Retention)
		}
		if err != nil && !errors.Is(err, errClosed) {
			s.log.Warn("cannot remove events that were kept for their time", "error", err)
		}
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
	}
}

// removeExpired removes the events queued before a time, in batches, and tells how many it removed.
func (s *Store) removeExpired(before time.Time) (total int64, err error) {
	for {
		var n int64
		err := s.writer.do(context.Background(), func(st *statements) (err error) {
			if n, err = st.changed(st.expire, milliseconds(before), sweepBatch); err != nil || n == 0 {
				return err
			}
			return st.exec(st.count, n, "expired")
		})
		if err != nil {
			return total, err
		}
		if total += n; n < sweepBatch {
			return total, nil
		}
		timer := time.NewTimer(sweepPause)
		select {
		case <-timer.C:
		case <-s.stop:
			timer.Stop()
			return total, nil
		}
	}
}
