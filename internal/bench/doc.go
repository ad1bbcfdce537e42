// Package bench measures what gerritstream reaches on a machine and a store,
// each figure beside the raw ceiling of the same store in the same run.
//
// A raw figure is what a bare client reaches that does no more than the job:
// the driver, the store's library or net/http, with the same events, the same
// durability and the same batching, and without positions to plan, leaderships
// to prove or records to check. Ours and the raw client take turns, so that
// what else the machine does meets both alike; the ratio is the median of the
// turns. The table in measure.go says of each measurement what is measured and
// what its raw figure is.
//
// What is measured is made up and the bench's own, and removed at the end:
//
//   - In SQLite it is a folder at the path that is given, which must not exist.
//   - In ZooKeeper it is connections of its own, with random names. A ZooKeeper
//     that somebody uses is refused, since a bench takes all that it can.
//   - In PostgreSQL it is schemas with random names. A server with connections
//     of other programs is refused likewise.
//   - A stream of the user's is only read, by a reader that keeps its pace; its
//     events are written to the bench's own store. All else uses an embedded
//     Kinesis, which is served on loopback.
//
// Hand-over and take-over are those of whole processes: the program that
// measures starts itself as members, which end with it.
package bench
