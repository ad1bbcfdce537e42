package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/kinesis"
)

// reading measures readers of the embedded stream, and of the user's.
func (b *bench) reading(ctx context.Context) error {
	f, err := b.newBacklog()
	if err != nil {
		return err
	}
	defer f.close()
	source, err := f.source(ctx, func(c *kinesis.Config) { c.PollInterval = -1 })
	if err != nil {
		return err
	}
	readers := make([]*bareReader, feedShards)
	for i := range readers {
		readers[i] = f.bareReader()
		defer readers[i].close()
	}
	for _, shards := range []int{1, feedShards} {
		ours := func(ctx context.Context, d time.Duration) (sample, error) {
			return perShard(ctx, d, shards, func(ctx context.Context, i int) (int, error) {
				return readToTip(ctx, source, shardNamed(i))
			})
		}
		raw := func(ctx context.Context, d time.Duration) (sample, error) {
			return perShard(ctx, d, shards, func(ctx context.Context, i int) (int, error) {
				return receiveToTip(ctx, readers[i], i)
			})
		}
		if err := b.compare(ctx, "reading", plural(shards, "shard"), ours, raw); err != nil {
			return err
		}
	}
	if b.Stream {
		return b.readStream(ctx)
	}
	return nil
}

// perShard repeats what is done with each of the first shards until d has
// passed, and counts events. All shards have the same number of them.
func perShard(ctx context.Context, d time.Duration, shards int, once func(ctx context.Context, i int) (int, error),
) (sample, error) {
	watch, counts := startWatch(), make([]int, shards)
	all, ctx := errgroup.WithContext(ctx)
	for i := range shards {
		all.Go(func() error {
			for time.Since(watch.began) < d {
				n, err := once(ctx, i)
				if err != nil {
					return err
				}
				counts[i] += n
			}
			return nil
		})
	}
	err := all.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return watch.sample(total), err
}

var oldest = gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}

// readToTip reads a shard from its oldest record to its tip, and discards all.
func readToTip(ctx context.Context, source *kinesis.Source, shard gerritstream.ShardID) (events int, err error) {
	for page, err := range source.Read(ctx, shard, oldest) {
		if err != nil {
			return events, err
		}
		events += len(page.Records)
		if page.Done != nil {
			page.Done()
		}
		if page.Lag == 0 {
			break
		}
	}
	return events, nil
}

// receiveToTip receives the same pages.
func receiveToTip(ctx context.Context, r *bareReader, i int) (int, error) {
	next, err := r.seek(ctx, string(shardNamed(i)), "TRIM_HORIZON")
	for tip := false; err == nil && !tip; {
		next, tip, err = r.page(ctx, next)
	}
	return backlog / feedShards, err
}

// maxStreamShards is how many shards of a user's stream are read at most.
const maxStreamShards = 16

// What a shard grants all polling readers a second.
const (
	grantedBytes   = 2 << 20
	grantedRecords = 2000
)

// userStream is the user's stream: its reader, and the open shards that are
// read.
type userStream struct {
	source *kinesis.Source
	shards []gerritstream.Shard
}

// findStream lists the user's stream.
func (b *bench) findStream(ctx context.Context) error {
	c := b.Config.Kinesis
	c.Read = kinesis.ReadPoll // a subscription would be taken from the process that has it
	if b.Unpaced {
		c.PollInterval = -1
	}
	source, err := kinesis.New(ctx, c)
	if fault, ok := errors.AsType[*kinesis.Fault](err); ok {
		err = config.KinesisFault(fault)
	}
	if err != nil {
		return &daemon.ConfigError{Err: err}
	}
	listing, err := source.List(ctx)
	if err != nil {
		return fmt.Errorf("list the stream: %w", err)
	}
	open := slices.DeleteFunc(listing.Shards, func(s gerritstream.Shard) bool { return s.Last != "" })
	if len(open) > maxStreamShards {
		b.note("%s has %d open shards, of which %d are read", c.Stream, len(open), maxStreamShards)
		open = open[:maxStreamShards]
	}
	b.stream = userStream{source, open}
	b.report.Stream += "; " + listing.Stream.ARN
	return nil
}

// firstPage is how long the first page of the user's stream is waited for:
// where others take all reads of a shard, a reader gets one only by chance.
const firstPage = time.Minute

// readStream reads the user's stream from its oldest record on, and takes what
// it finds for the classification.
func (b *bench) readStream(ctx context.Context) error {
	shards := b.stream.shards
	limited, cancel := context.WithTimeout(ctx, firstPage)
	defer cancel()
	var first sync.Once
	var watch stopwatch // under first
	begin := func() {
		watch = startWatch()
		time.AfterFunc(b.Ceiling, cancel)
	}
	counts, sizes := make([]int, len(shards)), make([]int, len(shards))
	found := make([][][]byte, len(shards))
	var all errgroup.Group
	for i, shard := range shards {
		all.Go(func() error {
			for page, err := range b.stream.source.Peek(limited, shard.ID, oldest) {
				if err != nil && limited.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					return fmt.Errorf("read %s: %w", shard.ID, err)
				}
				first.Do(begin)
				for _, r := range page.Records {
					counts[i], sizes[i] = counts[i]+1, sizes[i]+len(r.Data)
					if len(found[i]) < madeUp {
						found[i] = append(found[i], slices.Clone(r.Data))
					}
				}
				if page.Done != nil {
					page.Done()
				}
				if page.Lag == 0 || page.End {
					return nil
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	b.events.theirs = slices.Concat(found...)
	b.addStream(watch, sum(counts), sum(sizes))
	return nil
}

// addStream adds what was read of the user's stream.
func (b *bench) addStream(watch stopwatch, records, size int) {
	s := watch.sample(records)
	kase := plural(len(b.stream.shards), "shard") + " of " + b.Config.Kinesis.Stream
	switch {
	case records == 0:
		b.note("No record of %s was read within %v", kase, firstPage)
		return
	case s.took < b.Ceiling/2 && !b.Unpaced:
		b.note("In %s there are %d records, too few to see at which pace they are read", kase, records)
		return
	}
	figure := Figure{Name: "reading", Case: kase, Unit: UnitRate, Ours: s.rate(), CPU: s.cpuEach()}
	if !b.Unpaced {
		mean := float64(size) / float64(records)
		figure.Raw = float64(len(b.stream.shards)) * min(grantedBytes/mean, grantedRecords)
		figure.Ratio = figure.Ours / figure.Raw
	}
	b.add(figure)
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

// plural writes a count of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// classification measures what is done with each record before it is
// committed.
func (b *bench) classification(ctx context.Context) error {
	if err := b.classify(ctx, "made up", b.events.payloads); err != nil {
		return err
	}
	if len(b.events.theirs) == 0 {
		return nil
	}
	return b.classify(ctx, "of "+b.Config.Kinesis.Stream, b.events.theirs)
}

func (b *bench) classify(ctx context.Context, kase string, payloads [][]byte) error {
	classify := newClassifier()
	over := func(one func(payload []byte)) side {
		return func(ctx context.Context, d time.Duration) (sample, error) {
			n := 0
			watch := startWatch()
			for ; time.Since(watch.began) < d && ctx.Err() == nil; n += len(payloads) {
				for _, payload := range payloads {
					one(payload)
				}
			}
			return watch.sample(n), ctx.Err()
		}
	}
	return b.compare(ctx, "classification", kase,
		over(func(p []byte) { classify("", &gerritstream.Record{Data: p}) }), over(func(p []byte) { json.Valid(p) }))
}
