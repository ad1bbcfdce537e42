package kinesis

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
)

// Trial is what trying a permission has shown.
type Trial struct {
	Action string // as policies name it: "kinesis:GetRecords"
	Detail string // for people: what was seen, or why nothing can be said
	Known  bool   // the permission is there, or Err says why not
	Err    error  // nil: it is there, or not known
}

// Credentials returns where the credentials come from, for people. It gets
// them, and makes no request of the stream. Its error is the context's, or that
// of a request without credentials.
func (s *Source) Credentials(ctx context.Context) (from string, err error) {
	from, err = s.credentials.origin(ctx)
	if err != nil && ctx.Err() == nil {
		e, _ := s.explain(target{operation: "DescribeStreamSummary"}, err, nil)
		return "", e
	}
	return from, err
}

// Try tries each permission that reading needs, of a policy's actions one after
// the other, without any effect on the stream and its readers: it reads one
// record of one shard at most, registers no consumer and takes no subscription
// away. What cannot be tried in this way is not known. Nothing more is tried of
// a stream that is not found, or that the service cannot be asked about.
func (s *Source) Try(ctx context.Context) []Trial {
	t := &trials{source: s}
	summary, _, err := s.describe(ctx)
	t.add("DescribeStreamSummary", "", err)
	if err != nil && errClass(err) != denied {
		return t.all
	}
	shards, err := s.listShards(ctx)
	t.add("ListShards", "", err)
	if err != nil && errClass(err) != denied {
		return t.all
	}
	t.read(ctx, openShard(shards), summary.key)
	if s.fanOut.mode != ReadPoll {
		t.fanOut(ctx)
	}
	return t.all
}

// trials collects what was tried.
type trials struct {
	source *Source
	all    []Trial
}

// add notes an operation that was tried. A service that answers anything but
// that it is not allowed has allowed it.
func (t *trials) add(operation, detail string, err error) {
	found := Trial{Action: "kinesis:" + operation, Detail: detail, Known: true, Err: err}
	switch c := errClass(err); {
	case err == nil:
	case c == throttled:
		found.Detail, found.Err = "granted; other readers use up the shard's reads", nil
	case c == keyDenied:
		found.Err = nil
	}
	t.all = append(t.all, found)
}

// skip notes an operation that cannot be tried.
func (t *trials) skip(action, why string) { t.all = append(t.all, Trial{Action: action, Detail: why}) }

// openShard returns a shard that can be read; "": none is known.
func openShard(shards []gerritstream.Shard) gerritstream.ShardID {
	for i := range shards {
		if shards[i].Last == "" {
			return shards[i].ID
		}
	}
	return ""
}

// read tries to read a shard: at its tip, or, of a stream that is encrypted
// with a key, its oldest record.
func (t *trials) read(ctx context.Context, shard gerritstream.ShardID, key string) {
	if shard == "" {
		t.skip("kinesis:GetShardIterator", "not tried: no shard is known")
		t.skip("kinesis:GetRecords", "not tried: no shard is known")
		return
	}
	s := t.source
	from := seekPoint{kind: types.ShardIteratorTypeLatest}
	if key != "" {
		from.kind = types.ShardIteratorTypeTrimHorizon
	}
	r := &reading{source: s, shard: shard}
	iterator, _, err := r.getIterator(ctx, &from)
	t.add("GetShardIterator", "", err)
	if err != nil {
		t.skip("kinesis:GetRecords", "not tried: it needs an iterator")
		return
	}
	records := 0
	_, err = s.persist(ctx, target{"GetRecords", string(shard)}, func(ctx context.Context) error {
		out, err := s.client.GetRecords(ctx, &awskinesis.GetRecordsInput{
			ShardIterator: &iterator, StreamARN: s.arn.Load(), Limit: aws.Int32(1),
		})
		if err == nil {
			records = len(out.Records)
		}
		return err
	})
	t.add("GetRecords", "", err)
	switch {
	case errClass(err) == keyDenied:
		t.all = append(t.all, Trial{Action: "kms:Decrypt", Known: true, Err: err})
	case key == "":
	case records > 0:
		t.all = append(t.all, Trial{Action: "kms:Decrypt", Known: true, Detail: key})
	default:
		t.skip("kms:Decrypt", "not known: no record was there to try it on; the key is "+key)
	}
}

// Names that nothing has: authorisation comes before the search for them.
const (
	noShard      = "shardId-999999999999"
	noConsumerID = ":1"
)

// fanOut tries what enhanced fan-out needs besides.
func (t *trials) fanOut(ctx context.Context) {
	s, f := t.source, &t.source.fanOut
	f.mu.Lock()
	arn := f.consumer.arn // if it is configured, or was found already
	f.mu.Unlock()
	stream := s.arn.Load()
	switch {
	case arn != "":
	case stream == nil:
		t.skip("kinesis:DescribeStreamConsumer", "not tried: the stream's ARN is not known")
		return
	default:
		var found *awskinesis.DescribeStreamConsumerOutput
		in := &awskinesis.DescribeStreamConsumerInput{StreamARN: stream, ConsumerName: &f.name}
		_, err := s.persist(ctx, target{operation: "DescribeStreamConsumer"}, func(ctx context.Context) (err error) {
			found, err = s.client.DescribeStreamConsumer(ctx, in)
			return err
		})
		switch {
		case err == nil:
			t.add("DescribeStreamConsumer", "consumer "+f.name+" is registered", nil)
			t.skip("kinesis:RegisterStreamConsumer", "not needed: the consumer is registered")
			if found.ConsumerDescription != nil {
				arn = aws.ToString(found.ConsumerDescription.ConsumerARN)
			}
		case errClass(err) == notFound:
			t.add("DescribeStreamConsumer", "consumer "+f.name+" is not registered", nil)
			t.skip("kinesis:RegisterStreamConsumer",
				"not tried: run registers the consumer, and AWS charges from then on")
		default:
			t.add("DescribeStreamConsumer", "", err)
			t.skip("kinesis:RegisterStreamConsumer", "not tried: whether the consumer is registered is not known")
		}
		if arn == "" {
			arn = *stream + "/consumer/" + f.name + noConsumerID
		}
	}
	b, err := s.openSubscription(ctx, arn, noShard, &seekPoint{kind: types.ShardIteratorTypeLatest})
	if b != nil {
		b.end(nil)
	}
	if c := errClass(err); c == notFound || c == badArgument || c == notReady { // as it should be
		err = nil
	}
	t.add("SubscribeToShard", "", err)
}
