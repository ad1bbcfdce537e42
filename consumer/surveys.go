package consumer

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/plan"
)

const (
	// surveyGap bounds how closely surveys follow one another: the first comes
	// at once, and while more terms begin the gap grows to the second bound.
	// The service answers 20 listings a second, for the whole account.
	surveyGap, surveyGapMost = 100 * time.Millisecond, 500 * time.Millisecond

	// surveyQuiet is how long after a survey the next one counts as the first.
	surveyQuiet = 10 * time.Second
)

// surveys are what terms plan by: the stream is listed completely, and only
// then the positions are read, both within the term. Terms that begin together
// share a survey: a term takes one that began after the term asked for it,
// never one that was in progress.
type surveys struct {
	turn chan struct{} // capacity 1: held by the term that makes a survey, or looks whether the last one will do

	begun atomic.Uint64 // surveys so far

	// What follows belongs to the holder of the turn.
	last    survey
	since   time.Time     // local: when last began
	gap     time.Duration // from since to the next survey
	apart   backoff       // after a survey that succeeded
	failing backoff       // after one that failed
}

// survey is a listing, and what it and the positions read after it come to.
type survey struct {
	number  uint64
	epoch   int
	listing gerritstream.Listing
	steps   map[gerritstream.ShardID]plan.Step
	err     error
}

func newSurveys() *surveys {
	return &surveys{
		turn:    make(chan struct{}, 1),
		apart:   backoff{first: surveyGap, most: surveyGapMost},
		failing: backoff{first: 250 * time.Millisecond, most: 15 * time.Second},
	}
}

// next returns the first survey of an epoch that begins after the call, made by
// this caller or by another. One that failed is returned to all who share it,
// with its err; ask again for the one after it. The error is the context's.
func (s *surveys) next(ctx context.Context, epoch int, look func(context.Context) survey) (survey, error) {
	first := s.begun.Load() + 1
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return survey{}, context.Cause(ctx)
	}
	if s.last.number >= first && s.last.epoch == epoch {
		return s.last, nil
	}
	if s.last.err == nil && time.Since(s.since) > surveyQuiet {
		s.apart.reset()
		s.gap = 0
	}
	if !sleep(ctx, time.Until(s.since.Add(s.gap))) { // terms that ask meanwhile share this survey
		return survey{}, context.Cause(ctx)
	}
	number := s.begun.Add(1)
	s.since = time.Now()
	made := look(ctx)
	if ctx.Err() != nil { // that is no answer for the others
		return survey{}, context.Cause(ctx)
	}
	made.number, made.epoch = number, epoch
	s.last = made
	if made.err != nil {
		s.gap = s.failing.next()
	} else {
		s.failing.reset()
		s.gap = s.apart.next()
	}
	return made, nil
}
