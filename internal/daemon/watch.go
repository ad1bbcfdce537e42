package daemon

import (
	"context"
	"sync"

	"github.com/gerritstream/gerritstream"
)

// watchedSource is a Source that tells of its first listing.
type watchedSource struct {
	gerritstream.Source
	first func(context.Context) // called after the first listing
	once  sync.Once
}

// List passes a listing on.
func (w *watchedSource) List(ctx context.Context) (gerritstream.Listing, error) {
	listing, err := w.Source.List(ctx)
	if err == nil {
		w.once.Do(func() { w.first(ctx) })
	}
	return listing, err
}
