package kinesis

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// hanging is a network that answers requests to one host only when their
// context ends.
type hanging struct {
	next http.RoundTripper
	host string
}

// RoundTrip implements http.RoundTripper.
func (h *hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == h.host {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return h.next.RoundTrip(r)
}

// credentialsWait is how long the SDK goes on to ask for credentials that
// nobody waits for any more.
const credentialsWait = 20 * time.Second

const role = "arn:aws:iam::123456789012:role/reader"

// waits are all places where a reading waits, each with a change that makes it
// wait there within a second.
var waits = map[string]struct {
	change  func(*Config)
	prepare func(*world)
}{
	"for the next read": {func(c *Config) { c.PollInterval = time.Minute }, func(*world) {}},
	"for an iterator":   {nil, func(w *world) { w.delay("GetShardIterator") }},
	"for a page":        {nil, func(w *world) { w.delay("GetRecords") }},
	"for room": {nil, func(w *world) {
		room, err := w.budget.Reserve(w.t.Context(), 1<<62)
		if err != nil {
			w.t.Fatal(err)
		}
		time.AfterFunc(time.Hour, room.Release)
	}},
	"after being throttled": {
		nil, func(w *world) { w.fail("GetRecords", 0, "ProvisionedThroughputExceededException", "", 0) }},
	"after a failure":     {nil, func(w *world) { w.fail("GetRecords", 0, "InternalFailure", "", 500) }},
	"after a failed seek": {nil, func(w *world) { w.fail("GetShardIterator", 0, "AccessDeniedException", "", 0) }},
	"for a page to be done": {nil, func(w *world) {
		w.put(aggregateOf(make([]string, maxRecords+1)...))
	}},
	"for credentials": {func(c *Config) {
		c.Credentials.RoleARN, c.Transport = role, &hanging{c.Transport, "sts.us-east-1.amazonaws.com"}
	}, func(*world) {}},
}

// delay makes an operation's requests hang.
func (w *world) delay(operation string) {
	w.srv.On(kinesistest.Hook{Operation: operation, Do: kinesistest.Delay(time.Hour)})
}

// A reading ends at once when its context does, wherever it waits. The
// context's error is its last pair, and nothing is left: no goroutine (the
// bubble and goleak check), no room.
func TestReadingEndsAtOnceWhereverItWaits(t *testing.T) {
	for name, c := range waits {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, c.change, func(t *testing.T, w *world) {
				c.prepare(w)
				ctx, cancel := context.WithCancel(t.Context())
				const waits = 3 * time.Second
				began := time.Now()
				time.AfterFunc(waits, cancel)
				var held []func()
				var last error
				ended := false
				for page, err := range w.src.Read(ctx, shard0, trimHorizon()) {
					if ended {
						t.Errorf("a pair came after the last one: %v", err)
					}
					if page.Done != nil {
						held = append(held, page.Done)
					}
					last, ended = err, errors.Is(err, context.Canceled)
				}
				if took := time.Since(began); took != waits {
					t.Errorf("it ended after %s, %s after the context", took, took-waits)
				}
				if !errors.Is(last, context.Canceled) || errors.Is(last, gerritstream.ErrRetrying) {
					t.Errorf("the last pair has %v", last)
				}
				for _, done := range held {
					done()
				}
				if name != "for room" {
					w.wantFree()
				}
				time.Sleep(credentialsWait)
			})
		})
	}
}

// A consumer that has had enough may stop at any pair.
func TestConsumerMayStopAtAnyPair(t *testing.T) {
	for name, c := range waits {
		if name == "for room" {
			continue // no pair comes
		}
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, c.change, func(t *testing.T, w *world) {
				c.prepare(w)
				for page := range w.src.Read(t.Context(), shard0, trimHorizon()) {
					if page.Done != nil {
						defer w.wantFree()
						defer page.Done()
					}
					break
				}
				time.Sleep(credentialsWait)
			})
		})
	}
}

func TestReadingOfAnEndedContextMakesNoRequest(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		n := 0
		for _, err := range w.src.Read(ctx, shard0, trimHorizon()) {
			if n++; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
		if n != 1 || len(w.requests) > 0 {
			t.Errorf("%d pairs and %d requests", n, len(w.requests))
		}
	})
}

func TestListingEndsAtOnceWhereverItWaits(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Config)
		prepare func(*world)
	}{
		"for the stream": {nil, func(w *world) { w.delay("DescribeStreamSummary") }},
		"for the shards": {nil, func(w *world) { w.delay("ListShards") }},
		"after being throttled": {
			nil, func(w *world) { w.fail("DescribeStreamSummary", 0, "LimitExceededException", "", 0) }},
		"after a failure": {nil, func(w *world) { w.fail("ListShards", 0, "InternalFailure", "", 500) }},
		"for credentials": waits["for credentials"],
		"for a stream's own page": {
			nil, func(w *world) { w.srv.On(kinesistest.Hook{Match: laterPages, Do: kinesistest.Delay(time.Hour)}) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{ShardLimit: 2000}, 1100, c.change, func(t *testing.T, w *world) {
				c.prepare(w)
				const waits = 100 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), waits)
				defer cancel()
				began := time.Now()
				_, err := w.src.List(ctx)
				if took := time.Since(began); took != waits || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("it ended after %s with %v", took, err)
				}
				time.Sleep(credentialsWait)
			})
		})
	}
}
