package gerritstream

import (
	"context"
	"iter"
	"time"
)

// Source lists and reads one stream. Package kinesis has the one for AWS.
//
// Several goroutines may call its methods at once, Read once a shard. It waits
// out throttling and faults of network and server, with back-off and jitter.
// All times are the service's, never the local clock's, and lower bounds: its
// clock had passed them when the request began.
type Source interface {
	// List describes the stream and all its shards, with closed ones within
	// retention, or fails. It retries for a few seconds at most. Errors:
	// ErrStreamNotFound, ErrDenied; others may pass.
	List(ctx context.Context) (Listing, error)

	// Read yields the records of one shard in order, page by page, from a
	// position on, for as long as it is ranged over, to its leader. A page may
	// begin before the position, or repeat records that were yielded: the
	// caller drops what it has handled. None is left out.
	//
	// A pair with an error has no page. ErrRetrying: an attempt failed, and the
	// Source goes on by itself; at most 30 s apart. Throttling, normal where
	// readers share a shard, is yielded only after 10 s without a successful
	// read. Any other error is the last pair: ErrBadPosition (the service does
	// not accept the position), ErrShardNotFound, or the context's. A page with
	// End is the last pair as well.
	Read(ctx context.Context, shard ShardID, from Position) iter.Seq2[Page, error]

	// Peek is a Read by one who may not lead the shard: it takes nothing that
	// only one reader can have, such as a subscription.
	Peek(ctx context.Context, shard ShardID, from Position) iter.Seq2[Page, error]
}

// Stream identifies a stream. One that was deleted and recreated has the same
// ARN and a newer creation time.
type Stream struct {
	ARN     string    `json:"arn"`
	Created time.Time `json:"created"` // to the millisecond
}

// Listing is a stream and all its shards as the service described them.
type Listing struct {
	Stream    Stream
	Retention time.Duration
	Shards    []Shard
	Now       time.Time // the service's clock, from before the first page was requested
}

// Shard is a shard as listed.
type Shard struct {
	ID      ShardID        `json:"id"`
	Parents []ShardID      `json:"parents,omitempty"` // none, one (split) or two (merge); the listing may lack them
	First   SequenceNumber `json:"first"`
	Last    SequenceNumber `json:"last,omitempty"` // empty while the shard is open
}

// Page is one page of a shard, perhaps empty. Its bytes are valid until Done.
// One without records at the tip proves that all up to Now was yielded.
type Page struct {
	Records  []Record
	Now      time.Time     // the service's clock, from before the page was requested or, if it was pushed, received
	Lag      time.Duration // from the end of this page to the tip of the shard; 0: at the tip
	End      bool          // the last page of a closed shard, as the service proves by its children or its last number
	Children []ShardID     // with End: the shards that continue this one, if the service names them
	Done     func()        // releases the page's memory; nil: nothing to release; call it once
}

// Record is one record of a shard. An aggregate (KPL) arrives already split,
// one Record each.
type Record struct {
	Seq     SequenceNumber
	Sub     int       // index within an aggregate; NoSub for other records
	Last    bool      // no further Record has this Seq
	Arrived time.Time // approximate arrival by the service, to the millisecond
	Data    []byte
	Key     []byte // partition key, of the record itself within an aggregate; nil: not known

	// Foreign: the record's hash key belongs to another shard than its
	// aggregate. After a reshard the Kinesis Producer Library puts it into that
	// shard as well; others may not. A Source marks it only if configured to.
	Foreign bool

	Bad    string // not empty: the Source could not take the record apart (see ReasonAggregate); Data is as received
	Detail string // with Bad: what is wrong, for people
}

// NoSub is the Sub of a record that is not part of an aggregate.
const NoSub = -1
