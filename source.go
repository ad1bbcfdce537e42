package gerritstream

import (
	"context"
	"iter"
	"time"
)

// Source lists and reads one stream. Package kinesis has the one for AWS.
//
// Its methods may be called by several goroutines at once, Read once a shard. A
// Source waits out throttling, network faults and server faults by itself, with
// back-off and jitter; what it reports is listed with each method. All times it
// gives are the service's, never the local clock's: a time is a lower bound of
// the moment at which the request began.
type Source interface {
	// List describes the stream and every shard of it, closed ones within
	// retention included. It is complete or an error: a page that fails fails
	// the listing. It does not retry for longer than a few seconds; the caller
	// does.
	//
	// Errors: ErrStreamNotFound, ErrDenied (authentication or permission);
	// anything else is passing.
	List(ctx context.Context) (Listing, error)

	// Read yields the records of one shard in order, from a position on, page
	// by page, for as long as it is ranged over.
	//
	// A pair with an error and no batch says that reading is in trouble. When
	// errors.Is(err, ErrRetrying) the Source is waiting and will go on by
	// itself when ranged on: the caller loses nothing by only taking note. It
	// comes with each failed attempt, which are the Source's back-off apart, 30
	// s at most. Throttling is how a shard's readers share it: it is trouble,
	// and yielded, only when no read has succeeded for 10 s since the first one
	// was refused. Any other error is the last pair: ErrBadPosition (the
	// service does not accept the position), ErrShardNotFound, or the context's
	// error. After a batch with End set no pair follows.
	//
	// A batch may begin at or before the position it was read from: the caller
	// drops what it has already handled.
	Read(ctx context.Context, shard ShardID, from Position) iter.Seq2[Page, error]
}

// Stream tells one stream from all others. A stream that was deleted and made
// again under its name has the same ARN and a newer creation time.
type Stream struct {
	ARN     string    `json:"arn"`
	Created time.Time `json:"created"` // to the millisecond
}

// Listing is a stream and all its shards as the service described them.
type Listing struct {
	Stream    Stream
	Retention time.Duration
	Shards    []Shard
	Now       time.Time // the service's clock, from before the first page was asked for
}

// Shard is a shard as listed.
type Shard struct {
	ID      ShardID        `json:"id"`
	Parents []ShardID      `json:"parents,omitempty"` // none, one (split) or two (merge); they may be gone from the listing
	First   SequenceNumber `json:"first"`
	Last    SequenceNumber `json:"last,omitempty"` // empty while the shard is open
}

// Page is one page of a shard: possibly empty, possibly the last.
//
// Its bytes belong to the Source and are valid until Done is called; whoever
// keeps them longer copies them.
type Page struct {
	Records  []Record
	Now      time.Time     // the service's clock: not later than the moment the page was asked for
	Lag      time.Duration // how far the end of this page is from the tip of the shard; 0 = at the tip
	End      bool          // the shard is closed and this is its last page: the service named its children or listed its last number
	Children []ShardID     // with End: the shards that go on from here, when the service says so
	Done     func()        // gives the page's memory back; nil when there is nothing to give back; call it once
}

// Record is one record of a shard. An aggregate (KPL) arrives already split,
// one Record each.
type Record struct {
	Seq     SequenceNumber
	Sub     int       // index within an aggregate; NoSub for a record that is not part of one
	Last    bool      // no further Record has this Seq: true for plain records and an aggregate's last one
	Arrived time.Time // approximate arrival, to the millisecond, by the service
	Data    []byte

	// Key is the partition key, of the record itself within an aggregate.
	// nil: not known, as of a dead letter that is judged again.
	Key []byte

	// Foreign: it lies within an aggregate, and its hash key belongs to another
	// shard. The Kinesis Producer Library puts such a record a second time,
	// into its own shard, when the stream was resharded meanwhile; other
	// producers may not, so that a Source marks it only where it is told to.
	Foreign bool

	Bad    string // not empty: the Source could not take the record apart (see ReasonAggregate); Data is then as received
	Detail string // with Bad: what is wrong, in words for a person
}

// NoSub is the Sub of a record that is not part of an aggregate.
const NoSub = -1
