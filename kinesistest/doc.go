// Package kinesistest is an embedded Kinesis: the operations that producers and
// polling consumers use, over AWS JSON 1.1 or AWS CBOR 1.1, with the limits,
// the error texts and the surprises of the real service. It keeps everything in
// memory.
//
// A [Server] is an [http.Handler] to be served by net/http or httptest. Its
// [Server.Transport] is an [http.RoundTripper] that answers in the calling
// goroutine and leaves nothing running, so it works within a testing/synctest
// bubble, called by the real SDK:
//
//	srv := kinesistest.New(kinesistest.Options{})
//	client := kinesis.New(kinesis.Options{
//		Region:       "us-east-1",
//		BaseEndpoint: aws.String("http://kinesis.test"),
//		Credentials:  credentials.NewStaticCredentialsProvider("k", "s", ""),
//		HTTPClient:   &http.Client{Transport: srv.Transport()},
//	})
//
// To test certificates or HTTP/2, package httptest serves it over TLS:
//
//	served := httptest.NewUnstartedServer(srv)
//	served.EnableHTTP2 = true
//	served.StartTLS() // served.Certificate() is its own authority
//
// # What it does like AWS
//
// Five reads, 2 MiB and 2,000 records a second and shard, with debt: after a
// page of 10 MiB or 10,000 records, reads fail for five seconds. Pages of at
// most 10 MiB or 10,000 records. Opaque iterators and page tokens that expire
// after five minutes. Trimming by retention, when reading. Closed shards stay
// readable until their last record is trimmed; the last page has no next
// iterator and names the children. MillisBehindLatest goes by the clock. A time
// in the future is refused, and so is a sequence number of a stream that was
// deleted and recreated. Write limits. AWS' error types and texts. Enhanced
// fan-out: subscriptions of five minutes that push at most 2 MiB a second for
// each consumer and shard.
//
// # What it does not do
//
// Signatures are not checked, but a request without one is refused. There is no
// encryption, no tags, no resource policy; capacity mode ON_DEMAND is accepted
// and treated as PROVISIONED. Arrival times never decrease within a shard.
// Creation times have milliseconds. Records stay in memory until their
// retention ends.
//
// # Faults
//
// [Server.On] intercepts, fails, delays, cuts or observes chosen requests, a
// number of times or always: see [Hook].
//
// Use it to test a consumer or a producer, or to try one without an account. Do
// not use it to learn what AWS costs or how fast it is.
package kinesistest
