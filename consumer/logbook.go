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
	gatherFor = time.Second      // what comes together is told together
	lineEvery = time.Minute      // between two lines of one cause, in the long run
	atOnce    = 3                // lines of one cause that may come sooner: its beginning, that it is grave, its end
	overAfter = 30 * time.Second // what did not happen for so long is over
	maxCauses = 32               // that are told apart at once
)

// topic is a sort of thing that a logbook tells, with its words.
type topic struct {
	begins, lasts string
	ends          string // empty: it has no end worth a line
}

// The topics. They are never written to.
var (
	troubleTopic = &topic{
		begins: "in trouble, trying again", lasts: "still in trouble, trying again", ends: "the trouble is over",
	}
	planTopic = &topic{
		begins: "cannot plan, trying again", lasts: "still cannot plan, trying again", ends: "planning works again",
	}
	foreignTopic = &topic{
		begins: "another program leads and stands still while records arrive",
		lasts:  "another program still leads and stands still",
		ends:   "what another program led goes on",
	}
	deadLetterTopic = &topic{begins: "dead letters", lasts: "more dead letters"}
	termTopic       = &topic{begins: "leaderships ended", lasts: "leaderships ended again"}
)

// logbook keeps the log calm: whatever happens, however often and to however
// many shards, each cause gets a line when it begins, one when it turns grave,
// a summary a minute with counts, and one when it is over; in the long run a
// line a minute. Its methods may be called by several goroutines at once.
type logbook struct {
	log  *slog.Logger
	wake chan struct{} // capacity 1: something is due sooner than thought

	mu      sync.Mutex
	stories map[storyKey]*story             // under mu
	holding map[gerritstream.ShardID]*story // under mu: what each shard is held up by
}

type storyKey struct {
	topic *topic
	cause string
}

// story is one cause from its beginning to its end. It is under the logbook's
// mu.
type story struct {
	topic   *topic
	began   time.Time
	last    time.Time       // when it happened last
	times   int             // that it happened
	fresh   int             // of these, since the last line
	shards  map[string]bool // to which it happened since the last line
	holds   map[string]bool // that it holds up now
	grave   bool            // it has been since the last line
	sample  []any           // of the newest: keys and values
	told    time.Time       // of the last line; zero: none
	warned  bool            // a line said that it is grave
	credit  time.Time       // the next line may come a minute before this
	resting bool            // over, and told so: only its credit counts
}

func newLogbook(log *slog.Logger) *logbook {
	return &logbook{
		log: log, wake: make(chan struct{}, 1), stories: map[storyKey]*story{}, holding: map[gerritstream.ShardID]*story{},
	}
}

// event is one thing that happened.
type event struct {
	topic  *topic
	cause  string               // a bounded identity
	shard  gerritstream.ShardID // empty: to none of them
	times  int                  // 0: once
	holds  bool                 // it holds the shard up, until it is settled
	grave  bool                 // for a person to look at
	sample []any                // keys and values
}

// note takes down that something happened.
func (b *logbook) note(e event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	s := b.story(storyKey{e.topic, e.cause})
	sooner := s.fresh == 0 || e.grave && !s.grave
	if s.resting {
		s.began, s.times, s.told, s.warned, s.resting = now, 0, time.Time{}, false, false
	}
	if s.began.IsZero() {
		s.began = now
	}
	s.last, s.sample, s.grave = now, e.sample, s.grave || e.grave
	s.times += max(1, e.times)
	s.fresh += max(1, e.times)
	if e.shard != "" {
		s.shards[string(e.shard)] = true
	}
	if e.holds {
		b.release(e.shard)
		b.holding[e.shard], s.holds[string(e.shard)] = s, true
	}
	if sooner {
		ask(b.wake)
	}
}

// story finds or begins a story; what is too much is told as one. The caller
// holds mu.
func (b *logbook) story(key storyKey) *story {
	if s := b.stories[key]; s != nil {
		return s
	}
	if len(b.stories) >= maxCauses {
		key.cause = "others"
		if s := b.stories[key]; s != nil {
			return s
		}
	}
	s := &story{topic: key.topic, shards: map[string]bool{}, holds: map[string]bool{}}
	b.stories[key] = s
	return s
}

