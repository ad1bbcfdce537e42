// Package storekit holds what every store would otherwise write again.
package storekit

import (
	"encoding/hex"
	"log/slog"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

// discardsEvery is the time between two lines of Discards.
const discardsEvery = time.Minute

// Discards logs the dead letters that a store had no room for: each at level
// debug, and all of them together at most once a minute, as a warning with
// their number and one of them. Its methods may be called by several goroutines
// at once.
type Discards struct {
	log *slog.Logger

	mu   sync.Mutex
	told time.Time // under mu: of the last warning
	more int       // under mu: letters since then
}

// NewDiscards returns one that has logged nothing yet.
func NewDiscards(log *slog.Logger) *Discards { return &Discards{log: log} }

// Log logs letters once the commit that discards them is durable. It keeps
// none.
func (d *Discards) Log(letters []gerritstream.DeadLetter) {
	if len(letters) == 0 {
		return
	}
	for i := range letters {
		d.log.Debug("no room for a dead letter: only this line is left of it", sample(&letters[i])...)
	}
	d.mu.Lock()
	d.more += len(letters)
	letterCount, now := d.more, time.Now()
	due := d.told.IsZero() || now.Sub(d.told) >= discardsEvery
	if due {
		d.told, d.more = now, 0
	}
	d.mu.Unlock()
	if due {
		d.log.Warn("no room for dead letters: they are counted, and what they held is in the stream alone",
			append([]any{"letters", letterCount}, sample(&letters[0])...)...)
	}
}

// sample says which record a letter is of, and nothing of what is in it.
func sample(l *gerritstream.DeadLetter) []any {
	return []any{
		"shard", string(l.Shard), "sequence", string(l.Seq), "sub", l.Sub, "event", l.ID, "reason", l.Reason,
		"length", l.Length, "sha256", hex.EncodeToString(l.SHA256[:]),
	}
}
