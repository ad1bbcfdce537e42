package history

import (
	"time"

	"github.com/gerritstream/gerritstream"
)

// Kind says what an Event tells.
type Kind string

// The kinds of events.
const (
	KindCreated   Kind = "created"   // the stream was created; a second time, after it was deleted with nothing left to read
	KindShard     Kind = "shard"     // a shard exists, with its parents
	KindPut       Kind = "put"       // the stream acknowledged records
	KindElected   Kind = "elected"   // a term began, from a position (nil: none)
	KindRead      Kind = "read"      // a page came
	KindCommitted Kind = "committed" // a commit was seen to succeed, up to a position
	KindLost      Kind = "lost"      // a possible loss was reported
	KindTermEnded Kind = "term ended"
	KindSet       Kind = "set"     // an operator set a position
	KindQueue     Kind = "queue"   // what was taken from the queue, in its order
	KindLetters   Kind = "letters" // what is held of dead letters
	KindDiscarded Kind = "discarded"
	KindFault     Kind = "fault" // something was done to somebody
)

// The kinds of what another program does, Zuul's Python listener or one like
// it, which shares shards and queue with ours: see [Foreign] for how it is
// judged. Its terms have no numbers; those of one shard and process follow each
// other.
const (
	KindForeignElected Kind = "foreign elected" // it leads, from its checkpoint (Position nil: none, from the tip); At is before it looked
	KindForeignQueues  Kind = "foreign queues"  // it is about to queue records, each under an id of its own
	KindForeignWrites  Kind = "foreign writes"  // it is about to move its checkpoint to Position; Count 1: whatever stands there
	KindForeignWrote   Kind = "foreign wrote"   // and did
	KindForeignRefused Kind = "foreign refused" // and was refused, because another one wrote meanwhile
	KindForeignEnded   Kind = "foreign ended"
)

// Fate is what becomes of a record.
type Fate string

// The fates.
const (
	Queued     Fate = "queued"
	Filtered   Fate = "filtered"
	DeadLetter Fate = "dead letter"
)

// Event is one line of a history. Which fields are set depends on its Kind.
type Event struct {
	At       time.Time              `json:"at"` // by the clock of the host, which all processes share
	Kind     Kind                   `json:"kind"`
	Process  string                 `json:"process,omitempty"`
	Shard    gerritstream.ShardID   `json:"shard,omitempty"`
	Parents  []gerritstream.ShardID `json:"parents,omitempty"`
	Term     uint64                 `json:"term,omitempty"`
	Position *gerritstream.Position `json:"position,omitempty"`
	Items    []Item                 `json:"items,omitempty"`
	Lost     *gerritstream.Interval `json:"lost,omitempty"`
	Note     string                 `json:"note,omitempty"`  // why a term ended, which fault
	Count    int                    `json:"count,omitempty"` // of discarded dead letters; of "foreign writes": see there
}

// Item is a record, or a part of an aggregate, in an Event.
type Item struct {
	Shard gerritstream.ShardID        `json:"shard,omitempty"` // only where the Event has none: in a queue
	Seq   gerritstream.SequenceNumber `json:"seq,omitempty"`
	Sub   int                         `json:"sub"`            // gerritstream.NoSub: not part of an aggregate
	ID    string                      `json:"id,omitempty"`   // the event id it went under
	Fate  Fate                        `json:"fate,omitempty"` // of a put: what must become of it; of a commit: what did
	Sum   string                      `json:"sum,omitempty"`  // of its bytes: see Sum
}