// settle takes down that nothing holds the shard up any more.
func (b *logbook) settle(shard gerritstream.ShardID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.release(shard) {
		ask(b.wake)
	}
}

// release reports whether a story holds up nothing more without the shard. The
// caller holds mu.
func (b *logbook) release(shard gerritstream.ShardID) bool {
	s := b.holding[shard]
	if s == nil {
		return false
	}
	delete(b.holding, shard)
	delete(s.holds, string(shard))
	return len(s.holds) == 0
}

// run writes the lines, each in its time, until ctx ends; what was not told by
// then is told at once.
func (b *logbook) run(ctx context.Context) {
	timer := time.NewTimer(lineEvery)
	defer timer.Stop()
	for {
		next := b.tell(ctx, time.Now(), false)
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			b.tell(context.WithoutCancel(ctx), time.Now(), true)
			return
		case <-b.wake:
		case <-timer.C:
		}
	}
}

// entry is one line of the log.
type entry struct {
	level slog.Level
	text  string
	args  []any
}

// tell writes what is due, and returns when something is due next; zero:
// nothing. last: there is no later.
func (b *logbook) tell(ctx context.Context, now time.Time, last bool) (next time.Time) {
	var lines []entry
	b.mu.Lock()
	keys := slices.SortedFunc(maps.Keys(b.stories), func(x, y storyKey) int {
		return b.stories[x].began.Compare(b.stories[y].began)
	})
	for _, key := range keys {
		s := b.stories[key]
		if last {
			if s.told.IsZero() {
				lines = append(lines, s.line(s.topic.begins, now))
			}
			continue
		}
		text, at := s.due(now)
		if text != "" && !at.After(now) {
			lines = append(lines, s.line(text, now))
			text, at = s.due(now)
		}
		if text == "" && !at.After(now) {
			delete(b.stories, key)
			continue
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	b.mu.Unlock()
	for _, l := range lines { // without the lock: the log may be slow
		b.log.Log(ctx, l.level, l.text, l.args...)
	}
	return next
}

// due says what the next line is and when it may come. An empty text: none any
// more; the story may be forgotten then.
func (s *story) due(now time.Time) (text string, at time.Time) {
	summary, over := s.told.Add(lineEvery), s.last.Add(overAfter)
	switch {
	case s.resting, !s.told.IsZero() && s.fresh == 0 && s.topic.ends == "":
		return "", s.credit
	case s.told.IsZero():
		text, at = s.topic.begins, s.began.Add(gatherFor)
	case s.grave && !s.warned:
		text, at = s.topic.lasts, now
	case s.topic.ends == "" || len(s.holds) > 0:
		text, at = s.topic.lasts, summary
	case over.After(now) && over.After(summary):
		text, at = s.topic.lasts, summary
	default:
		text, at = s.topic.ends, over
	}
	if may := s.credit.Add(-(atOnce - 1) * lineEvery); at.Before(may) {
		at = may
	}
	return text, at
}

// line makes a line, and begins to count for the next one.
func (s *story) line(text string, now time.Time) entry {
	l := entry{level: slog.LevelInfo, text: text}
	if s.grave {
		l.level = slog.LevelWarn
	}
	times, took := s.fresh, now.Sub(s.began)
	if text == s.topic.ends {
		times, took, s.resting = s.times, s.last.Sub(s.began), true
	}
	for shard := range s.holds {
		s.shards[shard] = true
	}
	delete(s.shards, "") // the process as a whole has no name
	if shards := slices.Sorted(maps.Keys(s.shards)); len(shards) > 0 {
		l.args = append(l.args, "shards", trouble.SomeOf(shards))
	}
	l.args = append(l.args, "times", times)
	if text != s.topic.begins {
		l.args = append(l.args, "for", took.Round(time.Second))
	}
	l.args = append(l.args, s.sample...)
	s.told, s.fresh, s.warned, s.grave = now, 0, s.warned || s.grave, false
	clear(s.shards)
	if s.credit.Before(now) {
		s.credit = now
	}
	s.credit = s.credit.Add(lineEvery)
	return l
}
