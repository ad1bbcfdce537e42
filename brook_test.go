package gerritstream_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/admin"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/storetest"
)

// brook is what a process is made of but for its store: the embedded Kinesis, read by the real Source through the real SDK, with the
// real metrics, inside a bubble. The stream "gerrit" is older than any process.
type brook struct {
	t      *testing.T
	srv    *kinesistest.Server
	memory *storetest.Memory
	put    []string // everything that was put, in order
	procs  []*brookProc
}

// brookProc is a Listener that runs on a brook.
type brookProc struct {
	*gs.Listener
	*journal
	metrics *admin.Metrics
	log     *safeBuffer
	stop    context.CancelFunc
	done    chan struct{}
	err     error // of Run, once done is closed
}

// brookPoll is slow, for a test to be quick: each request goes through the SDK.
const brookPoll = 10 * time.Second

func inBrook(t *testing.T, test func(*testing.T, *brook)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &brook{t: t, srv: kinesistest.New(kinesistest.Options{}), memory: storetest.NewMemory(storetest.MemoryConfig{
			Limits: gs.Limits{Items: 4, Weight: 8 << 10},
		})}
		b.make()
		time.Sleep(2 * time.Hour)
		test(t, b)
		for _, p := range b.procs {
			p.end()
		}
	})
}

// make makes the stream, with one shard.
func (b *brook) make() {
	b.t.Helper()
	if _, err := b.srv.CreateStream("gerrit", 1); err != nil {
		b.t.Fatal(err)
	}
}

// add puts records on the shard.
func (b *brook) add(data ...string) {
	b.t.Helper()
	for _, d := range data {
		if _, err := b.srv.PutTo("gerrit", string(s0), "k", []byte(d)); err != nil {
			b.t.Fatal(err)
		}
		b.put = append(b.put, d)
	}
}

// start runs a process. change, if not nil, changes its configuration.
func (b *brook) start(change func(*gs.Config)) *brookProc {
	b.t.Helper()
	p := &brookProc{
		journal: &journal{},
		metrics: admin.NewMetrics(admin.MetricsOptions{Version: "test", TypeLabel: strings.Clone}),
		log:     &safeBuffer{},
		done:    make(chan struct{}),
	}
	source, err := kinesis.New(b.t.Context(), kinesis.Config{
		Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test", Isolated: true, Transport: b.srv.Transport(),
		PollInterval: brookPoll, Observer: p.metrics,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	name := fmt.Sprintf("process-%d", len(b.procs))
	cfg := gs.Config{
		Source: source, Store: b.memory.Process(name), Classify: classify, Process: name,
		Logger: slog.New(slog.NewTextHandler(p.log, nil)), Observer: observers{p.journal, p.metrics},
	}
	if change != nil {
		change(&cfg)
	}
	if p.Listener, err = gs.New(cfg); err != nil {
		b.t.Fatal(err)
	}
	var ctx context.Context
	ctx, p.stop = context.WithCancel(b.t.Context())
	b.procs = append(b.procs, p)
	go func() {
		defer close(p.done)
		p.err = p.Run(ctx)
	}()
	return p
}

// end stops a process and waits for it.
func (p *brookProc) end() {
	p.stop()
	<-p.done
}

// queued returns the payloads in the queue, in order.
func (b *brook) queued() (all []string) {
	for _, e := range b.memory.Entries() {
		all = append(all, string(e.Payload))
	}
	return all
}

// wantQueued fails unless the queue holds exactly that.
func (b *brook) wantQueued(want ...string) {
	b.t.Helper()
	if got := b.queued(); !slices.Equal(got, want) {
		b.t.Errorf("queued %q, want %q", got, want)
	}
}

// losses returns what the store shows of losses: what `status` goes by.
func (b *brook) losses() (all []gs.Interval) {
	b.t.Helper()
	in, err := b.memory.Inspect()
	if err != nil {
		b.t.Fatal(err)
	}
	if in.Start != nil {
		all = append(all, in.Start.Lost...)
	}
	for _, shard := range in.Shards {
		if shard.Position != nil {
			all = append(all, shard.Position.Lost...)
		}
	}
	return all
}

// counted returns the metric of possible losses, by cause; causes at zero are left out.
func (p *brookProc) counted(t *testing.T) map[string]int {
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
	if causes != len(gs.Causes()) {
		t.Errorf("%d causes are counted, want %d", causes, len(gs.Causes()))
	}
	return found
}

// logged returns the lines of the log that report a loss.
func (p *brookProc) logged() (lines []string) {
	for line := range bytes.Lines([]byte(p.log.String())) {
		if bytes.Contains(line, []byte("records may have been lost")) {
			lines = append(lines, string(line))
		}
	}
	return lines
}

// journal is an Observer that remembers what is committed and what is reported lost.
type journal struct {
	gs.NopObserver
	mu        sync.Mutex
	positions []gs.Position // under mu: of the commits
	lost      []gs.Interval // under mu
	ended     []error       // under mu: how terms ended
}

func (j *journal) Committed(_ gs.ShardID, _ uint64, c *gs.Commit, _ time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.positions = append(j.positions, c.Position)
}

func (j *journal) Lost(_ gs.ShardID, i gs.Interval) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lost = append(j.lost, i)
}

func (j *journal) TermEnded(_ gs.ShardID, _ uint64, cause error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = append(j.ended, cause)
}

// observers tells both.
type observers struct {
	*journal
	metrics *admin.Metrics
}

func (o observers) Lost(shard gs.ShardID, i gs.Interval) {
	o.journal.Lost(shard, i)
	o.metrics.Lost(shard, i)
}
