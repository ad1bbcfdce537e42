package gerritstream

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Operator is what a store lets an operator look at and change, while processes
// run on it as well as while none does. It takes part in nothing: it leads no
// shard, is no member, and shows in no Inspection. Package storetest states
// what follows as tests.
//
// Its methods may be called by several goroutines at once, and while its
// letters are ranged over. It does not retry for longer than a few seconds.
// Unless an error says otherwise, what a method did is unknown when it fails,
// and it may be called again: what was done already is then found done.
type Operator interface {
	// Stored returns the start record and the positions. One that cannot be
	// understood is among them, with Unreadable set; if a newer version wrote
	// it, Unreadable is ErrNewerFormat.
	Stored(ctx context.Context) (Stored, error)

	// SetPosition makes a shard's position what change makes of the stored one
	// (nil: there is none), in one transaction. change may be called more than
	// once, only the last call counts, and its error is returned with nothing
	// written.
	//
	// The term that leads the shard is over with that transaction: none of its
	// commits that was not applied before can be applied after. Its process
	// notices within a few seconds, the term's Context ends, and the next term,
	// of whichever process, begins with the new position. The checkpoint of a
	// foreign leader is set in the same transaction.
	//
	// ErrConflict: epoch is not the current one. ErrNewerFormat: a newer
	// version wrote the stored position. ErrForeignLeader: a foreign leader
	// would lead the shard next, and begin elsewhere. Nothing is written then.
	SetPosition(ctx context.Context, epoch int, shard ShardID, change func(stored *StoredPosition) (Position, error)) error

	// CheckPosition returns ErrForeignLeader if SetPosition would return it for
	// this position now. It writes nothing; the answer may change at any moment.
	CheckPosition(ctx context.Context, epoch int, shard ShardID, to Position) error

	// RemovePositions removes positions and returns how many of them there
	// were. ErrConflict: one of them is of the current epoch and is not marked
	// ended; nothing was removed. Which ones nobody needs any more is the
	// caller's to say: see Prune.
	RemovePositions(ctx context.Context, which []PositionKey) (removed int, err error)

	// Letters yields the dead letters, the newest first, holding a few of them
	// at a time. Those put aside or removed meanwhile may be missing. An error
	// is the last pair.
	DeadLetters(ctx context.Context) iter.Seq2[StoredDeadLetter, error]

	// Letter returns one dead letter. ErrNoDeadLetter: it is not held.
	DeadLetter(ctx context.Context, id EventID) (StoredDeadLetter, error)

	// DropDeadLetters removes dead letters and returns how many of them there were.
	DropDeadLetters(ctx context.Context, ids []EventID) (dropped int, err error)

	// RedriveDeadLetter queues an entry under its ID and removes the dead letter of
	// that ID, in one transaction. A queue that knows identities and holds the
	// entry already keeps it once. Whether the entry may be queued is the
	// caller's to say: see Redrive.
	//
	// ErrNoDeadLetter: it is not held; ErrTruncated: only a part of its record is held.
	// Nothing is written then.
	RedriveDeadLetter(ctx context.Context, e Entry) error

	// Close gives back what the operator has open; calls under way fail. It
	// returns at the latest when ctx ends, or a few seconds later, and the same
	// each time it is called. Everything that is opened is closed like this.
	Close(ctx context.Context) error
}

// Stored is what a store holds of positions.
type Stored struct {
	Origin    *Origin // nil: nothing has begun; the epoch is then 0
	Positions map[ShardID]StoredPosition
	Earlier   []PositionKey // positions of epochs before the current one, by epoch and shard
}

// Epoch is the current epoch.
func (s *Stored) Epoch() int {
	if s.Origin == nil {
		return 0
	}
	return s.Origin.Epoch
}

// StoredPosition is a position as committed, with what is stored beside it.
type StoredPosition struct {
	Position  Position
	Stamp     Stamp
	Committed time.Time // by the committing process' clock; zero: not known
}

// PositionKey names a stored position.
type PositionKey struct {
	Epoch int
	Shard ShardID
}

// StoredDeadLetter is a dead letter as held.
type StoredDeadLetter struct {
	DeadLetter DeadLetter
	StoredAt   time.Time // by the clock of the process or of the store that put it aside
}

// What an Operator's errors are found by, besides those of a Store.
var (
	// ErrNoDeadLetter: the dead letter is not held.
	ErrNoDeadLetter = errors.New("no such dead letter")

	// ErrForeignLeader: a foreign leader, which keeps its own checkpoints, would
	// lead the shard next and would not begin at the position to set.
	ErrForeignLeader = errors.New("a foreign leader would begin elsewhere")

	// ErrTruncated: only the beginning of a dead letter's record is held.
	ErrTruncated = errors.New("only the beginning of the record is held")
)
