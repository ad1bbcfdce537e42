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
	w := sweeper{store: s}
	for {
		w.once()
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
	}
}

// sweeper removes events and says so.
type sweeper struct {
	store    *Store
	differed bool // it was said that the clocks differ
	unread   bool // it was said that events were removed unread
}

// once removes what is older than the retention now.
func (w *sweeper) once() {
	log, keep := w.store.log, w.store.config.Retention
	before, ok := w.horizon()
	if !ok {
		return
	}
	n, overdue, err := w.store.removeExpired(before)
	if n > 0 {
		log.Info("removed expired events", "events", n, "retention", keep)
	}
	if overdue > 0 && !w.unread {
		w.unread = true
		log.Warn("removed events that no consumer had read", "events", overdue, "retention", keep)
	}
	if err != nil && !errors.Is(err, errClosed) && w.store.fate() == nil {
		log.Warn("cannot remove expired events", "error", err)
	}
}

// horizon returns the time before which events have been kept for their time.
// It is the service's: the local clock may be put right at any moment, and what
// is removed is gone. ok is false while nobody has told that time, and while
// the local clock contradicts it: one of them is wrong then.
func (w *sweeper) horizon() (before time.Time, ok bool) {
	service, known := w.store.clock.now()
	if !known {
		return time.Time{}, false
	}
	local := w.store.config.Now()
	if differs(service, local) {
		if !w.differed {
			w.differed = true
			w.store.log.Warn("no events are removed: the local clock and the service's differ by more than an hour",
				"local", local.UTC(), "service", service.UTC())
		}
		return time.Time{}, false
	}
	w.differed = false
	return service.Add(-w.store.config.Retention), true
}

// removeExpired removes the events held from before a time, in batches. It
// returns how many it removed, and how many of them the consumers that write
// down how far they are had not read.
func (s *Store) removeExpired(before time.Time) (total, unread int64, err error) {
	for {
		var n, missed int64
		err := s.writer.do(context.Background(), func(st *statements) (err error) {
			n, missed, err = s.removeBatch(st, before.UnixMilli())
			return err
		})
		if err != nil {
			return total, unread, err
		}
		total, unread = total+n, unread+missed
		if n < sweepBatch {
			return total, unread, nil
		}
		timer := time.NewTimer(sweepPause)
		select {
		case <-timer.C:
		case <-s.stop:
			timer.Stop()
			return total, unread, nil
		}
	}
}

// removeBatch removes some of the events held from before a time, and counts
// them. Where no consumer writes down how far it is, nobody knows what was
// read: that is counted as unread, and is nothing to be told of.
func (s *Store) removeBatch(st *statements, before int64) (n, unread int64, err error) {
	var consumers bool
	if _, err := st.get(st.countUnread, []any{before, sweepBatch}, []any{&unread, &consumers}); err != nil {
		return 0, 0, err
	}
	if n, err = st.changed(st.expire, before, sweepBatch); err != nil || n == 0 {
		return 0, 0, err
	}
	if err := st.exec(st.count, "expired", n); err != nil || unread == 0 {
		return n, unread, err
	}
	if err := st.exec(st.count, "expired unread", unread); err != nil {
		return 0, 0, err
	}
	if !consumers {
		return n, 0, nil
	}
	return n, unread, st.exec(st.note, "expired unread at", s.config.Now().UnixMilli())
}
