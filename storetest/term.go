package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

var (
	errExpired  = errors.New("taken away")
	errResigned = errors.New("resigned")
)

// term is one leadership of one shard.
type term struct {
	process *Process
	epoch   int
	shard   gerritstream.ShardID
	number  uint64

	ctx context.Context
	end context.CancelCauseFunc

	beginning gerritstream.Beginning
}

// Campaign implements gerritstream.Store. Candidates win in the order in which
// they began.
func (p *Process) Campaign(ctx context.Context, epoch int, shard gerritstream.ShardID) (gerritstream.Term, error) {
	m := p.memory
	c := &candidate{process: p}
	defer m.leave(shard, c)
	for {
		if err := p.lock(ctx); err != nil {
			return nil, err
		}
		changed, mayLead := m.changed, m.enterLocked(shard, c)
		m.mu.Unlock()
		if !mayLead {
			p.wait(ctx, changed)
			continue
		}
		t, err := p.take(ctx, epoch, shard, c)
		if errors.Is(err, gerritstream.ErrRetryLater) {
			again := make(chan struct{})
			time.AfterFunc(retryPause, func() { close(again) })
			p.wait(ctx, again)
			continue
		}
		if t != nil || err != nil {
			return t, err
		}
	}
}

// retryPause is how long a candidate waits before it retries.
const retryPause = 100 * time.Millisecond

// take wins the leadership, or returns nil and no error if another candidate
// was faster.
func (p *Process) take(
	ctx context.Context, epoch int, shard gerritstream.ShardID, c *candidate,
) (gerritstream.Term, error) {
	m := p.memory
	var won *term
	err := p.write(ctx, Write{Point: PointCampaign, Epoch: epoch, Shard: shard}, func() error {
		l := m.leaseLocked(shard)
		if !m.enterLocked(shard, c) {
			return nil
		}
		if err := storekit.CheckEpoch(epoch, storekit.StoredEpoch(m.origin)); err != nil {
			return err
		}
		t := &term{process: p, epoch: epoch, shard: shard}
		if held := m.positions[t.key()]; held != nil {
			pos, err := storekit.ReadPosition(held.raw)
			if err != nil {
				return fmt.Errorf("campaign for %s: %w", shard, err)
			}
			t.beginning = gerritstream.Beginning{Position: pos, Stored: true}
		}
		l.number++
		t.number = l.number
		t.ctx, t.end = context.WithCancelCause(context.WithoutCancel(ctx))
		l.holder, won = t, t
		l.removeLocked(func(o *candidate) bool { return o == c })
		return nil
	})
	if won == nil {
		return nil, err
	}
	if err = cmp.Or(err, ctx.Err()); err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		won.failLocked(errResigned)
		return nil, err
	}
	return won, nil
}

func (t *term) key() gerritstream.PositionKey {
	return gerritstream.PositionKey{Epoch: t.epoch, Shard: t.shard}
}

func (t *term) Context() context.Context { return t.ctx }
func (t *term) Number() uint64           { return t.number }

// Beginning never has a Lost: no foreign leader writes this store.
func (t *term) Beginning() gerritstream.Beginning { return t.beginning }

func (t *term) Limits() gerritstream.Limits { return t.process.memory.config.Limits }

func (t *term) Commit(ctx context.Context, c gerritstream.Commit) error {
	m := t.process.memory
	if t.ctx.Err() != nil {
		return fmt.Errorf("commit to %s: %w", t.shard, context.Cause(t.ctx))
	}
	w := Write{Point: PointCommit, Epoch: t.epoch, Shard: t.shard, Term: t.number, Commit: &c}
	err := t.process.write(ctx, w, func() error {
		if m.leases[t.shard].holder != t {
			return fmt.Errorf("commit to %s: %w", t.shard, gerritstream.ErrLeadershipLost)
		}
		if err := storekit.CheckEpoch(t.epoch, storekit.StoredEpoch(m.origin)); err != nil {
			return fmt.Errorf("commit to %s: %w", t.shard, err)
		}
		if _, paused := m.paused.Of(t.shard); paused {
			return fmt.Errorf("commit to %s: %w", t.shard, pauses.ErrPaused)
		}
		if err := c.Check(m.config.Limits); err != nil {
			return err
		}
		m.setLocked(t.key(), c.Position, t.number)
		for _, e := range c.Entries {
			m.queueLocked(e)
		}
		for _, d := range c.DeadLetters {
			m.deadLetterLocked(d)
		}
		return nil
	})
	if err != nil && !errors.Is(err, gerritstream.ErrRetryLater) {
		m.mu.Lock()
		defer m.mu.Unlock()
		t.failLocked(err)
	}
	return err
}

// setLocked stores a position.
func (m *Memory) setLocked(key gerritstream.PositionKey, pos gerritstream.Position, term uint64) {
	m.count++
	stamp := gerritstream.Stamp{Term: term, Nonce: strconv.FormatUint(m.count, 10)}
	m.positions[key] = &position{raw: storekit.EncodePosition(pos, stamp), committed: time.Now()}
}

// queueLocked queues an entry.
func (m *Memory) queueLocked(e gerritstream.Entry) {
	same := func(o gerritstream.Entry) bool { return o.ID == e.ID }
	if m.config.Deduplicates && slices.ContainsFunc(m.entries, same) {
		return
	}
	e.Payload = bytes.Clone(e.Payload)
	m.entries = append(m.entries, e)
}

// deadLetterLocked keeps a dead letter, once, within the bounds.
func (m *Memory) deadLetterLocked(d gerritstream.DeadLetter) {
	room := storekit.DeadLetterRoom{Held: len(m.dead)}
	for i := range m.dead {
		if m.dead[i].DeadLetter.ID == d.ID {
			return
		}
		room.Bytes += len(m.dead[i].DeadLetter.Payload)
	}
	if !room.Admit(&d) {
		m.discarded++
		return
	}
	d.Payload = bytes.Clone(d.Payload)
	m.dead = append(m.dead, gerritstream.StoredDeadLetter{DeadLetter: d, StoredAt: time.Now()})
}

func (t *term) Resign(ctx context.Context) error {
	m := t.process.memory
	m.mu.Lock()
	t.endLocked(errResigned)
	held := m.leases[t.shard].holder == t
	m.mu.Unlock()
	if !held {
		return nil
	}
	w := Write{Point: PointResign, Epoch: t.epoch, Shard: t.shard, Term: t.number}
	err := t.process.write(ctx, w, func() error {
		t.releaseLocked(errResigned)
		return nil
	})
	if err != nil {
		time.AfterFunc(freedAfter, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			t.failLocked(errResigned)
		})
	}
	return err
}

// freedAfter is how long a process keeps a leadership after a resignation
// failed, if none is retried.
const freedAfter = 20 * time.Second

// failLocked releases the term, unless its process is dead: the leaderships of
// those are freed after TakeoverAfter.
func (t *term) failLocked(why error) {
	if t.process.death.Err() == nil {
		t.releaseLocked(why)
	}
}

// releaseLocked ends the term and frees its leadership.
func (t *term) releaseLocked(why error) {
	m := t.process.memory
	t.endLocked(why)
	if l := m.leases[t.shard]; l.holder == t {
		l.holder = nil
		m.changedLocked()
	}
}

// endLocked ends the term's Context, which need not free the leadership.
func (t *term) endLocked(why error) {
	if errors.Is(why, gerritstream.ErrLeadershipLost) {
		t.end(why)
		return
	}
	t.end(fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, why))
}
