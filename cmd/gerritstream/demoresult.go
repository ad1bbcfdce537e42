package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/history"
)

// counted is a demonstration with a number of events. Its fields belong to the
// goroutine that runs it, and to the producer's while that publishes; tally and
// producer.published may be read at any time.
type counted struct {
	demo     *demonstration
	tally    tally
	producer *producer
	acked    []history.Item
	began    time.Time
}

// count publishes, drains, and compares.
func (d *demonstration) count(ctx context.Context) error {
	c := &counted{demo: d, tally: tally{filtered: map[history.Item]bool{}}, began: time.Now()}
	c.acked = make([]history.Item, 0, d.events)
	options := gerrittest.Options{Within: min(d.events, 2000), BadEvery: badEvery(d.events)}
	c.producer = newProducer(d.stream, options, func(r *gerrittest.Record, at *putAnswer) {
		item := history.Item{Shard: at.ShardID, Seq: at.SequenceNumber, Sub: gerritstream.NoSub,
			Outcome: history.Outcome(r.Want)}
		switch r.Want {
		case gerrittest.Queued:
			item.Detail = r.Type
		case gerrittest.Filtered:
			item.Detail = filteredBy(r.Why, r.Type)
		case gerrittest.DeadLetter:
			item.Detail = r.Why // its type, if any, cannot be relied on
		}
		c.acked = append(c.acked, item)
	})
	c.progress("publishing %s into %s of an embedded Kinesis, reading them into %s",
		plural(d.events, "made-up event"), plural(d.shards, "shard"), d.database)

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

// maxBad is about how many records are bad at most: beyond 1,000 dead letters a
// store keeps only the count.
const maxBad = 500

// badEvery is the number of records of which one is bad: up to 200,000 records
// what gerrittest finds lifelike.
func badEvery(events int) int { return max(400, (events+maxBad-1)/maxBad) }

// work publishes while a daemon follows, and then has another daemon read the
// rest, to the tip of every shard.
func (c *counted) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		for pause(ctx, time.Second) == nil {
			published := thousands(int(c.producer.published.Load()))
			c.progress("%s of %s published; %s", published, thousands(c.demo.events), c.tally.total())
		}
	}()
	defer func() { cancel(); <-reported }()

	if err := c.demo.follow(ctx, &c.tally, c.publish); err != nil {
		return err
	}
	c.progress("all published; the reader is stopped, and a new one continues from the stored positions " +
		"to the end of every shard")
	d, err := c.demo.daemon(ctx, &c.tally, true)
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// publish publishes one half, changes the shards, and publishes the other half.
func (c *counted) publish(ctx context.Context) error {
	half := c.demo.events / 2
	if err := c.producer.publish(ctx, half); err != nil {
		return err
	}
	for _, change := range []func() (string, error){c.demo.stream.split, c.demo.stream.merge} {
		summary, err := change()
		if err != nil {
			return err
		}
		c.progress("half-way: %s", summary)
	}
	return c.producer.publish(ctx, c.demo.events-half)
}

