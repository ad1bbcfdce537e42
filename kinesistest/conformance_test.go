package kinesistest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// TestConformance makes the same calls to this emulator and to two that were
// written elsewhere. Each call must show what AWS shows. Where another emulator
// shows something else, the difference is listed with its reason; a listed
// difference that no longer exists fails the test.
func TestConformance(t *testing.T) {
	t.Run("emulator", func(t *testing.T) {
		free := kinesistest.New(kinesistest.Options{NoLimits: true})
		limited := kinesistest.New(kinesistest.Options{})
		conformance(t, subject{
			client:  newClient(free.Transport(), "http://kinesis.test"),
			limited: newClient(limited.Transport(), "http://kinesis.test"),
		}, nil)
	})
	t.Run("kinesalite", func(t *testing.T) {
		t.Parallel()
		c := peerClient(t, peers.Kinesalite(t))
		conformance(t, subject{client: c, limited: c}, kinesaliteDifferences)
	})
	t.Run("kinesis-local", func(t *testing.T) {
		t.Parallel()
		c := peerClient(t, peers.KinesisLocal(t))
		conformance(t, subject{client: c, limited: c}, kinesisLocalDifferences)
	})
}

// subject is an emulator: a client without rate limits, and one with them.
type subject struct{ client, limited *kinesis.Client }

func peerClient(t *testing.T, endpoint string) *kinesis.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return newClient(transport, endpoint)
}

// conformanceCall is a row of the table: calls to a fresh stream, and what they
// show.
type conformanceCall struct {
	name    string
	shards  int
	limited bool // with rates
	see     func(s *caller) string
	want    string // what AWS shows
}

// difference is what an emulator shows instead, and why.
type difference struct {
	got, why string
	notAsked bool // the call is not made
}

// conformance makes all calls to a subject.
func conformance(t *testing.T, s subject, differences map[string]difference) {
	seen := map[string]bool{}
	for i, call := range conformanceCalls {
		seen[call.name] = true
		d, listed := differences[call.name]
		if d.notAsked {
			continue
		}
		t.Run(call.name, func(t *testing.T) {
			c := &caller{T: t, Client: s.client, stream: fmt.Sprintf("stream%d", i)}
			if call.limited {
				c.Client = s.limited
			}
			c.create(call.shards)
			got := strings.ReplaceAll(call.see(c), c.stream, "STREAM")
			switch {
			case listed && got == call.want:
				t.Errorf("it shows what AWS shows, yet a difference is listed: %s", d.why)
			case listed && got != d.got:
				t.Errorf("got       %s\nlisted as %s\nAWS       %s", got, d.got, call.want)
			case !listed && got != call.want:
				t.Errorf("got %s\nAWS %s", got, call.want)
			}
		})
	}
	for name := range differences {
		if !seen[name] {
			t.Errorf("a difference is listed for %q, and there is no such call", name)
		}
	}
}

// caller makes calls to one stream and describes what they show.
type caller struct {
	*testing.T
	*kinesis.Client
	stream string
}

func (c *caller) ctx() context.Context { return c.T.Context() }

func (c *caller) name() *string { return &c.stream }

// shown describes an outcome: the fault, or ok.
func shown(err error, ok string) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ok
	case errors.As(err, &api):
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return "error: " + err.Error()
}

func (c *caller) check(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *caller) create(shards int) {
	c.Helper()
	_, err := c.CreateStream(
		c.ctx(), &kinesis.CreateStreamInput{StreamName: c.name(), ShardCount: aws.Int32(int32(shards))})
	c.check(err)
	c.settle()
}

// settle waits until the stream is ACTIVE.
func (c *caller) settle() {
	c.Helper()
	waiter := kinesis.NewStreamExistsWaiter(c.Client, func(o *kinesis.StreamExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 100*time.Millisecond
	})
	c.check(waiter.Wait(c.ctx(), &kinesis.DescribeStreamInput{StreamName: c.name()}, 30*time.Second))
}

