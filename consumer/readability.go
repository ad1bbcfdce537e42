package consumer

import (
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

const (
	unreadableAfter = 60 * time.Second // how long a process tries to read, without a page, before it is unreadable
	probeLimit      = 10 * time.Second // how long a probe may take
)

// readability is whether this process can read the stream. Only what the Source
// says counts: a page, or that it is retrying (ErrRetrying). While the Source
// is not asked, because a sink, a commit or the memory budget stalls the shard,
// nothing changes.
//
// An unreadable process leads nothing as long as another member is readable. It
// probes now and then: a page makes it readable again.
type readability struct {
	c *Consumer

	// What follows belongs to the supervisor's goroutine.
	shown   bool      // unreadable, as shown and logged last
	probing bool      // a probe is in progress
	probes  int       // so far
	probeAt time.Time // local: when to probe next
	retry   backoff   // between probes

	mu         sync.Mutex
	unreadable bool                             // under mu
	lastPage   time.Time                        // under mu: local, of any shard
	retries    map[gerritstream.ShardID]retries // under mu: of the shards without a page since
}

// retries is when a Source reported a retry first and last, without a page in
// between.
type retries struct{ first, last time.Time }

// page notes that a page was read.
func (r *readability) page(shard gerritstream.ShardID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastPage = time.Now()
	delete(r.retries, shard)
	if r.unreadable {
		r.unreadable = false
		r.c.replan()
	}
}

// retrying notes that a shard cannot be read for now.
func (r *readability) retrying(shard gerritstream.ShardID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	s, ok := r.retries[shard]
	if !ok {
		s.first = now
	}
	s.last = now
	r.retries[shard] = s
}

// forget notes that a shard is not read any more.
func (r *readability) forget(shard gerritstream.ShardID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.retries, shard)
}

// isStalled reports whether no page of any shard has come for unreadableAfter,
// while the Source retried for that long. The caller holds mu.
func (r *readability) isStalled() bool {
	if time.Since(r.lastPage) < unreadableAfter {
		return false
	}
	for _, s := range r.retries {
		if s.last.Sub(s.first) >= unreadableAfter {
			return true
		}
	}
	return false
}

func (r *readability) isUnreadable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unreadable
}

// judge declares this process unreadable when it is stalled and another member
// can read, and shows each change.
func (r *readability) judge(othersRead bool) {
	r.mu.Lock()
	if !r.unreadable && r.isStalled() && othersRead {
		r.unreadable = true
		r.retry.reset()
		r.probeAt = time.Now().Add(r.retry.next())
	}
	unreadable := r.unreadable
	r.mu.Unlock()
	if unreadable == r.shown {
		return
	}
	r.shown = unreadable
	r.c.tracker.set(func(s *gerritstream.Status) { s.Unreadable = unreadable })
	if unreadable {
		r.c.log.Warn("cannot read from Kinesis; handing shards to other members", "for", unreadableAfter)
	} else {
		r.c.log.Info("reading from Kinesis works again")
	}
}

// nextProbe returns when to probe next, by the local clock; zero: not for now.
func (r *readability) nextProbe() time.Time {
	if !r.shown || r.probing {
		return time.Time{}
	}
	return r.probeAt
}

// startProbe tries to read one page, from its tip on, of a shard that nobody
// here reads, and commits nothing.
func (s *supervisor) startProbe(steps []plan.Step) {
	r := s.c.readability
	if !r.isUnreadable() || r.probing || time.Now().Before(r.probeAt) {
		return
	}
	var shards []gerritstream.ShardID
	for _, step := range steps {
		paused, _ := s.c.paused.of(step.Shard)
		if step.State == plan.Runnable && s.workers[step.Shard] == nil && !paused {
			shards = append(shards, step.Shard)
		}
	}
	if len(shards) == 0 { // all are read here, and the next page will do, or paused
		return
	}
	r.probes++
	shard := shards[r.probes%len(shards)]
	from := gerritstream.StartingPosition{Time: s.view.listing.Now.Add(time.Since(s.view.listed) - plan.LatestSlack)}
	r.probing = true
	s.tasks.start(func() {
		ctx, end := s.c.sideReads.begin(s.tasks.ctx, shard, probeLimit)
		defer end()
		for page, err := range s.cfg.Source.Peek(ctx, shard, gerritstream.Position{From: from}) {
			if err == nil {
				r.page(shard)
			}
			release(&page)
			return
		}
	}, func() (time.Duration, error) {
		r.probing = false
		r.probeAt = time.Now().Add(r.retry.next())
		return planDebounce, nil
	})
}
