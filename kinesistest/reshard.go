package kinesistest

import (
	"slices"
	"time"
)

// split closes a shard and opens two children, the second starting at a key
// within.
func (st *stream) split(sh *shard, at hashKey, now time.Time) (left, right *shard) {
	st.closeShard(sh, now)
	left = st.addShard(sh.first, at.before(), now, sh)
	right = st.addShard(at, sh.last, now, sh)
	return left, right
}

// merge closes two adjacent shards and opens their child. The first named is
// its parent, the second its adjacent parent.
func (st *stream) merge(a, b *shard, now time.Time) *shard {
	st.closeShard(a, now)
	st.closeShard(b, now)
	first, last := a.first, b.last
	if b.first.compare(a.first) < 0 {
		first, last = b.first, a.last
	}
	return st.addShard(first, last, now, a, b)
}

// adjacent reports whether one shard's keys go on where the other's end.
func adjacent(a, b *shard) bool {
	if b.first.compare(a.first) < 0 {
		a, b = b, a
	}
	return a.last != maxHashKey() && b.first != (hashKey{}) && a.last == b.first.before()
}

// resize splits and merges until there are n shards of equal size. Shards that
// stand in between live for a moment only, as at AWS.
func (st *stream) resize(n int, now time.Time) {
	starts := evenStarts(n)
	for _, start := range starts {
		if sh := st.shardFor(start); sh.first != start {
			st.split(sh, start, now)
		}
	}
	for i := 0; i+1 < len(st.open); {
		if _, border := slices.BinarySearchFunc(starts, st.open[i+1].first, hashKey.compare); border {
			i++
			continue
		}
		st.merge(st.open[i], st.open[i+1], now)
	}
}
