package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
)

// watchedSource is a Source that remembers the retention that was listed last, for metrics, and tells of the first listing.
type watchedSource struct {
	gerritstream.Source
	first func(context.Context) // called after the first listing

	mu        sync.Mutex
	listed    bool          // under mu
	retention time.Duration // under mu
}

// List passes a listing on.
func (w *watchedSource) List(ctx context.Context) (gerritstream.Listing, error) {
	listing, err := w.Source.List(ctx)
	if err != nil {
		return listing, err
	}
	w.mu.Lock()
	first := !w.listed
	w.listed, w.retention = true, listing.Retention
	w.mu.Unlock()
	if first {
		w.first(ctx)
	}
	return listing, nil
}

// keeps returns the stream's retention; ok is false before the first listing.
func (w *watchedSource) keeps() (retention time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.retention, w.listed
}
