package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
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

// Campaign implements gerritstream.Store. Who began first is served first.
func (p *Process) Campaign(ctx context.Context, epoch int, shard gerritstream.ShardID) (gerritstream.Term, error) {
	m := p.memory
	c := &candidate{process: p}
	defer m.leave(shard, c)
	for {
		if err := p.alive(ctx); err != nil {
			return nil, err
		}
		m.mu.Lock()
		changed, turn := m.changed, m.enterLocked(shard, c)
		m.mu.Unlock()
		if !turn {
			p.wait(ctx, changed)
			continue
		}
		t, err := p.take(ctx, epoch, shard, c)
		switch {
		case errors.Is(err, gerritstream.ErrRetryLater):
			p.pause(ctx, retryPause)
		case t != nil || err != nil:
			return t, err
		}
	}
}

// retryPause is how long a candidate waits when the store is away.
const retryPause = 100 * time.Millisecond

// take wins the leadership, unless another was faster: then it returns nil and
// no error.
func (p *Process) take(ctx context.Context, epoch int, shard gerritstream.ShardID, c *candidate) (gerritstream.Term, error) {
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
		if err := t.beginLocked(); err != nil {
			return err
		}
		l.number++
		t.number = l.number
		t.ctx, t.end = context.WithCancelCause(context.WithoutCancel(ctx))
		l.holder, won = t, t
		l.removeLocked(func(o *candidate) bool { return o == c })
		return nil
	})
	if err == nil && won != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		if won != nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			won.failLocked(errResigned)
		}
		return nil, err
	}
	if won == nil {
		return nil, nil
	}
	return won, nil
}

// beginLocked reads the position that the term begins with.
func (t *term) beginLocked() error {
	stored := t.process.memory.positions[positionKey{t.epoch, t.shard}]
	if stored == nil {
		return nil
	}
	pos, err := storekit.ReadPosition(stored.raw)
	if err != nil {
		return fmt.Errorf("campaign for %s: %w", t.shard, err)
	}
	t.beginning = gerritstream.Beginning{Position: pos, Stored: true}
	return nil
}

// Context implements gerritstream.Term.
func (t *term) Context() context.Context { return t.ctx }

// Number implements gerritstream.Term.
func (t *term) Number() uint64 { return t.number }

// Beginning implements gerritstream.Term. Nothing is ever found lost: no
// foreign leader writes this store.
func (t *term) Beginning() gerritstream.Beginning { return t.beginning }

// Limits implements gerritstream.Term.
func (t *term) Limits() gerritstream.Limits { return t.process.memory.config.Limits }

// Commit implements gerritstream.Term.
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
		if err := c.Check(m.config.Limits); err != nil {
			return err
		}
		m.applyLocked(t, &c)
		return nil
	})
	if errors.Is(err, gerritstream.ErrRetryLater) {
		return err
	}
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		t.failLocked(err)
		return err
	}
	return nil
}

// applyLocked writes a commit.
func (m *Memory) applyLocked(t *term, c *gerritstream.Commit) {
	m.setLocked(positionKey{t.epoch, t.shard}, c.Position, t.number)
	for _, e := range c.Entries {
		m.queueLocked(e)
	}
	for _, d := range c.DeadLetters {
		m.deadLetterLocked(d)
	}
}

// setLocked stores a position.
func (m *Memory) setLocked(key positionKey, pos gerritstream.Position, term uint64) {
	m.nonces++
	stamp := gerritstream.Stamp{Term: term, Nonce: strconv.FormatUint(m.nonces, 10)}
	m.positions[key] = &position{raw: storekit.EncodePosition(pos, stamp), committed: time.Now()}
}

// queueLocked queues an entry.
func (m *Memory) queueLocked(e gerritstream.Entry) {
	if m.config.Deduplicates && m.held[e.ID] {
		return
	}
	m.held[e.ID] = true
	e.Payload = bytes.Clone(e.Payload)
	m.entries = append(m.entries, e)
}

// putAsideLocked keeps a dead letter, once, within the bounds.
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

// Resign implements gerritstream.Term.
func (t *term) Resign(ctx context.Context) error {
	m := t.process.memory
	m.mu.Lock()
	t.endLocked(errResigned)
	held := m.leases[t.shard].holder == t
	m.mu.Unlock()
	if !held {
		return nil
	}
	err := t.process.write(ctx, Write{Point: PointResign, Epoch: t.epoch, Shard: t.shard, Term: t.number}, func() error {
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

// freedAfter is how long a process has a leadership of which a resignation
// failed, if nobody tries again.
const freedAfter = 20 * time.Second

// failLocked releases the term, unless its process is dead: that frees its
// leaderships in its own time.
func (t *term) failLocked(why error) {
	if t.process.death.Err() == nil {
		t.releaseLocked(why)
	}
}

// releaseLocked ends the term and frees the leadership if it still has it.
func (t *term) releaseLocked(why error) {
	m := t.process.memory
	t.endLocked(why)
	if l := m.leases[t.shard]; l.holder == t {
		l.holder = nil
		m.changedLocked()
	}
}

// endLocked ends the term's Context. The leadership may still stand in the
// store.
func (t *term) endLocked(why error) {
	if errors.Is(why, gerritstream.ErrLeadershipLost) {
		t.end(why)
		return
	}
	t.end(fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, why))
}
