package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// bareGap is the time from the reply to a read of a shard until the next one:
// the least that Kinesis grants, and a little.
const bareGap = 205 * time.Millisecond

// settle is how long a consumer gets to be at the tip before events come, and
// to commit the last ones.
const settle = 2 * time.Second

// delay measures how long events take at the tip.
func (b *bench) delay(ctx context.Context) error {
	if b.Stream {
		return b.delayOfStream(ctx)
	}
	f, err := newFeed(kinesistest.Options{}, feedShards)
	if err != nil {
		return err
	}
	defer f.close()
	other, err := newFeed(kinesistest.Options{}, feedShards)
	if err != nil {
		return err
	}
	defer other.close()
	source, err := f.source(ctx, func(c *kinesis.Config) {
		c.PollInterval, c.Read, c.ConsumerName = b.Config.Kinesis.PollInterval, b.Config.Kinesis.Read, "bench"
	})
	if err != nil {
		return err
	}
	raw := &bareDelay{bench: b, feed: other, arrivals: newArrivals(), handed: make(chan handed, 1000)}
	ours := &delays{arrivals: newArrivals()}
	var failed error
	err = b.consume(ctx, "delay", consumer.Config{
		Source: source, Observer: ours, StartAt: gerritstream.StartingPosition{TrimHorizon: true},
	}, func(ctx context.Context, ended <-chan struct{}) {
		failed = raw.beside(ctx, func(ctx context.Context) error { return b.publish(ctx, ended, f, ours, raw) })
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	b.add(timed("delay", fmt.Sprintf("%d events/s, %s", b.Rate, b.Config.Kinesis.Read),
		ours.arrivals.times(), raw.arrivals.times()))
	if n := ours.arrivals.missing(); n > 0 && ctx.Err() == nil {
		return fmt.Errorf("%d events were not committed within %v", n, settle)
	}
	return nil
}

// publish puts events at a steady rate, the same ones to both.
func (b *bench) publish(ctx context.Context, ended <-chan struct{}, f *feed, ours *delays, raw *bareDelay) error {
	if !sleep(ctx, ended, settle) {
		return ctx.Err()
	}
	tick := time.NewTicker(time.Second / time.Duration(b.Rate))
	defer tick.Stop()
	over := time.NewTimer(b.Delay)
	defer over.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-over.C:
			sleep(ctx, ended, settle)
			return ctx.Err()
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		payload, key := b.events.payloads[n%madeUp], b.events.keys[n%madeUp]
		if err := ours.arrivals.put(f, key, payload); err != nil {
			return err
		}
		if b.Config.Kinesis.Read == kinesis.ReadPoll {
			if err := raw.arrivals.put(raw.feed, key, payload); err != nil {
				return err
			}
			continue
		}
		select {
		case raw.handed <- handed{n, time.Now()}:
		default: // the bare client is late: it then measures fewer
		}
	}
}

// sleep waits, unless ctx or the consumer ends.
func sleep(ctx context.Context, ended <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ended:
	case <-ctx.Done():
	}
	return false
}

// place is where a record lies.
type place struct {
	shard gerritstream.ShardID
	seq   gerritstream.SequenceNumber
}

// arrivals are the records that were put, and how long those took that were
// committed.
type arrivals struct {
	mu   sync.Mutex
	at   map[place]time.Time // under mu: those that are not committed
	took []time.Duration     // under mu
}

func newArrivals() *arrivals { return &arrivals{at: map[place]time.Time{}} }

// put puts a record. Nobody learns that it was committed before it is noted.
func (a *arrivals) put(f *feed, key string, payload []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	shard, seq, err := f.server.Put(streamName, key, payload)
	a.at[place{gerritstream.ShardID(shard), gerritstream.SequenceNumber(seq)}] = time.Now()
	return err
}

func (a *arrivals) committed(p place, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.at[p]; ok {
		a.took = append(a.took, now.Sub(at))
		delete(a.at, p)
	}
}

func (a *arrivals) times() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.took
}

func (a *arrivals) missing() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at)
}

// delays is an Observer that notes what was committed.
type delays struct {
	consumer.NopObserver
	arrivals *arrivals
}

// Committed notes when.
func (d *delays) Committed(_ gerritstream.ShardID, _ uint64, c *gerritstream.Commit, _ time.Duration) {
	now := time.Now()
	for i := range c.Entries {
		d.arrivals.committed(place{c.Entries[i].Shard, c.Entries[i].Seq}, now)
	}
}

// handed is an event that a bare client is handed.
type handed struct {
	n  int
	at time.Time
}

// bareDelay is the bare client beside the consumer.
type bareDelay struct {
	bench    *bench
	feed     *feed
	arrivals *arrivals
	handed   chan handed

	mu     sync.Mutex // held by who writes, where the client takes one at a time
	client bareClient
}

