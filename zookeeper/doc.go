// Package zookeeper is a gerritstream.Store in ZooKeeper, in the layout of
// Zuul's own Kinesis listener: Zuul's schedulers consume what it queues without
// knowing who wrote it, and both listeners take part in the same elections.
//
// Events, position, Zuul's checkpoint and proof of leadership are one
// transaction. It checks the leader's lock node, names the versions of the
// position and of Zuul's checkpoint that it follows, and creates the queue's
// nodes: all or nothing.
//
// # A session
//
//	dialling --> established --> over --> (another session)
//	                |   ^
//	    connection  v   | within the negotiated timeout
//	              not connected
//
// A session is served by one zk.Conn. When the session is over, its dialer
// refuses, the zk.Conn is closed and another is made: the library would send
// queued requests into the next session, where they do not belong. The
// library's requests have no deadline. Each runs in a goroutine of its own, so
// that every call returns when its context ends, whatever the servers do.
//
// A process trusts its leaderships for the negotiated timeout less a fifth,
// measured from when the last request BEGAN that was answered by way of the
// servers' leader. Reads do not count: a server that is cut off from the others
// goes on answering them. When the trust runs out, all terms of the session end
// here. Only what is handed to sinks depends on it; what is queued is decided
// by the transaction alone.
//
// # A candidacy and a term
//
//	make a lock node -> list the candidates -> [wait for the one before]
//	    -> no one before: read, reconcile, repair -> term -> delete the node
//
// The names of lock nodes are kazoo's: 32 hexadecimal digits, "__lock__", and a
// sequence. Ours are 16 digits of the process and 16 of the candidacy. So a
// node that an ambiguous request has left is known by belonging to no live
// candidacy, and is removed by whichever goroutine of this process lists the
// candidates next, or by the sweeper. A term's number is the transaction that
// made its lock node. A leader watches its own: when somebody deletes it, the
// term ends at once.
//
// # A lost reply
//
// If the connection breaks during a commit, the commit may have been carried
// out, or may yet be. The term waits until it is connected again, for as long
// as it trusts its leadership, and reads its position back, whose nonce shows
// whether the commit was applied. If not, it sends the same transaction again,
// with new timestamps. That is safe whatever became of the first copy: each
// copy names the version of the position that it follows, and carrying one out
// changes it, so of all copies, and of whatever the term commits later, at most
// one can follow that version. A term that ends instead leaves nothing that
// could still be applied, because every transaction checks the lock node, which
// goes with the term.
//
// # Encoding
//
// The library encodes and decodes by reflection, and copies all that it sends.
// Transactions are encoded here, straight from the page, and the link writes
// them in place of what the library sends: see wire.go.
//
// # Zuul's own listener
//
// Python's leader checks nothing when it queues. A lost session does not stop
// it until it writes its checkpoint and finds the version changed. So Zuul's
// checkpoint is never absent while we lead (the next write would be
// unconditional), and each of our transactions names its version. When one
// finds it changed, what was queued up to there is not queued again. What a
// term does at its beginning when the checkpoint and our position differ is in
// reconcile.go.
//
// # Large events
//
// An event that does not fit into one transaction goes into nodes of its own
// below events/data. Their name is written down first, as an intent. The
// transaction that queues the event removes the intent; a term that finds an
// intent removes what it names.
//
// # Files
//
// store.go has the Store and its sessions, session.go one session, conn.go its
// connections, requests.go its requests, wire.go their bytes, errors.go what
// their errors mean, watches.go what it watches. layout.go has the paths, and
// ensure.go makes them. An election is in election.go, its beginning of a term
// in takeover.go and reconcile.go, the term in term.go, its commits in
// commit.go, transaction.go and envelope.go.
package zookeeper
