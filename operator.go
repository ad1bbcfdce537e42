package gerritstream

import (
	"context"
	"iter"
	"time"
)

// Operator is how an operator looks into a store and changes it, whether or not
// processes run on it. It leads no shard, is no member, and shows in no
// Inspection. Package storetest states the contract as tests.
//
// Several goroutines may call its methods at once, also while DeadLetters is
// ranged over. It retries for a few seconds at most. Unless an error says
// otherwise, a method that failed may have taken effect, and can be repeated.
type Operator interface {
	// Stored returns the origin and the positions. Those that cannot be decoded
	// have Unreadable set: ErrNewerFormat if a newer version wrote them.
	Stored(ctx context.Context) (Stored, error)

	// SetPosition replaces a shard's position by what change makes of the
	// stored one (nil: none), in one transaction. change may be called more
	// than once; the last call counts, and its error is returned.
	//
	// The transaction sets the checkpoint of a foreign leader as well, and ends
	// the shard's term: no commit of that term can be applied afterwards, its
	// Context ends within a few seconds, and the next term, of any process,
	// begins with the new position.
	//
	// Errors with which nothing is written: ErrConflict (epoch is not the
	// current one), ErrNewerFormat (of the stored position), ErrForeignLeader.
	SetPosition(ctx context.Context, epoch int, shard ShardID, change func(*StoredPosition) (Position, error)) error

	// CheckPosition returns ErrForeignLeader if SetPosition would return it for
	// this position now. It writes nothing; its answer may change soon.
	CheckPosition(ctx context.Context, epoch int, shard ShardID, to Position) error

	// RemovePositions returns how many of the positions there were. With
	// ErrConflict (one is of the current epoch and not ended) it removes none.
	RemovePositions(ctx context.Context, which []PositionKey) (removed int, err error)

	// DeadLetters yields the dead letters, newest first, holding a few at a
	// time; those added or removed meanwhile may be missing. An error ends it.
	DeadLetters(ctx context.Context) iter.Seq2[StoredDeadLetter, error]

	// DeadLetter returns one dead letter. ErrNoDeadLetter: it is not held.
	DeadLetter(ctx context.Context, id EventID) (StoredDeadLetter, error)

	// DropDeadLetters returns how many of the dead letters there were.
	DropDeadLetters(ctx context.Context, ids []EventID) (dropped int, err error)

	// RedriveDeadLetter queues an entry under its ID and removes the dead
	// letter with that ID, in one transaction. A queue that knows IDs keeps an
	// entry once. The caller decides whether the entry may be queued. Errors
	// with which nothing is written: ErrNoDeadLetter, ErrTruncated.
	RedriveDeadLetter(ctx context.Context, e Entry) error

	// Close releases what the operator has open; calls under way fail. It
	// returns a few seconds after ctx ends at the latest; further calls return
	// the same.
	Close(ctx context.Context) error
}

// Stored is what a store holds of positions.
type Stored struct {
	Origin    *Origin // nil: nothing has begun, and the epoch is 0
	Positions map[ShardID]StoredPosition
	Earlier   []PositionKey // positions of earlier epochs, by epoch and shard
}

// Epoch is the current epoch.
func (s *Stored) Epoch() int {
	if s.Origin == nil {
		return 0
	}
	return s.Origin.Epoch
}

// StoredPosition is a position as committed.
type StoredPosition struct {
	Position  Position
	Stamp     Stamp
	Committed time.Time // by the committing process' clock; zero: not known
}

// PositionKey identifies a stored position.
type PositionKey struct {
	Epoch int
	Shard ShardID
}

// StoredDeadLetter is a dead letter as held.
type StoredDeadLetter struct {
	DeadLetter DeadLetter
	StoredAt   time.Time // by the clock of the store or of the process that stored it
}
