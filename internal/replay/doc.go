// Package replay hands on again what arrived in an interval: from a store's
// queue while that holds it, and from the stream what the queue does not hold.
// It reads both, and changes neither.
//
// What arrived from a moment on, the boundary, is taken from the queue alone:
// nothing that arrived later was ever removed from it, or arrived before the
// queue began. What arrived earlier is taken from the stream, as far as the
// stream keeps it, and else from the queue. An event that both have counts as
// the stream's; its number in the queue is remembered, as part of a range, so
// that it comes once whatever retention removes meanwhile. What is queued after
// the replay began is not replayed: it comes by itself.
//
// # Order
//
// First comes what the stream has, then what the queue has. In the first part
// shards are merged by arrival, and a shard's children come after it; the
// second part is in the order of the queue. Within each part every shard is in
// its own order.
//
// # Memory
//
// A shard has two batches of events in memory at most, and all of them together
// take no more than Config.Memory. Of a page that has more than its shard's
// part of that, the rest is read again later.
package replay
