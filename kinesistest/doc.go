// Package kinesistest is an embedded Kinesis: the calls that producers and
// polling consumers make, over AWS JSON 1.1, with the limits, error texts and
// habits that bite them. It keeps everything in memory.
//
// A [Server] is an [http.Handler], so it can be served (httptest, net/http),
// and it has a [Server.Transport], an [http.RoundTripper] that answers in the
// calling goroutine: nothing is left running behind it, so that it works inside
// a testing/synctest bubble with the real SDK in front of it:
//
//	srv := kinesistest.New(kinesistest.Options{})
//	client := kinesis.New(kinesis.Options{
//		Region:       "us-east-1",
//		BaseEndpoint: aws.String("http://kinesis.test"),
//		Credentials:  credentials.NewStaticCredentialsProvider("key", "secret", ""),
//		HTTPClient:   &http.Client{Transport: srv.Transport()},
//	})
//
// Over TLS, for those who test certificates or HTTP/2, package httptest serves
// it:
//
//	served := httptest.NewUnstartedServer(srv)
//	served.EnableHTTP2 = true
//	served.StartTLS() // served.Certificate() is its own authority
//
// # What it does like AWS
//
// Five reads and 2 MiB a second and shard, with debt: a page of 10 MiB makes
// the next five seconds' reads fail. Pages of at most 10 MiB or 10,000 records.
// Iterators and page tokens that are opaque and expire after five minutes.
// Trimming by retention, at read. Closed shards stay readable until their last
// record is trimmed; the last page has no next iterator and names the children.
// MillisBehindLatest goes by the clock. A time in the future is refused, as is
// a sequence number of a stream that was deleted and made again. Write limits.
// AWS' error types and texts.
//
// # What it does not do
//
// Signatures are not checked, but a request without one is refused. CBOR, which
// the AWS SDK for Java prefers, is refused with status 415: that SDK has a
// switch for it (AWS_CBOR_DISABLE=true). There is no enhanced fan-out, no
// encryption, no tags, no resource policy; capacity mode ON_DEMAND is taken and
// treated as PROVISIONED. Arrival times never decrease within a shard. Creation
// times have milliseconds. What is stored stays in memory until its retention
// ends.
//
// # Faults
//
// [Server.On] intercepts, fails, delays, cuts or observes chosen requests, a
// number of times or for good: see [Hook].
//
// Use it to test a consumer or a producer, or to try one without an account. Do
// not use it to learn what AWS costs or how fast it is.
package kinesistest
