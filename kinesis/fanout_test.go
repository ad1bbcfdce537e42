package kinesis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// putFor puts a record every gap, for a time.
func (w *world) putFor(d, gap time.Duration) {
	for began := time.Now(); time.Since(began) < d; time.Sleep(gap) {
		w.put(fmt.Sprint(time.Since(began)))
	}
}

// Records are pushed as they arrive, through renewals every five minutes, and
// none is missing or out of order. Nothing is polled but a proof now and then.
func TestFanOutPushesThroughRenewals(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		f := w.follow(shard0, trimHorizon())
		time.Sleep(10 * time.Second)
		w.putFor(30*time.Minute, 900*time.Millisecond)
		f.stop()
		f.want(w.stored(shard0))
		f.wantNoTrouble()
		if late := slices.Max(f.delays); late > 5*time.Millisecond {
			t.Errorf("a record came after %s", late)
		}
		if n := w.countEnds("Renewed"); n < 6 || n > 7 {
			t.Errorf("%d renewals in half an hour", n)
		}
		if n := len(w.sent("GetRecords")); n > 10 {
			t.Errorf("%d polls", n)
		}
		if open, ends := w.standing(); open != 0 || w.countEnds("Closed") != 1 || len(ends) > 8 {
			t.Errorf("%d subscriptions are left, others ended with %v", open, ends)
		}
		w.wantFree()
	})
}

// A renewal ends the old subscription a moment before the new one stands. The
// shard is not polled for that moment.
func TestFanOutWaitsForItsRenewal(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "SubscribeToShard",
			Do: func(next kinesistest.Handler) kinesistest.Handler {
				return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
					reply, err := next(ctx, r)
					time.Sleep(100 * time.Millisecond)
					return reply, err
				}
			}})
		f := w.follow(shard0, trimHorizon())
		time.Sleep(10 * time.Second)
		polls := len(w.sent("GetRecords"))
		w.putFor(30*time.Minute, 900*time.Millisecond)
		f.stop()
		f.want(w.stored(shard0))
		f.wantNoTrouble()
		if late := slices.Max(f.delays); late > 105*time.Millisecond {
			t.Errorf("a record came after %s", late)
		}
		if _, ends := w.standing(); w.countEnds("Renewed") != len(ends)-1 {
			t.Errorf("they ended with %v", ends)
		}
		if n := len(w.sent("GetRecords")); n != polls {
			t.Errorf("%d polls", n-polls)
		}
	})
}

// Subscriptions are renewed while the reader is busy, and none is left open.
func TestFanOutIsRenewedForABusyReader(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		f := w.followSlowly(shard0, trimHorizon(), func(p gerritstream.Page) {
			if len(p.Records) == 1 {
				time.Sleep(12 * time.Minute)
			}
		})
		time.Sleep(10 * time.Second)
		w.put("a")
		time.Sleep(time.Second)
		w.putFor(11*time.Minute, time.Second)
		time.Sleep(5 * time.Minute)
		f.stop()
		f.want(w.stored(shard0))
		f.wantNoTrouble()
		if open, ends := w.standing(); open != 0 || w.countEnds("Renewed") < 2 {
			t.Errorf("%d subscriptions are left, others ended with %v", open, ends)
		}
		w.wantFree()
	})
}

// An idle shard is caught up all the time, by a poll every twenty seconds or
// so, and costs little else.
func TestFanOutProvesThatAnIdleShardIsRead(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		w.put("a")
		f := w.follow(shard0, trimHorizon())
		time.Sleep(time.Hour)
		f.stop()
		f.want([]string{"a"})
		f.wantNoTrouble()
		if f.proofs < 3600/25 {
			t.Errorf("%d proofs in an hour", f.proofs)
		}
		if n := len(w.sent("GetRecords")); n > 3600/20+10 {
			t.Errorf("%d polls in an hour", n)
		}
		for _, r := range w.sent("SubscribeToShard")[1:] {
			if p := r.in.StartingPosition; p.Type != "AFTER_SEQUENCE_NUMBER" {
				t.Errorf("a renewal begins at %+v instead of where the last event ended", p)
			}
		}
	})
}

