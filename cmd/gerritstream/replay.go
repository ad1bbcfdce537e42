package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/plan"
	"github.com/gerritstream/gerritstream/internal/replay"
	"github.com/gerritstream/gerritstream/internal/when"
	"github.com/gerritstream/gerritstream/queue"
)

// replaying holds the flags of `replay`.
type replaying struct {
	process      process
	since, until string
	to           string
	rate         string
	dryRun       bool
	whole        bool
	filter       queue.Filter
	output       *output

	now      time.Time
	interval replay.Interval
	consumer string        // that gets the events; "": standard output does
	each     time.Duration // from one event to the next; 0: no pause
	matchers []queue.Matcher
}

func newReplay(p process) *cobra.Command {
	r := &replaying{process: p, output: outputFlag("jsonl", "cloudevents")}
	cmd := &cobra.Command{
		Use:   "replay --since TIME --to stdout|consumer:NAME|webhook:NAME",
		Short: "Hand on again what arrived in an interval",
		Long: `Hand on again what arrived in an interval, under the ids it always had, marked as replayed: to standard
output, or to the queue of one consumer or webhook. Events come from the store's queue while it holds them. What
retention removed, arrived before the queue began, or may have been lost on the way, is read from the stream, if its
settings are given, through the same filter as "run" uses. No position is touched, and no election is joined; the reads
that Kinesis grants are shared with the processes that follow the stream.

First comes what the stream has, its shards merged by arrival, then what the queue has, in its order. Each shard is in
its own order within each part. What was queued after the replay began comes by itself.

What still waits for a consumer is not appended for it again, so that a replay that was interrupted can be repeated.
With a ZooKeeper store, whose queue Zuul consumes, the stream alone is read, to standard output. Times:
` + when.Forms + `.`,
		Example: `  gerritstream replay --since -24h --type 'change-*' --to consumer:indexer
  gerritstream replay --since "yesterday 08:00" --until "yesterday 09:00" --to stdout | jq -r .type
  gerritstream replay --since -7d --to webhook:ci --rate 50/s --stream gerrit --region us-west-2
  gerritstream replay --since -7d --to stdout --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.check(time.Now()); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			c, err := loadForReplay(cmd, p, r.whole)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			return r.run(ctx, cmd.Context(), &c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.since, "since", "", "begin with what arrived at this `time`")
	f.StringVar(&r.until, "until", "now", "end before what arrived at this `time`")
	f.StringVar(&r.to, "to", "", "`where` events go: stdout, consumer:NAME or webhook:NAME")
	f.StringVar(&r.rate, "rate", "", "at most this `rate`: 50/s, 600/m or 1000/h (default: as fast as it goes)")
	f.BoolVar(&r.whole, "from-stream", false, "read the stream for the whole interval: for what a filter dropped, say")
	f.BoolVar(&r.dryRun, "dry-run", false, "only count what would be replayed, by type")
	f.StringSliceVar(&r.filter.Types, "type", nil, "only events of this `type`; \"change-*\" is a beginning")
	f.StringSliceVar(&r.filter.Projects, "project", nil, "only events of this `project`, likewise")
	f.StringSliceVar(&r.filter.Refs, "ref", nil, "only events about this `ref`, likewise")
	r.output.register(cmd)
	settingFlags(cmd, config.ForStream, "filter.", "drop_foreign_records")
	return cmd
}

// loadForReplay reads the settings. The stream need not be named where the
// store has a queue to be read.
func loadForReplay(cmd *cobra.Command, p process, whole bool) (config.Config, error) {
	src := sources(cmd, p)
	src.StoreOnly = !whole
	c, err := config.Load(src)
	if err != nil || c.Kinesis.Stream == "" && c.CheckQueue() == nil {
		return c, err
	}
	src.StoreOnly = false
	return config.Load(src)
}

// check reads the flags.
func (r *replaying) check(now time.Time) error {
	r.now = now
	if r.since == "" {
		return errors.New("--since is missing")
	}
	for _, f := range []struct {
		flag, text string
		to         *time.Time
	}{{"--since", r.since, &r.interval.From}, {"--until", r.until, &r.interval.Until}} {
		t, err := when.Parse(f.text, now)
		if err != nil {
			return fmt.Errorf("%s: %w", f.flag, err)
		}
		if t.After(now) {
			return fmt.Errorf("%s %q is in the future: %s", f.flag, f.text, when.Format(t, now))
		}
		*f.to = t
	}
	if r.interval.IsEmpty() {
		return fmt.Errorf("--until %s is not after --since %s",
			when.Format(r.interval.Until, now), when.Format(r.interval.From, now))
	}
	if err := r.checkTarget(); err != nil {
		return err
	}
	m, err := r.filter.Matcher()
	r.matchers = []queue.Matcher{m}
	if err == nil && r.rate != "" {
		r.each, err = parseRate(r.rate)
	}
	return err
}

func (r *replaying) checkTarget() error {
	kind, name, named := strings.Cut(r.to, ":")
	switch {
	case r.to == "":
		return errors.New("--to is missing: stdout, consumer:NAME or webhook:NAME")
	case r.to == "stdout":
		return nil
	case named && kind == "consumer" && name != "":
		r.consumer = name
	case named && kind == "webhook" && name != "":
		r.consumer = r.to
	default:
		return fmt.Errorf("--to %q is none of stdout, consumer:NAME and webhook:NAME", r.to)
	}
	return nil
}

var rates = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(?:/([smh]))?$`)

// parseRate returns the time from one event to the next.
func parseRate(text string) (time.Duration, error) {
	m := rates.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("--rate %q is not a rate; write 50/s, 600/m or 1000/h", text)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	per := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour}[m[2]]
	each := time.Duration(float64(per) / n)
	if err != nil || n <= 0 || each > time.Hour {
		return 0, fmt.Errorf("--rate %q is below 1/h", text)
	}
	return each, nil
}

