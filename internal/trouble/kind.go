package trouble

import (
	"errors"

	"github.com/gerritstream/gerritstream"
)

// Kind classifies trouble, so that it can be grouped, alerted on and explained.
// Reports in the store contain it, so a kind never changes its name.
type Kind string

// The kinds of trouble that a process can tell apart.
const (
	QueueFull    Kind = "queue-full"    // the queue has reached its limit
	Throttled    Kind = "throttled"     // the service limits the reads
	AccessDenied Kind = "access-denied" // by the service: credentials or permissions are missing
	StreamGone   Kind = "stream-gone"   // the service does not know the stream
	SourceAway   Kind = "source-away"   // the service does not answer
	SourceFails  Kind = "source-fails"  // the service answers, but not with what it should
	StoreAway    Kind = "store-away"    // the store does not answer, or does not take a commit
	Sink         Kind = "sink"          // a sink does not take events
	Halted       Kind = "halted"        // a bad position waits for an operator, by policy
	Stalled      Kind = "stalled"       // nothing comes, and it is not known why
)

// KindOf returns the kind of an error: as the error itself, or one that it
// wraps, tells by a method TroubleKind() Kind; or by a sentinel that has one
// meaning everywhere; or else the kind that is usual where the error was met.
func KindOf(err error, usual Kind) Kind {
	var told interface{ TroubleKind() Kind }
	switch {
	case errors.As(err, &told):
		return told.TroubleKind()
	case errors.Is(err, gerritstream.ErrDenied):
		return AccessDenied
	case errors.Is(err, gerritstream.ErrStreamNotFound):
		return StreamGone
	}
	return usual
}

// marked is an error whose kind was settled where it was met.
type marked struct {
	err  error
	kind Kind
}

func (m *marked) Error() string { return m.err.Error() }

// Unwrap returns the error that was marked.
func (m *marked) Unwrap() error { return m.err }

// TroubleKind returns the kind that was settled.
func (m *marked) TroubleKind() Kind { return m.kind }

// Mark settles the kind of an error where it is met, as KindOf does, for those
// who get it later and cannot know from where it comes. nil stays nil.
func Mark(err error, usual Kind) error {
	if err == nil {
		return nil
	}
	return &marked{err, KindOf(err, usual)}
}
