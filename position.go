package gerritstream

import (
	"fmt"
	"time"
)

// Position is how far a shard has been handled: either nowhere yet, with a
// point to start from, or after a sequence number.
type Position struct {
	// From is where reading starts while After is empty.
	From StartingPosition `json:"from,omitzero"`

	// After is the last record handled completely, and Arrived when it arrived.
	After   SequenceNumber `json:"after,omitempty"`
	Arrived time.Time      `json:"arrived,omitzero"`

	// CheckpointedAt is set while Arrived is not known, after a foreign leader
	// that keeps its own checkpoints: when that leader stored After, by the
	// store's clock. It only hints at when the record arrived.
	CheckpointedAt time.Time `json:"taken_over,omitzero"`

	// CaughtUp is a moment at which everything that had arrived was handled.
	// Zero: not known.
	CaughtUp time.Time `json:"caught_up,omitzero"`

	// Partial is a record behind After of which only a beginning was handled:
	// an aggregate too large for one commit.
	Partial *Partial `json:"partial,omitempty"`

	// Ended: the shard is closed and handled to its end, or gone.
	Ended bool `json:"ended,omitempty"`

	// Lost are the intervals of arrival in which records may have gone unread,
	// oldest first, the newest MaxLost of them.
	Lost []Interval `json:"lost,omitempty"`

	// Unreadable, if not nil, says why a stored position could not be
	// understood; all else is then zero. It is not stored.
	Unreadable error `json:"-"`
}

// StartingPosition is where the reading of a stream or a shard starts.
type StartingPosition struct {
	// TrimHorizon: at the oldest record kept. Time is then the earliest moment
	// at which a record that is still to be read can have arrived, as far as
	// that is known; a trim horizon later than that means a possible loss.
	TrimHorizon bool `json:"trim_horizon,omitempty"`

	// Time: at the first record that arrived then or later, by the service's
	// clock.
	Time time.Time `json:"time,omitzero"`
}

// Partial says how much of an aggregate was handled: its records up to and with
// Sub.
type Partial struct {
	Seq SequenceNumber `json:"seq"`
	Sub int            `json:"sub"`
}

// Interval is a span of arrival times in which records may have been lost, and
// why. A zero From means: not known.
type Interval struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until"`
	Why   string    `json:"why"` // one of the Why constants
}

// Why an Interval may be lost.
const (
	WhyTrimmed       = "trimmed"                // the stream does not keep it any more; among its reasons: positions that were deleted
	WhyBadPosition   = "bad position"           // given up by the policy for bad positions
	WhyRecreated     = "recreated"              // the stream was deleted and made anew
	WhyShardGone     = "shard gone"             // the shard went before it was handled to its end
	WhyForeignLed    = "Python led from LATEST" // a foreign leader started at the tip, after a position of ours; the text is stored and labels a metric
	WhySetByOperator = "set by operator"        // an operator chose not to have it read
)

// MaxLost bounds Position.Lost. Older intervals stay in logs and metrics.
const MaxLost = 16

// Covers reports whether a record was handled already.
func (p *Position) Covers(seq SequenceNumber, sub int) bool {
	if p.After != "" && seq.Compare(p.After) <= 0 {
		return true
	}
	return p.Partial != nil && seq == p.Partial.Seq && sub <= p.Partial.Sub
}

// HandledUntil is the latest moment before which everything that arrived has
// been handled, as far as the position tells. Zero: it does not.
func (p *Position) HandledUntil() time.Time {
	if p.After == "" && p.CaughtUp.Before(p.From.Time) {
		return p.From.Time
	}
	if p.CaughtUp.After(p.Arrived) {
		return p.CaughtUp
	}
	return p.Arrived
}

// String says in a few words where the position is, for logs and tables.
func (p Position) String() string {
	switch {
	case p.Unreadable != nil:
		return "unreadable"
	case p.After != "" && p.Partial != nil:
		return fmt.Sprintf("after %s and %d parts of %s", p.After, p.Partial.Sub+1, p.Partial.Seq)
	case p.After != "":
		return "after " + string(p.After)
	case p.From.TrimHorizon:
		return "trim horizon"
	case !p.From.Time.IsZero():
		return "from " + p.From.Time.UTC().Format(time.RFC3339Nano)
	}
	return "none"
}

// WithLost returns the position with one more interval, the oldest dropped when
// there are too many. The receiver's list is left alone.
func (p Position) WithLost(i Interval) Position {
	lost := append(append([]Interval(nil), p.Lost...), i)
	p.Lost = lost[max(0, len(lost)-MaxLost):]
	return p
}

// Stamp is what a Store writes beside a Position.
type Stamp struct {
	Term  uint64 `json:"term"`
	Nonce string `json:"nonce"` // differs between any two commits: it tells whether a commit with a lost reply was applied
}

// Begun reports whether anything of the shard was handled, or may have been.
func (p *Position) Begun() bool {
	return p.After != "" || p.Partial != nil || !p.CaughtUp.IsZero() || p.Unreadable != nil
}

// ArrivalError is how far arrival times may be wrong (guarantee 1 of the
// README).
const ArrivalError = 5 * time.Minute
