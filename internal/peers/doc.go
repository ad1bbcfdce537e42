// Package peers runs, for tests, programs that were written elsewhere: the
// Kinesis emulators kinesalite and kinesis-local, boto3 programs, the AWS
// command line, ZooKeeper and kazoo programs. What agrees with them is not only
// agreeing with itself.
//
// Nothing here is needed to build or run gerritstream. Each function asks
// [Require] for what it needs, so that a test that cannot have it is skipped by
// name, or fails where nothing may be skipped.
//
// # ZooKeeper
//
// [ZooKeeper] starts one server or an ensemble for one test, which may stop,
// kill, freeze and restart its servers. [SharedZooKeeper] is started once for
// all tests of a process, and [Chroot] gives each of them a part of its own.
// [MakeCertificates] makes what TLS needs, and what it must refuse.
//
// # Links
//
// [NewLink] and [NewZooKeeperLink] put a proxy before a server: it cuts, holds
// and delays what passes, and loses the request or the reply that a test
// chooses, such as the next transaction's.
//
// # kazoo
//
// [StartCandidate] starts a Python process that campaigns with kazoo,
// leads, writes checkpoints as Zuul's listener does, and becomes a zombie.
// [StartReader] starts one that consumes the queue as Zuul's scheduler does and
// stumbles over whatever that would. Both are written from what Zuul was seen
// to do, not from its code.
package peers
