// Package sink holds the places, besides a store's queue, that events are
// delivered to: one file each. They keep the promises of gerritstream.Sink: at
// least once, in the order of each shard, under ids that are the same on every
// delivery.
package sink
