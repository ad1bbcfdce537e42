package webhook

import (
	"context"
	"iter"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Letters are the dead letters of hooks, for an operator: beside those of
// gerritstream.Operator, whose general rules hold here as well.
type Letters interface {
	// HookLetters yields the letters of all hooks, newest first, holding a few
	// at a time; those added or removed meanwhile may be missing. An error ends
	// it.
	HookLetters(ctx context.Context) iter.Seq2[StoredLetter, error]

	// HookLettersOf returns the letters with an event, by hook; none: nil.
	HookLettersOf(ctx context.Context, id gerritstream.EventID) ([]StoredLetter, error)

	// DropHookLetters returns how many of the letters there were.
	DropHookLetters(ctx context.Context, keys []LetterKey) (dropped int, err error)

	// RedriveHookLetter appends the letter's event to the queue of its hook,
	// under the ID that it always had and as queued now, and removes the
	// letter, in one transaction. Errors with which nothing is written:
	// gerritstream.ErrNoDeadLetter, queue.ErrNoConsumer.
	RedriveHookLetter(ctx context.Context, key LetterKey) error
}

// LetterKey identifies a letter.
type LetterKey struct {
	Hook string
	ID   gerritstream.EventID
}

// StoredLetter is a letter as held.
type StoredLetter struct {
	Letter   Letter
	StoredAt time.Time // by the clock of the process that put it aside
}

// Key returns what identifies the letter.
func (l *StoredLetter) Key() LetterKey { return LetterKey{l.Letter.Hook, l.Letter.Event.Entry.ID} }
