package kinesis

import (
	"context"
	"errors"
	"iter"
	"time"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/gerritstream/gerritstream"
)

// Read implements [gerritstream.Source] by polling.
//
// A page is a batch, except when aggregates make more than 10,000 records of
// it: then it comes in several batches, and each waits for the one before to be
// Done. Of these only the last can have End or a Behind of 0.
//
// A shard's reads are shared with its other readers: throttled requests slow
// the reading down to a read a second, and are trouble only when none has
// succeeded for 10 s. Faults of the network or the service, missing permissions
// and unusable keys are each shown as an ErrRetrying at once and tried again,
// and so is a reply that is not what a reply has to be; an iterator that has
// expired is replaced without a word. An aggregate whose checksum or structure
// is wrong, or that is empty, is one Record that is Bad.
func (s *Source) Read(ctx context.Context, shard gerritstream.ShardID, from gerritstream.Position) iter.Seq2[gerritstream.Page, error] {
	return func(yield func(gerritstream.Page, error) bool) {
		r := &reading{source: s, shard: shard, cursor: from, limit: maxRecords, pace: pacer{poll: s.poll}}
		r.checked, r.created = s.creation.latest()
		r.run(ctx, yield)
	}
}

// reading is one Read. It belongs to the goroutine that ranges over it.
type reading struct {
	source   *Source
	shard    gerritstream.ShardID
	cursor   gerritstream.Position // behind what has been yielded
	iterator string                // for what comes next; "": to be sought
	fresh    bool                  // the iterator was sought for the request under way
	limit    int32                 // of records asked for
	ending   ending
	own      *hashRange // the shard's hash keys; nil: not known, or not needed
	pace     pacer
	atTip    bool  // the last page came to the tip
	recent   int64 // the bytes that pages have taken; what was long ago counts less

	created time.Time // of the stream as the reading began; zero: not known
	checked time.Time // local: when that was looked at last
	refused time.Time // local: when the last iterator was refused; zero: none
}

func (r *reading) run(ctx context.Context, yield func(gerritstream.Page, error) bool) {
	for {
		p, err := r.next(ctx)
		goOn := false
		if err == nil {
			r.advance(p)
			goOn, err = p.yield(ctx, yield)
			goOn = goOn && p.reply.next != ""
		}
		if err != nil {
			goOn = r.handle(ctx, err, yield)
		}
		if !goOn {
			return
		}
	}
}

// next waits until a read is due and makes it.
func (r *reading) next(ctx context.Context) (*page, error) {
	if err := r.pace.wait(ctx); err != nil {
		return nil, err
	}
	// First the room, then the iterator: one that waited for room would have
	// expired where memory is scarce for long.
	room, err := r.source.budget.Reserve(ctx, r.reserve())
	if err != nil {
		return nil, err
	}
	p, err := r.fetch(ctx, room)
	if err != nil {
		room.Release()
		return nil, err
	}
	return p, nil
}

// reserve is how many bytes to reserve for the next page. Readers are at the
// tip for most of their lives, where pages are small and many shards want to be
// read at once.
func (r *reading) reserve() int64 {
	if !r.atTip {
		return pageReserve
	}
	return min(max(2*r.recent, minReserve), pageReserve)
}

