package storekit

import (
	"encoding/hex"
	"log/slog"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

// discardsEvery is the least time between two warnings of Discards.
const discardsEvery = time.Minute

// Discards logs the dead letters that a store had no room for: each one at
// level debug, and at most once a minute a warning with their number and one of
// them. Its methods may be called by several goroutines at once.
type Discards struct {
	log *slog.Logger

	mu     sync.Mutex
	warned time.Time // under mu: the last warning
	since  int       // under mu: discarded since then
}

// NewDiscards returns one that has logged nothing yet.
func NewDiscards(log *slog.Logger) *Discards { return &Discards{log: log} }

// Log logs dead letters once the commit that discards them is durable. It keeps
// none of them, and logs no payload.
func (d *Discards) Log(discarded []gerritstream.DeadLetter) {
	if len(discarded) == 0 {
		return
	}
	attrs := func(l *gerritstream.DeadLetter) []any {
		return []any{
			"shard", string(l.Shard), "seq", string(l.Seq), "sub", l.Sub, "event", l.ID, "reason", l.Reason,
			"length", l.Length, "sha256", hex.EncodeToString(l.SHA256[:]),
		}
	}
	for i := range discarded {
		d.log.Debug("no room for dead letter", attrs(&discarded[i])...)
	}
	d.mu.Lock()
	d.since += len(discarded)
	count, now := d.since, time.Now()
	due := d.warned.IsZero() || now.Sub(d.warned) >= discardsEvery
	if due {
		d.warned, d.since = now, 0
	}
	d.mu.Unlock()
	if due {
		d.log.Warn("no room for dead letters: counted only", append([]any{"count", count}, attrs(&discarded[0])...)...)
	}
}
