package kinesistest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/gerritstream/gerritstream/kinesistest"
)

func putOne(t *testing.T, c *kinesis.Client) error {
	t.Helper()
	_, err := c.PutRecord(t.Context(), &kinesis.PutRecordInput{
		StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("x"),
	})
	return err
}

func storedIn(t *testing.T, srv *kinesistest.Server) int {
	t.Helper()
	return len(must[[]kinesistest.Record](t)(srv.Records("s", id(0))))
}

func TestFailHook(t *testing.T) {
	srv, c := start(t, kinesistest.Options{}, 1)
	srv.On(kinesistest.Hook{
		Operation: "PutRecord", Times: 2, Do: kinesistest.Fail("KMSThrottlingException", "slow down", 0)})
	srv.On(kinesistest.Hook{Operation: "PutRecords", Do: kinesistest.Fail("Other", "not for this one", 0)})
	for range 2 {
		wantFault(t, putOne(t, c), "KMSThrottlingException", "slow down")
	}
	if err := putOne(t, c); err != nil {
		t.Errorf("the hook is not spent: %v", err)
	}
	if n := storedIn(t, srv); n != 1 {
		t.Errorf("%d records are stored, want 1: a failed call is not applied", n)
	}
}

func TestKeptHookAndItsRemoval(t *testing.T) {
	srv, c := start(t, kinesistest.Options{}, 1)
	remove := srv.On(kinesistest.Hook{Do: kinesistest.Fail("InternalFailure", "", http.StatusInternalServerError)})
	for range 5 {
		wantFault(t, putOne(t, c), "InternalFailure", "")
	}
	remove()
	remove()
	if err := putOne(t, c); err != nil {
		t.Error(err)
	}
}

func TestMatch(t *testing.T) {
	srv, c := start(t, kinesistest.Options{}, 2)
	one := fromStart(t, c, id(1))
	var seen []string
	srv.On(kinesistest.Hook{
		Operation: "GetRecords",
		Match: func(r *kinesistest.Request) bool {
			seen = append(seen, r.Stream+" "+r.Shard)
			return r.Shard == id(1)
		},
		Do: kinesistest.Fail("AccessDeniedException", "no", 0),
	})
	must[*kinesis.GetRecordsOutput](t)(read(t, c, fromStart(t, c, id(0))))
	_, err := read(t, c, one)
	wantFault(t, err, "AccessDeniedException", "no")
	if got := strings.Join(seen, ", "); got != "s "+id(0)+", s "+id(1) {
		t.Errorf("Match saw %s", got)
	}
}

func TestCuts(t *testing.T) {
	for name, tt := range map[string]struct {
		do     kinesistest.Action
		stored int
	}{
		"request":           {kinesistest.CutRequest, 0},
		"reply":             {kinesistest.CutReply, 1},
		"reply's beginning": {kinesistest.CutBody(10), 1},
	} {
		t.Run("in process/"+name, func(t *testing.T) {
			srv, c := start(t, kinesistest.Options{}, 1)
			checkCut(t, srv, c, tt.do, tt.stored)
		})
		t.Run("served/"+name, func(t *testing.T) {
			srv, _ := start(t, kinesistest.Options{}, 1)
			endpoint, transport := serve(t, srv)
			checkCut(t, srv, newClient(transport, endpoint), tt.do, tt.stored)
		})
	}
}

func checkCut(t *testing.T, srv *kinesistest.Server, c *kinesis.Client, do kinesistest.Action, stored int) {
	t.Helper()
	srv.On(kinesistest.Hook{Operation: "PutRecord", Times: 1, Do: do})
	err := putOne(t, c)
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the caller got %v, want a broken connection", err)
	}
	if n := storedIn(t, srv); n != stored {
		t.Errorf("%d records are stored, want %d", n, stored)
	}
	if err := putOne(t, c); err != nil {
		t.Errorf("after the cut: %v", err)
	}
}

// The SDK retries a cut request by itself: a record may then be stored twice,
// as with AWS.
func TestRetryAfterACutStoresTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{}, 1)
		srv.On(kinesistest.Hook{Operation: "PutRecord", Times: 1, Do: kinesistest.CutReply})
		_, err := c.PutRecord(t.Context(), &kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("x"),
		}, func(o *kinesis.Options) { o.RetryMaxAttempts = 2 })
		if n := storedIn(t, srv); err != nil || n != 2 {
			t.Errorf("%d records are stored, want 2 (%v)", n, err)
		}
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{}, 1)
		srv.On(kinesistest.Hook{Operation: "PutRecord", Do: kinesistest.Delay(time.Minute)})
		began := time.Now()
		if err := putOne(t, c); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.PutRecord(ctx, &kinesis.PutRecordInput{
			StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("x"),
		})
		if n := storedIn(t, srv); !errors.Is(err, context.DeadlineExceeded) || n != 1 {
			t.Errorf("%v, %d records are stored, want 1", err, n)
		}
	})
}

func TestObserve(t *testing.T) {
	srv, c := start(t, kinesistest.Options{}, 1)
	var puts []string
	srv.On(kinesistest.Hook{
		Operation: "PutRecord", Do: kinesistest.Observe(func(r *kinesistest.Request, reply *kinesistest.Reply) {
			var in struct{ PartitionKey string }
			var out struct{ ShardId string } //nolint:revive,staticcheck // as in the reply
			if err := errors.Join(r.Decode(&in), reply.Decode(&out)); err != nil {
				t.Error(err)
			}
			puts = append(puts, in.PartitionKey+" "+out.ShardId)
		})})
	if err := putOne(t, c); err != nil {
		t.Fatal(err)
	}
	if len(puts) != 1 || puts[0] != "k "+id(0) {
		t.Errorf("observed %v", puts)
	}
}

// Hooks stack: the first installed is the outermost.
func TestHooksStack(t *testing.T) {
	srv, c := start(t, kinesistest.Options{}, 1)
	var statuses atomic.Int64
	srv.On(kinesistest.Hook{
		Do: kinesistest.Observe(func(_ *kinesistest.Request, r *kinesistest.Reply) { statuses.Add(int64(r.Status)) })})
	srv.On(kinesistest.Hook{Do: kinesistest.Fail("InternalFailure", "x", 500)})
	wantFault(t, putOne(t, c), "InternalFailure", "x")
	if got := statuses.Load(); got != 500 {
		t.Errorf("the first hook saw status %d, want the second one's 500", got)
	}
}

// Any function can be an action: this one turns a page into an empty one.
func TestOwnAction(t *testing.T) {
	srv, c := start(t, kinesistest.Options{}, 1)
	fill(t, srv, 1, 1)
	it := fromStart(t, c, id(0))
	empty := func(kinesistest.Handler) kinesistest.Handler {
		return func(context.Context, *kinesistest.Request) (*kinesistest.Reply, error) {
			return kinesistest.NewReply(
				http.StatusOK, []byte(`{"Records":[],"MillisBehindLatest":5,"NextShardIterator":"`+it+`"}`)), nil
		}
	}
	srv.On(kinesistest.Hook{Operation: "GetRecords", Times: 1, Do: empty})
	for _, want := range []int{0, 1} {
		if out := must[*kinesis.GetRecordsOutput](t)(read(t, c, it)); len(out.Records) != want {
			t.Errorf("got %d records, want %d", len(out.Records), want)
		}
	}
}
