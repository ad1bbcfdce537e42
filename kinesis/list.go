package kinesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
)

// List implements [gerritstream.Source]: DescribeStreamSummary, and ListShards
// for every page.
//
// A stream that is being made or deleted is a passing error that says so. Every
// request is tried up to three times within three seconds.
func (s *Source) List(ctx context.Context) (gerritstream.Listing, error) {
	stream, now, err := s.describe(ctx)
	if err != nil {
		return gerritstream.Listing{}, err
	}
	if now.IsZero() {
		return gerritstream.Listing{}, fmt.Errorf("list %s: the service's reply has no Date", s.resource(""))
	}
	shards, err := s.listShards(ctx)
	if errClass(err) == iteratorExpired { // a page took five minutes
		shards, err = s.listShards(ctx)
	}
	if err != nil {
		return gerritstream.Listing{}, err
	}
	return gerritstream.Listing{Stream: stream.stream, Retention: stream.retention, Shards: shards, Now: now}, nil
}

// described is what DescribeStreamSummary tells.
type streamSummary struct {
	stream    gerritstream.Stream
	retention time.Duration
}

// describe asks for the stream. From then on its ARN is known.
func (s *Source) describe(ctx context.Context) (streamSummary, time.Time, error) {
	var out *awskinesis.DescribeStreamSummaryOutput
	asked := time.Now()
	now, err := s.persist(ctx, target{operation: "DescribeStreamSummary"}, func(ctx context.Context) (err error) {
		in := &awskinesis.DescribeStreamSummaryInput{StreamName: &s.stream, StreamARN: s.arn.Load()}
		out, err = s.client.DescribeStreamSummary(ctx, in)
		return err
	})
	if err != nil {
		return streamSummary{}, time.Time{}, s.notFoundError(err)
	}
	d := out.StreamDescriptionSummary
	if d == nil || d.StreamARN == nil || d.StreamCreationTimestamp == nil || d.RetentionPeriodHours == nil {
		return streamSummary{}, time.Time{}, fmt.Errorf("describe %s: the reply lacks the ARN, the creation time or the retention", s.resource(""))
	}
	if asked := s.arn.Load(); asked != nil && *asked != *d.StreamARN {
		return streamSummary{}, time.Time{}, s.otherStream(*asked, *d.StreamARN)
	}
	s.arn.Store(d.StreamARN)
	switch d.StreamStatus {
	case types.StreamStatusCreating:
		return streamSummary{}, time.Time{}, fmt.Errorf("stream %s is still being created", *d.StreamARN)
	case types.StreamStatusDeleting:
		return streamSummary{}, time.Time{}, fmt.Errorf("stream %s is being deleted", *d.StreamARN)
	}
	created := d.StreamCreationTimestamp.Round(time.Millisecond).UTC()
	s.creation.note(asked, created)
	return streamSummary{
		stream:    gerritstream.Stream{ARN: *d.StreamARN, Created: created},
		retention: time.Duration(*d.RetentionPeriodHours) * time.Hour,
	}, now, nil
}

// streamMissing says of a stream that is not found where it was looked for.
func (s *Source) notFoundError(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.class != notFound {
		return err
	}
	account := ""
	if arn := s.arn.Load(); arn != nil {
		account = accountOf(*arn)
	} else if _, after, ok := strings.Cut(e.Message, "under account "); ok {
		account, _, _ = strings.Cut(strings.TrimRight(after, "."), " ")
	}
	if account != "" {
		account = " under account " + account
	}
	e.is = gerritstream.ErrStreamNotFound
	e.summary = fmt.Sprintf("stream %s not found in %s%s: check the stream's name, the region, and whose credentials these are",
		s.stream, s.region, account)
	return e
}

// otherStream is the error of a service that has another stream under the name,
// in another account or region.
func (s *Source) otherStream(asked, found string) error {
	return &Error{
		Operation: "kinesis:DescribeStreamSummary", Resource: asked, class: notFound, is: gerritstream.ErrStreamNotFound,
		summary: fmt.Sprintf("stream %s not found: the service answers for %s; check the account and the region in the ARN, the endpoint, "+
			"and whose credentials these are", asked, found),
	}
}

// listShards lists all pages, or none.
func (s *Source) listShards(ctx context.Context) ([]gerritstream.Shard, error) {
	var shards []gerritstream.Shard
	keys := map[gerritstream.ShardID]hashRange{}
	// With a token the service refuses anything else that names the stream: the
	// name, and the ARN as well.
	for in := (&awskinesis.ListShardsInput{StreamName: &s.stream, StreamARN: s.arn.Load()}); ; {
		var out *awskinesis.ListShardsOutput
		_, err := s.persist(ctx, target{operation: "ListShards"}, func(ctx context.Context) (err error) {
			if out, err = s.client.ListShards(ctx, in); err == nil && out.Shards == nil {
				err = malformedError("no Shards")
			}
			return err
		})
		if err != nil {
			return nil, s.notFoundError(err)
		}
		for i := range out.Shards {
			shard, err := convertShard(&out.Shards[i])
			if err != nil {
				return nil, fmt.Errorf("list shards of %s: %w", s.resource(""), err)
			}
			shards = append(shards, shard)
			keys[shard.ID] = convertRange(out.Shards[i].HashKeyRange)
		}
		if out.NextToken != nil && *out.NextToken != "" {
			in = &awskinesis.ListShardsInput{NextToken: out.NextToken}
			continue
		}
		if len(shards) == 0 { // a stream has open shards at any time
			return nil, fmt.Errorf("list shards of %s: the listing is empty", s.resource(""))
		}
		s.ranges.note(keys)
		return shards, nil
	}
}

func convertShard(in *types.Shard) (out gerritstream.Shard, err error) {
	if in.ShardId == nil || *in.ShardId == "" || in.SequenceNumberRange == nil || in.SequenceNumberRange.StartingSequenceNumber == nil {
		return out, errors.New("a shard lacks its id or its sequence numbers")
	}
	out.ID = gerritstream.ShardID(*in.ShardId)
	for _, parent := range []*string{in.ParentShardId, in.AdjacentParentShardId} {
		if parent != nil && *parent != "" {
			out.Parents = append(out.Parents, gerritstream.ShardID(*parent))
		}
	}
	if out.First, err = gerritstream.ParseSequenceNumber(*in.SequenceNumberRange.StartingSequenceNumber); err != nil {
		return out, err
	}
	if last := in.SequenceNumberRange.EndingSequenceNumber; last != nil && *last != "" {
		out.Last, err = gerritstream.ParseSequenceNumber(*last)
	}
	return out, err
}

const (
	persistFor   = 3 * time.Second
	persistTimes = 3
)

// persist is attempt for a request that somebody waits for: what passes is
// tried again, for a short while.
func (s *Source) persist(ctx context.Context, t target, send func(context.Context) error) (time.Time, error) {
	began := time.Now()
	for tried := 1; ; tried++ {
		now, err := s.attempt(ctx, t, send)
		c := errClass(err)
		if err == nil || ctx.Err() != nil || c != transient && c != throttled || tried == persistTimes || time.Since(began) > persistFor {
			return now, err
		}
		s.log.Debug("trying again", "operation", t.operation, "err", err)
		bound := firstBound << (tried - 1)
		if err := sleep(ctx, bound/2+rand.N(bound/2)); err != nil { //nolint:gosec // jitter is no secret
			return now, err
		}
	}
}
