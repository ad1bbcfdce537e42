// Package postgres is a gerritstream.Store in a schema of a PostgreSQL
// database, shared by processes on any number of hosts.
//
// Events, position and proof of leadership are one transaction, sent to the
// server at once: no transaction waits for the process, so that one which is
// paused holds no lock. Commits that wait at the same time share a transaction.
// Each is fenced for itself by its own lease: one that has lost its leadership
// writes nothing, and takes nothing with it.
//
// # Numbers
//
// The events of the queue are numbered. A transaction takes its numbers from
// the only row of the table head, which it keeps locked until it ends: the next
// one waits for it. So the order of numbers is that of the commits, and once a
// number can be read, so can all smaller ones: a reader that asks for what
// comes after the last number it has seen misses nothing. Numbers may have
// gaps.
//
// # Leadership
//
// A shard's lease is (term, process), as in package sqlite. A process shows
// that it is alive by a heartbeat, a number that it increments five times
// within the lease's time to live (TTL). A lease is free when its process has
// resigned. It has expired for a candidate that has seen the same term, process
// and heartbeat for the whole TTL by its own monotonic clock. Taking a lease
// increments the term, if the three are still the same. Terms are never reset.
//
// Each commit writes its position only where the lease still has its term and
// the position still is the one that it follows. That alone is the fence. No
// leadership depends on a session with the server: sessions come and go, and
// poolers share them.
//
// # Lost replies
//
// A commit whose reply was lost may have been carried out, or may yet be. It is
// sent again: as both name the position that they follow, at most one is
// carried out. The nonce in the stored position shows whether one was.
//
// # Poolers
//
// No statement needs what an earlier transaction has set up in its session: a
// pooler may give each transaction another one, as PgBouncer does in
// transaction mode. Processes look into the tables for what they wait for, and
// only without a pooler they are woken by notifications as well.
package postgres

// Layout of the package:
//
//	config.go, store.go  configuration; opening and closing
//	connect.go           connections, and transactions of one round trip
//	session.go           what a session needs, whatever the role's defaults are
//	schema.go            tables, migrations, whose schema it is
//	errors.go            what becomes of the server's errors
//	heartbeat.go         writes heartbeats and frees leases for internal/lease
//	watcher.go           reads for calls that wait; election.go takes leases
//	notifications.go     wakes the watcher
//	group.go             members, candidates, reports
//	term.go, commit.go   a leadership and what it writes; writer.go groups it
//	origin.go, positions.go, deadletters.go, inspect.go
//	consumers.go         leases of consumers, and what they acknowledge
//	additions.go         events appended for one consumer
//	tip.go               waits for events
//	pending.go           counts what consumers have not acknowledged
//	frontier.go          how far processes know the shards to be read
//	webhooks.go, hookletters.go
//	retention.go         removes expired events
//	reader.go            reads events; operator.go changes positions
