package consumer

import (
	"math"
	"time"

	"github.com/gerritstream/gerritstream"
)

// ratedRecords is how many of the last records a rate is about.
const ratedRecords = 200

// rate counts records and the dead letters among them, and forgets the older
// ones in proportion.
type rate struct {
	records, dead  float64
	last           time.Time
	reason, detail string
}

// add takes in what one commit passed.
func (r *rate) add(records int, letters []gerritstream.DeadLetter, now time.Time) {
	if records == 0 {
		return
	}
	records = max(records, len(letters))
	n, dead := float64(records), float64(len(letters))
	if n > ratedRecords {
		n, dead = ratedRecords, dead*ratedRecords/n
	}
	if keep := ratedRecords - n; r.records > keep {
		r.dead *= keep / r.records
		r.records = keep
	}
	r.records += n
	r.dead += dead
	if i := len(letters) - 1; i >= 0 {
		r.last, r.reason, r.detail = now, letters[i].Reason, letters[i].Detail
	}
}

// status is what Status has of it; nil: there were no dead letters.
func (r *rate) status() *gerritstream.DeadRate {
	if r.last.IsZero() {
		return nil
	}
	return &gerritstream.DeadRate{
		Records: int(math.Round(r.records)), Dead: int(math.Round(r.dead)), Last: r.last, Reason: r.reason, Detail: r.detail,
	}
}
