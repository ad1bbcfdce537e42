package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/kinesis"
)

// queueing measures the whole of it: the embedded stream into the store.
func (b *bench) queueing(ctx context.Context) (err error) {
	f, err := b.newBacklog()
	if err != nil {
		return err
	}
	defer f.close()
	raw, closeRaw, err := b.newBare(ctx, feedShards, b.limits.Items)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRaw()) }()
	pass := 0
	ours := func(ctx context.Context, _ time.Duration) (sample, error) {
		pass++
		return b.queueBacklog(ctx, f, fmt.Sprintf("queueing%d", pass))
	}
	return b.compare(ctx, "queueing", plural(feedShards, "shard"), ours, raw.run)
}

// queueBacklog has a consumer queue all events of a feed in a new store. The
// watch runs from the first page to the last commit.
func (b *bench) queueBacklog(ctx context.Context, f *feed, part string) (s sample, err error) {
	source, err := f.source(ctx, func(c *kinesis.Config) { c.PollInterval = -1 })
	if err != nil {
		return s, err
	}
	count := &counter{all: make(chan struct{})}
	err = b.consume(ctx, part, consumer.Config{
		Source: source, Observer: count, StartAt: gerritstream.StartingPosition{TrimHorizon: true},
	}, func(ctx context.Context, ended <-chan struct{}) {
		select {
		case <-count.all:
		case <-ctx.Done():
		case <-ended:
		}
	})
	count.mu.Lock()
	defer count.mu.Unlock()
	if err == nil && count.committed < backlog {
		err = errors.Join(ctx.Err(), fmt.Errorf("%d of %d events were queued", count.committed, backlog))
	}
	return count.sample, err
}

// consume runs a consumer on a new part for as long as while takes, and drops
// the part.
func (b *bench) consume(ctx context.Context, part string, c consumer.Config,
	while func(ctx context.Context, ended <-chan struct{})) (err error) {
	defer func() { err = errors.Join(err, b.target.drop(context.WithoutCancel(ctx), part)) }()
	store, err := b.open(ctx, part)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore(ctx, store)) }()
	c.Store, c.Classify = store, newClassifier()
	runs, err := consumer.New(c)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	var failed error
	go func() {
		defer close(ended)
		failed = runs.Run(running)
	}()
	while(ctx, ended)
	stop()
	<-ended
	return failed
}

// counter is an Observer that measures from the first page to the last event.
type counter struct {
	consumer.NopObserver
	mu        sync.Mutex
	watch     stopwatch     // under mu; zero: nothing was read yet
	committed int           // under mu
	sample    sample        // under mu; set once all is committed
	all       chan struct{} // closed then
}

// PageRead starts the watch.
func (c *counter) PageRead(gerritstream.ShardID, *gerritstream.Page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch.began.IsZero() {
		c.watch = startWatch()
	}
}

// Committed counts events.
func (c *counter) Committed(_ gerritstream.ShardID, _ uint64, commit *gerritstream.Commit, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.committed
	c.committed += len(commit.Entries)
	if before < backlog && c.committed >= backlog {
		c.sample = c.watch.sample(c.committed)
		close(c.all)
	}
}
