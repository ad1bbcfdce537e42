package kinesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
)

// List implements [gerritstream.Source]: DescribeStreamSummary, and ListShards
// for every page.
//
// A stream that is being created or deleted is a transient error. Every request
// is tried up to three times within three seconds.
func (s *Source) List(ctx context.Context) (gerritstream.Listing, error) {
	summary, now, err := s.describe(ctx)
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
	return gerritstream.Listing{Stream: summary.stream, Retention: summary.retention, Shards: shards, Now: now}, nil
}

// streamSummary is what DescribeStreamSummary returns.
type streamSummary struct {
	stream    gerritstream.Stream
	retention time.Duration
	key       string // the account's own, that records are encrypted with; "": none
}

// describe asks for the stream. From then on its ARN is known.
func (s *Source) describe(ctx context.Context) (summary streamSummary, now time.Time, err error) {
	var out *awskinesis.DescribeStreamSummaryOutput
	began := time.Now()
	now, err = s.persist(ctx, target{operation: "DescribeStreamSummary"}, func(ctx context.Context) (err error) {
		in := &awskinesis.DescribeStreamSummaryInput{StreamName: &s.stream, StreamARN: s.arn.Load()}
		out, err = s.client.DescribeStreamSummary(ctx, in)
		return err
	})
	if err != nil {
		return summary, now, s.notFoundError(err)
	}
	d := out.StreamDescriptionSummary
	if d == nil || d.StreamARN == nil || d.StreamCreationTimestamp == nil || d.RetentionPeriodHours == nil {
		return summary, now, fmt.Errorf("describe %s: the reply lacks the ARN, the creation time or the retention",
			s.resource(""))
	}
	if asked := s.arn.Load(); asked != nil && *asked != *d.StreamARN {
		return summary, now, &Error{
			Operation: "kinesis:DescribeStreamSummary", Resource: *asked,
			class: notFound, is: gerritstream.ErrStreamNotFound,
			summary: fmt.Sprintf("stream %s not found: the service answers for %s; "+
				"check the account and the region in the ARN, the endpoint, and whose credentials these are",
				*asked, *d.StreamARN),
		}
	}
	s.arn.Store(d.StreamARN)
	switch d.StreamStatus {
	case types.StreamStatusCreating:
		return summary, now, fmt.Errorf("stream %s is still being created", *d.StreamARN)
	case types.StreamStatusDeleting:
		return summary, now, fmt.Errorf("stream %s is being deleted", *d.StreamARN)
	}
	created := d.StreamCreationTimestamp.Round(time.Millisecond).UTC()
	s.creation.note(began, created)
	summary = streamSummary{
		stream:    gerritstream.Stream{ARN: *d.StreamARN, Created: created},
		retention: time.Duration(*d.RetentionPeriodHours) * time.Hour,
	}
	if key := aws.ToString(d.KeyId); d.EncryptionType == types.EncryptionTypeKms && key != "alias/aws/kinesis" {
		summary.key = cmp.Or(key, "not named")
	}
	return summary, now, nil
}

// notFoundError makes an error ErrStreamNotFound if the stream was not found,
// and has it name where the stream was looked for.
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
	e.summary = fmt.Sprintf("stream %s not found in %s%s: "+
		"check the stream's name, the region, and whose credentials these are", s.stream, s.region, account)
	return e
}

// creation holds when the stream was created: the one sign that a stream was
// deleted and another was created under its name.
type creation struct {
	turn chan struct{} // capacity 1: full while a reading asks for it

	mu      sync.Mutex
	asked   time.Time // under mu, local: when the newest description was asked for; zero: none
	created time.Time // under mu: what it reported
}

// note records a description that was asked for at a time.
func (c *creation) note(asked, created time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !asked.Before(c.asked) {
		c.asked, c.created = asked, created
	}
}

func (c *creation) latest() (asked, created time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.created
}

// createdSince returns when the stream was created, by a description asked for
// at that time or later. Readings that ask together share one.
func (s *Source) createdSince(ctx context.Context, since time.Time) (time.Time, error) {
	select {
	case s.creation.turn <- struct{}{}:
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
	defer func() { <-s.creation.turn }()
	if asked, created := s.creation.latest(); !asked.Before(since) {
		return created, nil
	}
	summary, _, err := s.describe(ctx)
	return summary.stream.Created, err
}

// listShards lists all pages, or none.
func (s *Source) listShards(ctx context.Context) ([]gerritstream.Shard, error) {
	var shards []gerritstream.Shard
	keys := map[gerritstream.ShardID]hashRange{}
	// With a token the service refuses the stream's name, and its ARN as well.
	for in := (&awskinesis.ListShardsInput{StreamName: &s.stream, StreamARN: s.arn.Load()}); ; {
		var out *awskinesis.ListShardsOutput
		_, err := s.persist(ctx, target{operation: "ListShards"}, func(ctx context.Context) (err error) {
			if out, err = s.client.ListShards(ctx, in); err == nil && out.Shards == nil {
				err = malformed("the reply has no Shards")
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
	if in.ShardId == nil || *in.ShardId == "" ||
		in.SequenceNumberRange == nil || in.SequenceNumberRange.StartingSequenceNumber == nil {
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

// findShard finds a shard in a complete listing. Its error has the class
// notFound if the shard is not listed.
func (s *Source) findShard(ctx context.Context, id gerritstream.ShardID) (gerritstream.Shard, error) {
	shards, err := s.listShards(ctx)
	if err != nil {
		return gerritstream.Shard{}, err
	}
	for _, shard := range shards {
		if shard.ID == id {
			return shard, nil
		}
	}
	return gerritstream.Shard{}, &Error{Operation: "kinesis:ListShards", Resource: s.resource(string(id)),
		class: notFound, Message: "the shard is not listed"}
}
