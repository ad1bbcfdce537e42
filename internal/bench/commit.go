package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// heldAtMost is how many events a queue holds at most, about: it is emptied
// between two turns.
const heldAtMost = 20_000

// tryStore finds out, before anything is measured, that the store can be used,
// and how much it takes at once.
func (b *bench) tryStore(ctx context.Context) error {
	c, err := b.newCommitter(ctx, 1, 1)
	if err != nil {
		return fmt.Errorf("try the store: %w", err)
	}
	b.limits = c.terms[0].Limits()
	for _, batch := range b.Batches {
		if batch > b.limits.Items && b.wants("commit") {
			err = &daemon.ConfigError{Err: fmt.Errorf("--batches %d is more than %s takes at once: %d events",
				batch, b.Config.Store.String(), b.limits.Items)}
		}
	}
	return errors.Join(err, c.close(ctx))
}

// commits measures commits by size and by the number of shards.
func (b *bench) commits(ctx context.Context) error {
	for _, shards := range b.Shards {
		for _, batch := range b.Batches {
			if err := b.commitsOf(ctx, shards, batch); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) commitsOf(ctx context.Context, shards, batch int) (err error) {
	ours, err := b.newCommitter(ctx, shards, batch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.close(ctx)) }()
	raw, closeRaw, err := b.newBare(ctx, shards, batch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRaw()) }()
	return b.compare(ctx, "commit", fmt.Sprintf("%s x %s", plural(batch, "event"), plural(shards, "shard")),
		ours.run, raw.run)
}

// committer commits events through a store.
type committer struct {
	bench *bench
	store config.OpenStore
	terms []gerritstream.Term
	batch int
	done  []int // events of each shard
}

const committerPart = "commit"

func (b *bench) newCommitter(ctx context.Context, shards, batch int) (c *committer, err error) {
	c = &committer{bench: b, batch: batch, done: make([]int, shards)}
	if c.store, err = b.open(ctx, committerPart); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close(ctx))
		}
	}()
	if err = c.store.SetOrigin(ctx, nil, gerritstream.Origin{Stream: madeUpStream}); err != nil {
		return c, err
	}
	for i := range shards {
		term, err := c.store.Campaign(ctx, 0, shardNamed(i))
		if err != nil {
			return c, err
		}
		c.terms = append(c.terms, term)
	}
	return c, nil
}

func (c *committer) close(ctx context.Context) error {
	return errors.Join(closeStore(ctx, c.store), c.bench.target.drop(ctx, committerPart))
}

// run commits for d, each shard as fast as it can.
func (c *committer) run(ctx context.Context, d time.Duration) (sample, error) {
	s, err := untilFull(ctx, d, len(c.terms), func(ctx context.Context, i int) (int, error) {
		shard := shardNamed(i)
		entries := c.bench.events.entries(shard, c.done[i], c.batch)
		c.done[i] += c.batch
		last := &entries[c.batch-1]
		return c.batch, c.terms[i].Commit(ctx, gerritstream.Commit{
			Position: gerritstream.Position{After: last.Seq, Arrived: last.Arrived}, Entries: entries,
			Now: last.Arrived,
		})
	})
	if err != nil {
		return s, err
	}
	return s, c.bench.target.empty(ctx, committerPart)
}

// untilFull repeats a commit in each of some goroutines until d has passed or
// the queue is full.
func untilFull(ctx context.Context, d time.Duration, writers int, commit func(ctx context.Context, i int) (int, error),
) (sample, error) {
	var total atomic.Int64
	watch := startWatch()
	all, ctx := errgroup.WithContext(ctx)
	for i := range writers {
		all.Go(func() error {
			for time.Since(watch.began) < d && total.Load() < heldAtMost {
				if err := ctx.Err(); err != nil {
					return err
				}
				n, err := commit(ctx, i)
				if err != nil {
					return err
				}
				total.Add(int64(n))
			}
			return nil
		})
	}
	err := all.Wait()
	return watch.sample(int(total.Load())), err
}

// bareWriter writes events by a bare client.
type bareWriter struct {
	bench         *bench
	client        bareClient
	writers, each int
	shards        int   // of one writer
	done          []int // events of each writer
}

const barePart = "bare"

// newBare returns a writer as a bare client does it best.
func (b *bench) newBare(ctx context.Context, shards, batch int) (w *bareWriter, closed func() error, err error) {
	client, err := b.target.bare(ctx, barePart)
	if err != nil {
		return nil, nil, errors.Join(err, b.target.drop(context.WithoutCancel(ctx), barePart))
	}
	w = &bareWriter{bench: b, client: client}
	w.writers, w.each = client.writers(shards, batch)
	w.shards, w.done = shards/w.writers, make([]int, w.writers)
	return w, func() error {
		client.close()
		return b.target.drop(context.WithoutCancel(ctx), barePart)
	}, nil
}

func (w *bareWriter) run(ctx context.Context, d time.Duration) (sample, error) {
	s, err := untilFull(ctx, d, w.writers, func(ctx context.Context, i int) (int, error) {
		entries := w.bench.events.entries(shardNamed(i), w.done[i], w.each)
		w.done[i] += w.each
		return w.each, w.client.commit(ctx, i, w.shards, entries)
	})
	if err != nil {
		return s, err
	}
	return s, w.client.empty(ctx)
}
