package gerritstream

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"
)

// unreadableAfter is for how long a process must have read nothing, and tried,
// before it calls itself unreadable.
const unreadableAfter = 60 * time.Second

// reach is whether this process can read the stream. Only what the Source says
// counts: a page, or that it is waiting because of trouble (ErrRetrying). While
// the Source is not asked, because a sink, a commit or the memory budget hold
// up the shard, it says nothing, and nothing changes.
type reach struct {
	mu       sync.Mutex
	blind    bool              // under mu: the process has declared itself unreadable
	lastPage time.Time         // under mu: local, of any shard
	troubles map[ShardID]spell // under mu: of the shards that have got no page since
	regained func()            // called when a page ends blindness
}

// spell is when a Source said first and last, without a page in between, that
// it is retrying.
type spell struct{ first, last time.Time }

// page notes that a page was read.
func (s *reach) page(shard ShardID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastPage = time.Now()
	delete(s.troubles, shard)
	if s.blind {
		s.blind = false
		s.regained()
	}
}

// retrying notes that a shard cannot be read for now.
func (s *reach) retrying(shard ShardID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	t, ok := s.troubles[shard]
	if !ok {
		t.first = now
	}
	t.last = now
	if s.troubles == nil {
		s.troubles = map[ShardID]spell{}
	}
	s.troubles[shard] = t
}

// forget notes that a shard is not read any more.
func (s *reach) forget(shard ShardID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.troubles, shard)
}

// stalled reports whether no page of any shard has come for as long as it
// takes, while the Source said that it tried.
func (s *reach) stalled() bool {
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
func (s *reach) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blind = true
}

func (s *reach) isBlind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blind
}

// watchedRead is the Source's Read, taken note of.
func (l *Listener) watchedRead(ctx context.Context, shard ShardID, from Position) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		defer l.reach.forget(shard)
		for batch, err := range l.cfg.Source.Read(ctx, shard, from) {
			switch {
			case err == nil:
				l.reach.page(shard)
				l.clock.saw(batch.Now)
			case errors.Is(err, ErrRetrying):
				l.reach.retrying(shard)
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
	shard  ShardID
	cancel context.CancelFunc
}

// probe tries to read one page of a shard that nobody here reads, from its tip
// on, and commits nothing. The page makes the process readable again.
func (s *supervisor) startProbe(ctx context.Context, steps []Step) {
	if !s.reach.isBlind() || s.probing != nil || time.Now().Before(s.probeAt) {
		return
	}
	var shards []ShardID
	for _, step := range steps {
		if step.Action == ActionRun && s.workers[step.Shard] == nil {
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
	from := Position{From: StartPoint{Time: s.listing.Now.Add(time.Since(s.listed) - latestSlack)}}
	go func() {
		defer func() { s.probed <- p }()
		for batch, err := range s.cfg.Source.Read(ctx, p.shard, from) {
			if err == nil {
				s.reach.page(p.shard)
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
