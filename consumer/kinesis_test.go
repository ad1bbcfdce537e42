package consumer_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/admin"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// kinesisCluster is a cluster whose stream is the embedded Kinesis, read by the
// real Source through the real SDK, with the real metrics. It notes what is put
// on the stream and what is asked of the service.
type kinesisCluster struct {
	*cluster
	server  *kinesistest.Server
	startAt gs.StartingPosition // of every process
	poll    time.Duration       // of every process: idle hours cost a read each
	read    kinesis.ReadMode    // of every process
	budget  *kinesis.Budget     // of every process
	open    []gs.ShardID

	sent    []sent // in this order
	parents map[gs.ShardID][]gs.ShardID

	mu    sync.Mutex
	asked map[string]int // under mu: requests by operation and shard, and "expired"
	seeks []seek         // under mu
}

// sent is a record put on the stream.
type sent struct {
	shard gs.ShardID
	seq   gs.SequenceNumber
	data  string
	at    time.Time
}

// seek is a request for an iterator.
type seek struct {
	ShardId, ShardIteratorType, StartingSequenceNumber string //nolint:revive,staticcheck // as in the request
}

const streamName = "gerrit"

// slowPoll keeps a test quick: each request goes through the SDK.
const slowPoll = 10 * time.Second

func inKinesisCluster(t *testing.T, opts kinesistest.Options, shards int, test func(*testing.T, *kinesisCluster)) {
	t.Helper()
	inCluster(t, 0, func(t *testing.T, cl *cluster) {
		k := &kinesisCluster{
			cluster: cl, server: kinesistest.New(opts), startAt: gs.StartingPosition{TrimHorizon: true},
			poll:   time.Minute,
			budget: kinesis.NewBudget(0), parents: map[gs.ShardID][]gs.ShardID{}, asked: map[string]int{},
		}
		k.level = slog.LevelInfo
		k.create(shards)
		k.server.On(kinesistest.Hook{Do: kinesistest.Observe(k.note)})
		time.Sleep(time.Minute)
		test(t, k)
	})
}

// atTheTip runs a test on a stream of one shard that is older than any process.
// Its processes begin at the tip.
func atTheTip(t *testing.T, test func(*testing.T, *kinesisCluster)) {
	t.Helper()
	inKinesisCluster(t, kinesistest.Options{}, 1, func(t *testing.T, k *kinesisCluster) {
		k.startAt, k.poll = gs.StartingPosition{}, slowPoll
		time.Sleep(2 * time.Hour)
		test(t, k)
	})
}

func (k *kinesisCluster) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *kinesisCluster) create(shards int) {
	k.t.Helper()
	_, err := k.server.CreateStream(streamName, shards)
	k.must(err)
	k.open = shardIDs(shards)
}

// start runs a process that reads with a Source of its own. change, if any,
// changes its configuration.
func (k *kinesisCluster) start(change ...func(*consumer.Config)) *process {
	k.t.Helper()
	metrics := admin.NewMetrics(admin.MetricsOptions{Version: "test", TypeLabel: strings.Clone})
	source := sourceOf(k.t, k.server, kinesis.Config{
		PollInterval: k.poll, Read: k.read, Budget: k.budget, Observer: metrics,
	})
	return k.cluster.start(func(c *consumer.Config) {
		c.Source, c.StartAt = source, k.startAt
		if j, ok := c.Observer.(*journal); ok {
			j.metrics = metrics
		}
		for _, f := range change {
			f(c)
		}
	})
}

// sourceOf returns a new Source of an embedded stream.
func sourceOf(t *testing.T, srv *kinesistest.Server, c kinesis.Config) *kinesis.Source {
	t.Helper()
	c.Stream, c.Region, c.Endpoint, c.Transport, c.Isolated = streamName, "us-east-1", "http://kinesis.test",
		srv.Transport(), true
	src, err := kinesis.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func (k *kinesisCluster) put(shard gs.ShardID, data ...string) {
	k.t.Helper()
	for _, d := range data {
		seq, err := k.server.PutTo(streamName, string(shard), "k", []byte(d))
		k.must(err)
		k.sent = append(k.sent, sent{shard, gs.SequenceNumber(seq), d, time.Now()})
	}
}

// putAll puts a record on every open shard.
func (k *kinesisCluster) putAll(data string) {
	k.t.Helper()
	for _, s := range k.open {
		k.put(s, "good "+data)
	}
}

func (k *kinesisCluster) split(shard gs.ShardID) (a, b gs.ShardID) {
	k.t.Helper()
	l, r, err := k.server.Split(streamName, string(shard))
	k.must(err)
	a, b = gs.ShardID(l), gs.ShardID(r)
	k.replace([]gs.ShardID{a, b}, shard)
	return a, b
}

func (k *kinesisCluster) merge(a, b gs.ShardID) gs.ShardID {
	k.t.Helper()
	child, err := k.server.Merge(streamName, string(a), string(b))
	k.must(err)
	k.replace([]gs.ShardID{gs.ShardID(child)}, a, b)
	return gs.ShardID(child)
}

func (k *kinesisCluster) replace(children []gs.ShardID, parents ...gs.ShardID) {
	k.open = slices.DeleteFunc(k.open, func(s gs.ShardID) bool { return slices.Contains(parents, s) })
	k.open = append(k.open, children...)
	for _, c := range children {
		k.parents[c] = parents
	}
}

// note is a hook that notes a request.
func (k *kinesisCluster) note(r *kinesistest.Request, reply *kinesistest.Reply) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked[r.Operation+" "+r.Shard]++
	if reply.Status != 200 && strings.Contains(string(reply.Body()), "ExpiredIteratorException") {
		k.asked["expired"]++
	}
	if r.Operation == "GetShardIterator" {
		var s seek
		if err := r.Decode(&s); err != nil {
			k.t.Error(err)
		}
		k.seeks = append(k.seeks, s)
	}
}

