package kinesis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
)

// seekPoint is where an iterator begins.
type seekPoint struct {
	kind types.ShardIteratorType
	seq  gerritstream.SequenceNumber // with a kind by sequence number
	at   time.Time                   // with AT_TIMESTAMP
}

// seekPointOf returns where reading from a position begins. After its record
// the shard may have been idle for days, which takes many empty pages to read.
// The time up to which everything was handled is a shortcut, if it is late
// enough. ok is false for a position that names no place.
func seekPointOf(p *gerritstream.Position) (_ seekPoint, ok bool) {
	known := p.CaughtUp.Add(-gerritstream.ArrivalError)
	switch {
	case p.Unreadable != nil:
		return seekPoint{}, false
	case p.After != "" && known.After(p.Arrived):
		return seekPoint{kind: types.ShardIteratorTypeAtTimestamp, at: known}, true
	case p.After != "":
		return seekPoint{kind: types.ShardIteratorTypeAfterSequenceNumber, seq: p.After}, true
	case !p.CaughtUp.IsZero() && known.After(p.From.Time):
		return seekPoint{kind: types.ShardIteratorTypeAtTimestamp, at: known}, true
	case p.From.TrimHorizon:
		return seekPoint{kind: types.ShardIteratorTypeTrimHorizon}, true
	case !p.From.Time.IsZero():
		return seekPoint{kind: types.ShardIteratorTypeAtTimestamp, at: p.From.Time}, true
	}
	return seekPoint{}, false
}

// maxLowered is how often seek lowers a refused time before it gives up.
const maxLowered = 4

// seek gets an iterator for where the reading stands.
func (r *reading) seek(ctx context.Context) error {
	from, ok := seekPointOf(&r.cursor)
	if !ok {
		return &Error{Operation: "kinesis:GetShardIterator", Resource: r.source.resource(string(r.shard)),
			class: badPosition, is: gerritstream.ErrBadPosition,
			Message: "the position names no place to read from", cause: r.cursor.Unreadable}
	}
	if from.seq == "" {
		if err := r.checkStream(ctx); err != nil {
			return err
		}
	}
	for lowered := 0; ; lowered++ {
		iterator, now, err := r.getIterator(ctx, &from)
		if err == nil {
			r.iterator = iterator
			return nil
		}
		var e *Error
		switch {
		case !errors.As(err, &e) || e.class != badArgument:
			return err
		case from.kind == types.ShardIteratorTypeAtTimestamp && lowered < maxLowered:
			from.at = from.at.Add(-time.Second)
			if !now.IsZero() && now.Before(from.at) {
				from.at = now
			}
			r.source.log.Debug("lowering a seek time in the future", "shard", string(r.shard), "to", from.at)
		case from.kind == types.ShardIteratorTypeAfterSequenceNumber &&
			strings.Contains(e.Message, "max possible value"):
			// The record is the last that the shard can have: reading from the
			// record itself shows how the shard ends.
			from.kind = types.ShardIteratorTypeAtSequenceNumber
		case from.seq != "" && refusesSequence(e):
			e.class, e.is = badPosition, gerritstream.ErrBadPosition
			return e
		default:
			return err
		}
	}
}

// refusesSequence reports whether a refusal is about the sequence number that
// was asked for. A ValidationException can be about any part of the request.
func refusesSequence(e *Error) bool {
	return e.Code != "ValidationException" || strings.Contains(e.Message, "startingSequenceNumber")
}

// getIterator makes one request for an iterator.
func (r *reading) getIterator(ctx context.Context, from *seekPoint) (iterator string, now time.Time, err error) {
	in := &awskinesis.GetShardIteratorInput{
		StreamName: &r.source.stream, StreamARN: r.source.arn.Load(),
		ShardId:           (*string)(&r.shard),
		ShardIteratorType: from.kind,
	}
	if from.seq != "" {
		in.StartingSequenceNumber = (*string)(&from.seq)
	}
	if !from.at.IsZero() {
		in.Timestamp = &from.at
	}
	now, err = r.source.attempt(ctx, target{"GetShardIterator", string(r.shard)}, func(ctx context.Context) error {
		out, err := r.source.client.GetShardIterator(ctx, in)
		if err != nil {
			return err
		}
		if out.ShardIterator == nil || *out.ShardIterator == "" {
			return malformed("the reply has no iterator")
		}
		iterator = *out.ShardIterator
		return nil
	})
	return iterator, now, err
}

// trustedFor is how long after a description of the stream a seek by time needs
// no new one, if no iterator was refused meanwhile. It covers the listing that
// a term plans by. It is shorter than it takes to delete and recreate a stream:
// nothing else would show that to the first seek of a term that another process
// left.
const trustedFor = 5 * time.Second

// checkStream makes sure that the stream is still the one that the reading
// began with. A seek by time or to the trim horizon needs that, because a
// recreated stream would accept it too: its events would be read once here, and
// once more from the beginning of the new stream.
func (r *reading) checkStream(ctx context.Context) error {
	if r.created.IsZero() { // never described: there is nothing to compare with
		return nil
	}
	since := time.Now().Add(-trustedFor)
	if r.refused.After(since) {
		since = r.refused
	}
	if !r.checked.Before(since) {
		return nil
	}
	now := time.Now()
	created, err := r.source.createdSince(ctx, since)
	switch {
	case err != nil:
		return r.listingError(ctx, err)
	case !created.Equal(r.created):
		return &Error{Operation: "kinesis:DescribeStreamSummary", Resource: r.source.resource(""),
			class: notFound, is: gerritstream.ErrShardNotFound,
			Message: fmt.Sprintf("the stream was deleted and recreated at %s", created.Format(time.RFC3339))}
	}
	r.checked = now
	return nil
}

// listingError returns an error of a request about the whole stream as a
// reading reports it: the context's, or an *Error that does not blame the
// reading's iterator.
func (r *reading) listingError(ctx context.Context, err error) error {
	var e *Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &e) && e.class != iteratorExpired && e.class != badArgument:
		return e
	}
	return &Error{Operation: "kinesis:ListShards", Resource: r.source.resource(""), Message: err.Error(), cause: err}
}