// held is a network on the way of which everything takes so long.
type held struct {
	next http.RoundTripper
	by   time.Duration
}

func (h held) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := h.next.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.Header.Get("X-Amz-Target"), "SubscribeToShard") &&
		resp.StatusCode == http.StatusOK {
		from, to := io.Pipe()
		go carry(r.Context(), to, resp.Body, h.by)
		resp.Body = from
	}
	return resp, err
}

// carry copies what comes, each piece after a time, until the request's context
// ends. Its reader may be busy for as long.
func carry(ctx context.Context, to *io.PipeWriter, body io.ReadCloser, by time.Duration) {
	type piece struct {
		at   time.Time
		text []byte
		err  error
	}
	pieces := make(chan piece, 1000)
	go func() {
		for {
			buf := make([]byte, 64<<10)
			n, err := body.Read(buf)
			pieces <- piece{time.Now().Add(by), buf[:n], err}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			_ = body.Close()
			_ = to.CloseWithError(ctx.Err())
			return
		case p := <-pieces:
			if sleep(ctx, time.Until(p.at)) != nil {
				continue
			}
			_, _ = to.Write(p.text) // the reader may have gone
			if p.err != nil {
				_ = to.CloseWithError(p.err)
				return
			}
		}
	}
}

// An event that was long on its way does not prove that all before its coming
// was read, and its records come late. checkProof looks at every claim.
func TestFanOutDoesNotTakeAnOldEventForTheTip(t *testing.T) {
	var network held
	change := func(c *Config) {
		network = held{c.Transport, 15 * time.Second}
		c.Read, c.Transport = ReadFanOut, network
	}
	inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
		f := w.follow(shard0, trimHorizon())
		time.Sleep(time.Minute)
		for range 20 {
			w.put(fmt.Sprint(time.Now()))
			time.Sleep(40 * time.Second)
		}
		time.Sleep(time.Minute)
		f.stop()
		f.want(w.stored(shard0))
		if f.proofs < 10 {
			t.Errorf("%d proofs", f.proofs)
		}
	})
}

// A shard whose polls are refused is read on by its subscription. What comes of
// it claims no tip, and shows that the reading lives.
func TestFanOutLivesWhilePollsAreRefused(t *testing.T) {
	for name, do := range map[string]kinesistest.Action{
		"throttled": kinesistest.Fail("ProvisionedThroughputExceededException", "Rate exceeded for shard", 0),
		"failing":   kinesistest.Fail("InternalFailure", "oops", 500),
		"expired":   kinesistest.Fail("ExpiredIteratorException", "Iterator expired.", 0),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
				var last time.Time
				longest := time.Duration(0)
				f := w.followSlowly(shard0, trimHorizon(), func(gerritstream.Page) {
					if !last.IsZero() {
						longest = max(longest, time.Since(last))
					}
					last = time.Now()
				})
				time.Sleep(10 * time.Second)
				remove := w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: do})
				proofs := f.proven()
				w.putFor(30*time.Minute, 4*time.Minute)
				if n := f.proven(); n != proofs {
					t.Errorf("%d proofs without a poll", n-proofs)
				}
				remove()
				time.Sleep(time.Minute)
				f.stop()
				f.want(w.stored(shard0))
				f.wantNoTrouble()
				if longest > 30*time.Second {
					t.Errorf("nothing came for %s", longest)
				}
				if late := slices.Max(f.delays); late > 5*time.Millisecond {
					t.Errorf("a record came after %s", late)
				}
				if f.proofs < proofs+2 {
					t.Error("it is not caught up again")
				}
			})
		})
	}
}