// recreate deletes and recreates the stream.
func (c *caller) recreate(shards int) {
	c.Helper()
	_, err := c.DeleteStream(c.ctx(), &kinesis.DeleteStreamInput{StreamName: c.name()})
	c.check(err)
	waiter := kinesis.NewStreamNotExistsWaiter(c.Client, func(o *kinesis.StreamNotExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 100*time.Millisecond
	})
	c.check(waiter.Wait(c.ctx(), &kinesis.DescribeStreamInput{StreamName: c.name()}, 30*time.Second))
	c.create(shards)
}

// put stores data in the shard that holds the first hash key.
func (c *caller) put(data string) *kinesis.PutRecordOutput {
	c.Helper()
	out, err := c.PutRecord(c.ctx(), &kinesis.PutRecordInput{
		StreamName: c.name(), PartitionKey: aws.String("k"), ExplicitHashKey: aws.String("0"), Data: []byte(data),
	})
	c.check(err)
	return out
}

// iterator asks for an iterator of the first shard.
func (c *caller) iterator(kind types.ShardIteratorType, sequence *string, at *time.Time) (*string, error) {
	out, err := c.GetShardIterator(c.ctx(), &kinesis.GetShardIteratorInput{
		StreamName: c.name(), ShardId: aws.String(id(0)), ShardIteratorType: kind, StartingSequenceNumber: sequence,
		Timestamp: at,
	})
	if err != nil {
		return nil, err
	}
	return out.ShardIterator, nil
}

func (c *caller) start() *string {
	c.Helper()
	it, err := c.iterator(types.ShardIteratorTypeTrimHorizon, nil, nil)
	c.check(err)
	return it
}

// read shows what is read from an iterator on, in one page.
func (c *caller) read(it *string, err error) string {
	if err != nil {
		return shown(err, "")
	}
	out, err := c.GetRecords(c.ctx(), &kinesis.GetRecordsInput{ShardIterator: it})
	if err != nil {
		return shown(err, "")
	}
	return "read " + dataOf(out.Records)
}

func dataOf(records []types.Record) string {
	var all []string
	for _, r := range records {
		all = append(all, string(r.Data))
	}
	return fmt.Sprintf("%q", strings.Join(all, " "))
}

// listed shows the stream's shards: id, parents, keys, open or closed.
func (c *caller) listed() string {
	c.Helper()
	out, err := c.ListShards(c.ctx(), &kinesis.ListShardsInput{StreamName: c.name()})
	c.check(err)
	var all []string
	for _, sh := range out.Shards {
		line := fmt.Sprintf("%d", shardIndex(*sh.ShardId))
		if sh.ParentShardId != nil {
			line += fmt.Sprintf(" of %d", shardIndex(*sh.ParentShardId))
		}
		if sh.AdjacentParentShardId != nil {
			line += fmt.Sprintf("+%d", shardIndex(*sh.AdjacentParentShardId))
		}
		if sh.SequenceNumberRange.EndingSequenceNumber != nil {
			line += " closed"
		}
		all = append(all, line+" from "+*sh.HashKeyRange.StartingHashKey)
	}
	return strings.Join(all, "; ")
}

func (c *caller) split(shard int, key string) error {
	_, err := c.SplitShard(c.ctx(), &kinesis.SplitShardInput{
		StreamName: c.name(), ShardToSplit: aws.String(id(shard)), NewStartingHashKey: &key,
	})
	if err == nil {
		c.settle()
	}
	return err
}

func (c *caller) merge(a, b int) error {
	_, err := c.MergeShards(c.ctx(), &kinesis.MergeShardsInput{
		StreamName: c.name(), ShardToMerge: aws.String(id(a)), AdjacentShardToMerge: aws.String(id(b)),
	})
	if err == nil {
		c.settle()
	}
	return err
}
