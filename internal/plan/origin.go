package plan

import (
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
)

// LatestSlack is how much earlier than the service's clock "now" is, so that
// nothing put after the start is missed.
const LatestSlack = 10 * time.Second

// clockTolerance is how far a time of an operator's clock may be in the
// service's future and still mean "now".
const clockTolerance = time.Minute

// startingPosition turns the wish into a position in the stream.
func startingPosition(s gerritstream.StartingPosition, l gerritstream.Listing) (gerritstream.StartingPosition, error) {
	switch {
	case s.TrimHorizon:
		return gerritstream.StartingPosition{TrimHorizon: true}, nil
	case s.Time.IsZero():
		return gerritstream.StartingPosition{Time: l.Now.Add(-LatestSlack)}, nil
	case s.Time.After(l.Now.Add(clockTolerance)):
		return gerritstream.StartingPosition{}, FutureStart(s.Time, l.Now)
	}
	at := s.Time
	if at.Before(l.Stream.Created) {
		at = l.Stream.Created
	}
	if at.After(l.Now) {
		at = l.Now
	}
	return gerritstream.StartingPosition{Time: at.UTC()}, nil
}

// FutureStart is the error for a start that is later than the service's time.
func FutureStart(at, now time.Time) error {
	return fmt.Errorf("start at %s: %w: it is %s by the service's clock",
		at.UTC().Format(time.RFC3339), gerritstream.ErrFutureStart, now.UTC().Format(time.RFC3339))
}

// OtherStream is the error for an origin of another stream than was listed.
func OtherStream(o *gerritstream.Origin, l gerritstream.Listing) error {
	return fmt.Errorf("%w: %s, not %s", gerritstream.ErrOtherStream, o.Stream.ARN, l.Stream.ARN)
}

// ErrStaleListing: the listing describes an older stream than the start record
// does; it is to be listed again.
var ErrStaleListing = errors.New("the listing describes the stream as it was before it was made anew")

// NextOrigin decides about the start record: which one there should be, given
// the one there is (nil: none). It returns stored itself when nothing is to be
// changed. A stream made anew begins at its trim horizon, in a new epoch; until
// when the old one had been handled comes as handled (zero: unknown).
func NextOrigin(stored *gerritstream.Origin, l gerritstream.Listing, want gerritstream.StartingPosition, handled time.Time) (*gerritstream.Origin, error) {
	if stored == nil {
		from, err := startingPosition(want, l)
		if err != nil {
			return nil, err
		}
		return &gerritstream.Origin{Stream: l.Stream, From: from, Retention: l.Retention}, nil
	}
	if stored.Stream.ARN != l.Stream.ARN {
		return nil, OtherStream(stored, l)
	}
	switch was, is := stored.Stream.Created.UnixMilli(), l.Stream.Created.UnixMilli(); {
	case is < was:
		return nil, ErrStaleListing
	case is == was:
		return keeping(stored, l), nil
	}
	lost := append(append([]gerritstream.Interval(nil), stored.Lost...),
		gerritstream.Interval{From: handled, Until: l.Stream.Created, Why: gerritstream.WhyRecreated})
	return &gerritstream.Origin{
		Stream: l.Stream,
		Epoch:  stored.Epoch + 1,
		From:   gerritstream.StartingPosition{TrimHorizon: true, Time: l.Stream.Created},
		Lost:   lost[max(0, len(lost)-gerritstream.MaxLost):],

		Retention: l.Retention,
	}, nil
}

// keeping returns the record with the retention that was listed: itself if it
// has that already. When the retention was raised is not known. It may have
// been just now, so that all that had expired until now counts as gone.
func keeping(s *gerritstream.Origin, l gerritstream.Listing) *gerritstream.Origin {
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

// HorizonOf returns the trim horizon of a stream at the time of its listing,
// given its start record (nil: there is none), which may be older. A retention
// that was raised since then brings nothing back.
func HorizonOf(start *gerritstream.Origin, l gerritstream.Listing) time.Time {
	if start == nil || start.Stream.Created.UnixMilli() != l.Stream.Created.UnixMilli() {
		return l.Now.Add(-l.Retention)
	}
	return keeping(start, l).Horizon(l.Now)
}

// HandledUntil is the earliest moment until which some shard that has not ended
// was handled. Zero: not known.
func HandledUntil(positions map[gerritstream.ShardID]gerritstream.Position) time.Time {
	var earliest time.Time
	for _, p := range positions {
		if until := p.HandledUntil(); !p.Ended && (earliest.IsZero() || until.Before(earliest)) {
			earliest = until
		}
	}
	return earliest
}
