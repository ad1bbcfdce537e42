package kinesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
)

const (
	subscribeGap   = 1100 * time.Millisecond // between requests for subscriptions of a shard: one a second is granted
	renewAfter     = subscriptionLife - 20*time.Second
	renewSpread    = 10 * time.Second // so that not all shards renew at once
	takeOverWithin = 10 * time.Second // a subscription that stands is in the way for five seconds
	steadyAfter    = time.Minute      // how long a subscription must stand to count as good
	maxSubscribe   = 30 * time.Second // the longest pause between attempts
	giveUpAfter    = 8                // failures in a row: about a minute
	troubleAfter   = 30 * time.Second // how long failures last before they are reported, and between reports
)

const subscribeOperation = "kinesis:SubscribeToShard"

// subscriber keeps a subscription standing for one reading. It asks for
// subscriptions in a goroutine of its own, so that the reading can poll until
// the first one stands, and read the old one until the next one stands.
//
// A subscription begins after the records that were yielded before it was asked
// for, and the reading yields in order. So records that a poll or the old
// subscription yields meanwhile may come again, and none is left out.
type subscriber struct {
	source  *Source
	shard   gerritstream.ShardID
	created time.Time     // of the stream, when the reading began; zero: unknown
	wake    chan struct{} // capacity 1: full when there is a subscription to be taken
	cancel  context.CancelFunc
	done    chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	progress progress      // under mu
	next     *subscription // under mu: stands, and waits to be taken
	renewal  chan struct{} // under mu: closed when it stands or has failed; nil: none is asked for
	failure  failure       // under mu

	// The reading's goroutine owns what follows.
	current  *subscription // the one that is read
	proved   time.Time     // local: when a poll last proved to be at the tip
	reported time.Time     // local: when failures were last reported
	refusals int           // of the Source, as far as they were reported
}

// progress is how far a reading is.
type progress struct {
	cursor    gerritstream.Position
	continued gerritstream.SequenceNumber // everything up to it was yielded; "": not known
	at        time.Time                   // the service's, when that came
}

// failure is what keeps subscriptions from standing.
type failure struct {
	latest *Error    // nil: a good subscription has stood since
	since  time.Time // local: of the first one
}

// startSubscriber starts a subscriber for a reading, until stop.
func startSubscriber(ctx context.Context, r *reading) *subscriber {
	u := &subscriber{
		source: r.source, shard: r.shard, created: r.created, progress: progress{cursor: r.cursor},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	ctx, u.cancel = context.WithCancel(ctx)
	go u.run(ctx)
	return u
}

// stop closes everything.
func (u *subscriber) stop() {
	u.cancel()
	<-u.done
	for _, b := range []*subscription{u.take(), u.current} {
		if b != nil {
			b.end(nil)
		}
	}
}

// take returns the subscription to read from, the newest that stands; nil:
// there is none.
func (u *subscriber) take() *subscription {
	u.mu.Lock()
	next := u.next
	u.next = nil
	u.mu.Unlock()
	if next != nil {
		if u.current != nil {
			u.current.end(errRenewed)
		}
		u.current = next
	}
	return u.current
}

// drop ends the subscription that is read.
func (u *subscriber) drop(err error) {
	u.current.end(err)
	u.current = nil
}

// advance notes how far the reading is after a page.
func (u *subscriber) advance(cursor *gerritstream.Position, p *page) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.cursor = *cursor
	if p.pushed {
		u.progress.continued, u.progress.at = gerritstream.SequenceNumber(p.reply.next), p.now
	} else if p.isProof() {
		u.proved = time.Now()
	}
}

// start returns where the next subscription begins: after the last record that
// was yielded, or where the last event ended, whichever is later. If polls have
// found the shard idle since that event, their time counts.
func (u *subscriber) start() (seekPoint, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := &u.progress
	from, ok := seekPointOf(&at.cursor)
	if at.continued != "" && at.continued.Compare(at.cursor.After) >= 0 && !from.at.After(at.at) {
		return seekPoint{kind: types.ShardIteratorTypeAfterSequenceNumber, seq: at.continued}, true
	}
	return from, ok
}

