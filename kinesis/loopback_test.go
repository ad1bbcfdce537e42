package kinesis

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// tally counts requests by their outcome.
type tally struct {
	mu    sync.Mutex
	codes map[string]int // under mu
}

func (c *tally) Request(_, code string, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.codes[code]++
}

func (*tally) ReplyBytes(int) {}

func (*tally) ClockSkew(time.Duration) {}

func (*tally) SubscriptionBegan() {}

func (*tally) SubscriptionEnded(string) {}

// busyConn is a connection of a busy machine: when the writer of a request's
// body goes on, the reply has come.
type busyConn struct{ net.Conn }

func (c busyConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if !bytes.HasPrefix(p, []byte("POST ")) {
		time.Sleep(2 * time.Millisecond)
	}
	return n, err
}

// net/http looks at a request's body once more after sending it, and the SDK
// closes the body as soon as the reply begins. Neither may break the
// connection, during the reply or after it.
func TestNoRequestBreaksItsConnectionOnAHealthyLoopback(t *testing.T) {
	const reads = 100
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	srv := kinesistest.New(kinesistest.Options{NoLimits: true})
	if _, err := srv.CreateStream("gerrit", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.PutTo("gerrit", string(shard0), "k", make([]byte, 1<<20-1)); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(srv)
	defer web.Close()
	var dialled atomic.Int32
	network := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled.Add(1)
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return busyConn{conn}, err
	}}
	defer network.CloseIdleConnections()
	seen := &tally{codes: map[string]int{}}
	src, err := New(t.Context(),
		Config{Stream: "gerrit", Region: "us-east-1", Endpoint: web.URL, Observer: seen, Transport: network})
	if err != nil {
		t.Fatal(err)
	}
	r := &reading{source: src, shard: shard0, cursor: trimHorizon(), limit: maxRecords}
	for i := range reads {
		if i%2 == 0 {
			src.poller.pattern.Store(nil) // the SDK makes the request
		}
		if p, err := r.next(t.Context()); err == nil { // the Observer sees what becomes of others
			p.memory.room.Release()
		}
	}
	if len(seen.codes) != 1 || seen.codes["OK"] != reads+1 {
		t.Errorf("got %v, want nothing but OK", seen.codes)
	}
	if n := dialled.Load(); n > reads/10 { // a few: net/http dials when a connection is not idle again in time
		t.Errorf("%d connections were made for %d requests", n, reads)
	}
}
