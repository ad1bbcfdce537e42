package gerritstream

import (
	"context"
	"fmt"
	"time"
)

// Store elects one leader a shard, keeps positions and holds the queue. Package
// storetest states the contract as tests.
//
// Positions belong to an epoch of the stream (see [Origin]). Several goroutines
// may call the methods at once. A method that does not block retries for a few
// seconds at most; callers retry. Unless an error says otherwise, a method that
// failed may have taken effect.
type Store interface {
	Group

	// Origin returns the stream's origin; ok is false while there is none.
	// ErrNewerFormat: a newer version wrote it.
	Origin(ctx context.Context) (origin Origin, ok bool, err error)

	// SetOrigin replaces prev (nil: none) by next. ErrConflict: the stored
	// origin is another one; nothing was written.
	SetOrigin(ctx context.Context, prev *Origin, next Origin) error

	// Positions returns every position of an epoch; those that cannot be
	// decoded have Unreadable set. ErrNewerFormat: a newer version wrote one.
	Positions(ctx context.Context, epoch int) (map[ShardID]Position, error)

	// Campaign blocks until this process leads the shard, also while the store
	// is away. Ending ctx ends the candidacy without a trace; a term won at
	// that moment is resigned. At most one term of a shard can commit at any
	// time, whatever the clocks, pauses and partitions of the processes. The
	// store frees the leadership of a term that is over, and one that a failed
	// Campaign may have won, without another call.
	//
	// Errors: the context's, ErrStaleEpoch (the origin has a later epoch), or
	// one that will not pass.
	Campaign(ctx context.Context, epoch int, shard ShardID) (Term, error)

	// WaitEnded returns nil once any process has marked the shard's position
	// ended: perhaps early, and about a second late at most.
	WaitEnded(ctx context.Context, epoch int, shard ShardID) error

	// Checkpoints returns what a foreign leader says it has handled last, for
	// those of these shards that one may lead; none, or one that cannot be
	// decoded, is empty or left out. For people: nothing is decided by it.
	Checkpoints(ctx context.Context, shards []ShardID) (map[ShardID]SequenceNumber, error)

	// Report publishes this process' status for Inspect, in place of its last
	// report, until the process ends. For people: nothing is decided by it.
	Report(ctx context.Context, status Status) error

	// Inspect takes part in nothing, and omits reports that it cannot decode.
	Inspect(ctx context.Context) (Inspection, error)
}

// Term is the leadership of one shard, from its election to its end. One
// goroutine uses it.
type Term interface {
	// Context ends, with cause ErrLeadershipLost, when the leadership is or may
	// be lost, or was resigned. The store alone decides what is committed.
	Context() context.Context

	// Number grows with each term of the shard and never repeats.
	Number() uint64

	// Beginning does not change with commits.
	Beginning() Beginning

	Limits() Limits

	// Commit writes the next position, the entries and the dead letters: all or
	// nothing, and only while this term leads. When it returns nil, all of it
	// is durable. One Commit at a time.
	//
	// The epoch is part of the proof of leadership, so that nobody mixes two
	// streams: once an origin of a later epoch exists, the term is over, with
	// ErrStaleEpoch among the causes of the error and of the Context. An origin
	// that changes within its epoch ends no term.
	//
	// ErrRetryLater: nothing was written and the term goes on; the same Commit
	// may be tried again after a pause (disk full, store busy). Any other
	// error: the term is over, its Context is done, and the position that the
	// next term begins with shows whether the commit was applied.
	Commit(ctx context.Context, c Commit) error

	// Resign gives up the leadership. It returns once no Commit of this term
	// can succeed and another candidate can win. It may be called more than
	// once, and after the term has ended by itself.
	Resign(ctx context.Context) error
}

// Beginning is what a store found out when a term began.
type Beginning struct {
	Position Position // where to go on; zero unless Stored
	Stored   bool     // the shard has a position, from this program or from a foreign leader

	// Lost, if not nil, may have been lost before the term began, because a
	// foreign leader, which keeps its own checkpoints, had started at the tip.
	// It is not in Position.Lost: the caller reports it and commits it there
	// before anything else.
	Lost *Interval
}

// Limits bounds one Commit. A single entry or dead letter is always within the
// limits, whatever its weight.
type Limits struct {
	Items  int // entries and dead letters together
	Weight int // sum of their Weight()
}

