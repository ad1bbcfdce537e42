package history

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Kind is the kind of an Event.
type Kind string

// The kinds of events.
const (
	KindCreated     Kind = "created"    // the stream was created; again, after it was deleted with nothing left to read
	KindShard       Kind = "shard"      // a shard exists, with its parents
	KindPut         Kind = "put"        // the stream acknowledged records
	KindElected     Kind = "elected"    // a term began, from a position (nil: none)
	KindRead        Kind = "read"       // a page arrived
	KindCommitted   Kind = "committed"  // a commit up to a position succeeded
	KindLost        Kind = "lost"       // a possible loss was reported
	KindTermEnded   Kind = "term ended" //
	KindSet         Kind = "set"        // an operator set a position
	KindQueue       Kind = "queue"      // what the queue held, in its order
	KindDeadLetters Kind = "letters"    // the dead letters that are held
	KindFiltered    Kind = "filtered"   // records that a filter dropped; without this event those are taken on trust
	KindDiscarded   Kind = "discarded"  // how many dead letters there was no room for
	KindConsumer    Kind = "consumer"   // a consumer began that handles the whole queue
	KindHandled     Kind = "handled"    // it handled events; Detail: the key within which it keeps the order
	KindFault       Kind = "fault"      // a fault was injected
)

// The kinds of what another program does that shares shards and queue with
// ours, such as Zuul's Python listener; [Foreign] describes how it is judged.
// Its terms have no numbers: those of one shard and process follow each other.
const (
	KindForeignElected Kind = "foreign elected" // before it looked for its checkpoint, Position (nil: none)
	KindForeignQueues  Kind = "foreign queues"  // before it queues records, each under an id of its own
	KindForeignWrites  Kind = "foreign writes"  // before it moves its checkpoint to Position; Count 1: unconditionally
	KindForeignWrote   Kind = "foreign wrote"   // its checkpoint was written
	KindForeignRefused Kind = "foreign refused" // the write was refused: someone else wrote first
	KindForeignEnded   Kind = "foreign ended"
)

// Outcome is what becomes of a record.
type Outcome string

// The outcomes.
const (
	Queued     Outcome = "queued"
	Filtered   Outcome = "filtered"
	DeadLetter Outcome = "dead letter"
)

// Event is one line of a history. Its Kind determines which fields are set.
type Event struct {
	At       time.Time              `json:"at"` // by the host's clock, which all processes share
	Kind     Kind                   `json:"kind"`
	Process  string                 `json:"process,omitempty"`
	Shard    gerritstream.ShardID   `json:"shard,omitempty"`
	Parents  []gerritstream.ShardID `json:"parents,omitempty"`
	Term     uint64                 `json:"term,omitempty"`
	Position *gerritstream.Position `json:"position,omitempty"`
	Items    []Item                 `json:"items,omitempty"`
	Lost     *gerritstream.Interval `json:"lost,omitempty"`
	Note     string                 `json:"note,omitempty"`  // why a term ended, which fault
	Count    int                    `json:"count,omitempty"` // of discarded dead letters; see KindForeignWrites
	Consumer string                 `json:"consumer,omitempty"`
}

// Item is a record, or one part of an aggregate, in an Event.
type Item struct {
	Shard   gerritstream.ShardID        `json:"shard,omitempty"` // only where the Event has none
	Seq     gerritstream.SequenceNumber `json:"seq,omitempty"`
	Sub     int                         `json:"sub"`              // gerritstream.NoSub: not part of an aggregate
	ID      string                      `json:"id,omitempty"`     // its event id
	Outcome Outcome                     `json:"fate,omitempty"`   // of a put: the wanted one; of a commit: its own
	Detail  string                      `json:"detail,omitempty"` // what else must agree, such as type and rule
	Sum     string                      `json:"sum,omitempty"`    // of its bytes: see Sum
}

// EntryItem returns the item of an entry, with its sum.
func EntryItem(e *gerritstream.Entry) Item {
	return Item{Shard: e.Shard, Seq: e.Seq, Sub: e.Sub, ID: e.ID.String(), Outcome: Queued, Sum: Sum(e.Payload)}
}

// DeadLetterItem returns the item of a dead letter, with the sum of its record.
func DeadLetterItem(d *gerritstream.DeadLetter) Item {
	sum := hex.EncodeToString(d.SHA256[:sumBytes])
	return Item{Shard: d.Shard, Seq: d.Seq, Sub: d.Sub, ID: d.ID.String(), Outcome: DeadLetter, Sum: sum}
}

// sumBytes are the bytes of a SHA-256 digest that a sum has.
const sumBytes = 12

// Sum returns the sum of a record's bytes.
func Sum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:sumBytes])
}

// String describes the outcome.
func (i *Item) String() string {
	if i.Detail == "" {
		return string(i.Outcome)
	}
	return fmt.Sprintf("%s (%s)", i.Outcome, i.Detail)
}

// place is where a record stands in the stream.
type place struct {
	shard gerritstream.ShardID
	seq   gerritstream.SequenceNumber
	sub   int
}

// place returns where an item of the event stands.
func (e *Event) place(item *Item) place {
	return place{cmp.Or(item.Shard, e.Shard), item.Seq, item.Sub}
}

func (p place) String() string {
	if p.sub == gerritstream.NoSub {
		return fmt.Sprintf("%s %s", p.shard, p.seq)
	}
	return fmt.Sprintf("%s %s/%d", p.shard, p.seq, p.sub)
}

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.shard, b.shard), a.seq.Compare(b.seq), cmp.Compare(a.sub, b.sub))
}

// after returns the sequence number of the event's position; empty: none.
func (e *Event) after() gerritstream.SequenceNumber {
	if e.Position == nil {
		return ""
	}
	return e.Position.After
}