// The last event of a shard ends the reading and names the children, whether
// records come with it or not.
func TestFanOutEndsWithTheShard(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 2, fanOutOn, func(t *testing.T, w *world) {
		const shard1 = gerritstream.ShardID("shardId-000000000001")
		f := w.follow(shard0, trimHorizon())
		time.Sleep(10 * time.Second)
		polls := len(w.sent("GetRecords"))
		w.put("a", "b")
		left, right, err := w.srv.Split("gerrit", string(shard0))
		if err != nil {
			t.Fatal(err)
		}
		<-f.done
		f.want([]string{"a", "b"})
		f.wantNoTrouble()
		want := []gerritstream.ShardID{gerritstream.ShardID(left), gerritstream.ShardID(right)}
		if !f.ended || !slices.Equal(f.kids, want) {
			t.Errorf("it ended: %t, with the children %v", f.ended, f.kids)
		}
		if n := len(w.sent("GetRecords")); n != polls {
			t.Errorf("the end took %d polls", n-polls)
		}
		if !w.src.namesChildren.Load() {
			t.Error("it is not known that this service names children")
		}
		g := w.follow(gerritstream.ShardID(right), trimHorizon())
		h := w.follow(shard1, trimHorizon())
		time.Sleep(10 * time.Second)
		polls = len(w.sent("GetRecords"))
		child, err := w.srv.Merge("gerrit", right, string(shard1))
		if err != nil {
			t.Fatal(err)
		}
		<-g.done
		<-h.done
		if n := len(w.sent("GetRecords")); n != polls {
			t.Errorf("the ends took %d polls", n-polls)
		}
		want = []gerritstream.ShardID{gerritstream.ShardID(child)}
		if !g.ended || !h.ended || !slices.Equal(g.kids, want) || !slices.Equal(h.kids, want) {
			t.Errorf("merged: %t %v, %t %v", g.ended, g.kids, h.ended, h.kids)
		}
	})
}

