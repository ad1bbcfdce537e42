package consumer

import (
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
)

const (
	lastsFor  = 30 * time.Second // trouble that may pass counts when it lasts so long
	lagGrowth = 30 * time.Second // or when the shard falls behind by so much more meanwhile
	calmAfter = 10 * time.Second // a lag that grows is not due to trouble that was not met for so long
	holdFades = time.Minute      // trouble of a shard that is led no more is then forgotten
)

// isGrave reports whether trouble does not pass by itself.
func isGrave(err error) bool {
	for _, grave := range []error{gerritstream.ErrDenied, gerritstream.ErrUnusable, gerritstream.ErrStreamNotFound, gerritstream.ErrNewerFormat} {
		if errors.Is(err, grave) {
			return true
		}
	}
	return false
}

// hold is trouble that a shard has met, or the process as a whole. A request
// that is throttled or fails now and then is normal life: it counts, for
// Status, once it lasts, once the shard falls behind with it, or if it is
// grave.
type hold struct {
	text  string        // the newest
	grave bool          // it will not pass by itself
	since time.Time     // of the first since the last progress; zero: there was progress
	last  time.Time     // when it was met last
	lag   time.Duration // how far behind the shard was as it began
}

// met notes trouble.
func (h *hold) met(text string, grave bool, behind time.Duration, now time.Time) {
	if h.since.IsZero() && now.Sub(h.last) >= calmAfter {
		h.lag = behind
	}
	if h.since.IsZero() {
		h.since = now
	}
	h.lag = min(h.lag, behind)
	h.text, h.grave, h.last = text, grave, now
}

// passed notes progress.
func (h *hold) passed() { h.since, h.grave = time.Time{}, false }

// counts reports whether it is to be shown.
func (h *hold) counts(behind time.Duration, now time.Time) bool {
	if h.since.IsZero() {
		return now.Sub(h.last) < calmAfter && behind-h.lag >= lagGrowth
	}
	return h.grave || now.Sub(h.since) >= lastsFor || behind-h.lag >= lagGrowth
}

// isRecent reports whether it was met not long ago, in this term or in one
// before.
func (h *hold) isRecent(now time.Time) bool { return now.Sub(h.last) < holdFades }
