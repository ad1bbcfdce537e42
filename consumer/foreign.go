package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

const (
	foreignEvery = time.Minute      // how often the checkpoints of foreign leaders are looked at
	foreignRead  = 10 * time.Second // how long a read of a shard for that may take
	foreignLate  = time.Minute      // how long a record may wait for a foreign leader
)

// foreignLook is what is known of a shard that another program leads, and for
// which this process stands by. A lock that nobody holds any more looks like a
// leader; what tells is that its checkpoint stands still while records arrive.
type foreignLook struct {
	checkpoint gerritstream.SequenceNumber
	at         time.Time // the service's: of the look that found this checkpoint first
	clear      time.Time // the service's: nothing behind the checkpoint arrived before, as far as was read; zero: not known
	unread     time.Time // arrival of the first record behind it; zero: none is known
}

// foreignRound is one look at the shards that this process stands by for.
type foreignRound struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// startForeign begins a look at the shards that other programs lead and that
// are planned for this process to stand by, when it is time for one.
func (s *supervisor) startForeign(ctx context.Context) {
	if s.foreign != nil || time.Now().Before(s.foreignAt) || len(s.standby) == 0 {
		return
	}
	s.foreignAt = time.Now().Add(foreignEvery)
	ctx, cancel := context.WithCancel(ctx)
	round := &foreignRound{cancel: cancel, done: make(chan struct{})}
	s.foreign = round
	shards := s.standby
	go func() {
		defer close(round.done)
		s.lookAtForeign(ctx, shards)
		s.replan()
	}()
}

// endForeign takes in that a look has ended. wait: it is to end now.
func (s *supervisor) endForeign(wait bool) {
	if s.foreign == nil {
		return
	}
	if wait {
		s.foreign.cancel()
		<-s.foreign.done
	}
	select {
	case <-s.foreign.done:
		s.foreign.cancel()
		s.foreign = nil
	default:
	}
}

// lookAtForeign compares checkpoints with those of the look before. Where one
// stands still, one read tells whether there is anything behind it. The looks
// belong to the one round that is under way.
func (s *supervisor) lookAtForeign(ctx context.Context, shards []gerritstream.ShardID) {
	checkpoints, err := s.c.cfg.Store.Checkpoints(ctx, shards)
	now := s.c.clock.now()
	if err != nil || now.IsZero() {
		return
	}
	looks := make(map[gerritstream.ShardID]*foreignLook, len(shards))
	for _, shard := range shards {
		l := s.looks[shard]
		if l == nil || l.checkpoint != checkpoints[shard] {
			l = &foreignLook{checkpoint: checkpoints[shard], at: now}
		} else if l.unread.IsZero() {
			s.readForeign(ctx, shard, l)
		}
		looks[shard] = l
		s.showForeign(shard, l, now)
	}
	s.looks = looks
}

// showForeign leaves in status and log what a look came to.
func (s *supervisor) showForeign(shard gerritstream.ShardID, l *foreignLook, now time.Time) {
	until, late := l.clear, time.Time{}
	if !l.unread.IsZero() {
		until = l.unread
	}
	if !l.unread.IsZero() && now.Sub(l.unread) >= foreignLate {
		late = l.unread
	}
	s.c.tracker.foreign(shard, foreignSeen{until, late, l.clear})
	if late.IsZero() {
		s.c.book.settle(shard)
		return
	}
	s.c.book.note(event{
		topic: foreignTopic, cause: "foreign", shard: shard, holds: true, grave: true, sample: []any{"unread_since", late},
	})
}

// readForeign reads behind a checkpoint until a record comes, or the tip. It
// commits nothing, and ends when this process begins to lead the shard.
func (s *supervisor) readForeign(ctx context.Context, shard gerritstream.ShardID, l *foreignLook) {
	ctx, end := s.c.beside.begin(ctx, shard)
	defer end()
	from := gerritstream.Position{After: l.checkpoint, CaughtUp: l.clear}
	if l.checkpoint == "" { // it leads from the tip on: what came since the first look is news to it
		from.From.Time = l.at.Add(plan.LatestSlack)
	}
	for batch, err := range s.c.cfg.Source.Read(ctx, shard, from) {
		if err != nil {
			return // nothing is learned
		}
		more := l.take(&batch, &from)
		if batch.Done != nil {
			batch.Done()
		}
		if !more {
			return
		}
	}
}

// take notes what a page tells, and returns whether to read on.
func (l *foreignLook) take(b *gerritstream.Page, from *gerritstream.Position) bool {
	for i := range b.Records {
		if r := &b.Records[i]; !from.Covers(r.Seq, r.Sub) && !r.Arrived.Before(from.From.Time) {
			l.unread = r.Arrived
			return false
		}
	}
	if until := b.Now.Add(-b.Lag); until.After(l.clear) {
		l.clear = until
	}
	return b.Lag > 0 && !b.End
}

// besides is the one read of a shard that no term is about. A shard is read
// once at a time, so a term that begins ends it.
type besides struct {
	mu     sync.Mutex
	shard  gerritstream.ShardID // under mu
	cancel context.CancelFunc   // under mu; nil: no read is under way
	done   chan struct{}        // under mu
}

// begin notes a read, which is to end with the context that it returns. end is
// called after it.
func (b *besides) begin(ctx context.Context, shard gerritstream.ShardID) (_ context.Context, end func()) {
	ctx, cancel := context.WithTimeout(ctx, foreignRead)
	done := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shard, b.cancel, b.done = shard, cancel, done
	return ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		cancel()
		close(done)
		b.cancel = nil
	}
}

// stop ends the read of a shard and waits for its end.
func (b *besides) stop(shard gerritstream.ShardID) {
	b.mu.Lock()
	cancel, done := b.cancel, b.done
	mine := cancel != nil && b.shard == shard
	b.mu.Unlock()
	if mine {
		cancel()
		<-done
	}
}
