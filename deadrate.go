package gerritstream

import (
	"fmt"
	"time"
)

const (
	deadBurst = 10               // dead letters among them that are no accident
	deadShare = 10               // if they are one in so many
	deadFades = 30 * time.Minute // a burst is over when none came for so long
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
