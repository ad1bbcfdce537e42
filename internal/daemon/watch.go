package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/kinesis"
)

const (
	watchPace  = time.Second      // between reads of a shard: others need its reads more
	watchLists = 30 * time.Second // between listings, for shards that are new
)

// Watched is a record of the stream and what the filter makes of it.
type Watched struct {
	Entry   gerritstream.Entry
	Verdict gerritstream.Verdict
}

// WatchOptions say what Watch reads.
type WatchOptions struct {
	Config  *config.Config
	Since   time.Time   // zero: from now on
	Stop    bool        // end at the tip instead of waiting for more
	Trouble func(error) // called when something fails that is tried again, by one goroutine at a time
}

// Watch reads the stream without a store: it elects nobody and writes nothing.
// Each shard is read once a second at most. An error is the last pair; none
// follows the end of ctx.
func Watch(ctx context.Context, o WatchOptions) iter.Seq2[Watched, error] {
	return func(yield func(Watched, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		w := &watch{options: o, records: make(chan Watched), ended: make(chan struct{}, 1)}
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel(nil)
		running.Go(func() {
			defer close(w.records)
			if err := w.run(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
		for r := range w.records {
			if !yield(r, nil) {
				return
			}
		}
		if err := context.Cause(ctx); err != nil && !errors.Is(err, ctx.Err()) {
			yield(Watched{}, err)
		}
	}
}

// watch is one Watch.
type watch struct {
	options  WatchOptions
	source   *kinesis.Source
	classify gerritstream.Classifier
	records  chan Watched
	ended    chan struct{} // has a token when a shard has ended

	mu sync.Mutex // guards calls of Trouble
}

// run reads every shard there is, and those that come.
func (w *watch) run(ctx context.Context) error {
	c := w.options.Config
	settings := c.Kinesis
	settings.PollInterval = watchPace
	filter, err := gerrit.NewFilter(c.Filter)
	if err != nil {
		return &ConfigError{fmt.Errorf("make filter: %w", err)}
	}
	w.classify = NewClassifier(filter, nil)
	if w.source, err = kinesis.New(ctx, settings); err != nil {
		return sourceFault(err)
	}
	listing, err := w.source.List(ctx)
	if err != nil {
		return fmt.Errorf("list the stream: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel(nil)
	seen := map[gerritstream.ShardID]bool{}
	from := gerritstream.StartingPosition{Time: listing.Now}
	if !w.options.Since.IsZero() {
		from.Time = w.options.Since
	}
	lists := time.NewTicker(watchLists)
	defer lists.Stop()
	for {
		stream, begin := listing.Stream, from
		for i := range listing.Shards {
			shard := &listing.Shards[i]
			isOver := shard.Last != "" && w.options.Since.IsZero() // it has nothing new
			if !seen[shard.ID] && !isOver {
				reading.Go(func() {
					if err := w.follow(ctx, stream, shard.ID, begin); err != nil {
						cancel(err)
					}
				})
			}
			seen[shard.ID] = true
		}
		from = gerritstream.StartingPosition{TrimHorizon: true} // a shard that is new from here on
		if w.options.Stop {
			reading.Wait()
			return context.Cause(ctx)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-lists.C:
		case <-w.ended:
		}
		if next, err := w.source.List(ctx); err == nil {
			listing = next
		} else if ctx.Err() == nil {
			w.trouble(fmt.Errorf("list the stream: %w", err))
		}
	}
}

// follow reads a shard to its end.
func (w *watch) follow(ctx context.Context, stream gerritstream.Stream, shard gerritstream.ShardID,
	from gerritstream.StartingPosition,
) error {
	for page, err := range w.source.Peek(ctx, shard, gerritstream.Position{From: from}) {
		if errors.Is(err, gerritstream.ErrRetrying) {
			w.trouble(err)
			continue
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, gerritstream.ErrShardNotFound) {
				return nil
			}
			return fmt.Errorf("read %s: %w", shard, err)
		}
		next := time.NewTimer(watchPace)
		goOn := w.pass(ctx, stream, shard, &page)
		if page.Done != nil {
			page.Done()
		}
		switch {
		case !goOn || w.options.Stop && page.Lag == 0:
			next.Stop()
			return nil
		case page.End:
			next.Stop()
			select {
			case w.ended <- struct{}{}:
			default:
			}
			return nil
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return nil
		}
	}
	return nil
}

// pass classifies the records of a page and passes them on. It returns false
// once ctx has ended.
func (w *watch) pass(ctx context.Context, stream gerritstream.Stream, shard gerritstream.ShardID,
	page *gerritstream.Page,
) bool {
	for i := range page.Records {
		r := &page.Records[i]
		verdict := gerritstream.Verdict{Bad: r.Bad, Detail: r.Detail}
		if r.Bad == "" {
			verdict = w.classify(shard, r)
		}
		watched := Watched{Verdict: verdict, Entry: gerritstream.Entry{
			ID:    gerritstream.NewEventID(stream, shard, r.Seq, r.Sub),
			Shard: shard, Seq: r.Seq, Sub: r.Sub, Arrived: r.Arrived, Event: verdict.Event,
			Payload: bytes.Clone(r.Data),
		}}
		select {
		case w.records <- watched:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (w *watch) trouble(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.options.Trouble != nil {
		w.options.Trouble(err)
	}
}
