package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/gerritstream/gerritstream/queue"
)

// term is the delivering under one lease. One goroutine owns it, and starts one
// more for each request under way.
//
// The commit point of a delivery is the acknowledgement. The receiver has the
// event before it, so a process that dies between has the next one deliver it
// again; what is put aside is in the store's letters before it. Nothing is
// acknowledged for any other reason.
type term struct {
	d        *Dispatcher
	consumer *queue.Consumer
	window   *window
	health   health
	report   report

	sending context.Context // of the requests: ends with the lease, or after the stop's grace
	cut     context.CancelFunc
	writing context.Context // of what the store is told: ends some time after that
	results chan result
	wakes   waker

	done      []int64   // numbers that are done with and not acknowledged yet
	storeWait time.Time // after an error of the store: nothing is sent or written before
	looked    time.Time // when a pause and the sharing out were last looked for
	foreign   int       // how often in a row the hook was another member's by then
	atEnd     bool      // the last read found nothing
	gone      *Attempt  // the receiver wants no more
}

// result is what became of a request.
type result struct {
	line    *line
	attempt *Attempt
}

func newTerm(writing context.Context, d *Dispatcher, c *queue.Consumer, last Report) *term {
	t := &term{
		d: d, consumer: c, writing: writing, window: newWindow(d.hook.Order),
		results: make(chan result, d.hook.Concurrency), looked: time.Now(),
	}
	if time.Since(last.NextAttempt) < maxBackOff { // else nobody has tried for long
		t.health.since = last.FailingSince
	}
	t.report = report{last: last}
	t.report.last.Process, t.report.last.NextAttempt, t.report.last.Blocked = d.config.Process, time.Time{}, 0
	t.sending, t.cut = context.WithCancel(c.Context())
	return t
}

// run delivers until ctx ends, the lease does, the hook pauses or goes to
// another process.
func (t *term) run(ctx context.Context) (err error) {
	defer t.cut()
	for err == nil {
		err = t.step(ctx)
	}
	return errors.Join(err, t.drain(ctx))
}

// step does what there is to do, and waits until there may be more.
func (t *term) step(ctx context.Context) error {
	if err := t.settle(ctx); err != nil {
		return err
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	if err := t.fill(ctx); err != nil {
		return err
	}
	t.send()
	if err := t.acknowledge(); err != nil { // while the next requests are under way
		return err
	}
	t.writeReport(false)
	return t.await(ctx)
}

// drain waits for the requests under way, and acknowledges what they achieved.
// They end by their own time-out or with the lease, or with the grace after the
// end of ctx.
func (t *term) drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(t.d.config.Grace, t.cut) })
	defer stop()
	for t.window.sending > 0 {
		t.take(<-t.results)
	}
	t.storeWait = time.Time{}
	err := t.acknowledge()
	t.writeReport(true)
	return err
}

// settle takes the results that are there, and finds out whether to go on.
func (t *term) settle(ctx context.Context) error {
	for {
		select {
		case r := <-t.results:
			t.take(r)
			continue
		default:
		}
		break
	}
	if t.gone != nil {
		return t.pause()
	}
	if err := context.Cause(t.consumer.Context()); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// acknowledge writes what is done with. An error of the store that leaves the
// lease is repeated later: meanwhile nothing more is sent.
func (t *term) acknowledge() error {
	if len(t.done) == 0 || t.storeFails() {
		return nil
	}
	err := t.consumer.Done(t.writing, t.done...) // the commit point
	switch {
	case err == nil:
		t.done, t.storeWait = t.done[:0], time.Time{}
	case errors.Is(err, queue.ErrLeaseLost):
		return err
	default:
		t.storeFailed("acknowledge", err)
	}
	return nil
}

func (t *term) storeFails() bool { return time.Now().Before(t.storeWait) }

func (t *term) storeFailed(what string, err error) {
	if t.storeWait.IsZero() {
		t.d.log.Warn("webhook cannot write to the store; retrying", "what", what, "err", err)
	}
	t.storeWait = time.Now().Add(storePause)
}

// look looks now and then whether the hook is paused, or another member's.
func (t *term) look(ctx context.Context) error {
	if time.Since(t.looked) < lookEvery {
		return nil
	}
	t.looked = time.Now()
	state, err := t.d.config.Store.HookState(ctx, t.d.hook.Name)
	switch {
	case err != nil:
		return nil // the store will tell when it matters
	case !state.Pause.Since.IsZero():
		t.d.log.Info("webhook is paused", "by", state.Pause.By)
		t.forget()
		return errPaused
	}
	return t.lookForOwner(ctx)
}

// fill reads events while there is room.
func (t *term) fill(ctx context.Context) error {
	for !t.atEnd && !t.storeFails() {
		room := t.room() // once: a line that waited may send by now, which leaves none
		if room == 0 {
			break
		}
		events, err := t.consumer.Poll(ctx, room)
		if err != nil {
			return err
		}
		t.add(events)
	}
	return nil
}

func (t *term) add(events []queue.Event) {
	t.atEnd = len(events) == 0
	t.window.add(events)
	if t.isDown() {
		t.giveUpAllOld()
	}
}

// room returns how many events to read. A read costs the store a page, so it is
// not worth while for a few, unless nothing else can be sent.
func (t *term) room() int {
	w := t.window
	room := t.d.config.MaxEvents - w.count
	if w.bytes >= t.d.config.MaxBytes {
		return 0
	}
	if room < t.d.config.MaxEvents/4 && (w.sending > 0 || w.next(time.Now(), false) != nil) {
		return 0
	}
	return room
}

// send begins the requests that may begin now.
func (t *term) send() {
	now := time.Now()
	for t.maySend(now) {
		l := t.window.next(now, t.health.probing())
		if l == nil {
			return
		}
		l.sending = true
		t.window.sending++
		e, again := l.items[0].event, l.items[0].attempts > 0
		go func() {
			t.results <- result{l, t.d.sender.Send(t.sending, &e, again)}
			t.wakes.wake()
		}()
	}
}

func (t *term) maySend(now time.Time) bool {
	most := t.d.hook.Concurrency
	if t.health.probing() {
		most = 1
	}
	return t.window.sending < most && !now.Before(t.health.next()) && !t.storeFails()
}

// await waits for a result, for events if there is room, or until something is
// due.
func (t *term) await(ctx context.Context) error {
	waiting, stop := t.wakes.context(ctx, t.due(time.Now()))
	defer stop()
	room := t.room()
	if room == 0 || t.storeFails() {
		select {
		case <-waiting.Done():
		case <-t.consumer.Context().Done():
		}
		return nil
	}
	events, err := t.consumer.Next(waiting, room)
	switch {
	case err == nil:
		t.add(events)
		return nil
	case waiting.Err() != nil && t.consumer.Context().Err() == nil:
		return nil // settle knows if ctx has ended
	default:
		return err
	}
}

// due returns when there is something to do even if nothing happens.
func (t *term) due(now time.Time) time.Time {
	first := t.looked.Add(lookEvery)
	for _, at := range []time.Time{t.health.next(), t.window.wake(now), t.storeWait} {
		if at.After(now) && at.Before(first) {
			first = at
		}
	}
	return first
}