// restart forgets where the latest event ended, in case the service does not
// accept it. The next subscription begins at the position.
func (u *subscriber) restart() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.continued = ""
}

// trouble returns what to report about fan-out, while there is no subscription;
// nil: nothing.
func (u *subscriber) trouble() *Error {
	if u == nil || u.current != nil {
		return nil
	}
	if refusal, n := u.source.fanOut.lastRefusal(); refusal != nil && n != u.refusals {
		u.refusals = n
		if u.source.fanOut.mode == ReadFanOut {
			return refusal
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	f := u.failure
	if f.latest == nil || time.Since(f.since) < troubleAfter || time.Since(u.reported) < troubleAfter {
		return nil
	}
	u.reported = time.Now()
	return f.latest
}

// run asks for one subscription after the other.
func (u *subscriber) run(ctx context.Context) {
	defer close(u.done)
	var tries tries
	var standing *subscription
	for sleep(ctx, time.Until(tries.due)) == nil {
		b, refused, err := u.renew(ctx, standing)
		tries.asked = time.Now()
		switch {
		case ctx.Err() != nil:
			if b != nil {
				b.end(nil)
			}
			return
		case refused > 0:
			tries.reset(refused + rand.N(min(refused, 10*time.Second))) //nolint:gosec // jitter is no secret
			u.fail(nil, time.Time{})
			continue
		case err != nil:
			var e *Error
			if errors.As(err, &e) && !tries.waitsOut(e) {
				u.failed(&tries, e)
			}
			continue
		}
		standing, tries.inUse = b, time.Time{}
		u.await(ctx, &tries, b)
	}
}

// renew asks for a subscription once and hands it to the reading. refused is
// how long to poll instead. Its forerunner, if any, is read until then.
func (u *subscriber) renew(ctx context.Context, forerunner *subscription) (
	b *subscription, refused time.Duration, err error,
) {
	if forerunner != nil {
		pending := make(chan struct{})
		defer close(pending)
		u.setRenewal(pending)
		defer u.setRenewal(nil)
	}
	b, refused, err = u.subscribe(ctx)
	if b != nil && ctx.Err() == nil {
		u.deliver(b)
		if forerunner != nil {
			forerunner.cancel(errRenewed) // it may be waiting for an event
		}
	}
	return b, refused, err
}

func (u *subscriber) setRenewal(pending chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.renewal = pending
}

// awaitRenewal waits briefly for a renewal that is under way: the service ends
// the old subscription a moment before it answers the request for the next one.
func (u *subscriber) awaitRenewal(ctx context.Context) {
	u.mu.Lock()
	pending := u.renewal
	u.mu.Unlock()
	if pending == nil {
		return
	}
	timer := time.NewTimer(catchUpGap)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-pending:
	}
}

// subscribe asks for a subscription once. refused is how long to poll instead.
func (u *subscriber) subscribe(ctx context.Context) (b *subscription, refused time.Duration, err error) {
	s := u.source
	leave, refused, err := s.fanOut.enter(ctx)
	if err != nil || refused > 0 {
		return nil, refused, err
	}
	defer leave()
	consumer, err := s.findConsumer(ctx)
	if err != nil {
		return u.triage(ctx, err)
	}
	from, ok := u.start()
	switch recreated := !consumer.created.IsZero() && !u.created.IsZero() && !consumer.created.Equal(u.created); {
	case recreated: // it would accept a time, or the trim horizon: see reading.checkStream
		return nil, 0, u.refuse(notFound, "the stream was deleted and recreated")
	case !ok:
		return nil, 0, u.refuse(badPosition, "the position names no place to read from")
	}
	b, err = s.openSubscription(ctx, consumer.arn, u.shard, &from)
	switch {
	case err == nil:
		s.fanOut.worked()
		return b, 0, nil
	case errClass(err) == notFound:
		s.fanOut.forget(consumer)
	}
	return u.triage(ctx, err)
}

// triage returns a failure as subscribe does. One that concerns all readings
// has them poll.
func (u *subscriber) triage(ctx context.Context, err error) (b *subscription, refused time.Duration, _ error) {
	var e *Error
	switch {
	case ctx.Err() != nil:
		return nil, 0, ctx.Err()
	case !errors.As(err, &e): // of the consumer
		e = &Error{Operation: "kinesis:DescribeStreamConsumer", Message: err.Error()}
	}
	if e.concernsAll() {
		return nil, u.source.failed(e), nil
	}
	return nil, 0, e
}

func (u *subscriber) refuse(c class, message string) *Error {
	return &Error{
		Operation: subscribeOperation, Resource: u.source.resource(string(u.shard)), class: c, Message: message,
	}
}

// deliver hands a subscription to the reading.
func (u *subscriber) deliver(b *subscription) {
	u.mu.Lock()
	before := u.next
	u.next = b
	u.mu.Unlock()
	if before != nil { // the reading is busy, and has not taken it
		before.end(errRenewed)
	}
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// await waits until the next subscription is to be asked for.
func (u *subscriber) await(ctx context.Context, t *tries, b *subscription) {
	steady := time.NewTimer(steadyAfter)
	defer steady.Stop()
	renew := time.NewTimer(renewAfter + rand.N(renewSpread)) //nolint:gosec // jitter is no secret
	defer renew.Stop()
	counted := 0
	defer func() { u.source.fanOut.steadied(-counted) }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-steady.C:
			counted = 1
			if u.source.fanOut.steadied(counted) {
				u.source.log.Info("enhanced fan-out works again")
			}
			t.reset(0)
			u.fail(nil, time.Time{})
		case <-renew.C:
			t.due = time.Now()
			return
		case <-b.ended:
			if b.err == nil || b.label == labelExpired {
				t.due = t.asked.Add(subscribeGap)
				return
			}
			u.source.log.Debug("subscription ended", "shard", string(u.shard), "after", b.lived.String(), "err", b.err)
			u.failed(t, b.err)
			if b.err.class == notReady { // another subscription took over, and is in the way for a while
				t.due = latest(t.due, time.Now().Add(takeOverWithin/2+subscribeGap))
			}
			return
		}
	}
}

