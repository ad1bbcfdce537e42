package gerritstream

import (
	"fmt"
	"time"
)

// Position is how far a shard has been handled: after a sequence number, or
// nowhere yet, with a point to start from.
type Position struct {
	From    StartingPosition `json:"from,omitzero"`    // where reading starts while After is empty
	After   SequenceNumber   `json:"after,omitempty"`  // the last record handled completely
	Arrived time.Time        `json:"arrived,omitzero"` // when that record arrived

	// CheckpointedAt replaces Arrived after a foreign leader: when it stored
	// After, by the store's clock. It only hints at when the record arrived.
	CheckpointedAt time.Time `json:"taken_over,omitzero"`

	CaughtUp time.Time  `json:"caught_up,omitzero"` // everything that had arrived by then was handled; zero: not known
	Partial  *Partial   `json:"partial,omitempty"`  // an aggregate after After, of which a part is committed
	Ended    bool       `json:"ended,omitempty"`    // the shard is closed and handled to its end, or gone
	Lost     []Interval `json:"lost,omitempty"`     // intervals that may be unread: the newest MaxLost, oldest first

	// Unreadable, if not nil, is why a stored position could not be decoded;
	// all else is then zero. It is not stored.
	Unreadable error `json:"-"`
}

// StartingPosition is where the reading of a stream or a shard starts: at the
// oldest record kept, or at the first that arrived at Time or later, by the
// service's clock. With TrimHorizon, Time is the earliest arrival, if known, of
// a record that is still to be read; a later trim horizon is a possible loss.
type StartingPosition struct {
	TrimHorizon bool      `json:"trim_horizon,omitempty"`
	Time        time.Time `json:"time,omitzero"`
}

// Partial is an aggregate that is handled up to and including Sub.
type Partial struct {
	Seq SequenceNumber `json:"seq"`
	Sub int            `json:"sub"`
}

// Interval is a span of arrival times in which records may have been lost.
type Interval struct {
	From  time.Time `json:"from,omitzero"` // zero: not known
	Until time.Time `json:"until"`
	Why   string    `json:"why"` // one of the Why constants
}

// Why an Interval may be lost. The texts are stored, and label a metric.
const (
	WhyTrimmed       = "trimmed"                // not kept any more, perhaps because positions were deleted
	WhyBadPosition   = "bad position"           // given up by the policy for bad positions
	WhyRecreated     = "recreated"              // the stream was deleted and recreated
	WhyShardGone     = "shard gone"             // the shard went before it was handled to its end
	WhyForeignLed    = "Python led from LATEST" // a foreign leader started at the tip, after a position of ours
	WhySetByOperator = "set by operator"        // an operator chose not to have it read
)

// Bounds of what a position says.
const (
	MaxLost      = 16              // bounds Position.Lost; older intervals stay in logs and metrics
	ArrivalError = 5 * time.Minute // how far arrival times may be wrong (guarantee 1 of the README)
)

// Begun reports whether anything of the shard was handled, or may have been.
func (p *Position) Begun() bool {
	return p.After != "" || p.Partial != nil || !p.CaughtUp.IsZero() || p.Unreadable != nil
}

// Covers reports whether a record was handled already.
func (p *Position) Covers(seq SequenceNumber, sub int) bool {
	return p.After != "" && seq.Compare(p.After) <= 0 ||
		p.Partial != nil && seq == p.Partial.Seq && sub <= p.Partial.Sub
}

// HandledUntil is the latest time before which everything that arrived is known
// to have been handled. Zero: not known.
func (p *Position) HandledUntil() time.Time {
	until := p.Arrived
	if p.After == "" {
		until = p.From.Time
	}
	if p.CaughtUp.After(until) {
		return p.CaughtUp
	}
	return until
}

// WithLost returns a copy with one more interval, without the oldest if there
// are too many.
func (p Position) WithLost(i Interval) Position {
	lost := append(append([]Interval(nil), p.Lost...), i)
	p.Lost = lost[max(0, len(lost)-MaxLost):]
	return p
}

// String describes the position briefly, for logs and tables.
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

// Stamp is what a Store writes beside a Position.
type Stamp struct {
	Term  uint64 `json:"term"`
	Nonce string `json:"nonce"` // unique to a commit: shows whether one with a lost reply was applied
}
