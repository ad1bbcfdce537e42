package gerritstream

import (
	"context"
	"fmt"
)

// Sink receives what is queued before it is committed: at least once, in the
// order of each shard, under IDs that are the same on every delivery. Several
// shards deliver at once. A store's queue is not one: it is part of the commit.
type Sink interface {
	// Name identifies the sink in logs, metrics and dead letters.
	Name() string

	// Deliver hands on the entries, in order, and returns when they are safe at
	// their destination. It keeps none of their bytes.
	//
	// A *RejectedError refuses one entry for good. Those before it were
	// delivered; it is dead-lettered under the sink's name, and another call
	// delivers those after it. After any other error the call is repeated, with
	// pauses, for ever.
	Deliver(ctx context.Context, entries []Entry) error
}

// RejectedError is a sink's refusal of one entry, for good.
type RejectedError struct {
	Index  int    // of the entry in the call
	Reason string // bounded, and free of payload
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("entry %d rejected: %s", e.Index, e.Reason)
}
