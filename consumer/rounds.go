package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

const (
	// roundApart bounds how closely the rounds of terms follow one another: the
	// first comes at once, and while more terms begin the distance grows to the
	// second. The service answers 20 listings a second, for the whole account.
	roundApart, roundApartMost = 100 * time.Millisecond, 500 * time.Millisecond

	// roundQuiet is how long after a round the next one counts as the first.
	roundQuiet = 10 * time.Second
)

// rounds are what terms plan by. A round lists the stream completely and only
// then reads the positions. Terms that begin together share a round, and the
// rule stays: the stream is listed, then positions are read, and both within
// the term. For a term takes only a round that began after the term asked for
// it, never one that is under way already.
type rounds struct {
	turn chan struct{} // capacity 1: held by the term that makes a round, or that looks whether the last one will do

	mu    sync.Mutex
	begun uint64 // under mu: rounds so far

	// What follows belongs to the holder of the turn.
	last    round
	since   time.Time // local: when the last round began
	gap     time.Duration
	apart   backoff // after a round that succeeded
	failing backoff // after one that failed
}

// round is what a listing, and the positions that were read after it, come to.
type round struct {
	number  uint64
	epoch   int
	listing gerritstream.Listing
	steps   map[gerritstream.ShardID]plan.Step
	err     error
}

func newRounds() *rounds {
	return &rounds{
		turn:    make(chan struct{}, 1),
		apart:   backoff{first: roundApart, most: roundApartMost},
		failing: backoff{first: 250 * time.Millisecond, most: 15 * time.Second},
	}
}

// next returns the first round of an epoch that begins after the call, made by
// this caller or by another. A round that failed is returned to all who share
// it, with its err; ask again for the one after it. The error is the context's.
func (r *rounds) next(ctx context.Context, epoch int, look func(context.Context) round) (round, error) {
	r.mu.Lock()
	first := r.begun + 1
	r.mu.Unlock()
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return round{}, context.Cause(ctx)
	}
	if r.last.number >= first && r.last.epoch == epoch {
		return r.last, nil
	}
	if !r.pause(ctx) {
		return round{}, context.Cause(ctx)
	}
	r.mu.Lock()
	r.begun++
	number := r.begun
	r.mu.Unlock()
	r.since = time.Now()
	made := look(ctx)
	if ctx.Err() != nil { // that is no answer for the others
		return round{}, context.Cause(ctx)
	}
	made.number, made.epoch = number, epoch
	r.last = made
	if made.err != nil {
		r.gap = r.failing.next()
	} else {
		r.failing.reset()
		r.gap = r.apart.next()
	}
	return made, nil
}

// pause keeps rounds apart. Terms that come meanwhile share the next one.
func (r *rounds) pause(ctx context.Context) bool {
	if r.last.err == nil && time.Since(r.since) > roundQuiet {
		r.apart.reset()
		return ctx.Err() == nil
	}
	return sleep(ctx, time.Until(r.since.Add(r.gap)))
}
