package gerritstream

import (
	"context"
	"fmt"
	"time"
)

// Store elects one leader a shard, keeps positions and holds the queue. Package
// storetest states what follows as tests; a store that passes them may be used.
//
// A position belongs to an epoch of the stream (see [Start]): positions of
// different epochs never meet. The methods may be called by several goroutines
// at once. A Store does not retry for longer than a few seconds unless the
// method says that it blocks; callers retry. Unless an error says otherwise,
// what a method did is unknown when it fails.
type Store interface {
	Group

	// Start returns the start record; ok is false while there is none.
	// ErrNewerFormat: a newer version wrote it.
	Origin(ctx context.Context) (start Origin, ok bool, err error)

	// SetOrigin makes next the start record if it still is prev (nil: if there
	// is none). ErrConflict: it is another, and nothing was written.
	SetOrigin(ctx context.Context, prev *Origin, next Origin) error

	// Positions returns every position of an epoch, as committed. One that
	// cannot be understood is among them, with Unreadable set. ErrNewerFormat:
	// a newer version wrote one of them.
	Positions(ctx context.Context, epoch int) (map[ShardID]Position, error)

	// Campaign blocks until this process leads the shard. Ending ctx ends the
	// candidacy and leaves no trace of it; a term that was won just then is
	// resigned. At any moment at most one term of a shard can commit, whatever
	// the clocks, pauses and partitions of the processes.
	//
	// The leadership of a term that is over, and one that a failed Campaign may
	// have won, is freed by the store in any case, without another call and
	// while the process lives on.
	//
	// A store that is away is waited for. Errors: the context's, ErrStaleEpoch
	// if the start record is of a later epoch, or one that will not pass.
	Campaign(ctx context.Context, epoch int, shard ShardID) (Term, error)

	// WaitEnded returns nil once the shard's position is marked ended,
	// whichever process marked it. It may return nil early, never late by more
	// than a second or so: the caller reads the positions again.
	WaitEnded(ctx context.Context, epoch int, shard ShardID) error

	// Checkpoints returns, for those of these shards that another program may
	// lead, the last record that it says it has handled. None is empty or not
	// there; one that cannot be understood is none. It is for people: nothing
	// is decided by it.
	Checkpoints(ctx context.Context, shards []ShardID) (map[ShardID]SequenceNumber, error)

	// Report publishes what this process sees, for Inspect; the last report of
	// a process replaces the one before and goes when the process does. It is
	// for people: nothing is decided by it.
	Report(ctx context.Context, status Status) error

	// Inspect returns what the store knows, without taking part in anything. A
	// report that cannot be understood is left out.
	Inspect(ctx context.Context) (Inspection, error)
}

// Term is the leadership of one shard, from its election to its end. It is used
// by one goroutine.
type Term interface {
	// Context ends, with cause ErrLeadershipLost, when the leadership is lost,
	// may have been lost, or was resigned. Work done under the leadership uses
	// it; the store alone decides what is committed.
	Context() context.Context

	// Number grows with each term of the shard and never repeats.
	Number() uint64

	// Beginning returns what the store found out when the term began. Commits
	// do not change it.
	Beginning() Beginning

	// Limits says how much one Commit may carry.
	Limits() Limits

	// Commit writes the next position, the entries and the dead letters: all or
	// nothing, and only while this term leads. When it returns nil, all of it
	// is durable. One Commit at a time.
	//
	// A term can commit only while no start record of a later epoch exists: the
	// epoch is a part of the proof of leadership. A process that has not heard
	// that the stream was recreated would otherwise write positions, events and
	// checkpoints of one stream into another. Its term is over then, with
	// ErrStaleEpoch among the error's causes and the Context's. A start record
	// that changes within its epoch ends no term.
	//
	// ErrRetryLater: nothing was written and the term goes on; the same Commit
	// may be tried again after a pause (the disk is full, the store is busy).
	// Any other error: the term is over, its Context is done, and whether the
	// commit was applied will show in the position that the next term begins
	// with.
	Commit(ctx context.Context, c Commit) error

	// Resign gives the leadership up and returns once no Commit of this term
	// can succeed any more and another candidate can win. It may be called
	// after the term has ended by itself, and more than once.
	Resign(ctx context.Context) error
}

