package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/gerritstream/gerritstream"
)

const (
	subscriptionLife = 5 * time.Minute  // the service ends it then
	silentAfter      = 25 * time.Second // without an event: an empty one comes every few seconds
	clockDrift       = 1000             // the local clock runs too fast by less than one part in so many
)

var (
	errSilent        = fmt.Errorf("no event for %s", silentAfter)
	errRenewed       = errors.New("another subscription has replaced this one")
	errExpired error = &replyError{labelExpired, transient, "the subscription's time is over"}
	errEnded   error = &replyError{"Ended", transient, "the service ended the subscription early"}
)

const labelExpired = "Expired"

// subscription is one SubscribeToShard: events that the service pushes for five
// minutes. Fields without a note belong to the reading's goroutine.
type subscription struct {
	source  *Source
	shard   gerritstream.ShardID
	ctx     context.Context         // of its request
	cancel  context.CancelCauseFunc // by any goroutine
	body    io.ReadCloser
	began   time.Time   // local: when the request began
	service time.Time   // the service's clock had reached it by then
	silent  *time.Timer // ends it; runs while a frame is waited for
	head    prelude     // of the frame that is being read

	ending sync.Once
	ended  chan struct{} // closed by end, which sets what follows
	err    *Error        // nil: it was no longer wanted
	label  string        // for the Observer
	lived  time.Duration
}

// openSubscription makes one request for a subscription. Its error is the
// context's or an *Error.
func (s *Source) openSubscription(
	ctx context.Context, consumerARN string, shard gerritstream.ShardID, from *seekPoint,
) (*subscription, error) {
	b := &subscription{source: s, shard: shard, ended: make(chan struct{})}
	in := &awskinesis.SubscribeToShardInput{
		ConsumerARN: &consumerARN, ShardId: (*string)(&shard), StartingPosition: from.startingPosition(),
	}
	var err error
	b.service, err = s.attempt(ctx, target{"SubscribeToShard", string(shard)}, func(attempt context.Context) error {
		return b.open(ctx, attempt, in)
	})
	if err != nil {
		return nil, err
	}
	b.silent = time.AfterFunc(silentAfter, func() { b.cancel(errSilent) })
	b.silent.Stop()
	s.observer.SubscriptionBegan()
	if b.service.IsZero() {
		b.end(malformed("the reply has no Date"))
		return nil, b.err
	}
	return b, nil
}

// open sends the request. The attempt's context bounds it only until the
// reply's header has come; ctx bounds the subscription.
func (b *subscription) open(ctx, attempt context.Context, in *awskinesis.SubscribeToShardInput) error {
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	unlink := context.AfterFunc(attempt, func() { b.cancel(context.Cause(attempt)) })
	x, _ := attempt.Value(exchangeKey{}).(*exchange)
	x.streams = true
	_, err := b.source.client.SubscribeToShard(context.WithValue(b.ctx, exchangeKey{}, x), in,
		func(o *awskinesis.Options) {
			o.Protocol = &pageProtocol{ClientProtocol: o.Protocol, receive: b.take}
			o.HTTPClient = watchedClient{b.source.fanOut.client}
			o.APIOptions = append(slices.Clip(o.APIOptions), withoutEvents)
		})
	if !unlink() && err == nil {
		err = errors.Join(context.Cause(attempt), b.body.Close())
	}
	if err != nil {
		b.cancel(err)
	}
	b.began = x.began
	return err
}

// take takes the body of a good reply.
func (b *subscription) take(resp *smithyhttp.Response) error {
	b.body = resp.Body
	if resp.StatusCode != http.StatusOK {
		return malformed("the reply has the status %s", resp.Status)
	}
	return nil
}

// withoutEvents keeps the SDK from reading the events.
func withoutEvents(stack *middleware.Stack) error {
	_, err := stack.Deserialize.Remove("OperationEventStreamDeserializer")
	return err
}

