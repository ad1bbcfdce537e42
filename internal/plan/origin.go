package plan

import (
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
)

// LatestSlack is how long before the service's clock "latest" is, so that
// nothing that arrives after the start is missed.
const LatestSlack = 10 * time.Second

// clockTolerance is how far a time of an operator's clock may be in the
// service's future and still mean "now".
const clockTolerance = time.Minute

// FutureStart is the error for a start that is later than the service's time.
func FutureStart(at, now time.Time) error {
	return fmt.Errorf("start at %s: %w: it is %s by the service's clock",
		at.UTC().Format(time.RFC3339), gerritstream.ErrFutureStart, now.UTC().Format(time.RFC3339))
}

// OtherStream is the error for an origin of another stream than was listed.
func OtherStream(o *gerritstream.Origin, l gerritstream.Listing) error {
	return fmt.Errorf("%w: %s, not %s", gerritstream.ErrOtherStream, o.Stream.ARN, l.Stream.ARN)
}

// ErrStaleListing says that a listing is of an older stream than the origin.
// List again.
var ErrStaleListing = errors.New("the listing describes the stream before it was recreated")

// NextOrigin returns the origin that there should be, given the stored one
// (nil: none): stored itself if nothing changes. A new stream begins where want
// says (see consumer.Config.StartAt), a recreated one at its trim horizon, in a
// new epoch. handled is until when the old stream had been handled (zero: not
// known).
func NextOrigin(
	stored *gerritstream.Origin, l gerritstream.Listing, want gerritstream.StartingPosition, handled time.Time,
) (*gerritstream.Origin, error) {
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
		return withRetention(stored, l), nil
	}
	lost := append(append([]gerritstream.Interval(nil), stored.Lost...),
		gerritstream.Interval{From: handled, Until: l.Stream.Created, Why: gerritstream.WhyRecreated})
	return &gerritstream.Origin{
		Stream:    l.Stream,
		Epoch:     stored.Epoch + 1,
		From:      gerritstream.StartingPosition{TrimHorizon: true, Time: l.Stream.Created},
		Lost:      lost[max(0, len(lost)-gerritstream.MaxLost):],
		Retention: l.Retention,
	}, nil
}

// startingPosition turns the wish of an operator into a position in the stream.
func startingPosition(
	want gerritstream.StartingPosition, l gerritstream.Listing,
) (from gerritstream.StartingPosition, err error) {
	at := want.Time
	switch {
	case want.TrimHorizon:
		return gerritstream.StartingPosition{TrimHorizon: true}, nil
	case at.IsZero():
		return gerritstream.StartingPosition{Time: l.Now.Add(-LatestSlack)}, nil
	case at.After(l.Now.Add(clockTolerance)):
		return from, FutureStart(at, l.Now)
	}
	if at.Before(l.Stream.Created) {
		at = l.Stream.Created
	}
	if at.After(l.Now) {
		at = l.Now
	}
	return gerritstream.StartingPosition{Time: at.UTC()}, nil
}

// withRetention returns the origin with the listed retention: o itself if it
// has that already. The retention may have been raised just now, so that
// everything that had expired until now counts as gone.
func withRetention(o *gerritstream.Origin, l gerritstream.Listing) *gerritstream.Origin {
	if o.Retention == l.Retention {
		return o
	}
	next := *o
	next.Retention = l.Retention
	if o.Retention > 0 && o.Retention < l.Retention {
		next.Trimmed = o.Horizon(l.Now).UTC()
	}
	return &next
}

// Horizon returns the trim horizon of a stream at the time of its listing,
// given an origin that may be older (nil: none).
func Horizon(o *gerritstream.Origin, l gerritstream.Listing) time.Time {
	if o == nil || o.Stream.Created.UnixMilli() != l.Stream.Created.UnixMilli() {
		return l.Now.Add(-l.Retention)
	}
	return withRetention(o, l).Horizon(l.Now)
}

// HandledUntil returns the earliest time until which some shard that has not
// ended was handled. Zero: not known.
func HandledUntil(positions map[gerritstream.ShardID]gerritstream.Position) time.Time {
	var earliest time.Time
	for _, p := range positions {
		if until := p.HandledUntil(); !p.Ended && (earliest.IsZero() || until.Before(earliest)) {
			earliest = until
		}
	}
	return earliest
}
