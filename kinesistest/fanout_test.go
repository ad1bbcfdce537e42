package kinesistest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// subscriber is a registered consumer of the stream "s" and its client.
type subscriber struct {
	t   *testing.T
	c   *kinesis.Client
	arn *string
}

func register(t *testing.T, c *kinesis.Client) *subscriber {
	t.Helper()
	stream := must[*kinesis.DescribeStreamSummaryOutput](t)(c.DescribeStreamSummary(t.Context(),
		&kinesis.DescribeStreamSummaryInput{StreamName: aws.String("s")})).StreamDescriptionSummary.StreamARN
	out := must[*kinesis.RegisterStreamConsumerOutput](t)(c.RegisterStreamConsumer(t.Context(),
		&kinesis.RegisterStreamConsumerInput{StreamARN: stream, ConsumerName: aws.String("one")}))
	return &subscriber{t, c, out.Consumer.ConsumerARN}
}

// subscribe begins after a sequence number, or at the trim horizon.
func (s *subscriber) subscribe(ctx context.Context, shard, after string) (*kinesis.SubscribeToShardEventStream, error) {
	from := &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}
	if after != "" {
		from = &types.StartingPosition{Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: &after}
	}
	own := kinesis.New(s.c.Options()) // the subscriptions of one client share a buffer in this SDK, unguarded
	out, err := own.SubscribeToShard(ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: s.arn, ShardId: &shard, StartingPosition: from,
	})
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = out.GetStream().Close() })
	return out.GetStream(), nil
}

func (s *subscriber) mustSubscribe(shard, after string) *kinesis.SubscribeToShardEventStream {
	s.t.Helper()
	return must[*kinesis.SubscribeToShardEventStream](s.t)(s.subscribe(s.t.Context(), shard, after))
}

// event is the next one of a subscription; nil: it is over.
func event(stream *kinesis.SubscribeToShardEventStream) *types.SubscribeToShardEvent {
	for e := range stream.Events() {
		if e, ok := e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent); ok {
			return &e.Value
		}
	}
	return nil
}

func (s *subscriber) put(n int) {
	s.t.Helper()
	put(s.t, s.c, fmt.Sprint(n))
}

func put(t *testing.T, c *kinesis.Client, data string) {
	t.Helper()
	must[*kinesis.PutRecordOutput](t)(c.PutRecord(t.Context(),
		&kinesis.PutRecordInput{StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte(data)}))
}

// A subscription pushes what comes, ends after five minutes, and the next one
// goes on from its last continuation: nothing is missing and nothing comes
// twice.
func TestSubscriptionsFollowOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 1)
		s := register(t, c)
		s.put(0)
		want, got, after, idle := 1, 0, "", 0
		for range 3 {
			began := time.Now()
			stream := s.mustSubscribe(id(0), after)
			for e := event(stream); e != nil; e = event(stream) {
				for _, r := range e.Records {
					if string(r.Data) != fmt.Sprint(got) {
						t.Fatalf("record %s comes as number %d", r.Data, got)
					}
					if since := time.Since(*r.ApproximateArrivalTimestamp); since > time.Second && got > 0 {
						t.Errorf("record %d comes after %s", got, since)
					}
					got++
				}
				if len(e.Records) == 0 {
					idle++
				}
				after = *e.ContinuationSequenceNumber
				if want < 500 && got == want {
					time.Sleep(time.Second)
					s.put(want)
					want++
				}
			}
			if err := stream.Err(); err != nil {
				t.Errorf("the subscription ends with %v", err)
			}
			if lasted := time.Since(began); lasted < 5*time.Minute || lasted > 5*time.Minute+2*time.Second {
				t.Errorf("it lasts %s", lasted)
			}
		}
		if got < want-1 || want < 500 || idle < 10 {
			t.Errorf("%d of %d records came, %d events without any", got, want, idle)
		}
	})
}

func TestSubscriptionEndsWithItsShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{UpdateDelay: 30 * time.Second}, 1)
		s := register(t, c)
		s.put(0)
		stream := s.mustSubscribe(id(0), "")
		if e := event(stream); len(e.Records) != 1 {
			t.Fatalf("%d records", len(e.Records))
		}
		_, err := c.SplitShard(t.Context(), &kinesis.SplitShardInput{
			StreamName: aws.String("s"), ShardToSplit: aws.String(id(0)), NewStartingHashKey: aws.String("1000"),
		})
		if err != nil {
			t.Fatal(err)
		}
		for {
			e := event(stream)
			if e == nil {
				t.Fatal("it ends without naming children")
			}
			if len(e.ChildShards) == 0 {
				continue
			}
			if len(e.ChildShards) != 2 || e.ContinuationSequenceNumber != nil {
				t.Errorf("children %v, continuation %v", e.ChildShards, e.ContinuationSequenceNumber)
			}
			break
		}
		if e := event(stream); e != nil || stream.Err() != nil {
			t.Errorf("after the end: %v, %v", e, stream.Err())
		}
	})
}

func TestALaterSubscriptionTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 1)
		s := register(t, c)
		first := s.mustSubscribe(id(0), "")
		_, err := s.subscribe(t.Context(), id(0), "")
		wantFault(t, err, "LimitExceededException", "Rate exceeded")
		time.Sleep(2 * time.Second)
		_, err = s.subscribe(t.Context(), id(0), "")
		wantFault(t, err, "ResourceInUseException", "Another active subscription")
		time.Sleep(4 * time.Second)
		second := s.mustSubscribe(id(0), "")
		for e := event(first); e != nil; e = event(first) {
			continue
		}
		var inUse *types.ResourceInUseException
		if !errors.As(first.Err(), &inUse) {
			t.Errorf("the first one ends with %v", first.Err())
		}
		s.put(0)
		if e := event(second); e == nil || len(e.Records) != 1 {
			t.Errorf("the second one gets %v, %v", e, second.Err())
		}
		_ = second.Close()
		time.Sleep(time.Second)
		s.mustSubscribe(id(0), "") // one that was closed is in nobody's way
	})
}

// Two MiB a second for each consumer, whatever others read.
func TestSubscriptionIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, kinesistest.Options{}, 1)
		s := register(t, c)
		data := strings.Repeat("x", 1<<20-1)
		for range 12 {
			put(t, c, data)
			time.Sleep(1100 * time.Millisecond)
		}
		began, n := time.Now(), 0
		stream := s.mustSubscribe(id(0), "")
		for n < 12 {
			n += len(event(stream).Records)
		}
		if took := time.Since(began); took < 4*time.Second || took > 7*time.Second {
			t.Errorf("12 MiB take %s", took)
		}
	})
}

func TestSubscriptionFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		do   kinesistest.Action
		want func(error) bool
	}{
		"cut": {kinesistest.CutStream(1), func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		"corrupt": {
			kinesistest.CorruptStream(1),
			func(err error) bool { return err != nil && strings.Contains(err.Error(), "checksum") },
		},
		"silent": {
			kinesistest.SilenceStream(1),
			func(err error) bool { return errors.Is(err, context.DeadlineExceeded) },
		},
		"exception": {
			kinesistest.FailStream(1, kinesistest.Fault{Code: "InternalFailureException", Message: "it is us"}),
			func(err error) bool { return err != nil && strings.Contains(err.Error(), "it is us") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, c := start(t, kinesistest.Options{}, 1)
				s := register(t, c)
				srv.On(kinesistest.Hook{Operation: "SubscribeToShard", Times: 1, Do: tc.do})
				s.put(0)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				stream := must[*kinesis.SubscribeToShardEventStream](t)(s.subscribe(ctx, id(0), ""))
				if e := event(stream); e == nil || len(e.Records) != 1 {
					t.Fatalf("first %v, %v", e, stream.Err())
				}
				if e := event(stream); e != nil {
					t.Errorf("after the fault: %v", e)
				}
				err := stream.Err()
				if err == nil && ctx.Err() != nil {
					err = ctx.Err()
				}
				if !tc.want(err) {
					t.Errorf("it ends with %v", err)
				}
				_ = stream.Close()
			})
		})
	}
}