// Commit is one step of a shard: what is queued, what is dead-lettered, and the
// position that passes both.
type Commit struct {
	Position    Position
	Entries     []Entry
	DeadLetters []DeadLetter

	// Now is a recent time of the service's clock, at most a second or two ago;
	// zero: not known. A store that dates entries uses no later time.
	Now time.Time
}

// Check reports what exceeds the limits. Every Store calls it before it writes
// anything.
func (c *Commit) Check(l Limits) error {
	items, weight := len(c.Entries)+len(c.DeadLetters), 0
	for _, e := range c.Entries {
		weight += e.Weight()
	}
	for _, d := range c.DeadLetters {
		weight += d.Weight()
	}
	if items > 1 && (items > l.Items || weight > l.Weight) {
		return fmt.Errorf("%d items of weight %d are beyond the limits of %d and %d", items, weight, l.Items, l.Weight)
	}
	return nil
}

// Entry is one event on its way into the queue. It points into its page.
type Entry struct {
	ID      EventID
	Shard   ShardID
	Seq     SequenceNumber
	Sub     int // NoSub unless part of an aggregate
	Arrived time.Time
	Event   Event
	Payload []byte
}

const entryOverhead = 512 // what an entry weighs besides its payload, at most, in every store

// Weight is what the entry counts for in Limits, in bytes.
func (e *Entry) Weight() int {
	weight := len(e.Payload) + entryOverhead
	for name, value := range e.Event.Attributes {
		weight += len(name) + len(value) + 8
	}
	return weight
}

// DeadLetter is a record passed without being queued. It points into its page.
type DeadLetter struct {
	ID      EventID
	Shard   ShardID
	Seq     SequenceNumber
	Sub     int
	Arrived time.Time
	Reason  string   // one of a bounded set: "json", "utf8", "shape" ...
	Detail  string   // what is wrong, and where; bounded, and free of payload
	Payload []byte   // the first MaxDeadLetterBytes of the record
	Length  int      // of the whole record
	SHA256  [32]byte // of the whole record
}

// The bounds of what a Store keeps of dead letters.
const (
	MaxDeadLetterBytes   = 64 << 10 // of one Payload
	MaxDeadLetters       = 1000     // of all shards; beyond this or the next bound, only their number is kept
	MaxDeadLetterStorage = 32 << 20 // bytes of all Payloads
)

// Weight is what the dead letter counts for in Limits, in bytes.
func (d *DeadLetter) Weight() int { return len(d.Payload) + len(d.Detail) + entryOverhead }

// Inspection is what a store knows at one moment, for `status` and for checks.
type Inspection struct {
	Origin      *Origin                    `json:"start"` // nil: nothing has begun
	Shards      map[ShardID]InspectedShard `json:"shards"`
	Reports     []Report                   `json:"reports"`
	Queue       int64                      `json:"queue"`        // events held
	DeadLetters int64                      `json:"dead_letters"` // dead letters held
	Discarded   int64                      `json:"discarded"`    // dead letters of which only the count is left
	Expired     int64                      `json:"expired"`      // events removed after their retention

	ExpiredUnread   int64     `json:"expired_unread"`             // of these, those that no known consumer had read
	ExpiredUnreadAt time.Time `json:"expired_unread_at,omitzero"` // when the last of these was removed; zero: never

	Log *WriteAheadLog `json:"write_ahead_log,omitempty"` // nil: the store has none
}

// WriteAheadLog is what a store has not carried over into its file yet.
type WriteAheadLog struct {
	Bytes     int64     `json:"bytes"`
	HeldSince time.Time `json:"held_since,omitzero"` // since when, at the latest, a reader holds it up; zero: none
}

// InspectedShard is one shard of an Inspection.
type InspectedShard struct {
	Position  *Position `json:"position"` // nil: none yet
	Term      uint64    `json:"term"`
	Leader    string    `json:"leader"`    // the leading process; empty: none
	Foreign   bool      `json:"foreign"`   // a foreign leader, which keeps its own checkpoints
	Committed time.Time `json:"committed"` // of the last commit, by the committing process' clock; zero: never
}

// Report is the last status that a process reported.
type Report struct {
	Process string    `json:"process"`
	At      time.Time `json:"at"` // by that process' clock
	Status  Status    `json:"status"`
}
