package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// feed is an embedded Kinesis with a stream, served on loopback.
type feed struct {
	server *kinesistest.Server
	url    string
	served *http.Server
	done   chan struct{} // closed once nothing is served any more
}

const (
	region     = "us-east-1"
	streamName = "bench"
	feedShards = 4
)

func newFeed(options kinesistest.Options, shards int) (*feed, error) {
	f := &feed{server: kinesistest.New(options), done: make(chan struct{})}
	if _, err := f.server.CreateStream(streamName, shards); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the embedded Kinesis: %w", err)
	}
	f.url = "http://" + l.Addr().String()
	f.served = &http.Server{Handler: f.server, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(f.done)
		_ = f.served.Serve(l) // until close
	}()
	return f, nil
}

// close ends the feed. Its readers have ended.
func (f *feed) close() {
	_ = f.served.Close()
	<-f.done
}

// backlog is how many events the embedded stream holds while ceilings are
// measured: with 4 shards a page of each.
const backlog = 12_000

// newBacklog returns a feed without limits, full of events.
func (b *bench) newBacklog() (*feed, error) {
	f, err := newFeed(kinesistest.Options{NoLimits: true}, feedShards)
	if err != nil {
		return nil, err
	}
	for i := range backlog {
		shard := string(shardNamed(i % feedShards))
		if _, err := f.server.PutTo(streamName, shard, "bench", b.events.payloads[i%madeUp]); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

// source returns what `run` reads the feed with.
func (f *feed) source(ctx context.Context, change func(*kinesis.Config)) (*kinesis.Source, error) {
	c := kinesis.Config{Stream: streamName, Region: region, Endpoint: f.url, Isolated: true}
	change(&c)
	return kinesis.New(ctx, c)
}

// bareReader reads a feed by plain requests. One goroutine uses it.
type bareReader struct {
	feed   *feed
	client *http.Client
	reply  bytes.Buffer // of the last request
}

func (f *feed) bareReader() *bareReader {
	return &bareReader{feed: f, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}}
}

func (r *bareReader) close() { r.client.CloseIdleConnections() }

// call makes one request and receives the reply.
func (r *bareReader) call(ctx context.Context, operation, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.feed.url, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	req.Header.Set("Authorization", "any") // the embedded Kinesis does not check it
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	r.reply.Reset()
	r.reply.Grow(int(max(resp.ContentLength, 0)) + bytes.MinRead)
	if _, err := io.Copy(&r.reply, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", operation, resp.Status, r.reply.Bytes()[:min(r.reply.Len(), 200)])
	}
	return nil
}

// seek returns an iterator of a shard.
func (r *bareReader) seek(ctx context.Context, shard, kind string) (string, error) {
	err := r.call(ctx, "GetShardIterator",
		fmt.Sprintf(`{"StreamName":%q,"ShardId":%q,"ShardIteratorType":%q}`, streamName, shard, kind))
	if err != nil {
		return "", err
	}
	return r.member("ShardIterator")
}

// page receives the next page and returns the iterator of the one after it.
func (r *bareReader) page(ctx context.Context, iterator string) (next string, tip bool, err error) {
	if err := r.call(ctx, "GetRecords", fmt.Sprintf(`{"ShardIterator":%q}`, iterator)); err != nil {
		return "", false, err
	}
	next, err = r.member("NextShardIterator")
	return next, bytes.Contains(r.reply.Bytes()[max(0, r.reply.Len()-2000):], []byte(`"MillisBehindLatest":0`)), err
}

// member returns a text of the reply's last member of that name, without
// decoding the reply.
func (r *bareReader) member(name string) (string, error) {
	raw := r.reply.Bytes()
	at := bytes.LastIndex(raw, []byte(`"`+name+`":"`))
	if at < 0 {
		return "", errors.New("a reply of the embedded Kinesis has no " + name)
	}
	text, _, _ := bytes.Cut(raw[at+len(name)+4:], []byte{'"'})
	return string(text), nil
}
