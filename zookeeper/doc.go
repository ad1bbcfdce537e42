// Package zookeeper is a gerritstream.Store in ZooKeeper, in the layout of
// Zuul's own Kinesis listener: Zuul's schedulers consume what it queues without
// knowing who wrote it, and both listeners take part in the same elections.
//
// Events, position, Zuul's checkpoint and proof of leadership are one
// transaction. It checks the leader's lock node, names the version of the
// position that it follows and that of Zuul's checkpoint, and creates the
// queue's nodes: all or nothing.
//
// # A session
//
//	dialling --> standing --> over --> (another session)
//	               |   ^
//	   connection  v   | within the timeout that was negotiated
//	             not connected
//
// A session is served by one zk.Conn. When the servers say that it is over, its
// dialer refuses, the zk.Conn is closed and another is made: the library would
// carry what is queued over into the next session, where it does not belong.
// The library's requests have no deadline; each runs in a goroutine of its own,
// so that every call returns when its context ends, whatever the servers do.
//
// A process trusts its leaderships for the negotiated timeout less a fifth,
// measured from when the last request BEGAN that was answered by way of the
// servers' leader (reads are not: a server that is cut off from the others goes
// on answering them). When that runs out, all terms end here. Nothing depends
// on it but what is handed to sinks: only the transaction decides what is
// queued.
//
// # A candidacy and a term
//
//	make a lock node -> list the line -> [wait behind the one before] -> first: read, reconcile, repair -> term -> delete it
//
// The names of lock nodes are kazoo's: 32 hexadecimal digits, "__lock__", and a
// sequence. Ours are 16 digits of the process and 16 of the candidacy, so that
// a node that an ambiguous request has left is known by belonging to no
// candidacy that lives, and is removed by whoever lists the line in this
// process, and by a sweeper. A term's number is the transaction that made its
// lock node. A leader watches its own: when somebody deletes it, the term ends
// at once.
//
// # A reply that is lost
//
// The connection breaks while a commit is out: it may have been carried out, or
// may yet be. The term waits until it is connected again, for as long as it
// trusts its leadership, and reads its position back. The nonce in it tells
// whether the commit was applied. If not, the same transaction is sent again,
// with new timestamps. That is safe whatever became of the first copy: each
// names the version of the position that it follows, and carrying one out
// changes it; so of all copies, and of whatever the term commits later, at most
// one can follow that version. A term that ends instead leaves nothing behind
// that could still count, because every transaction checks the lock node, which
// goes with the term.
//
// # Zuul's own listener
//
// Python's leader checks nothing when it queues, and a session that it has lost
// does not stop it until it writes its checkpoint and finds the version
// changed. So Zuul's checkpoint is never absent while we lead (an absent one
// makes its next write unconditional), each of our transactions names its
// version, and when one finds it changed, what was queued up to there is not
// queued again. How a term begins when the checkpoint and our position differ
// is in reconcile.go.
//
// # Large events
//
// What does not fit into one transaction goes into nodes of its own below
// events/data. Their name is written down first, as an intent; the transaction
// that queues the event removes the intent; a term that finds one removes what
// it names.
package zookeeper

// Layout of the package:
//
//	config.go       what can be configured; tls.go its certificates
//	store.go        Store: opening, closing, one session after the other
//	session.go      a session and the trust in it; conn.go its connections
//	requests.go     requests that end with their context; errors.go what their errors mean
//	watches.go      one watch a node, shared
//	layout.go       where everything is; ensure.go makes it
//	election.go     a candidacy; lines.go who is in line; sweeper.go removes what candidacies have left
//	term.go         a leadership; begin.go its beginning; reconcile.go what it begins with
//	commit.go       what it writes; transaction.go in which form; envelope.go an event as Zuul reads it
//	side.go         large events; letters.go dead letters; depth.go the queue's limit
//	start.go, positions.go, inspect.go: the rest of the Store
//	operator.go     what an operator looks at and changes; operator_letters.go dead letters
//	members.go      what a process says of itself; muster.go who is there: the Group