// beside runs the bare client while do runs.
func (d *bareDelay) beside(ctx context.Context, do func(context.Context) error) (err error) {
	w, closed, err := d.bench.newBare(ctx, feedShards, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	d.client = w.client
	all, running := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(running)
	all.Go(func() error {
		defer stop()
		return do(running)
	})
	if d.bench.Config.Kinesis.Read == kinesis.ReadPoll {
		for i := range feedShards {
			all.Go(func() error { return d.poll(running, i) })
		}
	} else {
		all.Go(func() error { return d.receive(running) })
	}
	return all.Wait()
}

// poll reads a shard until ctx ends, and writes what comes.
func (d *bareDelay) poll(ctx context.Context, i int) error {
	r := d.feed.bareReader()
	defer r.close()
	next, err := r.seek(ctx, string(shardNamed(i)), "TRIM_HORIZON")
	var answered time.Time // a read counts from when it arrived, which was before
	for err == nil && sleep(ctx, nil, bareGap-time.Since(answered)) {
		if next, _, err = r.page(ctx, next); err == nil {
			answered = time.Now()
			err = d.write(ctx, i, r.reply.Bytes())
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// write writes the records of a page.
func (d *bareDelay) write(ctx context.Context, i int, reply []byte) error {
	var page struct {
		Records []struct {
			SequenceNumber gerritstream.SequenceNumber
			Data           []byte
		}
	}
	if bytes.HasPrefix(reply, []byte(`{"Records":[]`)) {
		return nil
	}
	if err := json.Unmarshal(reply, &page); err != nil {
		return err
	}
	entries := make([]gerritstream.Entry, len(page.Records))
	for k, r := range page.Records {
		entries[k] = gerritstream.Entry{
			ID:    gerritstream.NewEventID(madeUpStream, shardNamed(i), r.SequenceNumber, gerritstream.NoSub),
			Shard: shardNamed(i), Seq: r.SequenceNumber, Sub: gerritstream.NoSub, Arrived: time.Now(), Payload: r.Data,
		}
	}
	if err := d.commit(ctx, i, entries); err != nil {
		return err
	}
	now := time.Now()
	for k := range entries {
		d.arrivals.committed(place{entries[k].Shard, entries[k].Seq}, now)
	}
	return nil
}

// commit writes entries, one commit at a time where the client has one writer.
func (d *bareDelay) commit(ctx context.Context, i int, entries []gerritstream.Entry) error {
	if writers, _ := d.client.writers(feedShards, 1); writers == 1 {
		d.mu.Lock()
		defer d.mu.Unlock()
	}
	return d.client.commit(ctx, i, 1, entries)
}

// receive writes each event as it is handed over, until ctx ends.
func (d *bareDelay) receive(ctx context.Context) error {
	for {
		select {
		case h := <-d.handed:
			if err := d.commit(ctx, 0, d.bench.events.entries(shardNamed(0), h.n, 1)); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			d.arrivals.mu.Lock()
			d.arrivals.took = append(d.arrivals.took, time.Since(h.at))
			d.arrivals.mu.Unlock()
		case <-ctx.Done():
			return nil
		}
	}
}

// delayOfStream measures with what arrives in the user's stream meanwhile. The
// arrival is by the clock of Kinesis.
func (b *bench) delayOfStream(ctx context.Context) error {
	ours := &liveDelays{first: make(chan struct{})}
	err := b.consume(ctx, "delay", consumer.Config{Source: b.stream.source, Observer: ours},
		func(ctx context.Context, ended <-chan struct{}) {
			late := time.NewTimer(firstPage)
			defer late.Stop()
			select {
			case <-ours.first:
				sleep(ctx, ended, b.Delay)
			case <-late.C:
			case <-ended:
			case <-ctx.Done():
			}
		})
	if err != nil {
		return err
	}
	ours.mu.Lock()
	defer ours.mu.Unlock()
	if len(ours.took) == 0 {
		b.note("No delay was measured: nothing arrived in %s within %v", b.Config.Kinesis.Stream, b.Delay)
		return nil
	}
	b.add(timed("delay", "of "+b.Config.Kinesis.Stream, ours.took, nil))
	return nil
}

// liveDelays is an Observer that takes the arrival from each event.
type liveDelays struct {
	consumer.NopObserver
	mu    sync.Mutex
	since time.Time       // under mu: of the first page; zero: there was none
	first chan struct{}   // closed then
	took  []time.Duration // under mu
}

// PageRead notes the first page.
func (d *liveDelays) PageRead(gerritstream.ShardID, *gerritstream.Page) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since.IsZero() {
		d.since = time.Now()
		close(d.first)
	}
}

// Committed notes how long the events took that have arrived since.
func (d *liveDelays) Committed(_ gerritstream.ShardID, _ uint64, c *gerritstream.Commit, _ time.Duration) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range c.Entries {
		if arrived := c.Entries[i].Arrived; arrived.After(d.since) {
			d.took = append(d.took, now.Sub(arrived))
		}
	}
}