// An event that has neither a continuation nor children ends nothing: the shard
// is polled, which asks for proof.
func TestFanOutDoesNotEndAShardWithoutProof(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		cut := func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"ContinuationSequenceNumber"`), []byte(`"ContinuationSequenceNumbre"`), 1)
		}
		w.src.fanOut.client = &http.Client{Transport: editedFrames{w.srv.Transport(), cut}}
		f := w.follow(shard0, trimHorizon())
		w.putFor(20*time.Second, time.Second)
		f.stop()
		f.want(w.stored(shard0))
		if f.ended {
			t.Error("it ended an open shard")
		}
		if n := w.countEnds("Malformed"); n == 0 {
			_, ends := w.standing()
			t.Errorf("subscriptions ended with %v", ends)
		}
	})
}

// editedFrames edits the frames of subscriptions, and mends their checksums.
type editedFrames struct {
	next http.RoundTripper
	edit func([]byte) []byte
}

func (e editedFrames) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := e.next.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusOK {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{&frameEditor{body: resp.Body, edit: e.edit}, resp.Body}
	}
	return resp, err
}

type frameEditor struct {
	body io.Reader
	edit func([]byte) []byte
	left []byte
}

func (e *frameEditor) Read(p []byte) (int, error) {
	if len(e.left) == 0 {
		var head prelude
		if _, err := io.ReadFull(e.body, head[:]); err != nil {
			return 0, err
		}
		length, err := head.length()
		if err != nil {
			return 0, err
		}
		b := append(head[:], make([]byte, length-preludeSize)...)
		if _, err := io.ReadFull(e.body, b[preludeSize:]); err != nil {
			return 0, err
		}
		f, err := parseFrame(b)
		if err != nil {
			return 0, err
		}
		e.left = frameOf(b[preludeSize:f.payload.from], e.edit(f.payload.of(b)))
	}
	n := copy(p, e.left)
	e.left = e.left[n:]
	return n, nil
}

// What goes wrong in mid-stream loses nothing and changes no order. Polls take
// the place until the next subscription stands, at once.
func TestFanOutSurvivesFaultsInMidStream(t *testing.T) {
	for name, tc := range map[string]struct {
		do     kinesistest.Action
		reason string
		late   time.Duration // how late a record may come
	}{
		"cut":       {kinesistest.CutStream(5), "Network", 300 * time.Millisecond},
		"cut soon":  {kinesistest.CutStream(0), "Network", 300 * time.Millisecond},
		"silent":    {kinesistest.SilenceStream(5), "Timeout", silentAfter + 300*time.Millisecond},
		"corrupt":   {kinesistest.CorruptStream(5), "Corrupt", 300 * time.Millisecond},
		"cut frame": {kinesistest.CutBody(3000), "Network", 300 * time.Millisecond},
		"exception": {kinesistest.FailStream(5, kinesistest.Fault{Code: "InternalFailureException",
			Message: "it is us"}),
			"InternalFailureException", 300 * time.Millisecond},
		"consumer gone": {kinesistest.FailStream(5, kinesistest.Fault{Code: "ResourceNotFoundException",
			Message: "gone"}),
			"ResourceNotFoundException", 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
				remove := w.srv.On(kinesistest.Hook{Operation: "SubscribeToShard", Times: 4, Do: tc.do})
				defer remove()
				f := w.follow(shard0, trimHorizon())
				w.putFor(5*time.Minute, 400*time.Millisecond)
				f.stop()
				f.want(w.stored(shard0))
				if n := w.countEnds(tc.reason); n != 4 {
					_, ends := w.standing()
					t.Errorf("%d subscriptions ended with %s: %v", n, tc.reason, ends)
				}
				if late := slices.Max(f.delays); late > tc.late {
					t.Errorf("a record came after %s", late)
				}
				if n := len(w.sent("SubscribeToShard")); n < 5 || n > 6 {
					t.Errorf("%d requests for subscriptions", n)
				}
				w.wantFree()
			})
		})
	}
}

// The reading polls until a subscription stands, and whenever none does.
func TestFanOutPollsUntilASubscriptionStands(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "SubscribeToShard", Times: 1, Do: kinesistest.Delay(8 * time.Second)})
		f := w.follow(shard0, trimHorizon())
		w.putFor(time.Second, 300*time.Millisecond)
		if len(f.seen()) == 0 {
			t.Error("nothing came within a second")
		}
		w.srv.On(kinesistest.Hook{Operation: "SubscribeToShard", Times: 3, Do: kinesistest.Delay(time.Minute)})
		w.putFor(15*time.Minute, 300*time.Millisecond)
		f.stop()
		f.want(w.stored(shard0))
		if late := slices.Max(f.delays); late > 300*time.Millisecond {
			t.Errorf("a record came after %s", late)
		}
		if n := w.seen("SubscribeToShard Timeout"); n != 3 {
			t.Errorf("%d requests timed out", n)
		}
		if n := w.countEnds("Expired"); n != 1 { // its renewals timed out
			_, ends := w.standing()
			t.Errorf("subscriptions ended with %v", ends)
		}
	})
}

// A subscription begins after what was yielded when it was asked for.
func TestFanOutBeginsAfterWhatWasYielded(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "SubscribeToShard", Times: 1, Do: kinesistest.CutRequest})
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Times: 1, Do: kinesistest.Delay(time.Second)})
		seqs := w.put("a", "b", "c")
		f := w.follow(shard0, gerritstream.Position{After: seqs[0], Arrived: time.Now()})
		time.Sleep(5 * time.Second)
		f.stop()
		f.want([]string{"b", "c"})
		asked := w.sent("SubscribeToShard")
		if len(asked) != 2 {
			t.Fatalf("%d requests", len(asked))
		}
		for i, want := range []gerritstream.SequenceNumber{seqs[0], seqs[2]} {
			if p := asked[i].in.StartingPosition; p.Type != "AFTER_SEQUENCE_NUMBER" ||
				p.SequenceNumber != string(want) {
				t.Errorf("subscription %d begins at %+v, want after %s", i, p, want)
			}
		}
		if gap := asked[1].at.Sub(asked[0].at); gap < time.Second {
			t.Errorf("asked again after %s", gap)
		}
	})
}

// Who may not lead the shard takes no subscription away from who does.
func TestPeekOnlyPolls(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		w.put("a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantData(t, collect(ctx, w.src.Peek(ctx, shard0, trimHorizon()), never), "a")
		if n := len(w.sent("SubscribeToShard")) + len(w.sent("RegisterStreamConsumer")); n > 0 {
			t.Errorf("%d requests", n)
		}
	})
}

// subscribeAside subscribes to shard0 as the same consumer, as soon as the
// service lets it.
func (w *world) subscribeAside() *awskinesis.SubscribeToShardEventStream {
	w.t.Helper()
	for {
		out, err := w.src.client.SubscribeToShard(w.t.Context(), &awskinesis.SubscribeToShardInput{
			ConsumerARN: &w.src.fanOut.consumer.arn, ShardId: aws.String(string(shard0)),
			StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest},
		})
		var inUse *types.ResourceInUseException
		var tooSoon *types.LimitExceededException // the reading subscribed within the same second
		switch {
		case err == nil:
			return out.GetStream()
		case !errors.As(err, &inUse) && !errors.As(err, &tooSoon):
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
}

// The subscription of a former leader is in the way for a few seconds. That is
// no trouble, and the shard is polled meanwhile.
func TestFanOutWaitsForAFormerLeadersSubscription(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		if _, err := w.src.findConsumer(t.Context()); err != nil {
			t.Fatal(err)
		}
		former := w.subscribeAside()
		time.Sleep(time.Second)
		f := w.follow(shard0, trimHorizon())
		w.putFor(5*time.Second, 300*time.Millisecond)
		if open, _ := w.standing(); open != 1 {
			t.Errorf("%d subscriptions after 6 s", open)
		}
		w.putFor(2*time.Minute, 300*time.Millisecond)
		_ = former.Close()
		f.stop()
		f.want(w.stored(shard0))
		f.wantNoTrouble()
		if n := w.seen("SubscribeToShard ResourceInUseException"); n != 4 {
			t.Errorf("refused %d times in 4 s", n)
		}
	})
}

// When another subscription takes over, the reading polls, and takes it back
// after a while. That lasts when two programs share a consumer, and is told.
func TestFanOutIsTakenOver(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		f := w.follow(shard0, trimHorizon())
		w.putFor(10*time.Second, 300*time.Millisecond)
		for range 8 {
			other := w.subscribeAside()
			w.putFor(20*time.Second, 300*time.Millisecond)
			_ = other.Close()
		}
		f.stop()
		f.want(w.stored(shard0))
		if late := slices.Max(f.delays); late > 300*time.Millisecond {
			t.Errorf("a record came after %s", late)
		}
		if n := w.countEnds("ResourceInUseException"); n < 3 {
			_, ends := w.standing()
			t.Errorf("subscriptions ended with %v", ends)
		}
		f.wantTrouble("Another active subscription")
	})
}

// logLines gathers what is logged from a level on.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// Where fan-out is not possible all readings poll, and try again every ten
// minutes. That is logged once; asked for explicitly, it is trouble as well.
func TestFanOutFallsBackToPolling(t *testing.T) {
	twenty := func(w *world) (undo func()) {
		if _, err := w.src.List(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		for i := range 20 {
			_, err := w.src.client.RegisterStreamConsumer(w.t.Context(), &awskinesis.RegisterStreamConsumerInput{
				StreamARN: w.src.arn.Load(), ConsumerName: aws.String(fmt.Sprint("other-", i)),
			})
			if err != nil {
				w.t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		return func() {
			_, err := w.src.client.DeregisterStreamConsumer(w.t.Context(), &awskinesis.DeregisterStreamConsumerInput{
				StreamARN: w.src.arn.Load(), ConsumerName: aws.String("other-7"),
			})
			if err != nil {
				w.t.Error(err)
			}
		}
	}
	refuse := func(operation, code string, status int) func(*world) func() {
		return func(w *world) func() { return w.fail(operation, 0, code, "it is refused", status) }
	}
	cut := func(w *world) func() {
		return w.srv.On(kinesistest.Hook{Operation: "SubscribeToShard", Do: kinesistest.CutStream(1)})
	}
	for name, tc := range map[string]struct {
		do   func(*world) (undo func())
		text string
		most int // requests for subscriptions and consumers before it falls back
	}{
		"no permission to subscribe": {refuse("SubscribeToShard", "AccessDeniedException", 400),
			"kinesis:SubscribeToShard", 4},
		"no permission to describe": {refuse("DescribeStreamConsumer", "AccessDeniedException", 400),
			"kinesis:DescribeStreamConsumer", 2},
		"no permission to register": {refuse("RegisterStreamConsumer", "AccessDeniedException", 400),
			"kinesis:RegisterStreamConsumer", 4},
		"twenty consumers": {twenty, "20 consumers already", 4 + 20},
		"unknown operation": {refuse("DescribeStreamConsumer", "UnknownOperationException", 400),
			"UnknownOperation", 3},
		"not found": {refuse("RegisterStreamConsumer", "ResourceNotFoundException", 400),
			"ResourceNotFound", 8},
		"failing":         {refuse("SubscribeToShard", "InternalFailure", 500), "InternalFailure", 30},
		"no stream lives": {cut, "connection reset", 30},
	} {
		for _, mode := range []ReadMode{ReadFanOut, ReadAuto} {
			t.Run(name+", "+string(mode), func(t *testing.T) {
				var log logLines
				change := func(c *Config) {
					c.PollInterval = 5 * time.Second // to be quick
					c.Read, c.Logger = mode, slog.New(slog.NewTextHandler(&log,
						&slog.HandlerOptions{Level: slog.LevelInfo}))
				}
				inBubble(t, kinesistest.Options{}, 3, change, func(t *testing.T, w *world) {
					undo := tc.do(w)
					f := w.follow(shard0, trimHorizon())
					for _, other := range []gerritstream.ShardID{"shardId-000000000001", "shardId-000000000002"} {
						defer w.follow(other, trimHorizon()).stop()
					}
					w.putFor(5*time.Minute, 2*time.Second)
					const fallen = "enhanced fan-out is not available; polling"
					if n := log.count(fallen); n != 1 {
						t.Errorf("logged %d times: %s", n, log.buf.String())
					}
					asked := 0
					for _, operation := range []string{"SubscribeToShard", "DescribeStreamConsumer",
						"RegisterStreamConsumer"} {
						asked += len(w.sent(operation))
					}
					if asked > tc.most {
						t.Errorf("%d requests", asked)
					}
					w.putFor(20*time.Minute, 2*time.Second)
					if n := log.count(fallen); n != 1 {
						t.Errorf("logged %d times after 25 minutes", n)
					}
					if mode == ReadFanOut {
						f.wantTrouble(tc.text)
					} else if name != "failing" && name != "no stream lives" {
						f.wantNoTrouble()
					}
					undo()
					w.putFor(12*time.Minute, 2*time.Second)
					if open, _ := w.standing(); open != 3 || log.count("enhanced fan-out works again") != 1 {
						t.Errorf("%d subscriptions after the cause is gone: %s", open, log.buf.String())
					}
					f.stop()
					f.want(w.stored(shard0))
					if late := slices.Max(f.delays); late > 5*time.Second {
						t.Errorf("a record came after %s", late)
					}
				})
			})
		}
	}
}

// One shard whose subscriptions end does not take the others' away.
func TestFanOutOfOtherShardsGoesOn(t *testing.T) {
	var log logLines
	change := func(c *Config) { c.Read, c.Logger = ReadAuto, slog.New(slog.NewTextHandler(&log, nil)) }
	inBubble(t, kinesistest.Options{}, 2, change, func(t *testing.T, w *world) {
		good := w.follow("shardId-000000000001", trimHorizon())
		time.Sleep(3 * time.Minute)
		w.srv.On(kinesistest.Hook{Operation: "SubscribeToShard", Do: kinesistest.CutStream(1),
			Match: func(r *kinesistest.Request) bool { return r.Shard == string(shard0) }})
		f := w.follow(shard0, trimHorizon())
		w.putFor(10*time.Minute, 300*time.Millisecond)
		if open, _ := w.standing(); open < 1 || log.count("not available") > 0 {
			t.Errorf("%d subscriptions: %s", open, log.buf.String())
		}
		if n := len(w.sent("SubscribeToShard")); n > 60 {
			t.Errorf("%d requests in ten minutes", n)
		}
		f.stop()
		good.stop()
		f.want(w.stored(shard0))
		f.wantTrouble("connection reset")
		good.wantNoTrouble()
	})
}

// The consumer is registered if it is not there, waited for, and shared.
func TestFanOutRegistersItsConsumer(t *testing.T) {
	change := func(c *Config) { c.Read, c.ConsumerName = ReadFanOut, "zuul" }
	inBubble(t, kinesistest.Options{CreateDelay: 7 * time.Second}, 3, change, func(t *testing.T, w *world) {
		all := []*follower{w.follow(shard0, trimHorizon()), w.follow("shardId-000000000001", trimHorizon()),
			w.follow("shardId-000000000002", trimHorizon())}
		w.putFor(5*time.Second, 300*time.Millisecond)
		if open, _ := w.standing(); open != 0 {
			t.Errorf("%d subscriptions of a consumer that is being created", open)
		}
		w.putFor(10*time.Second, 300*time.Millisecond)
		if open, _ := w.standing(); open != 3 {
			t.Errorf("%d subscriptions", open)
		}
		for _, f := range all {
			f.stop()
			f.wantNoTrouble()
		}
		if n := len(w.sent("RegisterStreamConsumer")); n != 1 {
			t.Errorf("registered %d times", n)
		}
		if n := w.seen("SubscribeToShard ResourceInUseException"); n > 0 {
			t.Errorf("asked %d times before the consumer was active", n)
		}
		if n := len(w.sent("DeregisterStreamConsumer")); n != 0 {
			t.Errorf("deregistered %d times", n)
		}
		out, err := w.src.client.ListStreamConsumers(t.Context(),
			&awskinesis.ListStreamConsumersInput{StreamARN: w.src.arn.Load()})
		if err != nil || len(out.Consumers) != 1 || *out.Consumers[0].ConsumerName != "zuul" {
			t.Errorf("consumers %v, %v", out, err)
		}
	})
}

// A few subscriptions are asked for at a time, and the others soon after.
func TestFanOutAsksForAFewAtATime(t *testing.T) {
	const shards = 100
	inBubble(t, kinesistest.Options{}, shards, fanOutOn, func(t *testing.T, w *world) {
		var asking, most atomic.Int32
		w.srv.On(kinesistest.Hook{Operation: "SubscribeToShard",
			Do: func(next kinesistest.Handler) kinesistest.Handler {
				return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
					n := asking.Add(1)
					defer asking.Add(-1)
					most.Store(max(n, most.Load()))
					time.Sleep(50 * time.Millisecond)
					return next(ctx, r)
				}
			}})
		for i := range shards {
			defer w.follow(gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i)), trimHorizon()).stop()
		}
		time.Sleep(time.Second)
		if open, _ := w.standing(); open != shards || most.Load() > 16 {
			t.Errorf("%d subscriptions after a second, %d were asked for at a time", open, most.Load())
		}
	})
}

// A consumer given by its ARN is neither registered nor described.
func TestFanOutUsesAConsumerByItsARN(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		made, err := w.src.findConsumer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := len(w.requests)
		src, err := New(t.Context(), Config{Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test",
			Transport: w.srv.Transport(), Observer: w, Read: ReadFanOut, ConsumerARN: made.arn})
		if err != nil {
			t.Fatal(err)
		}
		w.src = src
		f := w.follow(shard0, trimHorizon())
		w.putFor(10*time.Second, 300*time.Millisecond)
		f.stop()
		f.want(w.stored(shard0))
		f.wantNoTrouble()
		for _, r := range w.requests[before:] {
			if strings.HasSuffix(r.operation, "StreamConsumer") {
				t.Errorf("%s was called", r.operation)
			}
		}
		if w.countEnds("Closed") != 1 {
			t.Error("there was no subscription")
		}
	})
}

// A stream that was deleted and recreated is not read on, not even from a time.
func TestFanOutDoesNotReadARecreatedStream(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		if _, err := w.src.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		f := w.follow(shard0, gerritstream.Position{From: gerritstream.StartingPosition{Time: time.Now()}})
		time.Sleep(10 * time.Second)
		remove := w.srv.On(kinesistest.Hook{Operation: "GetRecords",
			Do: kinesistest.Fail("InternalFailure", "later", 500)})
		if err := w.srv.DeleteStream("gerrit"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.srv.CreateStream("gerrit", 1); err != nil {
			t.Fatal(err)
		}
		w.put("of another stream")
		time.Sleep(time.Minute)
		remove()
		time.Sleep(time.Minute)
		f.stop()
		f.want(nil)
		if errs := f.errors(); len(errs) == 0 || !errors.Is(errs[len(errs)-1], gerritstream.ErrShardNotFound) {
			t.Errorf("it ended with %v", errs)
		}
		f.wantTrouble("recreated") // the consumer of the new stream was found, and not used
		if _, err := w.src.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		g := w.follow(shard0, trimHorizon())
		time.Sleep(time.Minute)
		g.stop()
		g.want([]string{"of another stream"})
		if w.countEnds("Closed") == 0 {
			t.Error("there was no subscription to the new stream")
		}
	})
}

// A slow reader makes the service wait: no more is held than the budget allows,
// and nothing is dropped.
func TestFanOutPushesBackWithinTheBudget(t *testing.T) {
	const size = 4 << 20
	change := func(c *Config) { c.Read, c.Budget = ReadFanOut, NewBudget(size) }
	inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
		w.budget = w.src.budget
		held := 0
		f := w.followSlowly(shard0, trimHorizon(), func(p gerritstream.Page) {
			for _, r := range p.Records {
				held += len(r.Data)
			}
			if held > size {
				t.Errorf("%d bytes are held", held)
			}
			time.Sleep(700 * time.Millisecond)
			held = 0
		})
		time.Sleep(10 * time.Second)
		record := strings.Repeat("x", 90_000)
		for i := range 200 { // 18 MB
			w.put(fmt.Sprint(i, record))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		f.stop()
		f.want(w.stored(shard0))
		f.wantNoTrouble()
		if n := len(w.sent("GetRecords")); n > 10 {
			t.Errorf("%d polls", n)
		}
		w.wantFree()
	})
}

// The end of the context closes the subscription, also while the reader is
// busy, and ends the reading at once.
func TestFanOutEndsWithItsContext(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, fanOutOn, func(t *testing.T, w *world) {
		f := w.follow(shard0, trimHorizon())
		time.Sleep(20 * time.Second)
		began := time.Now()
		f.stop()
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %s", took)
		}
		if open, ends := w.standing(); open != 0 || len(ends) != 1 {
			t.Errorf("%d subscriptions are left, %v ended", open, ends)
		}
		began = time.Now()
		_ = w.subscribeAside().Close()
		if took := time.Since(began); took > 0 {
			t.Errorf("another subscription was refused for %s", took)
		}
	})
}

// Records of other shards within aggregates are marked in events as well.
func TestFanOutMarksForeignRecords(t *testing.T) {
	change := func(c *Config) { c.Read, c.MarkForeign = ReadFanOut, true }
	inBubble(t, kinesistest.Options{}, 2, change, func(t *testing.T, w *world) {
		foreign := map[bool]int{}
		f := w.followSlowly(shard0, trimHorizon(), func(p gerritstream.Page) {
			for _, r := range p.Records {
				foreign[r.Foreign]++
			}
		})
		time.Sleep(10 * time.Second)
		polls := len(w.sent("GetRecords"))
		var records []kinesistest.UserRecord
		for i := range 20 {
			records = append(records, kinesistest.UserRecord{PartitionKey: fmt.Sprint(i), Data: []byte("x")})
		}
		w.put(string(kinesistest.Aggregate(records...)))
		time.Sleep(3 * time.Second)
		f.stop()
		if foreign[true] == 0 || foreign[false] == 0 || foreign[true]+foreign[false] != 20 {
			t.Errorf("foreign: %v", foreign)
		}
		if n := len(w.sent("GetRecords")); n != polls {
			t.Errorf("%d polls", n-polls)
		}
	})
}
