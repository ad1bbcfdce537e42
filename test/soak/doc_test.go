// Package soak runs several processes of the real program on one stream and one
// store for as long as one likes, with everything going wrong that a seed can
// draw, and judges in the end what became of each record.
//
//	make soak DURATION=10m SEED=1 STORE=zookeeper
//
// The embedded Kinesis runs in the test's process, with its limits on; every
// process reaches it, and each of three real ZooKeeper servers, through links
// of its own that can be cut. A producer puts traffic at a steady rate, a
// consumer takes the queue as Zuul's scheduler does, and a nemesis does its
// work. Everybody writes a history (internal/history), which is checked when
// all has come to rest; one that shows a fault is kept, with the seed.
package soak
