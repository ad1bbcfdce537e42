package gerritstream

import (
	"fmt"
	"math"
	"time"
)

const (
	ratedRecords = 200              // that a DeadRate is about, the last ones
	deadBurst    = 10               // dead letters among them that are no accident
	deadShare    = 10               // if they are one in so many
	deadFades    = 30 * time.Minute // a burst is over when none came for so long
)

// DeadRate is how many of the records that a process handled last became dead
// letters. Later records weigh more, so that both counts are estimates.
type DeadRate struct {
	Records int       `json:"records"` // 200 at most
	Dead    int       `json:"dead"`    // of these
	Last    time.Time `json:"last"`    // when the newest was committed, by the local clock
	Reason  string    `json:"reason"`  // of the newest
	Detail  string    `json:"detail"`  // likewise
}

// Burst reports whether there are so many, at a moment by the same clock, that
// somebody puts records of the wrong kind: a single bad record is no such
// thing.
func (d *DeadRate) Burst(now time.Time) bool {
	return d.Dead >= deadBurst && d.Dead*deadShare >= d.Records && now.Sub(d.Last) < deadFades
}

// String says it for people.
func (d *DeadRate) String() string {
	return fmt.Sprintf("%d of the last %d records became dead letters: %s: %s", d.Dead, d.Records, d.Reason, d.Detail)
}

// rate counts records and the dead letters among them, and forgets the older
// ones in proportion.
type rate struct {
	records, dead  float64
	last           time.Time
	reason, detail string
}

// add takes in what one commit passed.
func (r *rate) add(records int, letters []DeadLetter, now time.Time) {
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

// shown is what Status has of it; nil: there were no dead letters.
func (r *rate) shown() *DeadRate {
	if r.last.IsZero() {
		return nil
	}
	return &DeadRate{
		Records: int(math.Round(r.records)), Dead: int(math.Round(r.dead)), Last: r.last, Reason: r.reason, Detail: r.detail,
	}
}
