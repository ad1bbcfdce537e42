// Package gerritstream reads an AWS Kinesis stream with any number of processes
// and hands each record on once.
//
// Per shard one process is elected to read; the others stand by. What it reads
// goes into a [Store]: the events, the position reached and the proof of
// leadership are one transaction, so that a crash, a partition or a late
// process neither loses a record nor repeats one. Shards are followed through
// splits and merges, parents before children.
//
// A [Consumer] ties the parts together:
//
//   - a [Source] lists and reads the stream (package kinesis);
//   - a [Store] elects, keeps positions and holds the queue (package sqlite,
//     and storetest's memory store);
//   - a [Classifier] judges each record: queue it, filter it, or dead-letter it
//     (package gerrit judges Gerrit's events);
//   - a [Sink] receives what is queued as well, at least once (package sink).
//
// Use it to receive Gerrit's events, or any stream that must be read by exactly
// one process at a time. Do not use it where every process shall see every
// record, or where records may be handled out of order for speed.
package gerritstream
