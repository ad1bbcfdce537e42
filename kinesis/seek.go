package kinesis

import (
	"context"
	"errors"
	"strings"
	"time"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
)

// arrivalError is how far the service's arrival times may be wrong.
const arrivalError = 5 * time.Minute

// start is where an iterator begins.
type seekPoint struct {
	kind types.ShardIteratorType
	seq  gerritstream.SequenceNumber // with a kind by sequence number
	at   time.Time                   // with AT_TIMESTAMP
}

// startOf says where to begin to read from a position. Behind a record the
// shard may have been idle for days, which the service lets a reader walk
// through in empty pages; a moment at which all was handled is a shorter way,
// if it is a good deal later. ok is false for a position that is none.
func seekPointOf(p *gerritstream.Position) (_ seekPoint, ok bool) {
	known := p.CaughtUp.Add(-arrivalError)
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

// lowerings is how often a refused time is lowered before it counts as trouble.
const maxLowered = 4

// seek gets an iterator for where the reading has come to.
func (r *reading) seek(ctx context.Context) error {
	from, ok := seekPointOf(&r.cursor)
	if !ok {
		return &Error{Operation: "kinesis:GetShardIterator", Resource: r.source.resource(string(r.shard)), class: badPosition,
			is: gerritstream.ErrBadPosition, Message: "the position says nowhere to start from", cause: r.cursor.Unreadable}
	}
	if from.seq == "" {
		if err := r.checkStream(ctx); err != nil {
			return err
		}
	}
	for lowered := 0; ; lowered++ {
		iterator, now, err := r.ask(ctx, &from)
		if err == nil {
			r.iterator = iterator
			return nil
		}
		var e *Error
		switch {
		case !errors.As(err, &e) || e.class != badArgument:
			return err
		case from.kind == types.ShardIteratorTypeAtTimestamp && lowered < maxLowered:
			from.at = lower(from.at, now)
			r.source.log.Debug("the start is later than the service's clock: lowered", "to", from.at)
		case from.kind == types.ShardIteratorTypeAfterSequenceNumber && strings.Contains(e.Message, "max possible value"):
			// The record is the last that the shard can have: from itself on
			// the service tells how the shard ends.
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
// was asked for. A ValidationException can be about any other part of the
// request.
func refusesSequence(e *Error) bool {
	return e.Code != "ValidationException" || strings.Contains(e.Message, "startingSequenceNumber")
}

// lower returns a time before one that was refused: the service's, if that is
// known and earlier.
func lower(refused, now time.Time) time.Time {
	refused = refused.Add(-time.Second)
	if !now.IsZero() && now.Before(refused) {
		return now
	}
	return refused
}

// ask makes one request for an iterator.
func (r *reading) ask(ctx context.Context, from *seekPoint) (iterator string, now time.Time, err error) {
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
			return malformedError("no iterator")
		}
		iterator = *out.ShardIterator
		return nil
	})
	return iterator, now, err
}