// startingPosition returns the place in the words of SubscribeToShard.
func (p *seekPoint) startingPosition() *types.StartingPosition {
	out := &types.StartingPosition{Type: p.kind}
	if p.seq != "" {
		out.SequenceNumber = (*string)(&p.seq)
	}
	if !p.at.IsZero() {
		out.Timestamp = &p.at
	}
	return out
}

// next waits for the next event. own is the page's.
func (b *subscription) next(ctx context.Context, own *hashRange) (*page, error) {
	for {
		f, room, err := b.receive(ctx)
		if err != nil {
			return nil, err
		}
		if f.isEvent() {
			p, err := b.page(&f, room, own)
			if err != nil {
				room.Release()
			}
			return p, err
		}
		err = f.fault()
		room.Release()
		if err != nil {
			return nil, err
		}
	}
}

// receive reads a frame. It reserves memory before it reads more than the
// prelude, so that a reader without memory makes the service wait.
func (b *subscription) receive(ctx context.Context) (f frame, room *Reservation, err error) {
	if err := b.read(b.head[:], silentAfter); err != nil {
		switch {
		case !errors.Is(err, io.EOF):
			return f, nil, cutShort(err)
		case time.Since(b.began) < subscriptionLife-10*time.Second:
			return f, nil, errEnded
		}
		return f, nil, errExpired
	}
	length, err := b.head.length()
	if err != nil {
		return f, nil, err
	}
	if room, err = b.source.budget.Reserve(ctx, frameReserve(length)); err != nil {
		return f, nil, err
	}
	buf := make([]byte, length)
	copy(buf, b.head[:])
	if err = b.read(buf[preludeSize:], silentAfter+time.Duration(length)*time.Second/minRate); err != nil {
		err = cutShort(err)
	} else {
		f, err = parseFrame(buf)
	}
	if err != nil {
		room.Release()
		return f, nil, err
	}
	b.source.observer.ReplyBytes(length)
	return f, room, nil
}

// read fills p within a time.
func (b *subscription) read(p []byte, within time.Duration) error {
	b.silent.Reset(within)
	defer b.silent.Stop()
	_, err := io.ReadFull(b.body, p)
	return err
}

// page makes a page of an event.
func (b *subscription) page(f *frame, room *Reservation, own *hashRange) (*page, error) {
	p := &page{buf: f.buf, own: own, now: b.now(), pushed: true, memory: memory{room: room}}
	var err error
	if p.reply, err = decodeEvent(f); err != nil {
		return nil, err
	}
	if next := p.reply.next; next != "" && !isSequence([]byte(next)) {
		return nil, malformed("the event's continuation is not a sequence number")
	}
	p.total = p.count()
	if needs := p.needs(min(p.total, maxRecords)); !room.TryGrow(needs) {
		return nil, errNoRoom
	}
	return p, nil
}

// now returns a time that the service's clock has reached: that of the
// subscription's reply, carried on by the local clock. It is not the time at
// which an event was sent: events wait in buffers for as long as the reader is
// busy. An event at the tip only proves that everything was read that had
// arrived at some time since the subscription began; see reading.prove.
func (b *subscription) now() time.Time {
	passed := time.Since(b.began)
	return b.service.Add(passed - passed/clockDrift)
}

// end closes the subscription, which may have ended by itself. err says why;
// nil: it is no longer wanted. It may be called by several goroutines.
func (b *subscription) end(err error) {
	b.ending.Do(func() {
		cause := context.Cause(b.ctx)
		switch {
		case err == nil:
			b.label = "Closed"
		case errors.Is(cause, errRenewed), errors.Is(err, errRenewed):
			b.label = "Renewed"
		case errors.As(err, &b.err):
			b.label = "Malformed"
		default:
			b.err, b.label = b.source.explain(target{"SubscribeToShard", string(b.shard)}, err, cause)
		}
		b.lived = time.Since(b.began)
		b.silent.Stop()
		b.cancel(nil)
		_ = b.body.Close() // nothing more is read from it
		b.source.observer.SubscriptionEnded(b.label)
		close(b.ended)
	})
}