// Beginning is what a store found out about a shard when a term began.
type Beginning struct {
	Position Position // where to go on; zero unless Stored
	Stored   bool     // a position of the shard is stored, by this program or by a foreign leader

	// Lost, if not nil, is an interval of arrivals that may have been lost
	// before the term began and is not among Position.Lost yet: a foreign
	// leader had started at the tip of the shard. The caller reports it and
	// commits it among the position's Lost before anything else. Only stores
	// beside a foreign leader that keeps its own checkpoints find one.
	Lost *Interval
}

// Limits bounds one Commit. A Commit of a single entry or a single dead letter
// is always within the limits, whatever its weight; how it is stored is the
// store's business.
type Limits struct {
	Items  int // entries and dead letters together
	Weight int // sum of their Weight()
}

// Commit is one step of a shard: what is handed on, what is put aside, and the
// position that passes both.
type Commit struct {
	Position    Position
	Entries     []Entry
	DeadLetters []DeadLetter

	// Now is a time that the service's clock had reached when Commit was
	// called, and a second or two ago at most; zero: not known. A store that
	// dates the entries by their writing uses no later time than this clock's.
	Now time.Time
}

// Check reports what a Commit carries beyond the limits. Every Store asks it before
// it writes anything.
func (c *Commit) Check(l Limits) error {
	items, weight := len(c.Entries)+len(c.DeadLetters), 0
	for i := range c.Entries {
		weight += c.Entries[i].Weight()
	}
	for i := range c.DeadLetters {
		weight += c.DeadLetters[i].Weight()
	}
	if items > 1 && (items > l.Items || weight > l.Weight) {
		return fmt.Errorf("%d items of weight %d are beyond the limits of %d and %d", items, weight, l.Items, l.Weight)
	}
	return nil
}

// Entry is one event on its way into the queue. Payload points into the page it
// came with.
type Entry struct {
	ID      EventID
	Shard   ShardID
	Seq     SequenceNumber
	Sub     int // NoSub unless part of an aggregate
	Arrived time.Time
	Event   Event
	Payload []byte
}

// entryOverhead is what an entry weighs besides its payload: ids, paths,
// envelope. It is an upper bound for every store.
const entryOverhead = 512

// Weight is what the entry counts for in Limits, in bytes.
func (e *Entry) Weight() int { return len(e.Payload) + e.Event.weight() + entryOverhead }

// DeadLetter is a record that is passed without being queued, and why. Payload
// points into the page it came with.
type DeadLetter struct {
	ID      EventID
	Shard   ShardID
	Seq     SequenceNumber
	Sub     int
	Arrived time.Time
	Reason  string   // one of a bounded set: "json", "utf8", "shape" ...
	Detail  string   // what is wrong, where; bounded, and free of payload
	Payload []byte   // the first MaxDeadLetterBytes of the record
	Length  int      // of the whole record
	SHA256  [32]byte // of the whole record
}

// MaxDeadLetterBytes is how much of a bad record is kept. Its length and digest
// are kept always.
const MaxDeadLetterBytes = 64 << 10

// The bounds of what a Store keeps of dead letters, all shards together. Beyond
// either, only their number is kept: see Inspection.Discarded.
const (
	MaxDeadLetters       = 1000
	MaxDeadLetterStorage = 32 << 20 // bytes of their Payload
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

	// Of these, how many no consumer was known to have read, and when the last
	// went that a consumer, of those that write down how far they are, should
	// have read first; zero: none did.
	ExpiredUnread   int64     `json:"expired_unread"`
	ExpiredUnreadAt time.Time `json:"expired_unread_at,omitzero"`

	Log *WriteAheadLog `json:"write_ahead_log,omitempty"` // nil: the store has none
}

// WriteAheadLog is what a SQLite store has written and not carried over into
// its file yet.
type WriteAheadLog struct {
	Bytes     int64     `json:"bytes"`               // of its file
	HeldSince time.Time `json:"held_since,omitzero"` // the oldest reader keeps it from being carried over since then at least; zero: none does
}

// InspectedShard is one shard of an Inspection.
type InspectedShard struct {
	Position  *Position `json:"position"` // nil: none yet
	Term      uint64    `json:"term"`
	Leader    string    `json:"leader"`    // the leading process; empty: none
	Foreign   bool      `json:"foreign"`   // the leader is another program, which keeps its own positions
	Committed time.Time `json:"committed"` // of the last commit, by the committing process' clock; zero: never
}

// Report is what one process said last of itself.
type Report struct {
	Process string    `json:"process"`
	At      time.Time `json:"at"` // by that process' clock
	Status  Status    `json:"status"`
}
