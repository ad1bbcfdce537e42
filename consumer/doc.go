// Package consumer reads a Kinesis stream into a store, shard by shard, under
// elected leaderships.
//
// A [Consumer] has one supervisor, one worker for each shard planned for this
// process, and one reader for each term that a worker wins:
//
//   - the supervisor lists the stream, plans by the positions in the store and
//     with the other members, and starts and ends workers;
//   - a worker campaigns for its shard and serves one term after another;
//   - a reader reads pages ahead, judges their records, delivers to the sinks
//     and commits.
//
// # A shard in this process
//
//	            planned for
//	            this member                 elected
//	standing by -----------> campaigning -----------> preparing -> halted
//	     ^                     |     ^                    |     (bad checkpoint,
//	     |                     |     |       a position   |      by policy)
//	     +---------------------+     |    to read from    |
//	        planned for another,     |    is committed    v
//	        ended, gone, or stop     +---- resigning <- reading: page by page,
//	                                      (the term       judge, deliver, commit
//	                                       is over)
//
// A term reads the pauses first. While its shard is paused it stays where it
// is and commits nothing (see package pauses); then it goes on from its
// position.
//
// A term resigns from any of its states when its leadership is lost, the shard
// has ended, the worker ends, or the outcome of a commit is unknown. The next
// term begins with the position in the store, whichever process wins it:
// nothing is retried on a guess.
//
// # Lifetimes
//
//	Run          ended by the caller, or by Run as it returns
//	|
//	+- tasks     ended with Run, or when the stream is recreated: watches of the
//	   |         group and of parents, probes, looks at foreign leaders, workers
//	   +- worker     ended by the supervisor too: the shard has ended elsewhere,
//	      |          or its leadership goes to another member (errHandOver)
//	      +- candidacy   ended by the supervisor too: the shard is planned for
//	                     another member; a term already won goes on
//
//	term         ended by the store: lost, perhaps lost, or resigned
//	|
//	+- work      ended with the term, or a grace after its worker (stopGrace or
//	   |         handOverGrace): commits and deliveries in flight may finish
//	   +- reading    ended with work, or at once with the worker
//
// The supervisor starts every goroutine as one of its tasks, and Run returns
// after the last of them.
package consumer
