// Package lease is the state machine behind the elections of the stores that
// keep leases in tables. It knows no database: a store reads and writes for it
// (see Database), and fences each commit by itself.
//
// A lease of a shard, or of a consumer, is (term, process). Terms are never
// reset. A process shows that it is alive by a heartbeat, a number that it
// increments five times within the lease's time to live (TTL).
//
// To a candidate a lease is in one of three states:
//
//	free     its process has resigned, or is the candidate's own, with no term
//	held     by another process
//	expired  held, and seen with the same term, process and heartbeat for the
//	         whole TTL by the candidate's own monotonic clock
//
// A candidate takes a free lease at once, and an expired one, in the next term,
// if the three are still the same: the store compares them again as it writes.
// If other candidates that are alive are before it, it leaves the lease to them
// for one more TTL. No two clocks are ever compared, except for who is alive
// when a process is seen for the first time.
//
// The taking, a term of its own number that no other attempt has, is noted
// before it is written. So each heartbeat can free whatever leases the process
// has that belong to no term that lives or is about to: those of terms that
// ended in any way, and those that were won without the process learning of it.
//
// A process trusts its terms for the TTL less a fifth, from when its last
// heartbeat or taking that succeeded BEGAN, and ends them after that. It ends a
// term as well if a heartbeat finds its lease with another process. None of
// this is the fence: a process that was stopped, and continues, may believe in
// a term for a moment. Only its store keeps it from committing.
package lease

// Layout of the package:
//
//	database.go   what a store provides
//	lease.go      who may take a lease, and when
//	heartbeat.go  keeps leases, and ends terms that cannot be trusted; term.go
//	election.go   wins leases
//	watcher.go    looks into the database for calls that wait
//	liveness.go   who is alive; group.go: who is in the group
