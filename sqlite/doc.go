// Package sqlite is a gerritstream.Store in one file, shared by the processes
// of one host.
//
// Events, position and proof of leadership are one transaction. A process
// writes through one connection and one goroutine: commits that wait at the
// same time share a transaction, each in a savepoint of its own, so that one
// which has lost its leadership takes nothing with it. What a commit returned
// nil for survives a power cut (WAL, synchronous=FULL).
//
// # Leadership
//
// A shard's lease is (term, process); a process shows that it is alive by a
// beat, a number it counts up five times within the lease's time to live (TTL).
// A lease is free when its process has resigned, and a candidate takes it when
// it has seen the same term, process and beat for the whole TTL by its own
// monotonic clock: no two clocks are ever compared. Taking it counts the term
// up, in a transaction that sees the same three again. Terms are never reset.
//
// Each commit writes its position only where the lease still has its term: that
// is the fence, and nothing else is. So a process that was stopped, and goes
// on, can commit nothing. Besides, a process trusts its own leadership only for
// TTL less a fifth from the moment at which its last beat that succeeded BEGAN,
// and ends its terms when that has passed.
//
// An operator's change of a position counts the lease's term up as well and
// takes it from its process: the fence then refuses what the term still had
// under way, and the next beat ends it.
//
// Who cannot win at once stands in the table candidates: that is the line in
// front of a shard, and a free lease is left to the first in it for a TTL. A
// process is a member of the crew once it has announced itself, for as long as
// its beat is seen to change within the TTL.
//
// # Files
//
// The file is made with mode 0600, in a folder made with mode 0700; with
// GroupAccess 0660 and 2770. Network file systems are refused: their locks and
// shared memory do not hold what SQLite's WAL needs. Everything in the process
// that reads the file must do so through SQLite: to open and close it by other
// means gives up SQLite's locks (POSIX record locks belong to the process).
//
// A file that is removed, replaced or made read-only while it is open, or whose
// -wal or -shm file is, is ErrStoreGone for every call from then on, and no
// commit is confirmed: what is in a file without a name nobody finds.
package sqlite

// Layout of the package:
//
//	config.go      what can be configured
//	open.go        Store: opening and closing
//	file.go        the file and its folder; filesystem*.go where they are; place.go whether they still are
//	schema.go      tables, migrations, whose file it is
//	errors.go      what SQLite's errors mean
//	writer.go      one goroutine writes: group commit
//	statements.go  what it says; keeper.go keeps leases alive
//	candidates.go  who waits for what, and who may take a lease; watcher.go looks
//	crew.go        who is there, and who waits for what
//	term.go        a leadership; commit.go what it writes
//	start.go, positions.go, report.go, inspect.go: the rest of the Store
//	wal.go         the write-ahead log stays bounded
//	retention.go   old events go, by what clock.go knows of the service's time
//	reader.go      reads events without taking part
//	operator.go    changes positions without taking part; letters.go dead letters
