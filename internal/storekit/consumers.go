package storekit

import (
	"errors"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// LeaseOfConsumer is what precedes a consumer's name where a store keeps its
// lease among those of shards. No shard's name has a colon.
const LeaseOfConsumer = "consumer:"

// ConsumerLease returns what the lease of a consumer is kept as.
func ConsumerLease(name string) gerritstream.ShardID {
	return gerritstream.ShardID(LeaseOfConsumer + name)
}

// DecodeConsumer sets the filter of a consumer, and what it acknowledged beyond
// info.Acked, from their stored forms. What cannot be read is left out.
func DecodeConsumer(info *queue.Info, filter, beyond string) error {
	f, errFilter := queue.DecodeFilter(filter)
	if errFilter == nil {
		info.Filter = f
		_, errFilter = f.Matcher()
	}
	ranges, errBeyond := queue.DecodeRanges(beyond)
	// A program that keeps its number by itself may have moved it on.
	done := queue.Set{UpTo: info.Acked}.Union(queue.Set{UpTo: info.Acked, Beyond: ranges})
	info.Acked, info.Beyond = done.UpTo, done.Beyond
	return errors.Join(errFilter, errBeyond)
}

// StoredDone returns what a consumer has acknowledged. Ranges that cannot be
// read are none.
func StoredDone(upTo int64, beyond string) queue.Set {
	ranges, _ := queue.DecodeRanges(beyond)
	return queue.Set{UpTo: upTo}.Union(queue.Set{Beyond: ranges})
}