// fetch gets a page into a room, after an iterator if there is none.
func (r *reading) fetch(ctx context.Context, room *Reservation) (*page, error) {
	r.fresh = r.iterator == ""
	if r.fresh {
		if err := r.seek(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.findRange(ctx); err != nil {
		return nil, err
	}
	p, err := r.getRecords(ctx, room)
	if err == nil && p.reply.next == "" {
		err = r.checkEnd(ctx, p)
	}
	return p, err
}

// getRecords makes one request for a page, within memory that is reserved
// already, or free.
func (r *reading) getRecords(ctx context.Context, room *Reservation) (*page, error) {
	p := &page{memory: memory{room: room}, own: r.own}
	take := func(resp *smithyhttp.Response) error { return r.receive(p, resp) }
	in := &awskinesis.GetRecordsInput{ShardIterator: &r.iterator, StreamARN: r.source.arn.Load(), Limit: &r.limit}
	r.pace.reading()
	now, err := r.source.attempt(ctx, target{"GetRecords", string(r.shard)}, func(ctx context.Context) error {
		_, err := r.source.client.GetRecords(ctx, in, func(o *awskinesis.Options) {
			o.Protocol = &pageProtocol{o.Protocol, take}
		})
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case now.IsZero():
		return nil, &Error{Operation: "kinesis:GetRecords", Resource: r.source.resource(string(r.shard)), Message: "the reply has no Date"}
	}
	p.now = now
	return p, nil
}

// take reads and decodes a reply. Its memory is reserved before it is used.
func (r *reading) receive(p *page, resp *smithyhttp.Response) (err error) {
	room := p.memory.room
	if p.buf, err = readBody(resp.Body, resp.ContentLength, room.TryGrow); err != nil {
		return err
	}
	r.source.observer.ReplyBytes(len(p.buf))
	if !room.TryGrow(int64(cap(p.buf)) + int64(expected(len(p.buf), int(r.limit)))*rawRoom) {
		return errNoRoom
	}
	if p.reply, err = decodeReply(p.buf, int(r.limit)); err != nil {
		return err
	}
	p.total = p.count()
	if !room.TryGrow(p.needs(min(p.total, maxRecords))) {
		return errNoRoom
	}
	return nil
}

// pass moves on behind a page that is about to be yielded.
func (r *reading) advance(p *page) {
	r.iterator, r.ending.replies = p.reply.next, 0
	r.atTip = p.reply.lag == 0
	r.recent = max(p.needs(min(p.total, maxRecords)), r.recent-r.recent/8)
	r.limit = min(r.limit+r.limit/4+1, maxRecords)
	r.pace.succeeded(p.reply.lag != 0, p.reply.weight)
	if n := len(p.reply.records); n > 0 {
		last := &p.reply.records[n-1]
		r.cursor = gerritstream.Position{
			After:    gerritstream.SequenceNumber(last.seq.of(p.buf)),
			Arrived:  p.arrival(last),
			CaughtUp: r.cursor.CaughtUp,
		}
	} else if p.reply.lag == 0 {
		r.cursor.CaughtUp = p.now
	}
}

// bear yields an error and returns whether the reading goes on after it.
func (r *reading) handle(ctx context.Context, err error, yield func(gerritstream.Page, error) bool) bool {
	if ctx.Err() != nil {
		yield(gerritstream.Page{}, ctx.Err())
		return false
	}
	var e *Error
	if !errors.As(err, &e) {
		yield(gerritstream.Page{}, err)
		return false
	}
	switch e.class {
	case badPosition:
		yield(gerritstream.Page{}, e)
		return false
	case notFound:
		e.is = gerritstream.ErrShardNotFound
		yield(gerritstream.Page{}, e)
		return false
	case iteratorExpired:
		r.iterator, r.refused = "", time.Now()
		if !r.fresh {
			r.source.log.Debug("the iterator has expired", "shard", string(r.shard))
			r.pace.soon()
			return true
		}
		r.pace.failed()
	case tooLarge:
		if r.limit > 1 {
			r.limit /= 2
			r.source.log.Debug("the page is too large: asking for fewer records", "shard", string(r.shard), "limit", r.limit)
			r.pace.soon()
			return true
		}
		r.pace.failed()
	case noRoom:
		r.atTip = false // with all of the reserve it fits
		r.source.log.Debug("the page is larger than pages have been: reading it again", "shard", string(r.shard))
		r.pace.soon()
		return true
	case unconfirmed:
		r.source.log.Debug("asking again whether the shard has ended", "shard", string(r.shard), "err", e)
		r.pace.soon()
		return true
	case throttled:
		if !r.pace.throttled() {
			r.source.log.Debug("throttled: reading more slowly", "shard", string(r.shard), "err", e)
			return true
		}
	case badArgument: // the iterator is refused, though the service made it
		r.iterator, r.refused = "", time.Now()
		r.pace.failed()
	default:
		r.pace.failed()
	}
	return yield(gerritstream.Page{}, retrying(e))
}
