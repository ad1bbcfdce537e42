package kinesis

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/gerritstream/gerritstream"
)

// Read implements [gerritstream.Source], by polling or by enhanced fan-out: see
// Config.Read.
//
// Each GetRecords reply is one Page, except when aggregates expand to more than
// 10,000 records: then it comes in several Pages, each after the one before is
// Done, and only the last can have End or a Lag of 0.
//
// A shard's reads are shared with its other readers: throttled requests slow
// the reading down to a read a second, and are reported only when none has
// succeeded for 10 s. Faults of the network or the service, missing
// permissions, unusable keys and malformed replies are each reported as an
// ErrRetrying at once and retried; an expired iterator is replaced silently. An
// aggregate that is corrupt or empty is one Record that is Bad.
func (s *Source) Read(ctx context.Context, shard gerritstream.ShardID, from gerritstream.Position,
) iter.Seq2[gerritstream.Page, error] {
	return s.read(ctx, shard, from, true)
}

// Peek implements [gerritstream.Source]: a Read that only polls.
func (s *Source) Peek(ctx context.Context, shard gerritstream.ShardID, from gerritstream.Position,
) iter.Seq2[gerritstream.Page, error] {
	return s.read(ctx, shard, from, false)
}

func (s *Source) read(ctx context.Context, shard gerritstream.ShardID, from gerritstream.Position, leading bool,
) iter.Seq2[gerritstream.Page, error] {
	return func(yield func(gerritstream.Page, error) bool) {
		r := &reading{source: s, shard: shard, cursor: from, limit: maxRecords, pace: s.tempo.pacer()}
		s.tempo.readings.Add(1)
		defer s.tempo.readings.Add(-1)
		r.checked, r.created = s.creation.latest()
		if leading && s.fanOut.mode != ReadPoll {
			r.push = startSubscriber(ctx, r)
			defer r.push.stop()
		}
		r.run(ctx, yield)
	}
}

// reading is one Read. It belongs to the goroutine that ranges over it.
type reading struct {
	source   *Source
	shard    gerritstream.ShardID
	cursor   gerritstream.Position // after what has been yielded
	iterator string                // for what comes next; "": to be sought
	fresh    bool                  // the iterator was sought for the current request
	limit    int32                 // of records asked for
	end      end
	own      *hashRange // the shard's hash keys; nil: unknown, or not needed
	pace     pacer
	atTip    bool  // the last page reached the tip
	recent   int64 // bytes that pages have taken, the latest counting most

	created time.Time // of the stream when the reading began; zero: unknown
	checked time.Time // local: when created was last checked
	refused time.Time // local: when the last iterator was refused; zero: never

	push *subscriber // nil: the reading only polls
}

func (r *reading) run(ctx context.Context, yield func(gerritstream.Page, error) bool) {
	for {
		if e := r.push.trouble(); e != nil && !yield(gerritstream.Page{}, retrying(e)) {
			return
		}
		p, err := r.next(ctx)
		more := false
		if err == nil {
			r.advance(p)
			more, err = p.yield(ctx, yield)
			more = more && p.reply.next != ""
		}
		if err != nil {
			more = r.handle(ctx, err, yield)
		}
		if !more {
			return
		}
	}
}

