package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/gerritstream/gerritstream"
)

// DefaultHold is how long events are commonly held back for others that arrived
// before them.
const DefaultHold = 5 * time.Second

// An Option changes how a Consumer reads.
type Option func(*Consumer)

// ByArrival has events handed out in the order of their arrival in the stream,
// also across its shards. An event is held back until every shard is known to
// have been read up to its arrival, and at most for the given duration, which
// counts from when this Consumer read it, by the local monotonic clock.
//
//   - The events of one shard keep their order. One that says it arrived before
//     the event before it in its shard counts as arrived with that.
//   - Events are in order unless one is queued more than the given duration
//     after a later one was read. It is handed out at once then, and marked
//     Late; so is an event that was appended to the consumer's queue.
//   - What arrived at the same millisecond comes in the order of the queue.
//   - At most 8,000 events or about 32 MiB are held back. Beyond that the
//     oldest are handed out before their time: a consumer that is far behind
//     sorts within these bounds.
//   - After a restart an event is also Late if one of the last 500 that were
//     acknowledged before arrived later.
//
// Ack acknowledges an event and those that were handed out before it. Leave no
// more than 1,000 unacknowledged: see ErrScattered.
//
// Who reads the stream into the store must share how far it is, as gerritstream
// run does: see Store.ShareFrontier. Otherwise each event is held back for the
// whole time.
func ByArrival(hold time.Duration) Option {
	return func(c *Consumer) {
		c.arrivals = &arrivals{hold: hold, keys: map[gerritstream.ShardID]int64{}}
	}
}

const (
	maxHeld       = 8000
	maxHeldBytes  = 32 << 20
	frontierEvery = 100 * time.Millisecond // while events are held back
	lookBack      = 500                    // events acknowledged before, to know what is late
)

// arrivals is what a consumer by arrival has read. Times are milliseconds since
// 1970.
type arrivals struct {
	hold     time.Duration
	held     []heldEvent // not handed out yet, by key and number
	bytes    int         // of their payloads
	frontier int64       // every event that arrived before it was read
	passed   int64       // the greatest key of the events handed out
	keys     map[gerritstream.ShardID]int64
	given    []int64 // numbers of the events handed out and not acknowledged, in the order of that
}

// heldEvent is an event that is held back.
type heldEvent struct {
	event Event
	key   int64     // what it is sorted by
	seen  time.Time // when it was read
}

// key returns what an event is sorted by: its arrival, but no less than that of
// the event before it in its shard.
func (a *arrivals) key(e *Event) int64 {
	arrived := e.Entry.Arrived.UnixMilli()
	if e.Replayed {
		return arrived
	}
	key := max(arrived, a.keys[e.Entry.Shard])
	a.keys[e.Entry.Shard] = key
	return key
}

// add holds back events that were read later than those that are held.
func (a *arrivals) add(events []heldEvent) {
	byKey := func(x, y heldEvent) int { return cmp.Compare(x.key, y.key) }
	slices.SortStableFunc(events, byKey)
	n := len(a.held)
	overlap := n > 0 && len(events) > 0 && events[0].key < a.held[n-1].key
	a.held = append(a.held, events...)
	if overlap {
		slices.SortStableFunc(a.held, byKey)
	}
	for i := range events {
		a.bytes += len(events[i].event.Entry.Payload)
	}
}

// full reports whether no more can be held back.
func (a *arrivals) full() bool { return len(a.held) >= maxHeld || a.bytes >= maxHeldBytes }

// ready returns how many of the events are not to be held back any longer.
func (a *arrivals) ready(now time.Time) int {
	n := sort.Search(len(a.held), func(i int) bool {
		return a.held[i].key >= a.frontier && a.held[i].key > a.passed
	})
	for i := len(a.held) - 1; i >= n; i-- {
		if now.Sub(a.held[i].seen) >= a.hold {
			n = i + 1 // and all that arrived before it
			break
		}
	}
	if a.full() {
		n = max(n, min(page, len(a.held)))
	}
	return n
}

// wait returns how long to wait before more may be ready.
func (a *arrivals) wait(now time.Time) time.Duration {
	wait := frontierEvery
	for i := range a.held {
		wait = min(wait, a.held[i].seen.Add(a.hold).Sub(now))
	}
	return max(wait, time.Millisecond)
}

