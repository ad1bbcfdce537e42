// Package peers runs programs for tests: gerritstream itself, and programs
// written elsewhere, so that gerritstream is tested against more than itself.
// Those are the Kinesis emulators kinesalite and kinesis-local, programs with
// boto3 and with the AWS SDK for JavaScript, the AWS command line, ZooKeeper
// and kazoo programs, PostgreSQL and PgBouncer.
//
// Each function asks [Require] for what it needs: without it the test is
// skipped, or fails where nothing may be skipped.
//
// # ZooKeeper
//
// [ZooKeeper] starts one server or an ensemble for one test, which may stop,
// kill, freeze and restart the servers. [SharedZooKeeper] is started once for
// all tests of a process; [Chroot] gives each a part of its own.
// [MakeCertificates] makes certificates for TLS, good and bad.
//
// # PostgreSQL
//
// [StartPostgreSQL] starts a server for one test, which may stop, kill, freeze
// and restart it. [StartStandby] starts a standby of it, synchronous or not,
// which may be promoted. [SharedPostgreSQL] is started once for all tests of a
// process; [PostgreSQLServer.Database] gives each a database of its own.
// [StartPgBouncer] puts PgBouncer before a server, pooling transactions.
//
// # Links
//
// [NewLink], [NewZooKeeperLink] and [NewPostgreSQLLink] put a proxy before a
// server that cuts, holds and delays connections, and loses chosen requests and
// replies, such as those of the next transaction.
//
// # kazoo
//
// [StartCandidate] starts a Python process that campaigns with kazoo, leads,
// writes checkpoints as Zuul's listener does, and can become a zombie.
// [StartListener] starts one that reads the stream, too. [StartReader] starts
// one that consumes the queue as Zuul's scheduler does. All are written from
// Zuul's observed behaviour, not from its code.
package peers
