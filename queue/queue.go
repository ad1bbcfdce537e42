package queue

import (
	"context"
	"errors"
	"time"

	"github.com/gerritstream/gerritstream"
)

// Event is an event as a queue holds it.
type Event struct {
	Entry  gerritstream.Entry
	Number int64     // its place in the queue: grows in the order of the commits, with gaps, and is never used again
	Queued time.Time // by the clock of the process that queued it, to the millisecond

	// Redelivered: it was handed out to this consumer before and not
	// acknowledged. Only what [Consumer.Next] returns has it.
	Redelivered bool

	// Replayed: it was appended for this consumer alone. Queued says when.
	Replayed bool

	// Late: an event that arrived later was handed out before it. Only what
	// [Consumer.Next] returns by arrival has it.
	Late bool
}

// Extent is what a queue holds, of all that it ever held.
type Extent struct {
	Oldest  time.Time // since when the oldest event is held: its arrival or queueing, the later one; zero: none is held
	Newest  int64     // number of the newest event ever queued
	Expired int64     // events that have expired: in the order of that time, as far as processes' clocks agree
}

// What the methods of a Store return, among others.
var (
	ErrNoConsumer = errors.New("there is no such consumer")
	ErrExists     = errors.New("the consumer exists already")
	ErrHeld       = errors.New("a process is reading as this consumer")
	ErrLeaseLost  = errors.New("the lease of the consumer is lost")
)

// Store is a queue that can be read, with its consumers. Package storetest
// states the contract as tests. Several goroutines may call the methods at
// once. A method that failed may have taken effect.
type Store interface {
	// Read returns the events after a number (0: from the oldest held) in the
	// order of the queue, those appended for the consumer among them: at least
	// one if there is any, at most so many, and no more than some MiB.
	Read(ctx context.Context, consumer string, after int64, most int) ([]Event, error)

	// Wait returns once Read would return events: about a tenth of a second
	// late at most.
	Wait(ctx context.Context, consumer string, after int64) error

	// Append queues events for one consumer alone, behind everything that is
	// there, all or none, whether a process reads as it or not: some hundreds
	// of them at a time, and some MiB. What waits for the consumer already
	// stays where it is, so that a caller whose Append failed repeats it; what
	// was acknowledged meanwhile comes again. It returns how many were
	// appended. They are held until they are acknowledged, as long as other
	// events are. ErrNoConsumer.
	Append(ctx context.Context, consumer string, entries []gerritstream.Entry) (appended int, err error)

	// Bounds returns the numbers of the oldest event held and of the newest
	// ever queued, for whomever. An empty queue that is to begin with n has n
	// and n-1.
	Bounds(ctx context.Context) (oldest, newest int64, err error)

	// Since returns the number of the oldest event that was queued or arrived
	// at a time or later, whichever is later; one more than the newest's if
	// there is none.
	Since(ctx context.Context, t time.Time) (int64, error)

	// Frontier returns a time: every event that arrived in the stream before it
	// is in the queue, or was; zero: not known. It is a second or two ago where
	// shards are idle, and stands still while one is not read. Those who share
	// their frontiers do so while it is asked for: the first call after a pause
	// may return an old one.
	Frontier(ctx context.Context) (time.Time, error)

	// ShareFrontier makes known to those who read the queue how far this
	// process knows the shards to be read into it, until ctx ends: four times a
	// second, but only while somebody asks for it. It retries whatever fails.
	ShareFrontier(ctx context.Context, known func() Frontier)

	// Consumers returns all consumers, by name.
	Consumers(ctx context.Context) ([]Info, error)

	// Register makes a consumer that begins after a number. ErrExists: the name
	// is in use.
	Register(ctx context.Context, name string, f Filter, after int64) error

	// SetFilter gives a consumer another filter for what it has not
	// acknowledged. A process that reads as it goes on with the old one until
	// it opens the consumer again. ErrNoConsumer.
	SetFilter(ctx context.Context, name string, f Filter) error

	// Seek has a consumer go on after a number, also backwards. What is there
	// and was acknowledged is handed out again, not marked as redelivered; what
	// was appended for it and lies before the place is gone. ErrNoConsumer;
	// ErrHeld: a process reads as it.
	Seek(ctx context.Context, name string, after int64) error

	// Remove removes a consumer: retention does not wait for it any more.
	// ErrNoConsumer; ErrHeld: a process reads as it.
	Remove(ctx context.Context, name string) error

	// Lease blocks until this process may read as a consumer, and no other
	// process does. Ending ctx ends the wait without a trace. ErrNoConsumer.
	Lease(ctx context.Context, name string) (Lease, error)
}

// Lease is the right to read as a consumer. At any time at most one lease of a
// consumer can write, whatever the clocks, pauses and partitions of the
// processes. One goroutine uses it.
type Lease interface {
	// Context ends, with cause ErrLeaseLost, when the lease is or may be lost,
	// or was released.
	Context() context.Context

	// Consumer is what was stored when the lease was won.
	Consumer() Info

	// Deliver notes, before they are handed out, that events are: all up to one
	// number, and others up to a last one. ErrLeaseLost: nothing was written.
	Deliver(ctx context.Context, upTo, last int64) error

	// Ack notes that the events of a set are done with, and that they were
	// handed out. What was done with before stays so. When it returns nil, that
	// is durable. ErrLeaseLost: nothing was written. ErrScattered: likewise.
	Ack(ctx context.Context, done Set) error

	// Release gives the lease up. It may be called more than once, and after
	// the lease has ended by itself.
	Release(ctx context.Context) error
}

// Done returns the events that are acknowledged. Do not change it.
func (i *Info) Done() Set { return Set{UpTo: i.Acked, Beyond: i.Beyond} }

// Frontier is how far a process knows the shards of a stream to be read into
// the queue.
type Frontier struct {
	Epoch int // of the stream: see gerritstream.Origin

	// Until has, for every shard that may still bring events, a time: what
	// arrived there before it is in the queue; zero: not known. A shard that is
	// not there opens when one closes that is. Nil: nothing is known.
	Until map[gerritstream.ShardID]time.Time
}

// Info is what a store knows of a consumer. A store may count events that lie
// a long way before the end of the queue as pending whether the filter keeps
// them or not.
type Info struct {
	Name    string    `json:"name"`
	Filter  Filter    `json:"filter"`
	Acked   int64     `json:"acked"`             // number: events up to here are done with
	Beyond  []Range   `json:"beyond,omitempty"`  // and so are these; see Set
	AckedAt time.Time `json:"acked_at,omitzero"` // by the acknowledging process' clock
	Handed  int64     `json:"handed"`            // number: events up to here were handed out
	Ahead   int64     `json:"ahead,omitempty"`   // number of the last one handed out, if that is beyond Handed
	Reader  string    `json:"reader"`            // the process that reads as it; empty: none
	Pending int64     `json:"pending"`           // events held that the filter keeps and that are not acknowledged
	Oldest  time.Time `json:"oldest,omitzero"`   // when the first of these was queued; zero: there is none
	Fault   string    `json:"fault,omitempty"`   // why its filter, or what it acknowledged, cannot be read

	// Expired counts the events that were removed before they were
	// acknowledged, although the filter keeps them. They arrived between
	// ExpiredFrom and ExpiredTo.
	Expired     int64     `json:"expired"`
	ExpiredFrom time.Time `json:"expired_from,omitzero"`
	ExpiredTo   time.Time `json:"expired_to,omitzero"`
}