// progress writes a line on progress.
func (c *counted) progress(format string, args ...any) {
	fmt.Fprintf(c.demo.process.stderr, "%5.1fs  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

// judge compares what the stream acknowledged with what a separate reader
// finds. Without a result it could not compare; with one, the error is what
// does not add up.
func (c *counted) judge(ctx context.Context) (*demoResult, error) {
	found, err := c.demo.readStored(ctx)
	if err != nil {
		return nil, err
	}
	for _, item := range c.tally.dropped() {
		if pos := found.shards[item.Shard].Position; pos != nil && (pos.Ended || pos.Covers(item.Seq, item.Sub)) {
			found.filtered = append(found.filtered, item)
		}
	}
	report := history.Check([]history.Event{
		{Kind: history.KindPut, Items: c.acked}, {Kind: history.KindQueue, Items: found.queue},
		{Kind: history.KindDeadLetters, Items: found.dead}, {Kind: history.KindFiltered, Items: found.filtered},
	})
	r := c.result(&report)
	r.Queued, r.Filtered, r.DeadLettered = len(found.queue), len(found.filtered), len(found.dead)
	r.Types = found.types()
	if err := report.Err(); err != nil {
		return r, &checkError{fmt.Errorf("the demo does not add up: %w", err)}
	}
	return r, nil
}

// stored is what is found of the records in the end.
type stored struct {
	queue, dead, filtered []history.Item
	shards                map[gerritstream.ShardID]gerritstream.InspectedShard
}

// readStored reads a database as any other program may.
func (d *demonstration) readStored(ctx context.Context) (found stored, err error) {
	c, err := d.config()
	if err != nil {
		return found, err
	}
	r, err := c.OpenQueueReader(ctx)
	if err != nil {
		return found, err
	}
	defer func() { _ = r.Close(ctx) }() // it was only read
	for e, err := range r.Events(ctx, 0) {
		if err != nil {
			return found, err
		}
		found.queue = append(found.queue,
			history.Item{Shard: e.Entry.Shard, Seq: e.Entry.Seq, Sub: e.Entry.Sub, Detail: e.Entry.Event.Type})
	}
	o, err := c.OpenOperator(ctx)
	if err != nil {
		return found, err
	}
	defer func() { _ = o.Close(ctx) }() // likewise
	for stored, err := range o.DeadLetters(ctx) {
		if err != nil {
			return found, err
		}
		l := &stored.DeadLetter
		found.dead = append(found.dead, history.Item{Shard: l.Shard, Seq: l.Seq, Sub: l.Sub, Detail: l.Reason})
	}
	in, err := c.Inspect(ctx)
	found.shards = in.Shards
	return found, err
}

// types counts what was queued and filtered, by type.
func (s *stored) types() map[string]int {
	types := map[string]int{}
	for _, items := range [][]history.Item{s.queue, s.filtered} {
		for i := range items {
			kind, _, _ := strings.Cut(items[i].Detail, " ")
			types[kind]++
		}
	}
	return types
}

// filteredBy is the detail of a filtered record.
func filteredBy(rule, kind string) string { return kind + " by " + rule }

// tally is an Observer that counts, and remembers what was filtered: the
// database keeps no trace of that.
type tally struct {
	consumer.NopObserver
	mu       sync.Mutex
	filtered map[history.Item]bool // under mu; what was judged twice alike is in it once
	queued   int                   // under mu
	dead     int                   // under mu
}

// Judged implements consumer.Observer.
func (t *tally) Judged(shard gerritstream.ShardID, r *gerritstream.Record, v *gerritstream.Verdict) {
	if v.Bad != "" || v.Filter == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.filtered[history.Item{Shard: shard, Seq: r.Seq, Sub: r.Sub, Detail: filteredBy(v.Filter, v.Event.Type)}] = true
}

// Committed implements consumer.Observer.
func (t *tally) Committed(_ gerritstream.ShardID, _ uint64, c *gerritstream.Commit, _ time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queued += len(c.Entries)
	t.dead += len(c.DeadLetters)
}

// total returns what was counted so far.
func (t *tally) total() total {
	t.mu.Lock()
	defer t.mu.Unlock()
	return total{t.queued, len(t.filtered), t.dead}
}

// dropped returns what was filtered so far.
func (t *tally) dropped() []history.Item {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.filtered))
}

// demoResult is the result of a demonstration with a number of events.
type demoResult struct {
	Published    int `json:"published"`     // records that the stream acknowledged
	Queued       int `json:"queued"`        // events found in the database
	Filtered     int `json:"filtered"`      // records that a rule dropped and the stored positions have passed
	DeadLettered int `json:"dead_lettered"` // dead letters found in the database
	*compared
	Shards   int            `json:"shards"` // those that the stream began with and those made of them
	Seconds  float64        `json:"seconds"`
	Types    map[string]int `json:"types,omitempty"` // found, queued or filtered, by type
	Database string         `json:"database"`

	next string // steps, for people

	Interrupted bool `json:"interrupted,omitempty"` // nothing was compared, and the counts are those so far
}

