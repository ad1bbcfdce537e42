package consumer

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

// unreadableAfter is for how long a process must have read nothing, and tried,
// before it calls itself unreadable.
const unreadableAfter = 60 * time.Second

// readability is whether this process can read the stream. Only what the Source says
// counts: a page, or that it is waiting because of trouble (ErrRetrying). While
// the Source is not asked, because a sink, a commit or the memory budget hold
// up the shard, it says nothing, and nothing changes.
type readability struct {
	mu         sync.Mutex
	unreadable bool                           // under mu: the process has declared itself unreadable
	lastPage   time.Time                      // under mu: local, of any shard
	troubles   map[gerritstream.ShardID]spell // under mu: of the shards that have got no page since
	regained   func()                         // called when a page ends blindness
}

// spell is when a Source said first and last, without a page in between, that
// it is retrying.
type spell struct{ first, last time.Time }

// page notes that a page was read.
func (s *readability) page(shard gerritstream.ShardID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastPage = time.Now()
	delete(s.troubles, shard)
	if s.unreadable {
		s.unreadable = false
		s.regained()
	}
}

// retrying notes that a shard cannot be read for now.
func (s *readability) retrying(shard gerritstream.ShardID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	t, ok := s.troubles[shard]
	if !ok {
		t.first = now
	}
	t.last = now
	if s.troubles == nil {
		s.troubles = map[gerritstream.ShardID]spell{}
	}
	s.troubles[shard] = t
}

// forget notes that a shard is not read any more.
func (s *readability) forget(shard gerritstream.ShardID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.troubles, shard)
}

// stalled reports whether no page of any shard has come for as long as it
// takes, while the Source said that it tried.
func (s *readability) stalled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.lastPage) < unreadableAfter {
		return false
	}
	for _, t := range s.troubles {
		if t.last.Sub(t.first) >= unreadableAfter {
			return true
		}
	}
	return false
}

// lose declares the process unreadable, until the next page.
func (s *readability) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unreadable = true
}

func (s *readability) isUnreadable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unreadable
}

// watchedRead is the Source's Read, taken note of.
func (l *Consumer) watchedRead(ctx context.Context, shard gerritstream.ShardID, from gerritstream.Position) iter.Seq2[gerritstream.Page, error] {
	return func(yield func(gerritstream.Page, error) bool) {
		defer l.readability.forget(shard)
		for batch, err := range l.cfg.Source.Read(ctx, shard, from) {
			switch {
			case err == nil:
				l.readability.page(shard)
				l.clock.saw(batch.Now)
			case errors.Is(err, gerritstream.ErrRetrying):
				l.readability.retrying(shard)
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

// probeLimit is how long a probe may take.
const probeLimit = 10 * time.Second

// probe is one attempt to read, by a process that calls itself unreadable.
type probe struct {
	shard  gerritstream.ShardID
	cancel context.CancelFunc
}

// probe tries to read one page of a shard that nobody here reads, from its tip
// on, and commits nothing. The page makes the process readable again.
func (s *supervisor) startProbe(ctx context.Context, steps []plan.Step) {
	if !s.c.readability.isUnreadable() || s.probing != nil || time.Now().Before(s.probeAt) {
		return
	}
	var shards []gerritstream.ShardID
	for _, step := range steps {
		if step.State == plan.Runnable && s.workers[step.Shard] == nil {
			shards = append(shards, step.Shard)
		}
	}
	if len(shards) == 0 {
		return // all is read here: the next page tells
	}
	s.probes++
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	p := &probe{shard: shards[s.probes%len(shards)], cancel: cancel}
	s.probing = p
	from := gerritstream.Position{From: gerritstream.StartingPosition{Time: s.listing.Now.Add(time.Since(s.listed) - plan.LatestSlack)}}
	go func() {
		defer func() { s.probed <- p }()
		for batch, err := range s.c.cfg.Source.Read(ctx, p.shard, from) {
			if err == nil {
				s.c.readability.page(p.shard)
			}
			if batch.Done != nil {
				batch.Done()
			}
			return
		}
	}()
}

// endProbe waits for the end of a probe.
func (s *supervisor) endProbe() {
	if s.probing != nil {
		s.probing.cancel()
		s.dropProbe(<-s.probed)
	}
}

// dropProbe takes in that a probe has ended, and sets the time for the next.
func (s *supervisor) dropProbe(p *probe) {
	p.cancel()
	s.probing = nil
	s.probeAt = time.Now().Add(s.probeRetry.next())
}
