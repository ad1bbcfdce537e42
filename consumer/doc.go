// Package consumer reads a Kinesis stream into a store, shard by shard, under an
// elected leadership.
//
// A [Consumer] has one supervisor, one worker for each shard planned for this
// process, and one reader for each term that a worker wins:
//
//   - the supervisor lists the stream, plans with the positions in the store and
//     with the other members, and starts and ends workers;
//   - a worker campaigns for its shard and serves one term after another;
//   - a reader reads pages ahead, judges their records, delivers to the sinks
//     and commits.
//
// # A shard in this process
//
//	            planned for this member            elected
//	standing by ------------------> campaigning ---------> preparing
//	     ^                          |    ^                  |  commits what was lost and the anchor, or
//	     |  withdrawn, ended or     |    |                  |  follows BadCheckpointPolicy (it may halt)
//	     |  gone, or Run ends       |    |                  v
//	     +--------------------------+    +---- resigning <- reading --+
//	                                      term ended or     ^  |      | page: judge, deliver, commit
//	                                      its outcome       |  v      |
//	                                      is unknown        +---------+
//
// A commit whose outcome is unknown ends the term. The next term begins with the
// position in the store, whichever process wins it: nothing is ever retried on a
// guess.
//
// # Lifetimes
//
//	Run's ctx       ended by the caller, or by Run as it returns
//	|
//	+- worker       ended by the supervisor: the shard has ended, or its leadership
//	|  |            goes to another member (cause errHandOver)
//	|  +- candidacy ended by the supervisor as well when the shard is planned for
//	|               another member; a term already won goes on
//	+- side reads, watches, probes: ended by the supervisor when not needed
//
//	term            ended by the store: lost, perhaps lost, or resigned
//	|
//	+- work         ended with the term, or a grace after the worker (stopGrace, or
//	   |            handOverGrace): commits and deliveries in flight may finish
//	   +- reading   ended with work, or at once with the worker: no new pages
//
// The supervisor starts all goroutines as tasks and waits for each; a worker's
// context ends before its term resigns, and Run returns after the last of them.
package consumer
