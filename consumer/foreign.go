package consumer

import (
	"context"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

const (
	foreignEvery = time.Minute      // how often the checkpoints of foreign leaders are looked at
	foreignRead  = 10 * time.Second // how long reading a shard for that may take
	foreignLate  = time.Minute      // how long a record may wait for a foreign leader
)

// foreignWatch looks, every foreignEvery, at the shards that foreign leaders
// lead and for which this process stands by. A lock that nobody holds any more
// looks like a leader; it shows in a checkpoint that stays while records
// arrive. The watch belongs to the supervisor's goroutine.
type foreignWatch struct {
	c     *Consumer
	tasks *tasks
	busy  bool                                  // a round is in progress
	next  time.Time                             // local: when to look next
	looks map[gerritstream.ShardID]*foreignLook // of the last round, or the one in progress
}

// foreignLook is what is known of a shard that a foreign leader leads.
type foreignLook struct {
	checkpoint gerritstream.SequenceNumber
	at         time.Time // the service's: of the look that found this checkpoint first
	clear      time.Time // the service's: no record after the checkpoint arrived before; zero: not known
	unread     time.Time // arrival of the first record after it; zero: none is known
}

// start begins a round over these shards when it is due.
func (f *foreignWatch) start(shards []gerritstream.ShardID) {
	if f.busy || time.Now().Before(f.next) || len(shards) == 0 {
		return
	}
	f.next, f.busy = time.Now().Add(foreignEvery), true
	looks := f.looks
	f.tasks.start(
		func() { looks = f.round(f.tasks.ctx, shards, looks) },
		func() (time.Duration, error) {
			f.busy, f.looks = false, looks
			return planDebounce, nil
		})
}

// round compares the checkpoints with those of the round before. Where one has
// stayed the same, a read shows whether records arrived after it.
func (f *foreignWatch) round(
	ctx context.Context, shards []gerritstream.ShardID, before map[gerritstream.ShardID]*foreignLook,
) map[gerritstream.ShardID]*foreignLook {
	checkpoints, err := f.c.cfg.Store.Checkpoints(ctx, shards)
	now := f.c.clock.now()
	if err != nil || now.IsZero() {
		return before
	}
	looks := make(map[gerritstream.ShardID]*foreignLook, len(shards))
	for _, shard := range shards {
		l := before[shard]
		if l == nil || l.checkpoint != checkpoints[shard] {
			l = &foreignLook{checkpoint: checkpoints[shard], at: now}
		} else if l.unread.IsZero() {
			f.read(ctx, shard, l)
		}
		looks[shard] = l
		f.show(shard, l, now)
	}
	return looks
}

// show puts the outcome of a look into the status and the log.
func (f *foreignWatch) show(shard gerritstream.ShardID, l *foreignLook, now time.Time) {
	until, late := l.clear, time.Time{}
	if !l.unread.IsZero() {
		until = l.unread
		if now.Sub(l.unread) >= foreignLate {
			late = l.unread
		}
	}
	f.c.tracker.foreign(shard, foreignSeen{until, late, l.clear})
	if late.IsZero() {
		f.c.logbook.settle(shard)
		return
	}
	f.c.logbook.note(happening{
		topic: foreignTopic, cause: "foreign", shard: shard, stalls: true, grave: true,
		sample: []any{"unread_since", late},
	})
}

// read reads on from the checkpoint until a record comes, or the tip. It
// commits nothing, and ends when this process begins to lead the shard.
func (f *foreignWatch) read(ctx context.Context, shard gerritstream.ShardID, l *foreignLook) {
	ctx, end := f.c.sideReads.begin(ctx, shard, foreignRead)
	defer end()
	from := gerritstream.Position{After: l.checkpoint, CaughtUp: l.clear}
	if l.checkpoint == "" { // it leads from the tip on: only what came since the first look is new to it
		from.From.Time = l.at.Add(plan.LatestSlack)
	}
	for page, err := range f.c.cfg.Source.Peek(ctx, shard, from) {
		if err != nil {
			return // nothing is learned
		}
		more := l.take(&page, &from)
		release(&page)
		if !more {
			return
		}
	}
}

// take notes what a page shows, and reports whether to read on.
func (l *foreignLook) take(p *gerritstream.Page, from *gerritstream.Position) bool {
	for i := range p.Records {
		if r := &p.Records[i]; !from.Covers(r.Seq, r.Sub) && !r.Arrived.Before(from.From.Time) {
			l.unread = r.Arrived
			return false
		}
	}
	if until := p.Now.Add(-p.Lag); until.After(l.clear) {
		l.clear = until
	}
	return p.Lag > 0 && !p.End
}
