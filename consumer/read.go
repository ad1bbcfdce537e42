package consumer

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// read is the Source's Read; what it yields is noted for readability and the
// service's clock.
func (c *Consumer) read(
	ctx context.Context, shard gerritstream.ShardID, from gerritstream.Position,
) iter.Seq2[gerritstream.Page, error] {
	return func(yield func(gerritstream.Page, error) bool) {
		defer c.readability.forget(shard)
		for page, err := range c.cfg.Source.Read(ctx, shard, from) {
			switch {
			case err == nil:
				c.readability.page(shard)
				c.clock.saw(page.Now)
			case errors.Is(err, gerritstream.ErrRetrying):
				c.readability.retrying(shard)
			}
			if !yield(page, trouble.Mark(err, trouble.SourceFails)) {
				return
			}
		}
	}
}

// yielded is one pair that a Source yielded.
type yielded struct {
	page gerritstream.Page
	err  error
}

// pages is a reading that is ahead of its user by one page at most. The Source
// counts the pages' bytes.
type pages struct {
	ch     chan yielded
	cancel context.CancelFunc
}

// readAhead starts reading. The caller ranges over ch, releases every page, and
// calls close in the end.
func (c *Consumer) readAhead(ctx context.Context, shard gerritstream.ShardID, from gerritstream.Position) *pages {
	ctx, cancel := context.WithCancel(ctx)
	p := &pages{ch: make(chan yielded), cancel: cancel}
	go func() {
		defer close(p.ch)
		for page, err := range c.read(ctx, shard, from) {
			select {
			case p.ch <- yielded{page, err}:
			case <-ctx.Done():
				release(&page)
				return
			}
		}
	}()
	return p
}

// close ends the reading, waits for it, and releases what was read ahead.
func (p *pages) close() {
	p.cancel()
	for ahead := range p.ch {
		release(&ahead.page)
	}
}

// release gives a page's memory back.
func release(p *gerritstream.Page) {
	if p.Done != nil {
		p.Done()
	}
}

// sideReads are the reads outside a term: probes, and those beyond a foreign
// leader's checkpoint. A shard has one read at a time, so a side read ends when
// a term or another side read of its shard begins.
type sideReads struct {
	mu    sync.Mutex
	reads map[gerritstream.ShardID]*sideRead // under mu
}

type sideRead struct {
	cancel context.CancelFunc
	done   chan struct{} // closed once the read has ended
}

// stop ends the read, if there is one, and waits for its end.
func (r *sideRead) stop() {
	if r != nil {
		r.cancel()
		<-r.done
	}
}

// begin registers a read that uses the context returned, and calls end in the
// end.
func (s *sideReads) begin(
	ctx context.Context, shard gerritstream.ShardID, limit time.Duration,
) (_ context.Context, end func()) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	r := &sideRead{cancel, make(chan struct{})}
	s.mu.Lock()
	before := s.reads[shard]
	s.reads[shard] = r
	s.mu.Unlock()
	before.stop()
	return ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.reads[shard] == r {
			delete(s.reads, shard)
		}
		cancel()
		close(r.done)
	}
}

// stop ends the side read of a shard and waits for its end.
func (s *sideReads) stop(shard gerritstream.ShardID) {
	s.mu.Lock()
	r := s.reads[shard]
	s.mu.Unlock()
	r.stop()
}