// run replays until ctx ends. working outlives it.
func (r *replaying) run(ctx, working context.Context, c *config.Config) (err error) {
	to, err := r.openTarget(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close(working)) }()
	settings, closeQueue, err := r.settings(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeQueue(working)) }()
	found, err := r.plan(ctx, c, settings)
	if err != nil {
		return err
	}
	if r.dryRun {
		return r.count(ctx, found)
	}
	p := &pacer{each: r.each, target: to, progress: r.progress}
	for e, failed := range found.Events(ctx) {
		if err = failed; err == nil {
			err = p.add(ctx, &e)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = p.flush(ctx)
	}
	r.say("%s", to.said())
	r.sayUnread(found.Counts())
	if err != nil {
		return r.broken(ctx, working, found, p, err)
	}
	return nil
}

func (r *replaying) say(format string, args ...any) {
	fmt.Fprintf(r.process.stderr, "gerritstream: "+format+"\n", args...)
}

// settings opens the queue, and returns what a replay needs without the stream.
func (r *replaying) settings(ctx context.Context, c *config.Config,
) (s replay.Config, shut func(context.Context) error, err error) {
	filter, err := gerrit.NewFilter(c.Filter)
	if err != nil {
		return s, nil, &daemon.ConfigError{Err: err}
	}
	var once sync.Once
	s = replay.Config{
		Interval: r.interval,
		Classify: daemon.NewClassifier(filter, nil),
		Keep: func(e *gerritstream.Event) bool {
			return !slices.ContainsFunc(r.matchers, func(m queue.Matcher) bool { return !m.Keeps(e) })
		},
		Whole:   r.whole,
		Trouble: func(err error) { once.Do(func() { r.say("%v; trying again", err) }) },
	}
	if c.CheckQueue() != nil {
		r.say("Zuul consumes the queue in ZooKeeper; reading the stream alone")
		return s, func(context.Context) error { return nil }, nil
	}
	q, err := c.OpenQueueReader(ctx)
	if err != nil {
		return s, nil, err
	}
	in, err := c.Inspect(ctx)
	if err != nil {
		return s, nil, errors.Join(err, q.Close(ctx))
	}
	s.Queue, s.Origin = q, in.Origin
	if in.Origin != nil {
		s.Lost = append(s.Lost, in.Origin.Lost...)
	}
	for _, shard := range in.Shards {
		if shard.Position != nil {
			s.Lost = append(s.Lost, shard.Position.Lost...)
		}
	}
	return s, q.Close, nil
}