// first returns copies of the first events, and marks those that are late.
func (a *arrivals) first(n int) []Event {
	events := make([]Event, n)
	for i := range events {
		events[i] = a.held[i].event
		events[i].Late = a.held[i].key < a.passed
	}
	return events
}

// handedUpTo returns up to which number everything that was read is handed out
// with the first events.
func (a *arrivals) handedUpTo(n int, read int64) int64 {
	for i := range a.held[n:] {
		read = min(read, a.held[n+i].event.Number-1)
	}
	return read
}

// pass notes that the first events were handed out.
func (a *arrivals) pass(n int) {
	for i := range a.held[:n] {
		h := &a.held[i]
		a.passed = max(a.passed, h.key)
		a.bytes -= len(h.event.Entry.Payload)
		a.given = append(a.given, h.event.Number)
	}
	clear(a.held[:n])
	a.held = a.held[n:]
}

// pollByArrival is Poll by arrival.
func (c *Consumer) pollByArrival(ctx context.Context, most int) ([]Event, error) {
	a := c.arrivals
	for {
		informed, err := c.fill(ctx)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		if n := min(a.ready(now), most); n > 0 {
			events := a.first(n)
			if err := c.hand(ctx, events, a.handedUpTo(n, c.read)); err != nil {
				return nil, err
			}
			a.pass(n)
			return events, nil
		}
		if len(a.held) == 0 {
			return nil, c.skip(ctx, true)
		}
		if informed && !sleep(ctx, a.wait(now)) {
			return nil, c.failed(ctx, "wait for events", context.Cause(ctx))
		}
	}
}

// fill reads what there is, as far as it can be held back. The frontier is read
// before: what had been read into the queue by then is held back after it.
// informed: it was.
func (c *Consumer) fill(ctx context.Context) (informed bool, err error) {
	a := c.arrivals
	var frontier time.Time
	if informed = len(a.held) > 0; informed {
		if frontier, err = c.store.Frontier(ctx); err != nil {
			return false, c.failed(ctx, "read the frontier", err)
		}
	}
	for !a.full() {
		read, err := c.store.Read(ctx, c.name, c.read, min(page, maxHeld-len(a.held)))
		if err != nil {
			return false, c.failed(ctx, "read", err)
		}
		if len(read) == 0 {
			if !frontier.IsZero() {
				a.frontier = max(a.frontier, frontier.UnixMilli())
			}
			return informed, nil
		}
		c.holdBack(read)
		if err := c.skip(ctx, false); err != nil {
			return false, err
		}
	}
	return informed, nil
}

// holdBack takes in events that were read.
func (c *Consumer) holdBack(read []Event) {
	a, now := c.arrivals, time.Now()
	held := make([]heldEvent, 0, len(read))
	for i := range read {
		e := &read[i]
		c.read = e.Number
		key := a.key(e)
		switch {
		case !c.matcher.Keeps(&e.Entry.Event):
		case c.done.Has(e.Number):
			a.passed = max(a.passed, key)
		default:
			e.Redelivered = e.Number <= c.before
			c.open = addRange(c.open, Range{e.Number, e.Number})
			held = append(held, heldEvent{event: *e, key: key, seen: now})
		}
	}
	a.add(held)
}

// recall reads the last events that were acknowledged, to know what is late.
func (c *Consumer) recall(ctx context.Context) error {
	a, last := c.arrivals, c.done.UpTo
	read, err := c.store.Read(ctx, c.name, max(0, last-lookBack), lookBack)
	if err != nil {
		return fmt.Errorf("consumer %s: read: %w", c.name, err)
	}
	for i := range read {
		if e := &read[i]; e.Number <= last {
			if key := a.key(e); c.matcher.Keeps(&e.Entry.Event) {
				a.passed = max(a.passed, key)
			}
		}
	}
	return nil
}

// ackByArrival is Ack by arrival.
func (c *Consumer) ackByArrival(ctx context.Context, number int64) error {
	a := c.arrivals
	i := slices.Index(a.given, number)
	if i < 0 && !c.done.Has(number) {
		return c.notHanded(number)
	}
	for _, n := range a.given[:i+1] {
		c.finishOne(n)
	}
	a.given = a.given[i+1:]
	return c.save(ctx)
}

// sleep waits and reports whether to continue: false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
