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

// stream is a stream from its creation to its deletion. The server's mutex owns
// it.
type stream struct {
	name      string
	arn       string
	created   time.Time
	retention time.Duration
	expired   int64 // ms: records that arrived earlier are gone, whatever the retention is now
	maxRecord int   // bytes of data and partition key
	mode      string
	shards    []*shard // listed ones, by index
	open      []*shard // those that accept records, by first hash key
	next      int      // index of the next shard
	pending   *change  // nil: the stream is ACTIVE
	resized   []time.Time
	consumers map[string]*fanOutConsumer // by name
}

// change is a change of a stream in progress: its status until due, and its
// effect then.
type change struct {
	status string
	due    time.Time
	apply  func(at time.Time)
}

// begin starts a change; one without delay takes place at once.
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

// serving reports whether the stream stores and returns records.
func (st *stream) serving() bool {
	return st.status() == statusActive || st.status() == statusUpdating
}

// horizon returns the arrival time, in ms, before which records are gone.
func (st *stream) horizon(now time.Time) int64 {
	return max(st.expired, now.Add(-st.retention).UnixMilli())
}

// setRetention changes the retention. A longer one brings back neither records
// nor closed shards that have expired.
func (st *stream) setRetention(d time.Duration, now time.Time) {
	st.expired = st.horizon(now)
	st.retention = d
	st.trimShards(now)
}

// addShard opens a shard for a range of hash keys.
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
	i, _ := slices.BinarySearchFunc(st.open, first, func(o *shard, k hashKey) int { return o.first.compare(k) })
	st.open = slices.Insert(st.open, i, sh)
	return sh
}

// closeShard ends a shard: it accepts no more records.
func (st *stream) closeShard(sh *shard, at time.Time) {
	sh.closed = true
	sh.clock = max(sh.clock, at.UnixMilli())
	sh.closedAt = sh.clock
	sh.wake()
	st.open = slices.DeleteFunc(st.open, func(o *shard) bool { return o == sh })
}

// trimShards removes the closed shards whose end is past retention.
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
	i, found := slices.BinarySearchFunc(st.shards, id, compareID)
	if !found {
		return nil
	}
	return st.shards[i]
}

// after returns the listed shards after an id.
func (st *stream) after(id string) []*shard {
	i, found := slices.BinarySearchFunc(st.shards, id, compareID)
	if found {
		i++
	}
	return st.shards[i:]
}

func compareID(sh *shard, id string) int { return strings.Compare(sh.id, id) }

// addStream creates a stream without shards. Its creation time is later than
// that of every earlier stream of the name, so that the two are never confused.
// mu is held.
func (s *Server) addStream(name string, now time.Time) *stream {
	created := max(now.UnixMilli(), s.created[name]+1)
	s.created[name] = created
	st := &stream{
		name:      name,
		arn:       s.arn(name),
		created:   time.UnixMilli(created).UTC(),
		retention: defaultRetention,
		maxRecord: defaultMaxRecord,
		mode:      "PROVISIONED",
	}
	s.streams[name] = st
	return st
}

// fill gives a new stream its shards.
func (st *stream) fill(shards int, at time.Time) {
	starts := evenStarts(shards)
	for i, start := range starts {
		last := maxHashKey()
		if i+1 < shards {
			last = starts[i+1].before()
		}
		st.addShard(start, last, at)
	}
}

// lookup finds the stream that a request names, in any state. mu is held.
func (s *Server) lookup(r *streamRef) (*stream, *Fault) {
	name := r.name()
	if name == "" {
		return nil, invalid("Either StreamName or StreamARN must be specified.")
	}
	if r.StreamARN != nil {
		if f := s.checkARN(*r.StreamARN, name); f != nil {
			return nil, f
		}
	}
	st := s.streams[name]
	if st == nil {
		return nil, s.streamNotFound(name, s.opts.Account)
	}
	return st, nil
}

// checkARN refuses an ARN of another account, region or name.
func (s *Server) checkARN(arn, name string) *Fault {
	if arn == s.arn(name) {
		return nil
	}
	parts := strings.SplitN(arn, ":", 6)
	if parts[5] != "stream/"+name {
		return invalid("StreamARN %s and StreamName %s do not name the same stream.", arn, name)
	}
	return s.streamNotFound(name, parts[4])
}

// active finds a stream that can be changed: an ACTIVE one. mu is held.
func (s *Server) active(r *streamRef) (*stream, *Fault) {
	st, f := s.lookup(r)
	if f != nil {
		return nil, f
	}
	if st.status() != statusActive {
		return nil, s.notActive(st)
	}
	return st, nil
}

// serving finds a stream that stores and returns records; to such requests, one
// that is being created or deleted does not exist. mu is held.
func (s *Server) serving(r *streamRef) (*stream, *Fault) {
	st, f := s.lookup(r)
	if f != nil {
		return nil, f
	}
	if !st.serving() {
		return nil, s.streamNotFound(st.name, s.opts.Account)
	}
	return st, nil
}
