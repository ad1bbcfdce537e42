// Package sqlite is a gerritstream.Store in one file, shared by the processes
// of one host.
//
// Events, position and proof of leadership are one transaction. A process
// writes through one connection and one goroutine: commits that wait at the
// same time share a transaction, each in a savepoint of its own, so that one
// which has lost its leadership takes nothing with it. A commit that returned
// nil survives a power cut (WAL, synchronous=FULL).
//
// # Leadership
//
// A shard's lease is (term, process). A process shows that it is alive by a
// heartbeat, a number that it increments five times within the lease's time to
// live (TTL). A lease is free when its process has resigned. It has expired for
// a candidate that has seen the same term, process and heartbeat for the whole
// TTL by its own monotonic clock: no two clocks are ever compared. Taking a
// lease increments the term, in a transaction that reads the same three again.
// Terms are never reset.
//
// Each commit writes its position only where the lease still has its term. That
// alone is the fence: a process that was stopped, and continues, can commit
// nothing. Besides, a process trusts its own leadership only for the TTL less a
// fifth, from when its last successful heartbeat BEGAN, and ends its terms
// after that.
//
// The same statement looks for a pause of the shard (see package pauses): while
// there is one, the commit is refused and the term goes on.
//
// An operator's change of a position increments the lease's term as well and
// takes the lease from its process: the fence then refuses what the term still
// had under way, and the next heartbeat ends it.
//
// A process that cannot win at once has a row in the table candidates. Their
// order is that of succession: a free lease is left to the first candidate for
// a TTL. A process is a member of the group once it has advertised itself, for
// as long as its heartbeat is seen to change within the TTL.
//
// Processes look into the file four times a second for what they wait for. On
// Linux they wake each other besides (inotify), so that a hand-over does not
// wait for the next look.
//
// # Files
//
// The file is made with mode 0600, in a folder made with mode 0700; with
// GroupAccess 0660 and 2770. Network file systems are refused: SQLite's WAL
// needs locks and shared memory that they do not provide. All of the process
// must read the file through SQLite: opening and closing it by other means
// releases SQLite's locks (POSIX record locks belong to the process).
//
// If the file, or its -wal or -shm file, is removed, replaced or made read-only
// while it is open, every call returns ErrStoreGone from then on, and no commit
// is confirmed: nobody would find what is in a file without a name.
package sqlite

// Layout of the package:
//
//	config.go, store.go  configuration; opening and closing
//	file.go, place.go    the file and its folder, and whether they are there
//	schema.go            tables, migrations, whose file it is
//	transaction.go       runs statements; errors.go explains SQLite's errors
//	writer.go            one goroutine writes: group commit
//	heartbeat.go         writes heartbeats and frees leases for internal/lease
//	watcher.go           reads for calls that wait; election.go takes leases
//	touches.go           wakes the watchers of other processes
//	group.go             members, candidates, reports
//	term.go, commit.go   a leadership and what it writes
//	origin.go, positions.go, deadletters.go, inspect.go
//	retention.go         removes expired events; wal.go bounds the log
//	reader.go            reads events; operator.go changes positions
//	pauses.go            shards that no process may commit for
