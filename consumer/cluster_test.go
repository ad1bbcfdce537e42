package consumer_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/admin"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/storetest"
)

// cluster is a stream, a store and the processes that join them, inside a
// synctest bubble.
type cluster struct {
	t         *testing.T
	stream    *stream // nil: another stream, see kinesisCluster
	memory    *storetest.Memory
	processes []*process
	level     slog.Level // of the processes' logs
}

// process is a Consumer that runs.
type process struct {
	*consumer.Consumer
	*journal
	store *storetest.Process
	stop  context.CancelFunc
	done  chan struct{}
	err   error // of Run, once done is closed
	log   *safeBuffer
}

// safeBuffer is a log that may be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func inCluster(t *testing.T, shards int, test func(*testing.T, *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cl := &cluster{t: t, level: slog.LevelDebug, stream: newStream(shards),
			memory: storetest.NewMemory(storetest.MemoryConfig{
				Limits: gs.Limits{Items: 4, Weight: 8 << 10},
			})}
		time.Sleep(time.Hour) // the stream is older than any process
		test(t, cl)
		for _, p := range cl.processes {
			p.end()
		}
	})
}

// classify judges the tests' records by how they begin.
func classify(_ gs.ShardID, r *gs.Record) gs.Verdict {
	data := r.Data
	switch {
	case bytes.HasPrefix(data, []byte("bad")):
		return gs.Verdict{Bad: "test", Detail: "it says so"}
	case bytes.HasPrefix(data, []byte("drop")):
		return gs.Verdict{Filter: "test"}
	}
	return gs.Verdict{Event: gs.Event{Type: "test"}}
}

// start runs a process that begins at the trim horizon. change, if any, changes
// its configuration.
func (cl *cluster) start(change ...func(*consumer.Config)) *process {
	cl.t.Helper()
	name := fmt.Sprintf("process-%d", len(cl.processes))
	p := &process{journal: &journal{}, store: cl.memory.Process(name), done: make(chan struct{}), log: &safeBuffer{}}
	cfg := consumer.Config{
		Source: cl.stream, Store: p.store, Pauses: p.store, Classify: classify, Process: name, Observer: p.journal,
		StartAt: gs.StartingPosition{TrimHorizon: true},
		Logger:  slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: cl.level})),
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if p.Consumer, err = consumer.New(cfg); err != nil {
		cl.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(cl.t.Context())
	p.stop = cancel
	cl.processes = append(cl.processes, p)
	go func() {
		defer close(p.done)
		p.err = p.Run(ctx)
	}()
	return p
}

// end stops the process and waits for it.
func (p *process) end() {
	p.stop()
	<-p.done
}

// kill ends the process at once: nothing it does from now on reaches the store.
func (p *process) kill() {
	p.store.Kill()
	p.end()
}

func untilCaughtUp(c *consumer.Config) { c.UntilCaughtUp = true }

// wait lets the process end by itself.
func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Hour):
		t.Fatalf("still running after an hour:\n%s", p.log)
	}
	if p.err != nil {
		t.Fatalf("run: %v\n%s", p.err, p.log)
	}
}

// logged returns the lines of the log that contain a text.
func (p *process) logged(text string) (lines []string) {
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// check judges what is in the store by what was put on the stream: nothing
// lost, nothing twice, in order, parents before children.
func (cl *cluster) check() {
	cl.t.Helper()
	cl.judge(cl.stream.history())
}

// judge judges what is in the store by a history of what was put.
func (cl *cluster) judge(put []history.Event) {
	cl.t.Helper()
	var queue, dead []history.Item
	for _, e := range cl.memory.Entries() {
		queue = append(queue, history.EntryItem(&e))
	}
	for _, d := range cl.memory.DeadLetters() {
		dead = append(dead, history.DeadLetterItem(&d))
	}
	report := history.Check(append(put, history.Event{Kind: history.KindQueue, Items: queue},
		history.Event{Kind: history.KindDeadLetters, Items: dead}))
	if err := report.Err(); err != nil {
		cl.t.Errorf("%v\n%s", err, strings.Join(report.Problems, "\n"))
	}
}

// putItem is a record with the outcome that classify gives it.
func putItem(shard gs.ShardID, seq gs.SequenceNumber, sub int, data string) history.Item {
	item := history.Item{Shard: shard, Seq: seq, Sub: sub, Outcome: history.Queued, Sum: history.Sum([]byte(data))}
	switch {
	case strings.HasPrefix(data, "bad"):
		item.Outcome = history.DeadLetter
	case strings.HasPrefix(data, "drop"):
		item.Outcome = history.Filtered
	}
	return item
}

// position returns a shard's position in the first epoch.
func (cl *cluster) position(shard gs.ShardID) gs.Position {
	cl.t.Helper()
	p, ok := cl.memory.Position(0, shard)
	if !ok {
		cl.t.Fatalf("%s has no position", shard)
	}
	return p
}

const s0, s1 = gs.ShardID("shardId-000000000000"), gs.ShardID("shardId-000000000001")

// shardIDs are the first n shards of a stream.
func shardIDs(n int) []gs.ShardID {
	ids := make([]gs.ShardID, n)
	for i := range ids {
		ids[i] = gs.ShardID(fmt.Sprintf("shardId-%012d", i))
	}
	return ids
}

// traffic puts a mixture on a shard: good, filtered and bad records and
// aggregates of all of these.
func (cl *cluster) traffic(shard gs.ShardID, n int) {
	for i := range n {
		switch i % 7 {
		case 2:
			cl.stream.put(shard, fmt.Sprintf("drop %d", i))
		case 4:
			cl.stream.put(shard, fmt.Sprintf("bad %d", i))
		case 5:
			cl.stream.putAggregate(shard, fmt.Sprintf("a %d", i), fmt.Sprintf("drop b %d", i),
				fmt.Sprintf("bad c %d", i),
				fmt.Sprintf("d %d", i), fmt.Sprintf("e %d", i), fmt.Sprintf("f %d", i), fmt.Sprintf("drop g %d", i))
		default:
			cl.stream.put(shard, fmt.Sprintf("good %d", i))
		}
	}
}

// journal is an Observer that remembers what was committed and what was
// reported lost.
type journal struct {
	consumer.NopObserver
	metrics   *admin.Metrics // count losses as well; nil: there are none
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

func (j *journal) Lost(shard gs.ShardID, i gs.Interval) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lost = append(j.lost, i)
	if j.metrics != nil {
		j.metrics.Lost(shard, i)
	}
}

func (j *journal) TermEnded(_ gs.ShardID, _ uint64, cause error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = append(j.ended, cause)
}

// reported returns the losses that the processes reported so far.
func (cl *cluster) reported() (all []gs.Interval) {
	for _, p := range cl.processes {
		p.mu.Lock()
		all = append(all, slices.Clone(p.lost)...)
		p.mu.Unlock()
	}
	return all
}
