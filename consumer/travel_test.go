package consumer_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// travel is a house whose stream is the embedded Kinesis, read by the real
// reader: for what takes hours and days. It notes what is put on the stream,
// what is asked of the service, and what is reported lost.
type travel struct {
	*house
	consumer.NopObserver
	srv    *kinesistest.Server
	poll   time.Duration   // of every process: idle hours cost a read each
	budget *kinesis.Budget // of every process
	open   []gs.ShardID

	sent    []sent // in the order of their putting
	parents map[gs.ShardID][]gs.ShardID

	mu      sync.Mutex
	asked   map[string]int // under mu: requests by operation and shard, and "expired"
	seeks   []seek         // under mu
	reports []gs.Interval  // under mu: of Lost
}

// sent is a record put on the stream.
type sent struct {
	shard gs.ShardID
	seq   gs.SequenceNumber
	data  string
	at    time.Time
}

// seek is a request for an iterator.
type seek struct{ ShardId, ShardIteratorType, StartingSequenceNumber string } //nolint:revive,staticcheck // as in the request

const streamName = "gerrit"

func inTravel(t *testing.T, opts kinesistest.Options, shards int, test func(*testing.T, *travel)) {
	t.Helper()
	inHouse(t, 0, func(t *testing.T, h *house) {
		w := &travel{
			house: h, srv: kinesistest.New(opts), poll: time.Minute, budget: kinesis.NewBudget(0),
			parents: map[gs.ShardID][]gs.ShardID{}, asked: map[string]int{},
		}
		w.level = slog.LevelInfo
		w.create(shards)
		w.srv.On(kinesistest.Hook{Do: kinesistest.Observe(w.note)})
		time.Sleep(time.Minute)
		test(t, w)
	})
}

func (w *travel) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *travel) create(shards int) {
	w.t.Helper()
	_, err := w.srv.CreateStream(streamName, shards)
	w.must(err)
	w.open = shardIDs(shards)
}

// start runs a process that reads with a Source of its own.
func (w *travel) start(change ...func(*consumer.Config)) *proc {
	w.t.Helper()
	src := sourceOf(w.t, w.srv, kinesis.Config{PollInterval: w.poll, Budget: w.budget})
	return w.house.start(append([]func(*consumer.Config){func(c *consumer.Config) { c.Source, c.Observer = src, w }}, change...)...)
}

// sourceOf returns a Source of its own on an embedded Kinesis' stream, with the
// configuration that is left to say.
func sourceOf(t *testing.T, srv *kinesistest.Server, c kinesis.Config) *kinesis.Source {
	t.Helper()
	c.Stream, c.Region, c.Endpoint, c.Transport, c.Isolated = streamName, "us-east-1", "http://kinesis.test", srv.Transport(), true
	src, err := kinesis.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// end stops a process and waits for it.
func (p *proc) end() {
	p.stop()
	<-p.done
}

func (w *travel) put(shard gs.ShardID, data ...string) {
	w.t.Helper()
	for _, d := range data {
		seq, err := w.srv.PutTo(streamName, string(shard), "k", []byte(d))
		w.must(err)
		w.sent = append(w.sent, sent{shard, gs.SequenceNumber(seq), d, time.Now()})
	}
}

// putAll puts a record on every open shard.
func (w *travel) putAll(data string) {
	w.t.Helper()
	for _, s := range w.open {
		w.put(s, "good "+data)
	}
}

func (w *travel) split(shard gs.ShardID) (a, b gs.ShardID) {
	w.t.Helper()
	l, r, err := w.srv.Split(streamName, string(shard))
	w.must(err)
	a, b = gs.ShardID(l), gs.ShardID(r)
	w.replace([]gs.ShardID{a, b}, shard)
	return a, b
}

func (w *travel) merge(a, b gs.ShardID) gs.ShardID {
	w.t.Helper()
	child, err := w.srv.Merge(streamName, string(a), string(b))
	w.must(err)
	w.replace([]gs.ShardID{gs.ShardID(child)}, a, b)
	return gs.ShardID(child)
}

func (w *travel) replace(children []gs.ShardID, parents ...gs.ShardID) {
	w.open = slices.DeleteFunc(w.open, func(s gs.ShardID) bool { return slices.Contains(parents, s) })
	w.open = append(w.open, children...)
	for _, c := range children {
		w.parents[c] = parents
	}
}

// note is a hook that notes a request.
func (w *travel) note(r *kinesistest.Request, reply *kinesistest.Reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[r.Operation+" "+r.Shard]++
	if reply.Status != 200 && strings.Contains(string(reply.Body()), "ExpiredIteratorException") {
		w.asked["expired"]++
	}
	if r.Operation == "GetShardIterator" {
		var s seek
		if err := r.Decode(&s); err != nil {
			w.t.Error(err)
		}
		w.seeks = append(w.seeks, s)
	}
}

// reads is how many pages of a shard were asked for so far.
func (w *travel) reads(shard gs.ShardID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked["GetRecords "+string(shard)]
}

// Lost implements gs.Observer.
func (w *travel) Lost(_ gs.ShardID, i gs.Interval) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = append(w.reports, i)
}

