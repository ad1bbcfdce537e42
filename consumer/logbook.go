package consumer

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

const (
	gatherFor = time.Second      // what happens within it is logged together
	lineEvery = time.Minute      // between two lines of one cause, in the long run
	burst     = 3                // lines of one cause that may come sooner: its beginning, that it is grave, its end
	overAfter = 30 * time.Second // a cause that has not occurred for this long is over
	maxCauses = 32               // told apart at once
)

// topic is a kind of thing that a logbook logs, with its texts.
type topic struct {
	begins, lasts string
	ends          string // empty: its end is not worth a line
}

// The topics. They are never written to.
var (
	stallTopic = &topic{begins: "shard stalled", lasts: "shard still stalled", ends: "shard resumed"}
	planTopic  = &topic{
		begins: "planning failed; retrying", lasts: "planning still fails; retrying", ends: "planning works again",
	}
	foreignTopic = &topic{
		begins: "foreign leader stalled while records arrive",
		lasts:  "foreign leader still stalled",
		ends:   "foreign leader resumed",
	}
	deadLetterTopic = &topic{begins: "records dead-lettered", lasts: "more records dead-lettered"}
	termTopic       = &topic{begins: "leaderships ended", lasts: "more leaderships ended"}
)

// logbook keeps the log quiet: however often and to however many shards
// something happens, each cause gets a line when it begins, one when it turns
// grave, a summary a minute with counts, and one when it is over; in the long
// run a line a minute. Its methods may be called by several goroutines at once.
type logbook struct {
	log  *slog.Logger
	wake chan struct{} // capacity 1: something is due sooner than expected

	mu      sync.Mutex
	causes  map[causeKey]*cause             // under mu
	stalled map[gerritstream.ShardID]*cause // under mu: by what
}

type causeKey struct {
	topic *topic
	text  string
}

// cause is one cause from its beginning to its end. It is guarded by the
// logbook's mu.
type cause struct {
	topic  *topic
	began  time.Time
	last   time.Time       // when it occurred last
	times  int             // that it occurred
	fresh  int             // of these, since the last line
	shards map[string]bool // where it occurred since the last line
	stalls map[string]bool // what it stalls now
	grave  bool            // it was, since the last line
	sample []any           // of the newest occurrence: keys and values
	logged time.Time       // when its last line was written; zero: none was
	warned bool            // a line said that it is grave
	over   bool            // its last line was written; kept only for spaced
	spaced time.Time       // its lines so far, spaced by lineEvery, reach until then
}

func newLogbook(log *slog.Logger) *logbook {
	return &logbook{
		log: log, wake: make(chan struct{}, 1),
		causes: map[causeKey]*cause{}, stalled: map[gerritstream.ShardID]*cause{},
	}
}

// happening is one thing that happened.
type happening struct {
	topic  *topic
	cause  string               // bounded: see trouble.Cause
	shard  gerritstream.ShardID // empty: none of them
	times  int                  // 0: once
	stalls bool                 // it stalls the shard, until settle
	grave  bool                 // for a person to look at
	sample []any                // keys and values
}

// note records something that happened.
func (b *logbook) note(h happening) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	c := b.causeOf(causeKey{h.topic, h.cause})
	sooner := c.fresh == 0 || h.grave && !c.grave
	if c.over {
		c.began, c.times, c.logged, c.warned, c.over = now, 0, time.Time{}, false, false
	}
	if c.began.IsZero() {
		c.began = now
	}
	c.last, c.sample, c.grave = now, h.sample, c.grave || h.grave
	c.times += max(1, h.times)
	c.fresh += max(1, h.times)
	if h.shard != "" {
		c.shards[string(h.shard)] = true
	}
	if h.stalls {
		b.release(h.shard)
		b.stalled[h.shard], c.stalls[string(h.shard)] = c, true
	}
	if sooner {
		request(b.wake)
	}
}

// noteStall records what stalls a shard, or the whole process (empty).
func (b *logbook) noteStall(t *topic, shard gerritstream.ShardID, text string, grave bool) {
	b.note(happening{
		topic: t, cause: trouble.Cause(text), shard: shard, stalls: true, grave: grave, sample: []any{"err", text},
	})
}

