package kinesis

import (
	"context"
	"time"
)

// proveEvery is how often a subscription to an idle shard is compared with a
// poll. A consumer counts a shard as silent after thirty seconds.
const proveEvery = 20 * time.Second

// nextPushed returns the next page of a subscription, or of a poll that proves
// it; nil: no subscription stands.
//
// Events without records are not passed on. They show that the subscription
// lives, but not until when everything was read: see prove.
func (r *reading) nextPushed(ctx context.Context) (*page, error) {
	for b := r.push.take(); b != nil; b = r.push.take() {
		if r.findRange(ctx) != nil {
			return nil, nil // the next poll reports it
		}
		p, err := b.next(ctx, r.own)
		if err == nil && p.reply.next == "" {
			err = r.checkEnd(ctx, p)
		}
		switch {
		case ctx.Err() != nil:
			p.release()
			return nil, ctx.Err()
		case err != nil:
			p.release()
			r.push.awaitRenewal(ctx)
			r.push.drop(err)
		case !p.isIdle():
			return p, nil
		case time.Since(r.push.proved) < proveEvery || time.Until(r.pace.due) > 0:
			r.push.advance(&r.cursor, p)
			p.release()
		default:
			return r.prove(ctx, p)
		}
	}
	return nil, nil
}

// isIdle reports whether an event brings nothing: no record, no distance from
// the tip, and not the end of the shard.
func (p *page) isIdle() bool {
	return len(p.reply.records) == 0 && p.reply.lag <= 0 && p.reply.next != ""
}

// release gives back the memory of a page that is not yielded. p may be nil.
func (p *page) release() {
	if p != nil {
		p.memory.room.Release()
	}
}

// prove polls once to learn until when everything was read. An event at the tip
// does not show that: only its coming has a time, and before it came it may
// have waited in buffers for as long as the reader was busy. Records that
// arrived meanwhile would count as handled. The Date of a subscription's reply
// is certain, but up to five minutes old; a poll is certain and costs a
// request.
//
// idle is the event that has come. If the poll fails, idle takes its place as a
// sign of life, and claims no tip.
func (r *reading) prove(ctx context.Context, idle *page) (*page, error) {
	r.push.advance(&r.cursor, idle)
	idle.release() // a reader that waits for memory holds none
	p, err := r.poll(ctx)
	if err == nil || ctx.Err() != nil || errClass(err) == notFound {
		return p, err
	}
	r.source.log.Debug("cannot poll beside a subscription", "shard", string(r.shard), "err", err)
	switch errClass(err) {
	case throttled:
		r.pace.throttled()
	case noRoom:
		r.atTip = false
	case unconfirmed: // the end of the shard
		r.pace.soon()
	default:
		r.iterator, r.refused = "", time.Now()
		r.pace.pause(proveEvery / 2)
	}
	idle.reply.lag = unknownLag
	return idle, nil
}
