// Package soak runs several processes of the real program on one stream and one
// store for any time, with faults drawn by a seed, and finally judges what
// became of each record.
//
//	make soak DURATION=10m SEED=1 STORE=zookeeper
//
// The embedded Kinesis runs in the test's process, with its limits on; each
// process reaches it, and each of three real ZooKeeper servers, through links
// of its own that can be cut. A producer puts traffic at a steady rate, a
// consumer takes the queue as Zuul's scheduler does, and a nemesis injects
// faults. All write histories (internal/history), which are checked at the end;
// if they show a fault they are kept, with the seed.
package soak
