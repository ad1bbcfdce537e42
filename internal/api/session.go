package api

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream/queue"
)

// The bounds of sessions.
const (
	// maxSessions bounds the memory of what was handed out and is not
	// acknowledged: about 4 MiB for each session.
	maxSessions = 32

	leaseTimeout = time.Second     // for a lease that is free, where the client does not wait
	turnTimeout  = 2 * time.Second // for another request of the same session
	ackTimeout   = 10 * time.Second
	closeTimeout = time.Second // for a lease to be given up; then it expires
)

// sessions are the clients that read as consumers: one for each name.
type sessions struct {
	ctx   context.Context // ends all of them
	store queue.Store
	acked func(arrived time.Time) // Options.Acked
	log   *slog.Logger

	mu      sync.Mutex
	byName  map[string]*session // under mu; those that are being opened as well
	closed  bool                // under mu: no further ones
	running sync.WaitGroup
}

// newSessions returns none yet. They all end with ctx.
func newSessions(ctx context.Context, o *Options) *sessions {
	all := &sessions{ctx: ctx, store: o.Queue, acked: o.Acked, log: o.Logger, byName: map[string]*session{}}
	if all.acked == nil {
		all.acked = func(time.Time) {}
	}
	return all
}

// wait returns once all sessions have given up their leases, after ctx ended.
func (all *sessions) wait() {
	all.mu.Lock()
	all.closed = true
	all.mu.Unlock()
	all.running.Wait()
}

// session is a client that reads as a consumer. One goroutine, run, has the
// lease and does what requests ask for, one after the other.
type session struct {
	name, token string
	client      string // for people
	timeout     time.Duration
	noteAcked   func(arrived time.Time)
	calls       chan *call
	done        chan struct{} // closed once the lease is given up

	// Owned by run.
	consumer *queue.Consumer
	unacked  []queue.Event // handed out and not acknowledged, in order
	acked    int64         // the number that the client acknowledged last; 0: none
	over     bool          // after this call
}

// call is what a request has the session's goroutine do.
type call struct {
	do   func() error
	err  error
	done chan struct{}
}

// open begins a session once nobody else reads as the name, or fails when ctx
// ends.
func (all *sessions) open(ctx context.Context, name, client string, want *reading) (*session, error) {
	s := &session{
		name: name, token: rand.Text(), client: client, timeout: want.timeout, noteAcked: all.acked,
		calls: make(chan *call), done: make(chan struct{}),
	}
	if err := all.enter(ctx, s); err != nil {
		return nil, err
	}
	c, err := queue.Open(ctx, all.store, name, want.options...)
	if err != nil {
		all.leave(s)
		return nil, all.explain(ctx, name, err)
	}
	s.consumer = c
	go func() {
		defer all.leave(s)
		all.log.Debug("consumer session began", "consumer", name, "client", client)
		why := s.run(all.ctx)
		all.log.Debug("consumer session ended", "consumer", name, "client", client, "why", why)
	}()
	return s, nil
}

// enter takes the place of a name's session, once it is free.
func (all *sessions) enter(ctx context.Context, s *session) error {
	for {
		all.mu.Lock()
		other := all.byName[s.name]
		switch {
		case all.closed:
			all.mu.Unlock()
			return errStopping
		case other != nil:
			all.mu.Unlock()
		case len(all.byName) >= maxSessions:
			all.mu.Unlock()
			return problem(http.StatusServiceUnavailable, CodeTooMany, "%d clients read already", maxSessions)
		default:
			all.byName[s.name] = s
			all.running.Add(1)
			all.mu.Unlock()
			return nil
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return held(s.name, other.client)
		}
	}
}

// leave gives the place up.
func (all *sessions) leave(s *session) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byName, s.name)
	close(s.done)
	all.running.Done()
}

// find returns the session of a token.
func (all *sessions) find(name, token string) (*session, error) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if s := all.byName[name]; s != nil && subtle.ConstantTimeCompare([]byte(s.token), []byte(token)) == 1 {
		return s, nil
	}
	return nil, lost(name)
}

func held(name, by string) error {
	return problem(http.StatusConflict, CodeHeld, "%s is reading as %s", by, name)
}

func lost(name string) error {
	return problem(http.StatusConflict, CodeSessionLost, "this session of %s is over, and what it did not acknowledge "+
		"comes again; read without a token", name)
}

