package api

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
)

// The bounds of a Feed.
const (
	Remembered = 2000 // verdicts

	maxLines   = 4096    // that wait for one onlooker
	maxPayload = 4 << 20 // bytes of theirs
	maxHeld    = 2000    // filtered records of a shard that wait for its commit
)

// seen is a verdict, without its payload.
type seen struct {
	entry  gerritstream.Entry // of a filtered record without its ID; the payload is nil
	filter string             // as in gerritstream.Verdict
	bad    string
	detail string
	at     time.Time
}

// line is a verdict for an onlooker. Onlookers share the payload.
type line struct {
	seen    seen
	payload []byte // nil: not copied
}

// Feed is a consumer.Observer that remembers the last verdicts and passes new
// ones on. A record counts as queued or dead once its commit is durable, and as
// filtered at once, or, to keep the order of the shard, after what is being
// committed. One that a process judged and did not commit is judged again by
// the next leader, so a filtered one may be seen twice.
type Feed struct {
	consumer.NopObserver

	shards   atomic.Pointer[map[gerritstream.ShardID]*shardFeed] // replaced under mu, never written to
	watching atomic.Int32                                        // onlookers that want payloads

	mu        sync.Mutex
	ring      []seen             // under mu; grows to Remembered
	next      int                // under mu: where the next one goes once the ring is full
	onlookers map[*onlooker]bool // under mu
}

// shardFeed is the order of one shard.
type shardFeed struct {
	mu      sync.Mutex
	pending int    // under mu: records judged that a commit is to carry
	held    []line // under mu: filtered after those
	bytes   int    // under mu: of their payloads
	missed  int    // under mu: filtered, and more than can be held
}

// NewFeed returns an empty Feed.
func NewFeed() *Feed {
	f := &Feed{onlookers: map[*onlooker]bool{}}
	f.shards.Store(&map[gerritstream.ShardID]*shardFeed{})
	return f
}

var _ consumer.Observer = (*Feed)(nil)

// shard returns the order of a shard. It runs for each record.
func (f *Feed) shard(id gerritstream.ShardID) *shardFeed {
	if s := (*f.shards.Load())[id]; s != nil {
		return s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	known := *f.shards.Load()
	if known[id] == nil {
		known = maps.Clone(known)
		known[id] = &shardFeed{}
		f.shards.Store(&known)
	}
	return known[id]
}

// Elected forgets what an earlier term of the shard did not commit.
func (f *Feed) Elected(shard gerritstream.ShardID, _ uint64, _ gerritstream.Position, _ bool) {
	f.shard(shard).forget()
}

// TermEnded forgets what the term did not commit.
func (f *Feed) TermEnded(shard gerritstream.ShardID, _ uint64, _ error) { f.shard(shard).forget() }

func (s *shardFeed) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending, s.held, s.bytes, s.missed = 0, nil, 0, 0
}