// causeOf finds or begins a cause. Those beyond maxCauses are logged as one.
// The caller holds mu.
func (b *logbook) causeOf(key causeKey) *cause {
	if c := b.causes[key]; c != nil {
		return c
	}
	if len(b.causes) >= maxCauses {
		key.text = "others"
		if c := b.causes[key]; c != nil {
			return c
		}
	}
	c := &cause{topic: key.topic, shards: map[string]bool{}, stalls: map[string]bool{}}
	b.causes[key] = c
	return c
}

// settle records that nothing stalls the shard any more.
func (b *logbook) settle(shard gerritstream.ShardID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.release(shard) {
		request(b.wake)
	}
}

// release takes a shard from its cause, and reports whether that stalls nothing
// more. The caller holds mu.
func (b *logbook) release(shard gerritstream.ShardID) bool {
	c := b.stalled[shard]
	if c == nil {
		return false
	}
	delete(b.stalled, shard)
	delete(c.stalls, string(shard))
	return len(c.stalls) == 0
}

// run writes each line when it is due, until ctx ends. Then it writes at once
// what has no line yet.
func (b *logbook) run(ctx context.Context) {
	timer := time.NewTimer(lineEvery)
	defer timer.Stop()
	for {
		next := b.write(ctx, time.Now(), false)
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			b.write(context.WithoutCancel(ctx), time.Now(), true)
			return
		case <-b.wake:
		case <-timer.C:
		}
	}
}

// line is one line of the log.
type line struct {
	level slog.Level
	text  string
	args  []any
}

// write writes the lines that are due, and returns when the next one is; zero:
// there is none. final: there is no later.
func (b *logbook) write(ctx context.Context, now time.Time, final bool) (next time.Time) {
	var lines []line
	b.mu.Lock()
	keys := slices.SortedFunc(maps.Keys(b.causes), func(x, y causeKey) int {
		return b.causes[x].began.Compare(b.causes[y].began)
	})
	for _, key := range keys {
		c := b.causes[key]
		if final {
			if c.logged.IsZero() {
				lines = append(lines, c.line(c.topic.begins, now))
			}
			continue
		}
		text, at := c.due(now)
		if text != "" && !at.After(now) {
			lines = append(lines, c.line(text, now))
			text, at = c.due(now)
		}
		if text == "" && !at.After(now) {
			delete(b.causes, key)
			continue
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	b.mu.Unlock()
	for _, l := range lines { // without the lock: the log may be slow
		b.log.Log(ctx, l.level, l.text, l.args...) //nolint:sloglint // one of the topics' texts
	}
	return next
}

// due returns the text of the next line and when it may be written. An empty
// text: there is none, and the cause may be forgotten then.
func (c *cause) due(now time.Time) (text string, at time.Time) {
	summary, over := c.logged.Add(lineEvery), c.last.Add(overAfter)
	switch {
	case c.over, !c.logged.IsZero() && c.fresh == 0 && c.topic.ends == "":
		return "", c.spaced
	case c.logged.IsZero():
		text, at = c.topic.begins, c.began.Add(gatherFor)
	case c.grave && !c.warned:
		text, at = c.topic.lasts, now
	case c.topic.ends == "" || len(c.stalls) > 0:
		text, at = c.topic.lasts, summary
	case over.After(now) && over.After(summary):
		text, at = c.topic.lasts, summary
	default:
		text, at = c.topic.ends, over
	}
	if may := c.spaced.Add(-(burst - 1) * lineEvery); at.Before(may) {
		at = may
	}
	return text, at
}

// line makes a line, and starts counting for the next one.
func (c *cause) line(text string, now time.Time) line {
	l := line{level: slog.LevelInfo, text: text}
	if c.grave {
		l.level = slog.LevelWarn
	}
	times, took := c.fresh, now.Sub(c.began)
	if text == c.topic.ends {
		times, took, c.over = c.times, c.last.Sub(c.began), true
	}
	for shard := range c.stalls {
		c.shards[shard] = true
	}
	delete(c.shards, "") // the process as a whole has no name
	if shards := slices.Sorted(maps.Keys(c.shards)); len(shards) > 0 {
		l.args = append(l.args, "shards", trouble.SomeOf(shards))
	}
	l.args = append(l.args, "times", times)
	if text != c.topic.begins {
		l.args = append(l.args, "for", took.Round(time.Second))
	}
	l.args = append(l.args, c.sample...)
	c.logged, c.fresh, c.warned, c.grave = now, 0, c.warned || c.grave, false
	clear(c.shards)
	if c.spaced.Before(now) {
		c.spaced = now
	}
	c.spaced = c.spaced.Add(lineEvery)
	return l
}
