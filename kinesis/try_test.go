package kinesis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// results writes trials as a test compares them.
func results(trials []Trial) (all []string) {
	for _, t := range trials {
		_, name, _ := strings.Cut(t.Action, ":")
		switch {
		case t.Err != nil:
			name += " wrong"
		case !t.Known:
			name += " unknown"
		}
		all = append(all, name)
	}
	return all
}

// another returns a Source on the same stream, as another process has it.
func (w *world) another() *Source {
	w.t.Helper()
	src, err := New(w.t.Context(), Config{Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test",
		Transport: w.srv.Transport(), Read: ReadFanOut})
	if err != nil {
		w.t.Fatal(err)
	}
	return src
}

func (w *world) wantTrials(want ...string) {
	w.t.Helper()
	if got := results(w.src.Try(w.t.Context())); !slices.Equal(got, want) {
		w.t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Everything is tried, and nothing is changed by it: neither a consumer nor a
// subscription comes about, one that stands goes on, and a record at most is
// read.
func TestTryChangesNothing(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 2, fanOutOn, func(t *testing.T, w *world) {
		w.wantTrials("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords", "DescribeStreamConsumer",
			"RegisterStreamConsumer unknown", "SubscribeToShard")
		if n := len(w.sent("RegisterStreamConsumer")); n != 0 {
			t.Errorf("%d consumers were registered", n)
		}
		f := w.follow(shard0, trimHorizon())
		time.Sleep(10 * time.Second)
		polls := len(w.sent("GetRecords"))
		w.src = w.another()
		w.wantTrials("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords", "DescribeStreamConsumer",
			"RegisterStreamConsumer unknown", "SubscribeToShard")
		if n := len(w.sent("GetRecords")) - polls; n != 1 {
			t.Errorf("%d reads, want 1", n)
		}
		w.put("a")
		time.Sleep(10 * time.Second)
		if open, ends := w.standing(); open != 1 || len(ends) != 0 {
			t.Errorf("%d subscriptions stand, others ended with %v", open, ends)
		}
		f.stop()
		f.want(w.stored(shard0))
		f.wantNoTrouble()
		w.wantFree()
	})
}

// Each permission that is missing is named, and what depends on it is not
// known.
func TestTryNamesWhatIsMissing(t *testing.T) {
	const iterator, records = "GetShardIterator", "GetRecords"
	for operation, want := range map[string][]string{
		"DescribeStreamSummary": {"DescribeStreamSummary wrong", "ListShards", iterator, records,
			"DescribeStreamConsumer unknown"},
		"ListShards": {"DescribeStreamSummary", "ListShards wrong", "GetShardIterator unknown", "GetRecords unknown",
			"DescribeStreamConsumer", "RegisterStreamConsumer unknown", "SubscribeToShard"},
		"GetShardIterator": {"DescribeStreamSummary", "ListShards", "GetShardIterator wrong", "GetRecords unknown",
			"DescribeStreamConsumer", "RegisterStreamConsumer unknown", "SubscribeToShard"},
		"GetRecords": {"DescribeStreamSummary", "ListShards", iterator, "GetRecords wrong",
			"DescribeStreamConsumer", "RegisterStreamConsumer unknown", "SubscribeToShard"},
		"DescribeStreamConsumer": {"DescribeStreamSummary", "ListShards", iterator, records,
			"DescribeStreamConsumer wrong", "RegisterStreamConsumer unknown", "SubscribeToShard"},
		"SubscribeToShard": {"DescribeStreamSummary", "ListShards", iterator, records,
			"DescribeStreamConsumer", "RegisterStreamConsumer unknown", "SubscribeToShard wrong"},
	} {
		t.Run(operation, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(_ *testing.T, w *world) {
				w.fail(operation, 0, "AccessDeniedException", "not authorized", 400)
				w.wantTrials(want...)
			})
		})
	}
}

// What is no lack of a permission passes: other readers take a shard's reads.
// A stream that is not found, and a service that is away, end the trials.
func TestTryKnowsOtherTrouble(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(_ *testing.T, w *world) {
		heal := w.fail("GetRecords", 0, "ProvisionedThroughputExceededException", "Rate exceeded", 400)
		w.wantTrials("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords")
		heal()
		w.fail("DescribeStreamSummary", 0, "InternalFailure", "away", 500)
		w.wantTrials("DescribeStreamSummary wrong")
	})
	inBubble(t, kinesistest.Options{}, 0, nil, func(_ *testing.T, w *world) {
		w.wantTrials("DescribeStreamSummary wrong")
	})
}

// Of a stream that is encrypted with the account's own key the oldest record is
// read: only a record shows whether the key may be used.
func TestTryDecrypts(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(_ *testing.T, w *world) {
		key := "arn:aws:kms:us-east-1:000000000000:key/1"
		encrypted := func(kinesistest.Handler) kinesistest.Handler {
			return func(context.Context, *kinesistest.Request) (*kinesistest.Reply, error) {
				return kinesistest.NewReply(200, fmt.Appendf(nil, `{"StreamDescriptionSummary":{
					"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/gerrit","StreamName":"gerrit",
					"StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":946684800,
					"EncryptionType":"KMS","KeyId":%q}}`, key)), nil
			}
		}
		w.srv.On(kinesistest.Hook{Operation: "DescribeStreamSummary", Do: encrypted})
		w.wantTrials("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords", "Decrypt unknown")
		w.put("a", "b")
		time.Sleep(time.Second)
		w.wantTrials("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords", "Decrypt")
		w.fail("GetRecords", 0, "KMSAccessDeniedException", "no access", 400)
		w.wantTrials("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords", "Decrypt wrong")
		key = "alias/aws/kinesis" // needs no permission
		w.wantTrials("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords", "Decrypt wrong")
	})
}
