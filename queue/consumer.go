package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Consumer reads a queue as a name, and holds the lease of it. One goroutine
// uses it.
type Consumer struct {
	store   Store
	name    string
	lease   Lease
	filter  Filter
	matcher Matcher

	before  int64   // number of the last event that was handed out before this lease
	handed  int64   // number of the last event handed out in this lease, if any
	read    int64   // number of the last event read
	open    []Range // of what was read, the consumer's events that are not acknowledged
	done    Set     // what is acknowledged, and what lies between and is not the consumer's
	unsaved bool    // the store may not have all of done
	least   int64   // the last number given to Ack
	skipped time.Time

	arrivals *arrivals // nil: in the order of the queue
}

// Open waits until this process may read as the name, and begins after what was
// acknowledged last. The caller must Close the consumer. ErrNoConsumer:
// register it first.
func Open(ctx context.Context, store Store, name string, options ...Option) (*Consumer, error) {
	lease, err := store.Lease(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", name, err)
	}
	info := lease.Consumer()
	matcher, err := info.Filter.Matcher()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("consumer %s: its filter: %w", name, err),
			lease.Release(context.WithoutCancel(ctx)))
	}
	c := &Consumer{
		store: store, name: name, lease: lease, filter: info.Filter, matcher: matcher,
		done:   Set{}.Union(info.Done()),
		handed: info.Acked, before: max(info.Handed, info.Ahead), read: info.Acked, least: info.Acked,
	}
	for _, option := range options {
		option(c)
	}
	if c.arrivals != nil {
		if err := c.recall(ctx); err != nil {
			return nil, errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
		}
	}
	return c, nil
}

