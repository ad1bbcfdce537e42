package consumer

import (
	"context"
	"iter"

	"github.com/gerritstream/gerritstream"
)

// page is one pair that a Source yielded.
type page struct {
	batch gerritstream.Page
	err   error
}

// pages is a reading that runs ahead of its consumer by one page at the most;
// the pages' bytes are counted by the Source.
type pages struct {
	ch     chan page
	cancel context.CancelFunc
}

// prefetch begins to read. The consumer ranges over ch, gives every page back
// with done, and calls close in the end.
func prefetch(ctx context.Context, read func(context.Context, gerritstream.ShardID, gerritstream.Position) iter.Seq2[gerritstream.Page, error], shard gerritstream.ShardID, from gerritstream.Position) *pages {
	ctx, cancel := context.WithCancel(ctx)
	p := &pages{ch: make(chan page), cancel: cancel}
	go func() {
		defer close(p.ch)
		for batch, err := range read(ctx, shard, from) {
			select {
			case p.ch <- page{batch, err}:
			case <-ctx.Done():
				p.done(&batch)
				return
			}
		}
	}()
	return p
}

// done gives a page's memory back.
func (p *pages) done(b *gerritstream.Page) {
	if b.Done != nil {
		b.Done()
	}
}

// close ends the reading, waits for it, and gives back what was read ahead.
func (p *pages) close() {
	p.cancel()
	for ahead := range p.ch {
		p.done(&ahead.batch)
	}
}