// Judged passes on what is filtered, unless that would overtake what is being
// committed.
func (f *Feed) Judged(shard gerritstream.ShardID, r *gerritstream.Record, v *gerritstream.Verdict) {
	s := f.shard(shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Bad != "" || v.Filter == "" {
		s.pending++
		return
	}
	n := seen{
		entry:  gerritstream.Entry{Shard: shard, Seq: r.Seq, Sub: r.Sub, Arrived: r.Arrived, Event: v.Event},
		filter: v.Filter, at: time.Now(),
	}
	switch {
	case s.pending > 0 && len(s.held) == maxHeld:
		s.missed++
	case s.pending > 0:
		l := line{seen: n}
		if f.watching.Load() > 0 && s.bytes+len(r.Data) <= maxPayload {
			l.payload = bytes.Clone(r.Data)
			s.bytes += len(r.Data)
		}
		s.held = append(s.held, l)
	default:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.publish(n, r.Data)
	}
}

// Committed passes on what a commit has made durable, and what was filtered
// between, in the order of the shard.
func (f *Feed) Committed(shard gerritstream.ShardID, _ uint64, c *gerritstream.Commit, _ time.Duration) {
	now, s := time.Now(), f.shard(shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending -= len(c.Entries)
	for i := range c.DeadLetters {
		if c.DeadLetters[i].Reason != gerritstream.ReasonRejected { // that one is an entry as well
			s.pending--
		}
	}
	s.pending = max(s.pending, 0)
	entries, dead, held := c.Entries, c.DeadLetters, s.settled(c)
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(entries)+len(dead)+len(held) > 0 {
		switch {
		case len(held) > 0 && before(&held[0].seen.entry, entries, dead):
			f.publish(held[0].seen, held[0].payload)
			held = held[1:]
		case len(entries) > 0 && (len(dead) == 0 || !isBefore(dead[0].Seq, dead[0].Sub, &entries[0])):
			e := &entries[0]
			n := seen{entry: *e, at: now}
			n.entry.Payload = nil
			f.publish(n, e.Payload)
			entries = entries[1:]
		default:
			d := &dead[0]
			f.publish(seen{
				entry: gerritstream.Entry{ID: d.ID, Shard: d.Shard, Seq: d.Seq, Sub: d.Sub, Arrived: d.Arrived},
				bad:   d.Reason, detail: d.Detail, at: now,
			}, d.Payload)
			dead = dead[1:]
		}
	}
	f.miss(s.missed)
	s.missed = 0
	s.unhold(c)
}

// isBefore reports whether a record is before an entry of its shard.
func isBefore(seq gerritstream.SequenceNumber, sub int, e *gerritstream.Entry) bool {
	return cmp.Or(seq.Compare(e.Seq), cmp.Compare(sub, e.Sub)) < 0
}

// before reports whether an entry is before the first of what is committed.
func before(e *gerritstream.Entry, entries []gerritstream.Entry, dead []gerritstream.DeadLetter) bool {
	return (len(entries) == 0 || isBefore(e.Seq, e.Sub, &entries[0])) &&
		(len(dead) == 0 || !isBefore(dead[0].Seq, dead[0].Sub, e))
}

// settled returns what was filtered before the end of a commit, or all of it if
// no more is to be committed. mu is held.
func (s *shardFeed) settled(c *gerritstream.Commit) []line {
	if s.pending == 0 {
		return s.held
	}
	for i := range s.held {
		if e := &s.held[i].seen.entry; !c.Position.Covers(e.Seq, e.Sub) {
			return s.held[:i]
		}
	}
	return s.held
}

// unhold forgets what settled returned. mu is held.
func (s *shardFeed) unhold(c *gerritstream.Commit) {
	n := len(s.settled(c))
	for i := range n {
		s.bytes -= len(s.held[i].payload)
	}
	rest := append(s.held[:0], s.held[n:]...)
	clear(s.held[len(rest):])
	s.held = rest
}

// Lost forgets what was filtered from a stream that was recreated: the events
// of the new one have other identities.
func (f *Feed) Lost(_ gerritstream.ShardID, i gerritstream.Interval) {
	if i.Why == gerritstream.WhyRecreated {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ring, f.next = nil, 0
	}
}

// publish remembers a verdict and gives it to the onlookers. mu is held.
func (f *Feed) publish(s seen, payload []byte) {
	at := f.next
	if len(f.ring) < Remembered {
		at = len(f.ring)
		f.ring = append(f.ring, s)
	} else {
		f.ring[at] = s
		f.next = (at + 1) % Remembered
	}
	var shared []byte
	for o := range f.onlookers {
		if !o.wants(&f.ring[at]) {
			continue
		}
		if o.payloads && shared == nil {
			shared = bytes.Clone(payload)
		}
		o.add(&f.ring[at], shared)
	}
}

// miss tells the onlookers that there was more. mu is held.
func (f *Feed) miss(n int) {
	for o := range f.onlookers {
		o.missed += n
	}
}

// onlooker is a client that looks on. Its list belongs to the Feed's mutex.
type onlooker struct {
	feed     *Feed
	wants    func(*seen) bool
	payloads bool

	lines  []line        // under feed.mu
	bytes  int           // under feed.mu: of their payloads
	missed int           // under feed.mu: since the last take
	wake   chan struct{} // has a token when there are lines
}

// add appends a line, or counts it as missed. It never waits. feed.mu is held.
func (o *onlooker) add(s *seen, payload []byte) {
	if !o.payloads {
		payload = nil
	}
	if len(o.lines) >= maxLines || len(o.lines) > 0 && o.bytes+len(payload) > maxPayload {
		o.missed++
	} else {
		o.lines = append(o.lines, line{*s, payload})
		o.bytes += len(payload)
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns what has come, and how many lines were missed after it.
func (o *onlooker) take() (lines []line, missed int) {
	o.feed.mu.Lock()
	defer o.feed.mu.Unlock()
	lines, missed = o.lines, o.missed
	o.lines, o.bytes, o.missed = nil, 0, 0
	return lines, missed
}

// look begins to look on: it returns the last of the verdicts remembered that
// are wanted, and an onlooker for those that come after them. The caller calls
// leave.
func (f *Feed) look(o *onlooker, most int) (past []line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.ring {
		s := &f.ring[(f.next+len(f.ring)-1-i)%len(f.ring)]
		if len(past) == most {
			break
		}
		if o.wants(s) {
			past = append(past, line{seen: *s})
		}
	}
	slices.Reverse(past)
	o.feed, o.wake = f, make(chan struct{}, 1)
	f.onlookers[o] = true
	if o.payloads {
		f.watching.Add(1)
	}
	return past
}

// Last returns the last verdicts that are remembered, the newest first, without
// payloads. Those on filtered records have no ID.
func (f *Feed) Last(most int) []Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	verdicts := make([]Verdict, 0, min(most, len(f.ring)))
	for i := range cap(verdicts) {
		s := &f.ring[(f.next+len(f.ring)-1-i)%len(f.ring)]
		verdict := gerritstream.Verdict{Filter: s.filter, Bad: s.bad, Detail: s.detail}
		verdicts = append(verdicts, NewVerdict(&s.entry, &verdict, s.at))
	}
	return verdicts
}

// leave ends looking on.
func (f *Feed) leave(o *onlooker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.onlookers, o)
	if o.payloads {
		f.watching.Add(-1)
	}
}