// plan decides what is read from where, and says so.
func (r *replaying) plan(ctx context.Context, c *config.Config, s replay.Config) (found *replay.Replay, err error) {
	r.say("what arrived from %s to %s", when.Format(r.interval.From, r.now), when.Format(r.interval.Until, r.now))
	if s.Queue != nil {
		if found, err = replay.New(ctx, s); err != nil || !found.WantsStream {
			return found, err
		}
	}
	named := c.Kinesis.Stream != ""
	if named {
		if s.Source, s.Listing, err = daemon.OpenStream(ctx, c); err != nil {
			return nil, err
		}
		if s.Origin != nil && s.Origin.Stream.ARN != s.Listing.Stream.ARN {
			return nil, plan.OtherStream(s.Origin, s.Listing)
		}
		if found, err = replay.New(ctx, s); err != nil {
			return nil, err
		}
	}
	if !found.Stream.IsEmpty() {
		r.say("reading %s, from %s to %s", c.Kinesis.Stream,
			when.Format(found.Stream.From, r.now), when.Format(found.Stream.Until, r.now))
	}
	if i := found.Missing; !i.IsEmpty() {
		hint := ""
		if !named {
			hint = "; --stream and --region name a stream that may"
		}
		r.say("nobody holds what arrived from %s to %s any more%s",
			when.Format(i.From, r.now), when.Format(i.Until, r.now), hint)
	}
	for _, i := range found.Lost {
		r.say("what arrived from %s to %s may be missing: %s",
			when.Format(i.From, r.now), when.Format(i.Until, r.now), i.Why)
	}
	return found, nil
}

// count counts what would be replayed, by type.
func (r *replaying) count(ctx context.Context, found *replay.Replay) error {
	types := map[string]int{}
	for e, err := range found.Events(ctx) {
		if err != nil {
			return err
		}
		types[e.Entry.Event.Type]++
	}
	t := tabwriter.NewWriter(r.process.stdout, 0, 0, 1, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "EVENTS\t TYPE")
	for _, name := range slices.Sorted(maps.Keys(types)) {
		fmt.Fprintf(t, "%d\t %s\n", types[name], printable(name))
	}
	n := found.Counts()
	fmt.Fprintf(t, "%d\t in all: %d from the queue, %d from the stream\n", n.Queue+n.Stream, n.Queue, n.Stream)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	r.sayUnread(n)
	return nil
}

// sayUnread says which records of the stream were not replayed.
func (r *replaying) sayUnread(n replay.Counts) {
	if !n.Gone.IsEmpty() {
		r.say("what arrived from %s to %s may have expired in the stream before it was read; replay faster",
			when.Format(n.Gone.From, r.now), when.Format(n.Gone.Until, r.now))
	}
	if n.Bad > 0 {
		r.say("%s of the stream left out: no valid events", plural(int(n.Bad), "record"))
	}
}

// progress says how far the replay is.
func (r *replaying) progress(done int64, e *queue.Event) {
	r.say("replayed %s; at those which arrived %s", plural(int(done), "event"),
		when.Format(e.Entry.Arrived, time.Now()))
}

// broken says how to go on after a replay that was broken off.
func (r *replaying) broken(ctx, working context.Context, found *replay.Replay, p *pacer, err error) error {
	working, cancel := context.WithTimeout(working, resumePatience)
	defer cancel()
	from, failed := found.Resume(working, p.first())
	if failed != nil {
		from = r.interval.From
	}
	if !p.last.IsZero() {
		r.say("the last one had arrived %s", when.Format(p.last, time.Now()))
	}
	r.say("to go on, replay again with --since %s --until %s",
		from.UTC().Format(time.RFC3339Nano), r.interval.Until.UTC().Format(time.RFC3339Nano))
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// resumePatience bounds the search of the queue for what is left.
const resumePatience = 2 * time.Second

// openTarget opens where events go. A consumer must be there.
func (r *replaying) openTarget(ctx context.Context, c *config.Config) (target, error) {
	if r.consumer == "" {
		return &outputTarget{w: r.process.stdout, output: r.output}, nil
	}
	q, err := c.OpenQueue(ctx, config.Runtime{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	t := &consumerTarget{q: q, name: r.consumer}
	infos, err := q.Consumers(ctx)
	if err == nil {
		hook, isHook := strings.CutPrefix(r.consumer, "webhook:")
		if info := consumerNamed(infos, r.consumer); info == nil && isHook {
			err = fmt.Errorf("webhook %s has no place in the queue yet; run makes one when it begins to deliver: %w",
				printable(hook), queue.ErrNoConsumer)
		} else if info == nil {
			err = explainConsumer(ctx, q, r.consumer, fmt.Errorf("consumer %s: %w", r.consumer, queue.ErrNoConsumer))
		} else {
			var m queue.Matcher
			m, err = info.Filter.Matcher()
			r.matchers = append(r.matchers, m) // what it drops would only lie there
		}
	}
	if err != nil {
		return nil, errors.Join(err, t.close(ctx))
	}
	return t, nil
}