// next returns the next page: from a subscription if one stands, or else, when
// a read is due, from a poll.
func (r *reading) next(ctx context.Context) (*page, error) {
	if r.push == nil {
		if err := sleep(ctx, time.Until(r.pace.due)); err != nil {
			return nil, err
		}
		return r.poll(ctx)
	}
	for {
		if p, err := r.nextPushed(ctx); p != nil || err != nil {
			return p, err
		}
		timer := time.NewTimer(time.Until(r.pace.due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-r.push.wake:
			timer.Stop()
		case <-timer.C:
			return r.poll(ctx)
		}
	}
}

// poll asks for a page.
func (r *reading) poll(ctx context.Context) (*page, error) {
	// First the memory, then the iterator: while it waited for memory, an
	// iterator could expire.
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

// reserve returns how many bytes to reserve for the next page. Readers are
// mostly at the tip, where pages are small and many shards are read at once.
func (r *reading) reserve() int64 {
	if !r.atTip {
		return pageReserve
	}
	return min(max(2*r.recent, minReserve), pageReserve)
}

// fetch gets a page, after an iterator if there is none.
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

// getRecords makes one request for a page. The page takes the memory of room,
// and more if that is free.
func (r *reading) getRecords(ctx context.Context, room *Reservation) (*page, error) {
	p := &page{memory: memory{room: room}, own: r.own}
	receive := func(resp *smithyhttp.Response) error { return r.receive(p, resp) }
	in := &awskinesis.GetRecordsInput{ShardIterator: &r.iterator, StreamARN: r.source.arn.Load(), Limit: &r.limit}
	protocol := &pageProtocol{ClientProtocol: r.source.poller.options.Protocol, receive: receive}
	if !r.source.poller.encoding.onlyJSON.Load() {
		protocol.cbor = in
	}
	r.pace.begin()
	now, err := r.source.attempt(ctx, target{"GetRecords", string(r.shard)}, func(ctx context.Context) error {
		return r.source.poller.getRecords(ctx, in, protocol)
	})
	if errClass(err) != throttled { // a refused read does not count
		r.pace.answer()
	}
	switch {
	case err != nil && protocol.cbor != nil:
		return nil, r.source.judge(err)
	case err != nil:
		return nil, err
	case now.IsZero():
		return nil, r.badReply("the reply has no Date")
	}
	p.now = now
	return p, nil
}

// receive reads and decodes a reply. It reserves memory before using it.
func (r *reading) receive(p *page, resp *smithyhttp.Response) (err error) {
	room := p.memory.room
	if p.buf, err = readBody(resp.Body, resp.ContentLength, room.TryGrow); err != nil {
		return err
	}
	r.source.observer.ReplyBytes(len(p.buf))
	if !room.TryGrow(int64(cap(p.buf)) + int64(expectedRecords(len(p.buf), int(r.limit)))*rawRoom) {
		return errNoRoom
	}
	if p.reply, err = r.source.decode(p.buf, int(r.limit)); err != nil {
		return err
	}
	p.total = p.count()
	if !room.TryGrow(p.needs(min(p.total, maxRecords))) {
		return errNoRoom
	}
	return nil
}

// advance moves the reading past a page that is about to be yielded.
func (r *reading) advance(p *page) {
	r.end.replies = 0
	r.atTip = p.reply.lag == 0
	n := len(p.reply.records)
	if p.pushed {
		if n > 0 {
			r.iterator = "" // it would read the same again
			r.pace.wake()
		}
	} else {
		r.iterator = p.reply.next
		r.recent = max(p.needs(min(p.total, maxRecords)), r.recent-r.recent/8)
		r.limit = min(r.limit+r.limit/4+1, maxRecords)
		r.pace.succeeded(p.reply.lag != 0, n, p.reply.weight)
	}
	if n > 0 {
		last := &p.reply.records[n-1]
		// What a subscription brings may have been yielded before.
		if seq := gerritstream.SequenceNumber(last.seq.of(p.buf)); seq.Compare(r.cursor.After) > 0 {
			r.cursor = gerritstream.Position{After: seq, Arrived: p.arrival(last), CaughtUp: r.cursor.CaughtUp}
		}
	} else if p.reply.lag == 0 && !p.pushed {
		r.cursor.CaughtUp = p.now
	}
	if r.push != nil {
		r.push.advance(&r.cursor, p)
	}
}

func retrying(err error) error { return fmt.Errorf("%w: %w", gerritstream.ErrRetrying, err) }

// handle plans how to go on after an error, yields it unless it is part of
// normal reading, and reports whether to go on.
func (r *reading) handle(ctx context.Context, err error, yield func(gerritstream.Page, error) bool) bool {
	var e *Error
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if ctx.Err() != nil || !errors.As(err, &e) {
		yield(gerritstream.Page{}, err)
		return false
	}
	log := r.source.log.With("shard", string(r.shard))
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
			log.Debug("iterator expired")
			r.pace.soon()
			return true
		}
		r.pace.failed()
	case tooLarge:
		if r.limit > 1 {
			r.limit /= 2
			log.Debug("page too large; asking for fewer records", "limit", r.limit)
			r.pace.soon()
			return true
		}
		r.pace.failed()
	case noRoom:
		r.atTip = false // with all of the reserve it fits
		log.Debug("page exceeds its reservation; reading it again")
		r.pace.soon()
		return true
	case otherEncoding:
		r.pace.soon()
		return true
	case unconfirmed:
		log.Debug("confirming the end of the shard", "err", e)
		r.pace.soon()
		return true
	case throttled:
		if !r.pace.throttled() {
			log.Debug("throttled; reading more slowly", "err", e)
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

// A reply without a next iterator ends a shard only with proof, because nothing
// after the end is ever read:
//
//   - It names the shard's children, as AWS does. A service that has ever named
//     children must always do so.
//   - Or a complete listing has the shard's last number, and endReplies replies
//     in a row end the shard. kinesalite never names children.
//
// Any other such reply is malformed: it is reported, and asked for again with
// the same iterator.
const endReplies = 3

// end is what a reading knows about the end of its shard. It belongs to the
// reading's goroutine.
type end struct {
	listed  bool // a complete listing had the shard's last number
	replies int  // in a row without a next iterator and children
}

// checkEnd returns nil if a reply without a next iterator is the shard's end.
func (r *reading) checkEnd(ctx context.Context, p *page) error {
	if len(p.reply.children) > 0 {
		r.source.namesChildren.Store(true)
		return nil
	}
	const lacks = "the reply has neither a next iterator nor child shards, "
	if r.source.namesChildren.Load() {
		return r.badReply(lacks + "and this service names the children of a shard that has ended")
	}
	if !r.end.listed {
		shard, err := r.source.findShard(ctx, r.shard)
		switch {
		case err != nil:
			return r.listingError(ctx, err)
		case shard.Last == "":
			return r.badReply(lacks + "and the shard is listed as open")
		}
		r.end.listed = true
	}
	if r.end.replies++; r.end.replies < endReplies {
		e := r.badReply(lacks + "which needs to be confirmed")
		e.class = unconfirmed
		return e
	}
	return nil
}

func (r *reading) badReply(message string) *Error {
	return &Error{Operation: "kinesis:GetRecords", Resource: r.source.resource(string(r.shard)), Message: message}
}
