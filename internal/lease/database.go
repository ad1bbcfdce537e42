package lease

import (
	"context"
	"log/slog"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Database is what a store reads and writes, in tables that all its processes
// share. Beat and Free are called by one goroutine, Read by another.
type Database interface {
	// Beat writes a heartbeat: a number that is greater than those before. It
	// also writes for which shards the process is a candidate. waiting returns
	// for which it stays one, if it is, and for which of them it becomes one,
	// if it is not; it may be called again for another attempt. Beat returns
	// the terms of the leases that the process has then. ctx ends early enough
	// for another heartbeat within the TTL.
	Beat(ctx context.Context, waiting Waiting) (held map[gerritstream.ShardID]uint64, err error)

	// Free frees those leases that the process still has in these terms.
	Free(ctx context.Context, leases map[gerritstream.ShardID]uint64) error

	// Read brings what it has read before up to date; state is empty at first,
	// and after an error. It reports whether the database was written to since.
	// An error other than ErrRetryLater ends all calls that wait.
	Read(state *State) (changed bool, err error)
}

// Waiting returns for which shards a process waits as a candidate, and which of
// them may be added: not those whose leases it is just taking.
type Waiting func() (keep, add []gerritstream.ShardID)

// State is what a look reads of the database. Most writes change nothing but
// heartbeats; the rest need be read again only if it was changed.
type State struct {
	Changes    Changes
	Processes  []Process
	Leases     map[gerritstream.ShardID]Lease    // without heartbeats
	Candidates map[gerritstream.ShardID][]string // who waits, by process, in the order of succession
	Members    []gerritstream.Member
}

// Changes are how often tables were changed; never 0.
type Changes struct{ Leases, Candidates, Members int64 }

// Process is a process as it was read.
type Process struct {
	ID        string
	Heartbeat uint64
	TTL       time.Duration // of its leases

	// Age is how long ago its last heartbeat was, by a clock that all the
	// processes of a store share. It only counts for a process that is seen for
	// the first time.
	Age time.Duration
}

// Config is what New needs. All of it is required.
type Config struct {
	Process  string          // what the database calls this process
	Life     context.Context // ends with the use of the store
	Database Database
	TTL      time.Duration // of the process' leases
	Log      *slog.Logger

	// LookEvery returns how long the Watcher waits for its next look, at most,
	// while calls wait: for leases of shards, and for other things.
	LookEvery func(shards []gerritstream.ShardID) time.Duration
}

// New returns the two parts of a process that takes part in the elections of a
// store. They do nothing before their Run is called.
func New(config Config) (*Heartbeat, *Watcher) {
	h := &Heartbeat{
		config: config, trust: config.TTL - config.TTL/5, wake: storekit.NewSignal(),
		terms: map[gerritstream.ShardID]*Term{}, taking: map[gerritstream.ShardID]uint64{},
		tried: map[gerritstream.ShardID]uint64{},
	}
	w := &Watcher{
		config: config, heartbeat: h, liveness: &liveness{self: config.Process, ttl: config.TTL},
		wake: storekit.NewSignal(), leases: map[gerritstream.ShardID]unchanged{},
	}
	h.watcher = w
	return h, w
}
