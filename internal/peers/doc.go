// Package peers runs, for tests, programs that were written elsewhere: the Kinesis emulators kinesalite and kinesis-local,
// boto3 programs and the AWS command line. What agrees with them is not only agreeing with itself.
//
// Nothing here is needed to build or run gerritstream. Each function asks [Require] for what it needs, so that a test that
// cannot have it is skipped by name, or fails where nothing may be skipped.
package peers