// fail notes a failure for the reading; nil: all is well.
func (u *subscriber) fail(e *Error, since time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failure = failure{e, since}
}

// tries are a subscriber's attempts since the last good subscription. They
// belong to its goroutine.
type tries struct {
	asked    time.Time // local: when a subscription was last asked for
	due      time.Time // local: when to ask again
	failures int
	since    time.Time // local: of the first failure
	inUse    time.Time // local: since when another subscription is in the way; zero: none is
}

// reset forgets the failures, and plans the next attempt.
func (t *tries) reset(pause time.Duration) {
	*t = tries{asked: t.asked, due: time.Now().Add(pause)}
}

// waitsOut reports whether a refusal will soon pass: the subscription of the
// shard's last leader is in the way for a few seconds.
func (t *tries) waitsOut(e *Error) bool {
	if e.class != notReady {
		return false
	}
	if t.inUse.IsZero() {
		t.inUse = time.Now()
	}
	t.due = t.asked.Add(subscribeGap)
	return time.Since(t.inUse) < takeOverWithin
}

// failed plans the next attempt after a failure, or gives up for all readings.
func (u *subscriber) failed(t *tries, e *Error) {
	now := time.Now()
	t.due = t.asked.Add(subscribeGap)
	if t.failures++; t.failures == 1 {
		t.since = now
	}
	u.fail(e, t.since)
	if e.class == badArgument {
		u.restart()
	}
	if e.isLasting() && t.failures >= giveUpAfter && !u.source.fanOut.livesSince(t.since) {
		t.reset(u.source.fallBack(e))
		u.fail(nil, time.Time{})
		return
	}
	pause := min(time.Second<<min(t.failures-1, 10), maxSubscribe)
	t.due = latest(t.due, now.Add(pause/2+rand.N(pause/2))) //nolint:gosec // jitter is no secret
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// isLasting reports whether a failure that lasts is one of fan-out as such.
// Polling shows what is wrong with the shard or the position.
func (e *Error) isLasting() bool {
	return e.class != notFound && e.class != badPosition && e.class != badArgument
}