// reads returns how many pages of a shard were requested so far.
func (k *kinesisCluster) reads(shard gs.ShardID) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked["GetRecords "+string(shard)]
}

// soon waits until a condition holds, and fails when that takes longer than
// limit.
func (k *kinesisCluster) soon(limit time.Duration, what string, holds func() bool) {
	k.t.Helper()
	for began := time.Now(); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > limit {
			k.t.Fatalf("after %v it does not hold that %s\n%s", limit, what, k.processes[len(k.processes)-1].log)
		}
	}
}

// queuedAll reports whether as many records are queued as were put.
func (k *kinesisCluster) queuedAll() bool { return len(k.memory.Entries()) == len(k.sent) }

// kept loses nothing.
func kept(sent) bool { return false }

// check judges what is in the store by what was put. Records that are lost must
// be within an interval that was reported.
func (k *kinesisCluster) check(lost func(sent) bool) {
	k.t.Helper()
	var put history.Event
	put.Kind = history.KindPut
	reported := k.reported()
	for _, s := range k.sent {
		within := func(i gs.Interval) bool { return !s.at.Before(i.From) && s.at.Before(i.Until) }
		switch {
		case !lost(s):
			put.Items = append(put.Items, putItem(s.shard, s.seq, gs.NoSub, s.data))
		case !slices.ContainsFunc(reported, within):
			k.t.Errorf("%q of %s, put at %s, is lost and not reported: %+v", s.data, s.shard, s.at, reported)
		}
	}
	var shards []history.Event
	for shard, parents := range k.parents {
		shards = append(shards, history.Event{Kind: history.KindShard, Shard: shard, Parents: parents})
	}
	k.judge(append(shards, put))
}

// payloads returns what was put, in order.
func (k *kinesisCluster) payloads() (all []string) {
	for _, s := range k.sent {
		all = append(all, s.data)
	}
	return all
}

// queued returns the payloads in the queue, in order.
func (k *kinesisCluster) queued() (all []string) {
	for _, e := range k.memory.Entries() {
		all = append(all, string(e.Payload))
	}
	return all
}

// wantQueued fails unless the queue holds exactly that.
func (k *kinesisCluster) wantQueued(want ...string) {
	k.t.Helper()
	if got := k.queued(); !slices.Equal(got, want) {
		k.t.Errorf("queued %q, want %q", got, want)
	}
}

// losses returns the losses in the store, which `status` shows.
func (k *kinesisCluster) losses() (all []gs.Interval) {
	k.t.Helper()
	in, err := k.memory.Inspect()
	if err != nil {
		k.t.Fatal(err)
	}
	if in.Origin != nil {
		all = append(all, in.Origin.Lost...)
	}
	for _, shard := range in.Shards {
		if shard.Position != nil {
			all = append(all, shard.Position.Lost...)
		}
	}
	return all
}

// counted returns the metric of possible losses, by cause; causes at zero are
// left out.
func (p *process) counted(t *testing.T) map[string]int {
	t.Helper()
	rec := httptest.NewRecorder()
	p.metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	found, causes := map[string]int{}, 0
	for line := range strings.Lines(string(body)) {
		rest, ok := strings.CutPrefix(line, "gerritstream_possibly_lost_intervals_total{why=")
		if !ok {
			continue
		}
		causes++
		var why string
		var n int
		if _, err := fmt.Sscanf(rest, "%q} %d", &why, &n); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if n != 0 {
			found[why] = n
		}
	}
	if causes != 5 { // every Why but an operator's choice
		t.Errorf("%d causes have a metric, want 5", causes)
	}
	return found
}
