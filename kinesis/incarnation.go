package kinesis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

// incarnation is when the stream was created, as far as it is known: the one
// sign that it was deleted and made again under its name.
type creation struct {
	turn chan struct{} // capacity 1: who asks for it holds the only place

	mu      sync.Mutex
	asked   time.Time // under mu, local: when the newest description was asked for; zero: none
	created time.Time // under mu: what it said
}

func newIncarnation() *creation { return &creation{turn: make(chan struct{}, 1)} }

// note takes in a description that was asked for at a time.
func (i *creation) note(asked, created time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !asked.Before(i.asked) {
		i.asked, i.created = asked, created
	}
}

func (i *creation) latest() (asked, created time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked, i.created
}

// createdSince says when the stream was created, by a description that was
// asked for at that time or later. Readings that ask together share one.
func (s *Source) createdSince(ctx context.Context, since time.Time) (time.Time, error) {
	select {
	case s.creation.turn <- struct{}{}:
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
	defer func() { <-s.creation.turn }()
	if asked, created := s.creation.latest(); !asked.Before(since) {
		return created, nil
	}
	d, _, err := s.describe(ctx)
	return d.stream.Created, err
}

// trustedFor is how long after the stream was described a seek by time needs no
// look at it, if no iterator was refused meanwhile. It covers the listing that
// a term plans by. It is shorter than a stream can be deleted and created
// again: the first seek of a term that another process has left has nothing
// else that would tell.
const trustedFor = 5 * time.Second

// checkStream makes sure that the stream is still the one that the reading
// began with, before a seek that another one would accept as well: a time, or
// the trim horizon. Its events would be read once here, and once more from the
// beginning of the new stream.
func (r *reading) checkStream(ctx context.Context) error {
	if r.created.IsZero() { // it was never described: there is nothing to compare with
		return nil
	}
	since := time.Now().Add(-trustedFor)
	if r.refused.After(since) {
		since = r.refused
	}
	if !r.checked.Before(since) {
		return nil
	}
	now := time.Now()
	created, err := r.source.createdSince(ctx, since)
	switch {
	case err != nil:
		return r.listingError(ctx, err)
	case !created.Equal(r.created):
		return &Error{Operation: "kinesis:DescribeStreamSummary", Resource: r.source.resource(""), class: notFound,
			Message: fmt.Sprintf("the stream was deleted and created again at %s", created.Format(time.RFC3339)), is: gerritstream.ErrShardNotFound}
	}
	r.checked = now
	return nil
}

// listingTrouble is what a reading says of an error of a request about the
// stream as a whole: the context's, or an *Error that is not about the
// reading's iterator.
func (r *reading) listingError(ctx context.Context, err error) error {
	var e *Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &e) && e.class != iteratorExpired && e.class != badArgument:
		return e
	}
	return &Error{Operation: "kinesis:ListShards", Resource: r.source.resource(""), Message: err.Error(), cause: err}
}
