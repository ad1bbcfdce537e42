package kinesis

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// waitFor waits until something holds; for tests with a network.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 3000 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: not within 30 s", what)
}

// streamed serves an embedded Kinesis and watches its subscriptions.
type streamed struct {
	next   http.Handler
	active atomic.Int64 // as the service sees it
	bytes  atomic.Int64 // that it has written to all of them
}

func (s *streamed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "SubscribeToShard") {
		s.active.Add(1)
		defer s.active.Add(-1)
		w = countedWriter{w, &s.bytes}
	}
	s.next.ServeHTTP(w, r)
}

type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c countedWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func (c countedWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// overHTTP2 starts a world with a stream of so many shards, whose Source reads
// it over TLS and HTTP/2 by the client that a Source has by default.
func overHTTP2(t *testing.T, shards int) (*world, *secured, *streamed) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	w := &world{t: t, srv: kinesistest.New(kinesistest.Options{}), budget: NewBudget(0)}
	if _, err := w.srv.CreateStream("gerrit", shards); err != nil {
		t.Fatal(err)
	}
	streams := &streamed{next: w.srv}
	served := serveTLS(t, streams, true)
	t.Setenv("AWS_CA_BUNDLE", served.bundle)
	var err error
	w.src, err = New(t.Context(), Config{Stream: "gerrit", Region: "us-east-1", Endpoint: served.URL,
		Observer: w, Budget: w.budget, Read: ReadFanOut})
	if err != nil {
		t.Fatal(err)
	}
	return w, served, streams
}

// A hundred subscriptions share a few connections over HTTP/2, and records come
// at once.
func TestFanOutOverHTTP2(t *testing.T) {
	const shards = 100
	w, served, streams := overHTTP2(t, shards)
	var all []*follower
	for i := range shards {
		all = append(all, w.follow(gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i)), trimHorizon()))
	}
	waitFor(t, "a hundred subscriptions stand", func() bool { open, _ := w.standing(); return open == shards })
	for i := range 50 {
		f := all[i*2]
		if _, err := w.srv.PutTo("gerrit", string(f.shard), "k", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "it comes", func() bool { return len(f.seen()) == 1 })
	}
	polls := w.seen("GetRecords OK")
	var delays []time.Duration
	for _, f := range all {
		f.stop()
		f.want(w.stored(f.shard))
		f.wantNoTrouble()
		delays = append(delays, f.delays...)
	}
	slices.Sort(delays)
	t.Logf("put and yielded within %s in the median, %s at most, to the millisecond", delays[len(delays)/2],
		delays[len(delays)-1])
	if polls > 20*shards {
		t.Errorf("%d polls", polls)
	}
	if served.came[1].Load() > 0 {
		t.Errorf("%d requests came over HTTP/1.1", served.came[1].Load())
	}
	if n := w.countEnds("Closed"); n != shards {
		t.Errorf("%d of %d subscriptions were closed", n, shards)
	}
	waitFor(t, "the service sees their ends", func() bool { return streams.active.Load() == 0 })
	w.wantFree()
}

// The service is made to wait while a reader is busy: no more is under way than
// a connection buffers for a stream. The end of the context closes the
// subscription although the reader is still busy, so that the next leader's is
// not refused.
func TestFanOutPushesBackOverHTTP2(t *testing.T) {
	w, _, streams := overHTTP2(t, 1)
	busy, free := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p, err := range w.src.Read(ctx, shard0, trimHorizon()) {
			if err != nil {
				continue
			}
			if len(p.Records) > 0 {
				close(busy)
				<-free
				p.Done()
				return
			}
		}
	}()
	defer func() { <-done }()
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	waitFor(t, "a subscription stands", func() bool { open, _ := w.standing(); return open == 1 })
	w.put("first")
	<-busy
	for range 60 {
		w.put(string(make([]byte, 90_000)))
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond)
	if n := streams.bytes.Load(); n > 2*streamBuffer || n < streamBuffer/2 {
		t.Errorf("%d bytes are under way to a busy reader", n)
	}
	cancel()
	waitFor(t, "the service sees its end", func() bool { return streams.active.Load() == 0 })
	release()
	<-done
	w.wantFree()
}
