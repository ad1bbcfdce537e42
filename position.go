package gerritstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Position is how far a shard has been handled: either nowhere yet, with a
// point to start from, or after a sequence number.
type Position struct {
	// From is where reading starts while After is empty.
	From StartPoint `json:"from,omitzero"`

	// After is the last record handled completely, and Arrived when it arrived.
	After   SequenceNumber `json:"after,omitempty"`
	Arrived time.Time      `json:"arrived,omitzero"`

	// TakenOver, while Arrived is not known, is when Zuul's own listener stored
	// After, by ZooKeeper's clock: a hint at how long ago that record arrived,
	// and no more.
	TakenOver time.Time `json:"taken_over,omitzero"`

	// CaughtUp is a moment at which everything that had arrived was handled.
	// Zero: not known.
	CaughtUp time.Time `json:"caught_up,omitzero"`

	// Partial is a record behind After of which only a beginning was handled:
	// an aggregate too large for one commit.
	Partial *Partial `json:"partial,omitempty"`

	// Ended: the shard is closed and handled to its end, or gone.
	Ended bool `json:"ended,omitempty"`

	// Lost are the intervals of arrival in which records may have gone unread,
	// oldest first, the newest maxLost of them.
	Lost []Interval `json:"lost,omitempty"`

	// Unreadable, if not nil, says why a stored position could not be
	// understood; all else is then zero. It is not stored.
	Unreadable error `json:"-"`
}

// StartPoint is where the reading of a stream or a shard starts.
type StartPoint struct {
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
	Why   string    `json:"why"` // one of Causes, or WhySetByOperator
}

// Why an Interval may be lost without anybody having chosen so.
const (
	WhyTrimmed     = "trimmed"                // the stream does not keep it any more; among its reasons: positions that were deleted
	WhyBadPosition = "bad position"           // given up by the policy for bad positions
	WhyRecreated   = "recreated"              // the stream was deleted and made anew
	WhyShardGone   = "shard gone"             // the shard went before it was handled to its end
	WhyPythonLed   = "Python led from LATEST" // Zuul's own listener began at the tip, behind a start of ours
)

// Causes returns every Why that an Observer is told of.
func Causes() []string {
	return []string{WhyTrimmed, WhyBadPosition, WhyRecreated, WhyShardGone, WhyPythonLed}
}

// maxLost bounds Position.Lost. Older intervals stay in logs and metrics.
const maxLost = 16

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

// withLost returns the position with one more interval, the oldest dropped when
// there are too many. The receiver's list is left alone.
func (p Position) withLost(i Interval) Position {
	lost := append(append([]Interval(nil), p.Lost...), i)
	p.Lost = lost[max(0, len(lost)-maxLost):]
	return p
}

// Stamp is what a Store writes beside a Position.
type Stamp struct {
	Term  uint64 `json:"term"`
	Nonce string `json:"nonce"` // differs between any two commits: it tells whether a commit with a lost reply was applied
}

// positionFormat is the version of the stored form. A reader refuses a newer
// one.
const positionFormat = 1

// storedPosition is the stored form: one JSON object.
type storedPosition struct {
	Format int `json:"format"`
	Position
	Stamp
}

// EncodePosition returns the stored form of a position, a JSON object of less
// than 8 KiB.
func EncodePosition(p Position, s Stamp) []byte {
	b, err := json.Marshal(storedPosition{Format: positionFormat, Position: p, Stamp: s})
	if err != nil { // a time beyond year 9999: no service sends one
		panic(fmt.Sprintf("encode position: %v", err))
	}
	return b
}

// DecodePosition reads the stored form. ErrNewerFormat: a newer version wrote
// it; ErrBadPosition: it is damaged.
func DecodePosition(b []byte) (Position, Stamp, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return Position{}, Stamp{}, fmt.Errorf("decode position: %w: %w", ErrBadPosition, err)
	}
	if head.Format > positionFormat {
		return Position{}, Stamp{}, fmt.Errorf("decode position: format %d, known up to %d: %w", head.Format, positionFormat, ErrNewerFormat)
	}
	var stored storedPosition
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&stored); err != nil {
		return Position{}, Stamp{}, fmt.Errorf("decode position: %w: %w", ErrBadPosition, err)
	}
	if err := stored.check(); err != nil {
		return Position{}, Stamp{}, fmt.Errorf("decode position: %w: %w", ErrBadPosition, err)
	}
	return stored.Position, stored.Stamp, nil
}

// maxText is more than any version writes of a Why or a nonce.
const maxText = 64

// check reports what no version of this program would have written. What is
// left is small, wherever it is stored again.
func (s *storedPosition) check() error {
	if s.Format < 1 {
		return fmt.Errorf("format %d", s.Format)
	}
	if len(s.Nonce) > maxText {
		return fmt.Errorf("a nonce of %d bytes", len(s.Nonce))
	}
	if len(s.Lost) > maxLost {
		return fmt.Errorf("%d intervals that may be lost, more than %d", len(s.Lost), maxLost)
	}
	for _, i := range s.Lost {
		if len(i.Why) > maxText {
			return fmt.Errorf("an interval that may be lost has a reason of %d bytes", len(i.Why))
		}
	}
	if s.After != "" {
		if _, err := ParseSequenceNumber(string(s.After)); err != nil {
			return err
		}
		if s.Arrived.IsZero() && s.TakenOver.IsZero() {
			return fmt.Errorf("sequence number without an arrival time")
		}
	} else if !s.From.TrimHorizon && s.From.Time.IsZero() {
		return fmt.Errorf("neither a sequence number nor a point to start from")
	}
	if s.Partial != nil {
		if _, err := ParseSequenceNumber(string(s.Partial.Seq)); err != nil {
			return err
		}
		if s.Partial.Sub < 0 || s.Partial.Seq.Compare(s.After) <= 0 {
			return fmt.Errorf("partial record %s/%d is not behind %s", s.Partial.Seq, s.Partial.Sub, s.After)
		}
	}
	return nil
}
