// Package webhook delivers the events of a store's queue to HTTP receivers, in
// the form of Standard Webhooks. Each hook is a consumer of the queue named
// "webhook:" and the hook's name: reading the stream never waits for one, and
// one of them never waits for another.
//
// # What is promised
//
// Every event that comes into the queue after the hook began, and that its
// filter keeps, is posted until a complete 2xx answer came, or is put aside as
// a dead letter that names the hook and has the whole payload. Only then is it
// acknowledged. A process that dies before that leaves the event to the next
// process that delivers for the hook; the receiver gets it again, under the
// same webhook-id. A receiver that keeps the ids of what it did handles each
// event once.
//
// Events with the same key, which Hook.Order chooses, are posted in the order
// of the queue and one at a time: the next one only after the answer to the
// last one. Retries keep that order.
//
// # What is not
//
// Between keys there is no order. An event that is put aside is passed by the
// later ones of its key, and comes after them when it is redriven. A receiver
// that is down for longer than the store keeps events for consumers that are
// behind loses some, and that is counted as for any consumer.
package webhook