// compared is what a comparison found wrong.
type compared struct {
	Lost       int `json:"lost"`       // published and not found
	Duplicated int `json:"duplicated"` // found more than once
	Misjudged  int `json:"misjudged"`  // found with another verdict, rule, reason or type
	Unexpected int `json:"unexpected"` // found and never published
	Disordered int `json:"disordered"` // queued after a later event of their shard
}

// result returns the result so far; report is nil when it was interrupted.
func (c *counted) result(report *history.Report) *demoResult {
	t := c.tally.total()
	r := &demoResult{
		Published: int(c.producer.published.Load()),
		Queued:    t.queued, Filtered: t.filtered, DeadLettered: t.dead,
		Shards:      c.demo.shards,
		Seconds:     math.Round(time.Since(c.began).Seconds()*1000) / 1000,
		Database:    c.demo.database,
		next:        c.demo.nextSteps(),
		Interrupted: report == nil,
	}
	if shards, err := c.demo.stream.server.Shards(demoStreamName); err == nil { // it exists
		r.Shards = len(shards)
	}
	if report != nil {
		r.compared = &compared{report.Lost, report.Duplicated, report.Misjudged, report.Unexpected, report.Disordered}
	}
	return r
}

// show writes the result.
func (c *counted) show(r *demoResult) (err error) {
	if c.demo.json {
		enc := json.NewEncoder(c.demo.process.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(r)
	} else {
		err = r.writeText(c.demo.process.stdout)
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// writeText writes the result for a person, with what to do next.
func (r *demoResult) writeText(w io.Writer) error {
	var b strings.Builder
	line := func(name string, count int, comment string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-12s %8s  %s", name, thousands(count), comment), " ") + "\n")
	}
	line("published", r.Published, fmt.Sprintf("records that the stream acknowledged, in %.1f s", r.Seconds))
	line("queued", r.Queued, "events in the database")
	line("filtered", r.Filtered, "dropped by a rule, as Zuul does")
	line("dead letters", r.DeadLettered, "bad records, kept with the reason")
	if r.compared != nil {
		line("lost", r.Lost, "")
		line("duplicated", r.Duplicated, "")
		line("misjudged", r.Misjudged, "")
		line("unexpected", r.Unexpected, "")
		line("disordered", r.Disordered, "")
		line("shards", r.Shards, "including those made half-way")
		line("types", len(r.Types), fmt.Sprintf("of the %d that are made up", len(gerrittest.Types())))
	}
	switch {
	case r.Interrupted:
		b.WriteString("\nInterrupted: nothing was compared.\n")
	case *r.compared == compared{}:
		b.WriteString("\nEvery record that the stream acknowledged was found once, with the right verdict.\n")
	}
	b.WriteString(r.next)
	_, err := io.WriteString(w, b.String())
	return err
}

// nextSteps are the commands to try next.
func (d *demonstration) nextSteps() string {
	query := "sqlite3 " + d.database + " 'SELECT type, count(*) FROM events GROUP BY type'"
	if !d.isFile() {
		query = "psql " + quoted(d.database) +
			" -c 'SELECT type, count(*) FROM " + demoSchema + ".events GROUP BY type'"
	}
	return fmt.Sprintf(`
Next:
  %s
  gerritstream status --store %s
  gerritstream demo --events 20000
  gerritstream run --stream NAME --region REGION    # your own stream
`, query, d.shown())
}

// shown is the address of the store for people, as a word of the shell.
func (d *demonstration) shown() string {
	if d.isFile() {
		return quoted(d.address)
	}
	return quoted(d.database)
}
