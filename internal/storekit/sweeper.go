package storekit

import (
	"context"
	"log/slog"
	"time"
)

const sweepEvery = time.Minute

// Sweeper has a store's expired events removed.
type Sweeper struct {
	Clock        *ServiceClock
	Now          func() time.Time // the local clock
	Retention    time.Duration    // of what nobody waits for; negative: nothing is removed
	RetentionMax time.Duration    // of everything
	Log          *slog.Logger

	// Remove removes, in batches, the events held from before a time that no
	// consumer waits for, and those held from before an earlier time in any
	// case. It returns how many it removed, and how many of them the consumers
	// had not read.
	Remove func(before, last time.Time) (total, unread int64, err error)

	differed bool // the log has it that the clocks differ
	unread   bool // the log has it that events were removed unread
}

// Run removes events until life ends.
func (w *Sweeper) Run(life context.Context) {
	if w.Retention < 0 {
		return
	}
	for {
		w.sweep(life)
		if !Sleep(life, sweepEvery) {
			return
		}
	}
}

// sweep removes the events that have expired by the service's clock: the local
// one may be corrected at any moment, and what is removed is gone. Nothing is
// removed while the service's time is not known, or the local clock contradicts
// it: one of them is wrong then.
func (w *Sweeper) sweep(life context.Context) {
	service, local := w.Clock.Now(), w.Now()
	if service.IsZero() {
		return
	}
	if differ(service, local) {
		if !w.differed {
			w.differed = true
			w.Log.Warn("clocks differ by more than an hour; not removing events",
				"local", local.UTC(), "service", service.UTC())
		}
		return
	}
	w.differed = false
	n, unread, err := w.Remove(service.Add(-w.Retention), service.Add(-w.RetentionMax))
	if n > 0 {
		w.Log.Info("removed expired events", "events", n, "retention", w.Retention.String())
	}
	if unread > 0 && !w.unread {
		w.unread = true
		w.Log.Warn("removed unread events", "events", unread, "retention", w.RetentionMax.String())
	}
	if err != nil && life.Err() == nil {
		w.Log.Warn("cannot remove expired events", "err", err)
	}
}