// reported returns the losses reported so far.
func (w *travel) reported() []gs.Interval {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.reports)
}

// soon waits until a condition holds, and fails when that takes longer than
// limit.
func (w *travel) soon(limit time.Duration, what string, holds func() bool) {
	w.t.Helper()
	for began := time.Now(); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > limit {
			w.t.Fatalf("after %v it is not so that %s\n%s", limit, what, w.procs[len(w.procs)-1].log)
		}
	}
}

// queuedAll says that as many records are queued as were put.
func (w *travel) queuedAll() bool { return len(w.memory.Entries()) == len(w.sent) }

// kept loses nothing.
func kept(sent) bool { return false }

// check holds the queue against what was put: each record once, in the order of
// its shard, and parents before children, but for those that are lost; and of
// these, that each is within an interval that was reported.
func (w *travel) check(lost func(sent) bool) {
	w.t.Helper()
	got, want := map[gs.ShardID][]string{}, map[gs.ShardID][]string{}
	first, last := map[gs.ShardID]int{}, map[gs.ShardID]int{}
	for i, e := range w.memory.Entries() {
		if got[e.Shard] == nil {
			first[e.Shard] = i
		}
		last[e.Shard] = i
		got[e.Shard] = append(got[e.Shard], fmt.Sprintf("%s %s", e.Seq, e.Payload))
	}
	reported := w.reported()
	for _, s := range w.sent {
		within := func(i gs.Interval) bool { return !s.at.Before(i.From) && s.at.Before(i.Until) }
		switch {
		case !lost(s):
			want[s.shard] = append(want[s.shard], fmt.Sprintf("%s %s", s.seq, s.data))
		case !slices.ContainsFunc(reported, within):
			w.t.Errorf("%q of %s, put at %s, is lost and not reported: %+v", s.data, s.shard, s.at, reported)
		}
	}
	for shard := range w.shards(got, want) {
		if !slices.Equal(got[shard], want[shard]) {
			w.t.Errorf("%s: %s", shard, differ(got[shard], want[shard]))
		}
	}
	for child, parents := range w.parents {
		for _, p := range parents {
			if got[child] != nil && got[p] != nil && first[child] < last[p] {
				w.t.Errorf("%s began before its parent %s was done", child, p)
			}
		}
	}
}

func (w *travel) shards(got, want map[gs.ShardID][]string) map[gs.ShardID]bool {
	all := map[gs.ShardID]bool{}
	for s := range got {
		all[s] = true
	}
	for s := range want {
		all[s] = true
	}
	return all
}

// differ says where two lists are apart for the first time.
func differ(got, want []string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("%d records, want %d; from the %dth on %q, want %q", len(got), len(want), i, got[i:min(i+3, len(got))], want[i:min(i+3, len(want))])
}
