package kinesis

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// world is an embedded Kinesis with a stream "gerrit", and a Source that reads
// it through the real SDK, in a bubble with its own time.
type world struct {
	t      *testing.T
	srv    *kinesistest.Server
	src    *Source
	budget *Budget

	mu       sync.Mutex
	requests []request // under mu
	codes    []string  // under mu: "GetRecords OK"
	skews    []time.Duration
	bytes    int
	open     int      // under mu: subscriptions
	ends     []string // under mu: of subscriptions
}

// request is one that reached the service, whatever the reply.
type request struct {
	at        time.Time
	operation string
	in        requestInput
	header    http.Header
}

// key returns the id of the key that signed the request.
func (r request) key() string {
	_, rest, _ := strings.Cut(r.header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(rest, "/")
	return id
}

type requestInput struct {
	StreamName, StreamARN, ShardId, ShardIteratorType, StartingSequenceNumber, NextToken, ShardIterator string
	Timestamp                                                                                           float64
	Limit                                                                                               int
	StartingPosition                                                                                    *struct {
		Type, SequenceNumber string
		Timestamp            float64
	}
}

const shard0 = gerritstream.ShardID("shardId-000000000000")

// inBubble runs a test in a bubble, against a stream with so many shards.
// change, if not nil, changes the Source's Config.
func inBubble(t *testing.T, opts kinesistest.Options, shards int, change func(*Config), test func(*testing.T, *world)) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(90 * time.Minute) // the bubble's clock starts at midnight, the stream later: there is a past
		w := &world{t: t, srv: kinesistest.New(opts), budget: NewBudget(0)}
		if shards > 0 {
			if _, err := w.srv.CreateStream("gerrit", shards); err != nil {
				t.Fatal(err)
			}
		}
		w.srv.On(kinesistest.Hook{Do: w.watch})
		c := Config{Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test",
			Transport: w.srv.Transport(),
			Observer:  w, Budget: w.budget}
		if change != nil {
			change(&c)
		}
		var err error
		if w.src, err = New(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

// watch is a hook that records every request.
func (w *world) watch(next kinesistest.Handler) kinesistest.Handler {
	return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
		var in requestInput
		if err := r.Decode(&in); err != nil {
			w.t.Error(err)
		}
		w.mu.Lock()
		w.requests = append(w.requests, request{time.Now(), r.Operation, in, r.Header})
		w.mu.Unlock()
		return next(ctx, r)
	}
}

// Request implements Observer.
func (w *world) Request(operation, code string, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.codes = append(w.codes, operation+" "+code)
}

// ReplyBytes implements Observer.
func (w *world) ReplyBytes(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes += n
}

// ClockSkew implements Observer.
func (w *world) ClockSkew(ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skews = append(w.skews, ahead)
}

// SubscriptionBegan implements Observer.
func (w *world) SubscriptionBegan() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open++
}

// SubscriptionEnded implements Observer.
func (w *world) SubscriptionEnded(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open--
	w.ends = append(w.ends, reason)
}

// sent returns the requests of one operation so far.
func (w *world) sent(operation string) (out []request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.requests {
		if r.operation == operation {
			out = append(out, r)
		}
	}
	return out
}

// gaps returns the times between the requests of an operation.
func (w *world) gaps(operation string) (out []time.Duration) {
	all := w.sent(operation)
	for i := 1; i < len(all); i++ {
		out = append(out, all[i].at.Sub(all[i-1].at))
	}
	return out
}

// seen returns how often the Observer was shown a code of an operation:
// "GetRecords OK".
func (w *world) seen(code string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.codes {
		if c == code {
			n++
		}
	}
	return n
}

func (w *world) put(data ...string) (seqs []gerritstream.SequenceNumber) {
	w.t.Helper()
	for _, d := range data {
		seq, err := w.srv.PutTo("gerrit", string(shard0), "k", []byte(d))
		if err != nil {
			w.t.Fatal(err)
		}
		seqs = append(seqs, gerritstream.SequenceNumber(seq))
	}
	return seqs
}

// fail makes the next n requests of an operation fail; 0 makes all of them fail
// until remove is called.
func (w *world) fail(operation string, n int, code, message string, status int) (remove func()) {
	return w.srv.On(kinesistest.Hook{Operation: operation, Times: n, Do: kinesistest.Fail(code, message, status)})
}

// pair is what a Read yielded, copied.
type pair struct {
	gerritstream.Page
	err error
	at  time.Time
}

func (p pair) data() (all []string) {
	for _, r := range p.Records {
		all = append(all, string(r.Data))
	}
	return all
}

// read ranges over a Read until stop returns true, and returns all pairs.
func (w *world) read(from gerritstream.Position, stop func(pair) bool) (pairs []pair) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Hour)
	defer cancel()
	return w.readUntil(ctx, from, stop)
}

// readFor is read for a while.
func (w *world) readFor(d time.Duration, from gerritstream.Position) []pair {
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	return w.readUntil(ctx, from, never)
}

func (w *world) readUntil(ctx context.Context, from gerritstream.Position, stop func(pair) bool) []pair {
	return collect(ctx, w.src.Read(ctx, shard0, from), stop)
}

// collect copies what a read yields, until stop or the context's end.
func collect(
	ctx context.Context, pages iter.Seq2[gerritstream.Page, error], stop func(pair) bool,
) (pairs []pair) {
	for page, err := range pages {
		p := pair{page, err, time.Now()}
		p.Records = nil
		for _, r := range page.Records {
			r.Data = append([]byte(nil), r.Data...)
			p.Records = append(p.Records, r)
		}
		if page.Done != nil {
			page.Done()
		}
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			return pairs
		}
		pairs = append(pairs, p)
		if stop(p) {
			return pairs
		}
	}
	return pairs
}

// atTip stops at the tip.
func atTip(p pair) bool { return p.err == nil && len(p.Records) == 0 && p.Lag == 0 }

// never does not stop the reading.
func never(pair) bool { return false }

// after stops after so many pairs.
func after(n int) func(pair) bool {
	return func(pair) bool { n--; return n <= 0 }
}

// dataOf joins the data of all pairs.
func dataOf(pairs []pair) (all []string) {
	for _, p := range pairs {
		all = append(all, p.data()...)
	}
	return all
}

// errorsOf returns the errors among pairs.
func errorsOf(pairs []pair) (all []error) {
	for _, p := range pairs {
		if p.err != nil {
			all = append(all, p.err)
		}
	}
	return all
}

// wantRetrying fails unless there are n errors and the Source retries after
// each.
func wantRetrying(t *testing.T, errs []error, n int) {
	t.Helper()
	if len(errs) != n {
		t.Fatalf("got %d errors %v, want %d", len(errs), errs, n)
	}
	for _, err := range errs {
		if !errors.Is(err, gerritstream.ErrRetrying) {
			t.Errorf("%v is not marked as being retried", err)
		}
	}
}

// wantFree fails if a part of the budget is still reserved.
func (w *world) wantFree() {
	w.t.Helper()
	if !w.budget.sem.TryAcquire(w.budget.total) {
		w.t.Error("a part of the budget was not given back")
		return
	}
	w.budget.sem.Release(w.budget.total)
}

func trimHorizon() gerritstream.Position {
	return gerritstream.Position{From: gerritstream.StartingPosition{TrimHorizon: true}}
}

func wantData(t *testing.T, pairs []pair, want ...string) {
	t.Helper()
	if got := dataOf(pairs); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