// explain turns an error of the queue into the answer.
func (all *sessions) explain(ctx context.Context, name string, err error) error {
	switch {
	case errors.Is(err, queue.ErrNoConsumer):
		return problem(http.StatusNotFound, CodeNoConsumer, "there is no consumer %s", name)
	case errors.Is(err, queue.ErrHeld), errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		return held(name, all.reader(name))
	}
	return err
}

// reader names who holds the lease.
func (all *sessions) reader(name string) string {
	ctx, cancel := context.WithTimeout(all.ctx, leaseTimeout)
	defer cancel()
	if info, err := consumerNamed(ctx, all.store, name); err == nil && info.Reader != "" {
		return "process " + info.Reader
	}
	return "another process"
}

// run does what requests ask for, until the client has been silent for the
// timeout, the lease is lost, or ctx ends. It returns which, for people.
func (s *session) run(ctx context.Context) (why string) {
	silent := time.NewTimer(s.timeout)
	defer silent.Stop()
	why = "the client or an error ended it"
	for !s.over {
		select {
		case c := <-s.calls:
			c.err = c.do()
			close(c.done)
			silent.Reset(s.timeout)
		case <-silent.C:
			s.over, why = true, "the client is silent"
		case <-s.consumer.Context().Done():
			s.over, why = true, "the lease is lost"
		case <-ctx.Done():
			s.over, why = true, "the process is stopping"
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = s.consumer.Close(ctx) // else the lease expires
	return why
}

// call has the session's goroutine do something, once it has done what other
// requests asked for.
func (s *session) call(ctx context.Context, do func() error) error {
	c := &call{do: do, done: make(chan struct{})}
	turn := time.NewTimer(turnTimeout)
	defer turn.Stop()
	select {
	case s.calls <- c:
		<-c.done
		return c.err
	case <-s.done:
		return lost(s.name)
	case <-turn.C:
		return problem(http.StatusConflict, CodeBusy, "another request of this session is under way")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end ends the session, and waits for that no longer than ctx.
func (s *session) end(ctx context.Context) error {
	err := s.call(ctx, func() error { s.over = true; return nil })
	if err != nil {
		return err
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// read returns the oldest events that are not acknowledged: those that were
// handed out before, since their answer may have been lost, or else the next
// ones, for which it waits. They are the caller's, but not their bytes.
func (s *session) read(ctx context.Context, most int, wait, timeout time.Duration) (events []queue.Event, err error) {
	err = s.call(ctx, func() error {
		s.timeout = timeout
		if len(s.unacked) == 0 {
			if s.unacked, err = s.next(ctx, most, wait); err != nil {
				return err
			}
			events = append(events, s.unacked...)
		} else {
			events = append(events, s.unacked[:min(most, len(s.unacked))]...)
		}
		for i := range s.unacked {
			s.unacked[i].Redelivered = true
		}
		return nil
	})
	return events, err
}

func (s *session) next(ctx context.Context, most int, wait time.Duration) ([]queue.Event, error) {
	if wait == 0 {
		events, err := s.consumer.Poll(ctx, most)
		return events, s.judge(ctx, err)
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	events, err := s.consumer.Next(waiting, most)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil && s.consumer.Context().Err() == nil {
		return nil, nil
	}
	return events, s.judge(ctx, err)
}

// judge ends the session after an error that ends the reading.
func (s *session) judge(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil && s.consumer.Context().Err() == nil {
		return err // the client may read again
	}
	s.over = true
	if errors.Is(err, queue.ErrLeaseLost) {
		return lost(s.name)
	}
	return fmt.Errorf("%w; read without a token", err)
}

// ack acknowledges an event and those that were handed out before it, and keeps
// the rest. It goes on if the client hangs up: the outcome is known then.
func (s *session) ack(ctx context.Context, number int64) error {
	return s.call(ctx, func() error {
		if number == s.acked {
			return nil // repeated, since the answer was lost
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
		defer cancel()
		at := slices.IndexFunc(s.unacked, func(e queue.Event) bool { return e.Number == number })
		switch {
		case at >= 0:
		case number < s.acked:
			return problem(http.StatusConflict, CodeBackwards, "event %d is acknowledged already; seek moves backwards",
				s.acked)
		default:
			return problem(http.StatusConflict, CodeNotHandedOut,
				"event %d is none of those handed out in this session and not acknowledged", number)
		}
		if err := s.consumer.Ack(ctx, number); err != nil {
			return s.judge(context.Background(), err)
		}
		for i := range s.unacked[:at+1] {
			s.noteAcked(s.unacked[i].Entry.Arrived)
		}
		s.acked, s.unacked = number, s.unacked[at+1:]
		return nil
	})
}
