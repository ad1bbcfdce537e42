// Package kinesis is the [gerritstream.Source] for AWS Kinesis Data Streams: it
// lists a stream and polls its shards.
//
//	source, err := kinesis.New(ctx, kinesis.Config{Stream: "gerrit", Region: "us-west-2"})
//
// The AWS SDK signs the requests, finds credentials and endpoints, and ends
// here. What differs from its habits:
//
//   - It does not retry: every attempt is made, paced and observed here, so
//     that the five reads a second that a shard grants to all its readers
//     together are kept, and trouble shows while it lasts.
//   - Pages are not decoded by it: a reply is read into one buffer that was
//     reserved from the process' budget beforehand, and each record's data is
//     decoded in place.
//   - All times come from the Date header of the service's replies.
//   - A request that makes no progress for ten seconds is given up, however
//     long it may take as a whole.
//
// KPL aggregates arrive taken apart. Records of one that a producer stored
// twice, as the KPL does when shards change under it, arrive twice: what the
// consumer libraries of AWS drop then, by hash key, is not dropped here.
//
// Use it to read a stream. Do not use it to write to one, or with enhanced
// fan-out.
package kinesis
