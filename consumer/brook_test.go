package consumer_test

import (
	"bytes"
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
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// brook is a house whose stream is the embedded Kinesis, read by the real
// Source through the real SDK, with the real metrics: for what is reported, and
// where it shows. The stream has one shard and is older than any process.
type brook struct {
	*house
	srv *kinesistest.Server
	put []string // everything that was put, in order
}

// brookProc is a Consumer that runs on a brook.
type brookProc struct {
	*proc
	*journal
	metrics *admin.Metrics
}

// brookPoll is slow, for a test to be quick: each request goes through the SDK.
const brookPoll = 10 * time.Second

func inBrook(t *testing.T, test func(*testing.T, *brook)) {
	t.Helper()
	inHouse(t, 0, func(t *testing.T, h *house) {
		h.level = slog.LevelInfo
		b := &brook{house: h, srv: kinesistest.New(kinesistest.Options{})}
		b.make()
		time.Sleep(2 * time.Hour)
		test(t, b)
	})
}

// make makes the stream, with one shard.
func (b *brook) make() {
	b.t.Helper()
	if _, err := b.srv.CreateStream(streamName, 1); err != nil {
		b.t.Fatal(err)
	}
}

// add puts records on the shard.
func (b *brook) add(data ...string) {
	b.t.Helper()
	for _, d := range data {
		if _, err := b.srv.PutTo(streamName, string(s0), "k", []byte(d)); err != nil {
			b.t.Fatal(err)
		}
		b.put = append(b.put, d)
	}
}

// start runs a process that begins at the tip of the stream. change, if not
// nil, changes its configuration.
func (b *brook) start(change func(*consumer.Config)) *brookProc {
	b.t.Helper()
	p := &brookProc{
		journal: &journal{},
		metrics: admin.NewMetrics(admin.MetricsOptions{Version: "test", TypeLabel: strings.Clone}),
	}
	source := sourceOf(b.t, b.srv, kinesis.Config{PollInterval: brookPoll, Observer: p.metrics})
	p.proc = b.house.start(func(c *consumer.Config) {
		c.Source, c.Observer, c.StartAt = source, observers{p.journal, p.metrics}, gs.StartingPosition{}
		if change != nil {
			change(c)
		}
	})
	return p
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
	if causes != 5 { // every Why but an operator's choice
		t.Errorf("%d causes are counted, want 5", causes)
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

// journal is an Observer that remembers what is committed and what is reported
// lost.
type journal struct {
	consumer.NopObserver
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
