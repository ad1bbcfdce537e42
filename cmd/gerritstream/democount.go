package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
)

// counted is a demonstration with a number of events. Its fields belong to the
// goroutine that runs it, and while it publishes to the producer's; all but
// tally and producer.published, which are safe to look at.
type counted struct {
	*demonstration
	*bench
	tally    *tally
	producer producer
	acked    []published
	began    time.Time
}

// count publishes, drains, and compares.
func (d *demonstration) count(ctx context.Context, b *bench) error {
	c := &counted{demonstration: d, bench: b, tally: newTally(), began: time.Now()}
	c.acked = make([]published, 0, d.events)
	traffic := gerrittest.New(demoSeed, gerrittest.Options{
		SpreadKeys: true, // by type, as Gerrit's plugin has it, two thirds would go to one shard
		Within:     min(d.events, 2000),
		BadEvery:   badEvery(d.events),
		Clock:      time.Now,
	})
	c.producer = producer{put: b.stream.put, next: traffic.Next, acked: func(r *gerrittest.Record, at *putAnswer) {
		c.acked = append(c.acked, published{place{at.ShardID, at.SequenceNumber, gerritstream.NoSub}, fateOf(r)})
	}}
	c.say("publishing %s into %s of an embedded Kinesis, reading them into %s", plural(d.events, "made-up event"), plural(d.shards, "shard"), b.database)

	err := c.work(ctx)
	if err == nil && ctx.Err() == nil {
		var r *demoResult
		if r, err = c.judge(ctx); r != nil {
			return errors.Join(c.show(r), err)
		}
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return c.show(c.result(nil))
	}
	return err
}

const (
	// demoSeed makes every demonstration the same.
	demoSeed = 20

	// maxBad is how many records are bad at most, about: of more than 1,000
	// dead letters a store would keep only the count.
	maxBad = 500
)

// badEvery is the number of records of which one is bad. Up to 200,000 records
// it is what gerrittest finds lifelike.
func badEvery(events int) int { return max(400, (events+maxBad-1)/maxBad) }

// work publishes while a daemon follows, and then has another daemon read what
// is left, to the tip of every shard.
func (c *counted) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		c.report(ctx)
	}()
	defer func() { cancel(); <-reported }()

	if err := c.follow(ctx); err != nil {
		return err
	}
	c.say("all published; the reader is stopped, and a new one goes on from the stored positions to the end of every shard")
	d, err := c.daemon(ctx, c.tally, true)
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// follow publishes everything while a daemon reads it.
func (c *counted) follow(ctx context.Context) error {
	d, err := c.daemon(ctx, c.tally, false)
	if err != nil {
		return err
	}
	both, ctx := errgroup.WithContext(ctx)
	following, stop := context.WithCancel(ctx)
	both.Go(func() error { return d.Run(following) })
	both.Go(func() error {
		defer stop()
		return c.publish(ctx)
	})
	return both.Wait()
}

// publish publishes one half, changes the shards, and publishes the other half.
func (c *counted) publish(ctx context.Context) error {
	half := c.events / 2
	if err := c.producer.publish(ctx, half); err != nil {
		return err
	}
	for _, change := range []func() (string, error){c.stream.split, c.stream.merge} {
		said, err := change()
		if err != nil {
			return err
		}
		c.say("half-way: %s", said)
	}
	return c.producer.publish(ctx, c.events-half)
}

// report says every second how far it is, until ctx ends.
func (c *counted) report(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.say("%s of %s published; %s", thousands(int(c.producer.published.Load())), thousands(c.events), c.tally.total())
		}
	}
}

// say writes a line on progress.
func (c *counted) say(format string, args ...any) {
	fmt.Fprintf(c.stderr, "%5.1fs  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

// judge compares what the stream acknowledged with what a separate reader
// finds. Without a result it came to nothing; with one, the error says what
// does not add up.
func (c *counted) judge(ctx context.Context) (*demoResult, error) {
	found, passed, err := findStored(ctx, c.database)
	if err != nil {
		return nil, err
	}
	for at, what := range c.tally.dropped() {
		if passed(at) {
			found.add(at, what)
		}
	}
	compared := compare(c.acked, found)
	r := c.result(&compared)
	r.count(found)
	return r, compared.err()
}
