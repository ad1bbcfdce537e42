// Package kinesis is the [gerritstream.Source] for AWS Kinesis Data Streams: it
// lists a stream and reads its shards, by polling or by enhanced fan-out.
//
//	source, err := kinesis.New(ctx, kinesis.Config{Stream: "gerrit"})
//
// The AWS SDK signs requests and finds credentials and endpoints; only this
// package uses it. It differs from the SDK's defaults in this:
//
//   - The SDK does not retry. Every attempt is made, paced and observed here,
//     to stay within the five reads a second that a shard grants to all its
//     readers together, and to report trouble while it lasts.
//   - The SDK does not decode pages. A reply is read into one buffer, reserved
//     from the process's budget beforehand, and each record's data is decoded
//     in place.
//   - The SDK's middleware makes few of the polls. The others repeat what it
//     decided for those, with the SDK's credentials and signer.
//   - Pages are asked for in CBOR; in JSON from a service that does not speak
//     it, or if AWS_CBOR_DISABLE is true and Config.Isolated is not.
//   - All times come from the Date header of the service's replies.
//   - A request that makes no progress for ten seconds is given up, however
//     long it may take as a whole.
//
// KPL aggregates arrive unpacked. When shards change under the KPL, it may
// store the records of an aggregate twice; they then arrive twice, unlike in
// AWS' consumer libraries, which drop the copies by hash key. See
// Config.MarkForeign.
//
// With enhanced fan-out each Read keeps a subscription standing: see
// Config.Read. Only one reader at a time may have one, so Read is for the
// shard's leader alone; others Peek.
//
// Use it to read a stream. Do not use it to write to one.
package kinesis
