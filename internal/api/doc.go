// Package api serves the queue and its consumers, and what becomes of each
// record, over HTTP on a Unix socket: to programs of other users, in any
// language, that cannot or shall not touch the database. docs/openapi.yaml
// describes it for them.
//
// # A consumer over the socket
//
// A client reads as a consumer in a session: the server holds the consumer's
// lease for it, under a token that ties its reads and its acknowledgements
// together.
//
//	GET events, no token --> wait for the name --> lease --> a session begins
//	GET events, token    --> the oldest events that are not acknowledged
//	POST ack, token      --> acknowledged in the store, durable
//	silence, DELETE      --> the session ends, the lease is free
//
// A read never moves on by itself: until they are acknowledged it returns the
// same events, marked as redelivered. So a reply that is lost on the way costs
// nothing: the client reads again. An acknowledgement may be repeated as well.
// If the client dies, its session ends after its timeout; if the server dies,
// its lease expires; both leave the events to whoever reads next. All of that
// is at least once, and nothing is skipped.
//
// # Verdicts
//
// [Feed] is a consumer.Observer. It remembers the last verdicts without their
// payloads. A client that looks on (GET /v1/tail) has a bounded list of its
// own, which is full sooner or later if the client is slow: the lines that it
// misses are counted, and the shard that is being read waits for nobody.
package api