// Acknowledge acknowledges, for a person or a program that read as the name
// before, the events up to a number: forward only, and no more than was handed
// out. It waits for the lease.
func Acknowledge(ctx context.Context, store Store, name string, number int64) (err error) {
	if err := RefuseWebhook(name); err != nil {
		return err
	}
	lease, err := store.Lease(ctx, name)
	if err != nil {
		return fmt.Errorf("consumer %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, lease.Release(context.WithoutCancel(ctx))) }()
	info := lease.Consumer()
	err = checkAck(name, number, info.Acked, info.Handed)
	if err != nil || number == info.Acked {
		return err
	}
	if err := lease.Ack(ctx, Set{UpTo: number}); err != nil {
		return fmt.Errorf("consumer %s: acknowledge: %w", name, err)
	}
	return nil
}

// checkAck reports what is wrong with a number up to which to acknowledge.
func checkAck(name string, number, acked, handed int64) error {
	switch {
	case number > handed:
		return fmt.Errorf("consumer %s: acknowledge %d: the last event handed out is %d", name, number, handed)
	case number < acked:
		return fmt.Errorf("consumer %s: acknowledge %d: %d is acknowledged already; seek moves backwards",
			name, number, acked)
	}
	return nil
}

// Context ends, with cause ErrLeaseLost, when another process may read as the
// name.
func (c *Consumer) Context() context.Context { return c.lease.Context() }

// Filter is the consumer's filter, as stored when it was opened.
func (c *Consumer) Filter() Filter { return c.filter }

// page is how many events are read at a time at most.
const page = 500

// skipEvery is how often the consumer moves on over events that its filter
// drops, while nothing else comes: retention waits for what it has not passed.
const skipEvery = time.Second

// Next waits for events, and returns at least one and at most so many of them:
// the next ones after those that it returned last, acknowledged or not. Their
// bytes are the caller's. Once it has failed, other than by the end of ctx,
// Close the consumer and open it again: what was not acknowledged comes again,
// and nothing else does.
func (c *Consumer) Next(ctx context.Context, most int) ([]Event, error) {
	for {
		events, err := c.Poll(ctx, most)
		if err == nil && len(events) == 0 {
			err = c.wait(ctx)
		}
		if err != nil || len(events) > 0 {
			return events, err
		}
	}
}

// Poll is Next without waiting: it returns none at the end of the queue. By
// arrival it waits for as long as what is there is held back.
func (c *Consumer) Poll(ctx context.Context, most int) ([]Event, error) {
	if most < 1 {
		return nil, fmt.Errorf("consumer %s: at most %d events are asked for", c.name, most)
	}
	ctx, stop := c.whileLeased(ctx)
	defer stop()
	if c.arrivals != nil {
		return c.pollByArrival(ctx, most)
	}
	atOnce := page
	if c.filter.isEmpty() { // what is read beyond is read again
		atOnce = min(page, most)
	}
	for {
		before := c.read
		read, err := c.store.Read(ctx, c.name, before, atOnce)
		if err != nil {
			return nil, c.failed(ctx, "read", err)
		}
		if events := c.keep(read, most); len(events) > 0 {
			if err := c.hand(ctx, events, c.read); err != nil {
				c.unread(before)
				return nil, err
			}
			return events, nil
		}
		if err := c.skip(ctx, len(read) == 0); err != nil || len(read) == 0 {
			return nil, err
		}
	}
}

// whileLeased returns a context that ends with the lease as well.
func (c *Consumer) whileLeased(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(c.lease.Context(), func() { cancel(context.Cause(c.lease.Context())) })
	return ctx, func() {
		forget()
		cancel(nil)
	}
}

// keep returns those of the events that are the consumer's, up to a number, and
// notes how far they were read.
func (c *Consumer) keep(read []Event, most int) []Event {
	kept := read[:0]
	for i := range read {
		if len(kept) == most {
			break
		}
		e := &read[i]
		c.read = e.Number
		if !c.done.Has(e.Number) && c.matcher.Keeps(&e.Entry.Event) {
			e.Redelivered = e.Number <= c.before
			c.open = addRange(c.open, Range{e.Number, e.Number})
			kept = append(kept, *e)
		}
	}
	return kept
}

// unread forgets that events after a number were read.
func (c *Consumer) unread(after int64) {
	c.read = after
	i := endingFrom(c.open, after+1)
	if i < len(c.open) && c.open[i].First <= after {
		c.open[i].Last = after
		i++
	}
	c.open = c.open[:i]
}

// hand notes that events are handed out, and that all up to a number are then.
// A process that dies after this and before the caller has seen them leaves
// them marked as redelivered.
func (c *Consumer) hand(ctx context.Context, events []Event, upTo int64) error {
	last := c.handed
	for i := range events {
		last = max(last, events[i].Number)
	}
	if last > c.before && last > c.handed {
		if err := c.lease.Deliver(ctx, min(upTo, last), last); err != nil {
			return c.failed(ctx, "note what is handed out", err)
		}
	}
	c.handed = last
	return nil
}

// skip moves on over events that are not the consumer's, if it has nothing
// unacknowledged: at the end of the queue now and then, elsewhere at each page.
func (c *Consumer) skip(ctx context.Context, atEnd bool) error {
	if !c.maySkip() || atEnd && time.Since(c.skipped) < skipEvery {
		return nil
	}
	c.skipped = time.Now()
	c.finish(c.read)
	return c.save(ctx)
}

func (c *Consumer) maySkip() bool { return len(c.open) == 0 && c.done.UpTo < c.read }

var errSkip = errors.New("it is time to move on over what is not the consumer's")

// wait waits for events, or until it is time to skip.
func (c *Consumer) wait(ctx context.Context) error {
	ctx, stop := c.whileLeased(ctx)
	defer stop()
	waiting := ctx
	if c.maySkip() {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeoutCause(ctx, time.Until(c.skipped.Add(skipEvery)), errSkip)
		defer cancel()
	}
	err := c.store.Wait(waiting, c.name, c.read)
	if err != nil && !errors.Is(context.Cause(waiting), errSkip) {
		return c.failed(ctx, "wait for events", err)
	}
	return nil
}

// Ack acknowledges the events up to a number that Next has returned, and
// moves on over those behind it that are not the consumer's. A number that is
// acknowledged already changes nothing. ErrLeaseLost: another process may
// have read the same events meanwhile, and nothing was acknowledged.
func (c *Consumer) Ack(ctx context.Context, number int64) error {
	if c.arrivals != nil {
		return c.ackByArrival(ctx, number)
	}
	if err := checkAck(c.name, number, c.least, c.handed); err != nil {
		return err
	}
	if number > c.least {
		c.least = number
		c.finish(number)
	}
	return c.save(ctx)
}

// Done acknowledges single events that Next has returned, by their numbers and
// in any order, and leaves those before them unacknowledged. Each call is a
// write to the store: give it all that is done by then at once. Numbers that
// are acknowledged already change nothing. The errors are those of Ack, and
// ErrScattered: nothing was stored, and the next call that succeeds stores
// these numbers as well.
func (c *Consumer) Done(ctx context.Context, numbers ...int64) error {
	for _, n := range numbers {
		if !c.isOpen(n) && !c.done.Has(n) {
			return c.notHanded(n)
		}
	}
	for _, n := range numbers {
		c.finishOne(n)
	}
	if a := c.arrivals; a != nil {
		a.given = slices.DeleteFunc(a.given, c.done.Has)
	}
	return c.save(ctx)
}

// isOpen reports whether an event was handed out and is not acknowledged.
func (c *Consumer) isOpen(number int64) bool {
	if c.arrivals != nil {
		return slices.Contains(c.arrivals.given, number)
	}
	i := endingFrom(c.open, number)
	return i < len(c.open) && c.open[i].First <= number
}

func (c *Consumer) notHanded(number int64) error {
	return fmt.Errorf("consumer %s: acknowledge %d: it was not handed out", c.name, number)
}

// finish notes that all events up to a number are done with.
func (c *Consumer) finish(number int64) {
	c.open = slices.Delete(c.open, 0, endingFrom(c.open, number+1))
	if len(c.open) > 0 {
		c.open[0].First = max(c.open[0].First, number+1)
	}
	c.extend(c.done.UpTo+1, 0)
}

// finishOne notes that an event is done with.
func (c *Consumer) finishOne(number int64) {
	open, there := removeNumber(c.open, number)
	if !there {
		return
	}
	c.open = open
	next, first := endingFrom(open, number), c.done.UpTo+1
	if next > 0 {
		first = open[next-1].Last + 1
	}
	c.extend(first, next)
}

// extend adds to what is done with the numbers from the first on to where the
// next open range begins, and those before the first open range.
func (c *Consumer) extend(first int64, next int) {
	c.done = c.done.With(first, c.opens(next)-1).With(c.done.UpTo+1, c.opens(0)-1)
	c.read = max(c.read, c.done.UpTo)
	c.unsaved = true
}

// opens returns where an open range begins; behind the last, what was not read.
func (c *Consumer) opens(i int) int64 {
	if i < len(c.open) {
		return c.open[i].First
	}
	return c.read + 1
}

// save stores what is done with.
func (c *Consumer) save(ctx context.Context) error {
	if !c.unsaved {
		return nil
	}
	if err := c.lease.Ack(ctx, c.done); err != nil {
		return c.failed(ctx, "acknowledge", err)
	}
	c.unsaved = false
	return nil
}

// Close gives the name up. What was not acknowledged is left for the next
// process.
func (c *Consumer) Close(ctx context.Context) error {
	if err := c.lease.Release(ctx); err != nil {
		return fmt.Errorf("consumer %s: release: %w", c.name, err)
	}
	return nil
}

// failed describes an error; the loss of the lease is its cause if it was.
func (c *Consumer) failed(ctx context.Context, what string, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrLeaseLost) {
		err = cause
	}
	return fmt.Errorf("consumer %s: %s: %w", c.name, what, err)
}
