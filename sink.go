package gerritstream

import (
	"context"
	"fmt"
)

// Sink receives what is queued, before it is committed: at least once, in the
// order of each shard, under ids that are the same on every delivery. Several
// shards deliver at once. The store's own queue is not a Sink: it is part of
// the commit.
type Sink interface {
	// Name tells this sink from the others in logs, metrics and dead letters.
	Name() string

	// Deliver hands the entries on, in order, and returns when they are safe
	// where they go. It keeps none of their bytes.
	//
	// A *RejectedError says that one entry will never be taken:
	// those before it were delivered, it is dead-lettered naming the sink, and
	// those behind it are delivered by another call. Any other error is
	// passing: the call is repeated after a pause, for ever.
	Deliver(ctx context.Context, entries []Entry) error
}

// RejectedError is a sink's refusal of one entry, for good.
type RejectedError struct {
	Index  int    // of the refused entry in the call; those before it were delivered
	Reason string // bounded, and free of payload
}

// Error implements error.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("entry %d rejected: %s", e.Index, e.Reason)
}
