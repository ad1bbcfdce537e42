//go:build unix

package kinesis

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream"
)

// startStream starts this program as a server of a stream.
func startStream(b *testing.B, shards int) (s servedStream) {
	b.Helper()
	child := exec.CommandContext(b.Context(), os.Args[0])
	child.Env = append(os.Environ(), servedShards+"="+strconv.Itoa(shards))
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _, _ = in.Close(), child.Wait() })
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&s); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkSubscriptions reads a stream by fan-out, each shard by a
// subscription, from a server in another process: how soon they stand, on how
// many connections, what they cost while nothing comes, and how soon a record
// is yielded after it was put (fifty a second). "sdk" does so with the SDK
// alone, whose user gets no polls, no renewals and no second attempt.
func BenchmarkSubscriptions(b *testing.B) {
	for _, by := range []string{"source", "sdk"} {
		for _, shards := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", by, shards), func(b *testing.B) {
				for b.Loop() {
					benchSubscriptions(b, shards, by == "sdk")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// idleFor is how long the subscriptions are left alone.
const idleFor = 30 * time.Second

func benchSubscriptions(b *testing.B, shards int, bySDK bool) {
	b.Helper()
	b.Setenv("AWS_ACCESS_KEY_ID", "key")
	b.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	served := startStream(b, shards)
	b.Setenv("AWS_CA_BUNDLE", write(b, b.TempDir(), "ca.pem", served.Authority))
	r := delayReader{b: b, came: make(chan time.Duration, 10_000)}
	var err error
	r.src, err = New(b.Context(), Config{
		Stream: "gerrit", Region: "us-east-1", Endpoint: served.URL, Observer: &r, Read: ReadFanOut,
	})
	if err != nil {
		b.Fatal(err)
	}
	listing, err := r.src.List(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	read := r.read
	if bySDK {
		read = r.readBySDK
		if _, err := r.src.findConsumer(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	var readings sync.WaitGroup
	defer readings.Wait()
	defer cancel()
	began, cpu := time.Now(), cpuTime()
	for _, shard := range listing.Shards {
		readings.Go(func() { read(ctx, shard.ID) })
	}
	for r.standing.Load() < int64(shards) {
		if time.Since(began) > 2*time.Minute {
			b.Fatalf("%d subscriptions stand after two minutes", r.standing.Load())
		}
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(time.Since(began).Seconds(), "s-until-all-stand")
	b.ReportMetric((cpuTime() - cpu).Seconds(), "cpu-s-until-then")
	time.Sleep(5 * time.Second)
	idle := cpuTime()
	time.Sleep(idleFor)
	b.ReportMetric(100*(cpuTime()-idle).Seconds()/idleFor.Seconds(), "idle-cpu-%")
	b.ReportMetric(resident(b), "resident-MB")
	reportDelays(b, &served, listing.Shards, r.came)
	if n := r.standing.Load(); n != int64(shards) {
		b.Errorf("%d subscriptions stand", n)
	}
}

// reportDelays puts records, one after the other, and reports how soon they
// came.
func reportDelays(b *testing.B, served *servedStream, shards []gerritstream.Shard, came <-chan time.Duration) {
	b.Helper()
	delays := make([]time.Duration, 1000)
	for i := range delays {
		get(b, served.Control+"/put?shard="+string(shards[i*7%len(shards)].ID), nil)
		delays[i] = <-came
		time.Sleep(20 * time.Millisecond)
	}
	slices.Sort(delays)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(delays[len(delays)*p/100].Microseconds())/1000, fmt.Sprintf("ms-p%d", p))
	}
	var counts streamCounts
	get(b, served.Control+"/counts", &counts)
	b.ReportMetric(float64(counts.Subscriptions), "connections")
	b.ReportMetric(float64(counts.Others), "connections-of-polls")
}

// delayReader reads shards whose records are the times at which they were put.
// It counts the subscriptions that stand.
type delayReader struct {
	noObserver
	b        *testing.B
	src      *Source
	came     chan time.Duration
	standing atomic.Int64
}

func (r *delayReader) SubscriptionBegan()         { r.standing.Add(1) }
func (r *delayReader) SubscriptionEnded(_ string) { r.standing.Add(-1) }

func (r *delayReader) take(data []byte) {
	at, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		r.b.Error(err)
	}
	r.came <- time.Since(time.Unix(0, at))
}

func (r *delayReader) read(ctx context.Context, shard gerritstream.ShardID) {
	for p, err := range r.src.Read(ctx, shard, trimHorizon()) {
		if err != nil && ctx.Err() == nil {
			r.b.Log(err)
		}
		for _, record := range p.Records {
			r.take(record.Data)
		}
		if p.Done != nil {
			p.Done()
		}
	}
}

func (r *delayReader) readBySDK(ctx context.Context, shard gerritstream.ShardID) {
	out, err := r.src.client.SubscribeToShard(ctx, &awskinesis.SubscribeToShardInput{
		ConsumerARN: &r.src.fanOut.consumer.arn, ShardId: (*string)(&shard),
		StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon},
	})
	if err != nil {
		r.b.Error(err)
		return
	}
	r.SubscriptionBegan()
	defer r.SubscriptionEnded("")
	events := out.GetStream()
	defer func() { _ = events.Close() }()
	for e := range events.Events() {
		if e, ok := e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent); ok {
			for i := range e.Value.Records {
				r.take(e.Value.Records[i].Data)
			}
		}
	}
}

// get makes a request to the server's control, and decodes its answer.
func get(b *testing.B, url string, into any) {
	b.Helper()
	resp, err := http.Get(url) //nolint:gosec,noctx // of our own server
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if into == nil {
		return
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		b.Fatal(err)
	}
}

// cpuTime returns how long this process has computed.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident returns how many MB of memory this process has.
func resident(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(status))[1])
	return float64(pages) * float64(os.Getpagesize()) / 1e6
}