func TestConsumersAreRegisteredOnce(t *testing.T) {
	_, c := start(t, kinesistest.Options{NoLimits: true}, 1)
	s := register(t, c)
	stream := aws.String(strings.Split(*s.arn, "/consumer/")[0])
	_, err := c.RegisterStreamConsumer(t.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: stream,
		ConsumerName: aws.String("one")})
	wantFault(t, err, "ResourceInUseException", "already exists")
	for i := range 19 {
		must[*kinesis.RegisterStreamConsumerOutput](t)(c.RegisterStreamConsumer(t.Context(),
			&kinesis.RegisterStreamConsumerInput{StreamARN: stream, ConsumerName: aws.String(fmt.Sprint("more-", i))}))
	}
	_, err = c.RegisterStreamConsumer(t.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: stream,
		ConsumerName: aws.String("no room")})
	wantFault(t, err, "ValidationException", "consumerName")
	_, err = c.RegisterStreamConsumer(t.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: stream,
		ConsumerName: aws.String("no-room")})
	wantFault(t, err, "LimitExceededException", "20 consumers")

	names := 0
	pages := kinesis.NewListStreamConsumersPaginator(c, &kinesis.ListStreamConsumersInput{StreamARN: stream,
		MaxResults: aws.Int32(7)})
	for pages.HasMorePages() {
		names += len(must[*kinesis.ListStreamConsumersOutput](t)(pages.NextPage(t.Context())).Consumers)
	}
	described := must[*kinesis.DescribeStreamConsumerOutput](t)(c.DescribeStreamConsumer(t.Context(),
		&kinesis.DescribeStreamConsumerInput{StreamARN: stream, ConsumerName: aws.String("one")})).ConsumerDescription
	if names != 20 || *described.ConsumerARN != *s.arn || described.ConsumerStatus != types.ConsumerStatusActive {
		t.Errorf("%d consumers; %s is %s", names, *described.ConsumerARN, described.ConsumerStatus)
	}
	_, err = c.DeleteStream(t.Context(), &kinesis.DeleteStreamInput{StreamName: aws.String("s")})
	wantFault(t, err, "ResourceInUseException", "consumers registered")
	if _, err := c.DeregisterStreamConsumer(t.Context(),
		&kinesis.DeregisterStreamConsumerInput{ConsumerARN: s.arn}); err != nil {
		t.Fatal(err)
	}
	_, err = s.subscribe(t.Context(), id(0), "")
	wantFault(t, err, "ResourceNotFoundException", "not found")
	_, err = c.DeleteStream(t.Context(), &kinesis.DeleteStreamInput{StreamName: aws.String("s"),
		EnforceConsumerDeletion: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
}

// Over a network an event is there at once, a hundred subscriptions share a
// connection, and one that ends leaves the others alone.
func TestSubscriptionsOverHTTP2(t *testing.T) {
	const shards = 100
	srv := kinesistest.New(kinesistest.Options{})
	if _, err := srv.CreateStream("s", shards); err != nil {
		t.Fatal(err)
	}
	served := httptest.NewUnstartedServer(srv)
	served.EnableHTTP2 = true
	served.StartTLS()
	t.Cleanup(served.Close)
	transport := &http.Transport{ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: served.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	t.Cleanup(transport.CloseIdleConnections)
	c := newClient(transport, served.URL)
	s := register(t, c)
	streams := make([]*kinesis.SubscribeToShardEventStream, shards)
	for i := range streams {
		streams[i] = s.mustSubscribe(id(i), "")
	}
	_ = streams[0].Close()
	for i := range 3 {
		began := time.Now()
		out := must[*kinesis.PutRecordOutput](t)(c.PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String(fmt.Sprint("key", i)), Data: []byte("x"),
		}))
		var shard int
		if _, err := fmt.Sscanf(*out.ShardId, "shardId-%d", &shard); err != nil || shard == 0 {
			t.Fatalf("shard %s: %v", *out.ShardId, err)
		}
		for e := event(streams[shard]); ; e = event(streams[shard]) {
			if e == nil {
				t.Fatal(streams[shard].Err())
			}
			if len(e.Records) == 1 {
				break
			}
		}
		t.Logf("put and pushed in %s", time.Since(began))
	}
}
