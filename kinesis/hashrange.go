package kinesis

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // Kinesis routes by it
	"encoding/binary"
	"math/bits"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
)

// hashKey is one of the 128-bit keys that shards divide among themselves.
type hashKey struct{ high, low uint64 }

func (k hashKey) compare(other hashKey) int {
	return cmp.Or(cmp.Compare(k.high, other.high), cmp.Compare(k.low, other.low))
}

// parseHashKey parses a decimal key. ok is false if it is none, or has more
// than 128 bits.
func parseHashKey[T string | []byte](text T) (key hashKey, ok bool) {
	for i := range len(text) {
		digit := uint64(text[i] - '0')
		if digit > 9 {
			return hashKey{}, false
		}
		over, high := bits.Mul64(key.high, 10)
		carry, low := bits.Mul64(key.low, 10)
		var c uint64
		key.low, c = bits.Add64(low, digit, 0)
		key.high, c = bits.Add64(high, carry, c)
		if over+c > 0 {
			return hashKey{}, false
		}
	}
	return key, len(text) > 0
}

// hashRange is the keys of a shard, both ends included.
type hashRange struct{ first, last hashKey }

// allKeys is the range of a shard whose range is unknown: records not known to
// be foreign are kept.
var allKeys = hashRange{last: hashKey{1<<64 - 1, 1<<64 - 1}}

// convertRange converts a shard's range from a listing. moto's last shard ends
// at 2^128, which no key has.
func convertRange(in *types.HashKeyRange) (out hashRange) {
	if in == nil || in.StartingHashKey == nil || in.EndingHashKey == nil {
		return allKeys
	}
	var first, last bool
	out.first, first = parseHashKey(*in.StartingHashKey)
	out.last, last = parseHashKey(*in.EndingHashKey)
	if !first || !last {
		return allKeys
	}
	return out
}

// isForeign reports whether a record within an aggregate belongs to another
// shard, as the KCL decides it: by its explicit hash key, or else by its
// partition key. A record whose key is unknown or invalid is the shard's own.
func (r hashRange) isForeign(partitionKey, explicit []byte) bool {
	sum := md5.Sum(partitionKey) //nolint:gosec // see above
	key, ok := hashKey{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}, partitionKey != nil
	if explicit != nil {
		key, ok = parseHashKey(explicit)
	}
	return ok && (key.compare(r.first) < 0 || key.compare(r.last) > 0)
}

// ranges holds the shards' ranges as they were last listed.
type ranges struct {
	mu     sync.Mutex
	listed map[gerritstream.ShardID]hashRange // under mu
}

// note records a complete listing.
func (r *ranges) note(listed map[gerritstream.ShardID]hashRange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed = listed
}

// of returns a shard's range; all keys and false if it was not listed.
func (r *ranges) of(shard gerritstream.ShardID) (hashRange, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, ok := r.listed[shard]
	if !ok {
		return allKeys, false
	}
	return found, true
}

// findRange makes sure that the reading knows its shard's hash keys, if records
// of other shards are marked. It lists the shards if the last listing did not
// have the shard.
func (r *reading) findRange(ctx context.Context) error {
	if !r.source.markForeign || r.own != nil {
		return nil
	}
	own, ok := r.source.ranges.of(r.shard)
	if !ok {
		if _, err := r.source.findShard(ctx, r.shard); err != nil {
			return r.listingError(ctx, err)
		}
		own, _ = r.source.ranges.of(r.shard) // another listing may have come meanwhile, without it
	}
	r.own = &own
	return nil
}
