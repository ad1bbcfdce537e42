package gerritstream

import (
	"errors"
	"fmt"
	"time"
)

// StartAt is where a stream begins that no process has followed yet.
type StartAt struct {
	// TrimHorizon: with the oldest record kept. Otherwise with what arrives
	// from Time on, and with a zero Time, from about 10 s before now on; beside
	// another program that leads a shard, from now on.
	TrimHorizon bool
	Time        time.Time
}

// latestSlack is how much earlier than the service's clock "now" is, so that
// nothing put after the start is missed.
const latestSlack = 10 * time.Second

// clockTolerance is how far a time of an operator's clock may be in the
// service's future and still mean "now".
const clockTolerance = time.Minute

// point turns the wish into a point of the stream.
func (s StartAt) point(l Listing) (StartPoint, error) {
	switch {
	case s.TrimHorizon:
		return StartPoint{TrimHorizon: true}, nil
	case s.Time.IsZero():
		return StartPoint{Time: l.Now.Add(-latestSlack)}, nil
	case s.Time.After(l.Now.Add(clockTolerance)):
		return StartPoint{}, &FutureStartError{At: s.Time, Now: l.Now}
	}
	at := s.Time
	if at.Before(l.Stream.Created) {
		at = l.Stream.Created
	}
	if at.After(l.Now) {
		at = l.Now
	}
	return StartPoint{Time: at.UTC()}, nil
}

// FutureStartError says that a stream cannot be started at a time that has not
// come.
type FutureStartError struct{ At, Now time.Time }

// Error implements error.
func (e *FutureStartError) Error() string {
	return fmt.Sprintf("start at %s: that is in the future; it is %s by the service's clock",
		e.At.UTC().Format(time.RFC3339), e.Now.UTC().Format(time.RFC3339))
}

// OtherStreamError says that a store follows another stream than the one that
// was listed.
type OtherStreamError struct{ Stored, Listed Stream }

// Error implements error.
func (e *OtherStreamError) Error() string {
	return fmt.Sprintf("the store follows %s, not %s", e.Stored.ARN, e.Listed.ARN)
}

// Is makes errors.Is(err, ErrOtherStream) true.
func (e *OtherStreamError) Is(target error) bool { return target == ErrOtherStream }

// errStaleListing: the listing describes an older stream than the start record
// does; it is to be listed again.
var errStaleListing = errors.New("the listing describes the stream as it was before it was made anew")

// nextStart decides about the start record: which one there should be, given
// the one there is (nil: none). It returns stored itself when nothing is to be
// changed. A stream made anew begins at its trim horizon, in a new epoch; until
// when the old one had been handled comes as handled (zero: unknown).
func nextStart(stored *Start, l Listing, want StartAt, handled time.Time) (*Start, error) {
	if stored == nil {
		from, err := want.point(l)
		if err != nil {
			return nil, err
		}
		return &Start{Stream: l.Stream, From: from, Retention: l.Retention}, nil
	}
	if stored.Stream.ARN != l.Stream.ARN {
		return nil, &OtherStreamError{Stored: stored.Stream, Listed: l.Stream}
	}
	switch was, is := stored.Stream.Created.UnixMilli(), l.Stream.Created.UnixMilli(); {
	case is < was:
		return nil, errStaleListing
	case is == was:
		return stored.keeping(l), nil
	}
	lost := append(append([]Interval(nil), stored.Lost...),
		Interval{From: handled, Until: l.Stream.Created, Why: WhyRecreated})
	return &Start{
		Stream: l.Stream,
		Epoch:  stored.Epoch + 1,
		From:   StartPoint{TrimHorizon: true, Time: l.Stream.Created},
		Lost:   lost[max(0, len(lost)-maxLost):],

		Retention: l.Retention,
	}, nil
}

// keeping returns the record with the retention that was listed: itself if it
// has that already. When the retention was raised is not known. It may have
// been just now, so that all that had expired until now counts as gone.
func (s *Start) keeping(l Listing) *Start {
	if s.Retention == l.Retention {
		return s
	}
	next := *s
	next.Retention = l.Retention
	if s.Retention > 0 && s.Retention < l.Retention {
		next.Trimmed = s.Horizon(l.Now).UTC()
	}
	return &next
}

// Horizon returns the trim horizon at a time of the service: the stream keeps
// nothing that arrived before. Zero: not known.
func (s *Start) Horizon(now time.Time) time.Time {
	if s.Retention == 0 {
		return s.Trimmed
	}
	if horizon := now.Add(-s.Retention); horizon.After(s.Trimmed) {
		return horizon
	}
	return s.Trimmed
}

// Headroom returns how long it is, at a time of the service, until the stream
// begins to trim what arrived after a moment. It is negative when it has begun.
func (s *Start) Headroom(after, now time.Time) time.Duration {
	left := after.Sub(now.Add(-s.Retention))
	if after.Before(s.Trimmed) {
		return min(left, after.Sub(s.Trimmed))
	}
	return left
}

// HorizonOf returns the trim horizon of a stream at the time of its listing,
// given its start record (nil: there is none), which may be older. A retention
// that was raised since then brings nothing back.
func HorizonOf(start *Start, l Listing) time.Time {
	if start == nil || start.Stream.Created.UnixMilli() != l.Stream.Created.UnixMilli() {
		return l.Now.Add(-l.Retention)
	}
	return start.keeping(l).Horizon(l.Now)
}

// handledUntil is the earliest moment until which some shard that has not ended
// was handled. Zero: not known.
func handledUntil(positions map[ShardID]Position) time.Time {
	var earliest time.Time
	for _, p := range positions {
		if until := p.HandledUntil(); !p.Ended && (earliest.IsZero() || until.Before(earliest)) {
			earliest = until
		}
	}
	return earliest
}
