package kinesistest

import (
	"slices"
	"strings"
	"time"
)

// The states of a stream.
const (
	statusCreating = "CREATING"
	statusDeleting = "DELETING"
	statusActive   = "ACTIVE"
	statusUpdating = "UPDATING"
)

const (
	defaultRetention = 24 * time.Hour
	maxRetention     = 8760 * time.Hour
	defaultMaxRecord = 1 << 20
)

// stream is one incarnation of a stream. The server's mutex owns it.
type stream struct {
	name      string
	arn       string
	created   time.Time
	retention time.Duration
	expired   int64 // ms: what arrived before is gone, whatever the retention is now
	maxRecord int   // bytes of data and partition key
	mode      string
	shards    []*shard // listed ones, by index
	open      []*shard // those that take records, by first hash key
	next      int      // index of the next shard to be made
	pending   *change  // nil: the stream is ACTIVE
	resized   []time.Time
}

// change is something that is under way with a stream: its status until due,
// what happens then.
type change struct {
	status string
	due    time.Time
	apply  func(at time.Time)
}

// begin puts a change under way; one without delay takes place at once.
func (st *stream) begin(status string, now time.Time, delay time.Duration, apply func(at time.Time)) {
	if delay <= 0 {
		apply(now)
		return
	}
	st.pending = &change{status: status, due: now.Add(delay), apply: apply}
}

func (st *stream) status() string {
	if st.pending == nil {
		return statusActive
	}
	return st.pending.status
}

// serving reports whether the stream takes and gives records.
func (st *stream) serving() bool {
	return st.status() == statusActive || st.status() == statusUpdating
}

// horizon is the arrival time, in ms, before which records are gone.
func (st *stream) horizon(now time.Time) int64 {
	return max(st.expired, now.Add(-st.retention).UnixMilli())
}

// setRetention changes the retention. A longer one brings nothing back that has
// expired, neither records nor closed shards.
func (st *stream) setRetention(d time.Duration, now time.Time) {
	st.expired = st.horizon(now)
	st.retention = d
	st.trimShards(now)
}

// addShard makes a shard over a range of hash keys.
func (st *stream) addShard(first, last hashKey, at time.Time, parents ...*shard) *shard {
	sh := &shard{
		id:      shardID(st.next),
		index:   st.next,
		first:   first,
		last:    last,
		stream:  st,
		created: at.UnixMilli(),
		clock:   at.UnixMilli(),
	}
	for _, p := range parents {
		sh.parents = append(sh.parents, p.id)
		p.children = append(p.children, sh)
	}
	st.next++
	st.shards = append(st.shards, sh)
	i, _ := slices.BinarySearchFunc(st.open, sh, byFirstKey)
	st.open = slices.Insert(st.open, i, sh)
	return sh
}

// closeShard ends a shard: it takes no record any more.
func (st *stream) closeShard(sh *shard, at time.Time) {
	sh.closed = true
	sh.clock = max(sh.clock, at.UnixMilli())
	sh.closedAt = sh.clock
	st.open = slices.DeleteFunc(st.open, func(o *shard) bool { return o == sh })
}

// trimShards forgets the closed shards whose last moment is past retention.
func (st *stream) trimShards(now time.Time) {
	horizon := st.horizon(now)
	st.shards = slices.DeleteFunc(st.shards, func(sh *shard) bool { return sh.closed && sh.closedAt < horizon })
}

// shardFor returns the open shard that a hash key belongs to. The open shards
// cover all keys.
func (st *stream) shardFor(key hashKey) *shard {
	i, found := slices.BinarySearchFunc(st.open, key, func(sh *shard, k hashKey) int { return sh.first.compare(k) })
	if !found {
		i--
	}
	return st.open[i]
}

// find returns a listed shard, or nil.
func (st *stream) find(id string) *shard {
	i, found := slices.BinarySearchFunc(st.shards, id, func(sh *shard, id string) int { return strings.Compare(sh.id, id) })
	if !found {
		return nil
	}
	return st.shards[i]
}

// after returns the listed shards behind an id.
func (st *stream) after(id string) []*shard {
	i, found := slices.BinarySearchFunc(st.shards, id, func(sh *shard, id string) int { return strings.Compare(sh.id, id) })
	if found {
		i++
	}
	return st.shards[i:]
}

func byFirstKey(a, b *shard) int { return a.first.compare(b.first) }
