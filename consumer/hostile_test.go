package consumer_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/sqlite"
)

// scan is the program's classifier as far as bad records are concerned.
func scan(_ gs.ShardID, r *gs.Record) gs.Verdict {
	data := r.Data
	e, err := gerrit.Scan(data)
	var fault *gerrit.Fault
	if errors.As(err, &fault) {
		return gs.Verdict{Bad: string(fault.Reason), Detail: fault.Detail}
	}
	return gs.Verdict{Event: gs.Event{Type: string(e.Type)}}
}

// onFile runs a process on a SQLite file, with the least memory for pages,
// until it has caught up. It returns the file and the most memory that was in
// use after a commit.
func (k *kinesisCluster) onFile() (path string, most int64) {
	k.t.Helper()
	path = filepath.Join(k.t.TempDir(), "store.db")
	store, err := sqlite.Open(k.t.Context(), sqlite.Config{
		Path: path, PollOnly: true, Logger: slog.New(slog.DiscardHandler),
	})
	k.must(err)
	k.budget = kinesis.NewBudget(kinesis.PageReserve)
	heap := &heapWatch{}
	k.start(untilCaughtUp, func(c *consumer.Config) {
		c.Store, c.Classify, c.Observer = store, scan, heap
		c.Logger = slog.New(slog.DiscardHandler)
	}).wait(k.t)
	k.must(store.Close(k.t.Context()))
	return path, heap.most
}

// heapWatch measures, at some of the commits, how much memory is reachable.
type heapWatch struct {
	consumer.NopObserver
	commits int
	most    int64
}

func (h *heapWatch) Committed(gs.ShardID, uint64, *gs.Commit, time.Duration) {
	if h.commits++; h.commits%16 == 1 {
		h.most = max(h.most, heapInUse())
	}
}

// heapInUse returns how much memory is reachable.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far from overflowing
}

// room is a generous bound for a page and its commit.
const room = kinesis.PageReserve + 24<<20

// Records of the largest size, the deepest nesting and the longest numbers get
// the right outcome, whole and in their place, on the way from the stream into
// a file, and memory stays within the budget.
func TestHostileSizesReachTheStore(t *testing.T) {
	const largest = 10 << 20
	event := func(rest string) string { return `{"type":"comment-added","project":"p"` + rest + `}` }
	long := func(text string) string { return event(`,"comment":"` + text + `"`) }
	deep := func(depth int) string {
		return event(`,"x":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1))
	}
	records := []struct{ data, bad string }{
		{long("first"), ""},
		{long(strings.Repeat("x", largest-100)), ""},
		{long("second"), ""},
		{event(`,"x":` + strings.Repeat("[", largest/10)), "depth"},
		{long(strings.Repeat("x", largest/10) + "\x80"), "utf8"},
		{deep(gerrit.MaxDepth), ""},
		{deep(gerrit.MaxDepth + 1), "depth"},
		{event(`,"x":` + strings.Repeat("7", 5000)), "number"},
		{event(`,"x":` + strings.Repeat("7", 4000)), ""},
		{long("last"), ""},
	}
	inKinesisCluster(t, kinesistest.Options{}, 1, func(t *testing.T, k *kinesisCluster) {
		for _, r := range records {
			k.put(s0, r.data)
		}
		stored := heapInUse()
		path, most := k.onFile()
		if took := most - stored; took > room {
			t.Errorf("%d MiB were in use, more than %d", took>>20, room>>20)
		}
		r, err := sqlite.OpenReader(t.Context(), path)
		k.must(err)
		defer func() { k.must(r.Close(k.t.Context())) }()
		dead, err := r.DeadLetters(t.Context())
		k.must(err)
		var got []string
		for e, err := range r.Events(t.Context(), 0) {
			k.must(err)
			got = append(got, fmt.Sprintf("%s %x", e.Entry.Seq, sha256.Sum256(e.Entry.Payload)))
		}
		var want []string
		for i, r := range records {
			sum := sha256.Sum256([]byte(r.data))
			if r.bad == "" {
				want = append(want, fmt.Sprintf("%s %x", k.sent[i].seq, sum))
				continue
			}
			l := dead[0]
			dead = dead[1:]
			if l.Seq != k.sent[i].seq || l.Reason != r.bad || l.Length != len(r.data) || l.SHA256 != sum ||
				!bytes.Equal(l.Payload, []byte(r.data[:min(len(r.data), gs.MaxDeadLetterBytes)])) {
				t.Errorf("record %d became the dead letter %s %q of %d bytes, want %s", i, l.Seq, l.Reason, l.Length,
					r.bad)
			}
		}
		if len(dead) > 0 || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("queued\n%s\nwant\n%s\nand %d dead letters more", strings.Join(got, "\n"),
				strings.Join(want, "\n"), len(dead))
		}
	})
}

// A page of nothing but dead letters, and more of them until there are 100,000
// (under the race detector, 15,000): those without room in the file are
// counted, memory stays within bounds, and the record after them is queued.
func TestAHundredThousandDeadLetters(t *testing.T) {
	const page, held = 10_000, 1000
	many := 100_000
	if underRace {
		many = 15_000
	}
	inKinesisCluster(t, kinesistest.Options{}, 1, func(t *testing.T, k *kinesisCluster) {
		for i := range page {
			k.put(s0, fmt.Sprintf("bad %d", i))
		}
		for left := many - page; left > 0; left -= page {
			var entries []kinesistest.UserRecord
			for i := range min(left, page) {
				entries = append(entries, kinesistest.UserRecord{PartitionKey: "k",
					Data: fmt.Appendf(nil, "bad %d", i)})
			}
			k.put(s0, string(kinesistest.Aggregate(entries...)))
		}
		k.put(s0, `{"type":"comment-added"}`)
		stored := heapInUse()
		path, most := k.onFile()
		if took := most - stored; took > room {
			t.Errorf("%d MiB were in use, more than %d", took>>20, room>>20)
		}
		in, err := sqlite.Inspect(t.Context(), path)
		k.must(err)
		if in.Queue != 1 || in.DeadLetters != held || in.Discarded != int64(many-held) {
			t.Errorf("%d queued, %d dead letters held, %d counted, want 1, %d and %d", in.Queue, in.DeadLetters,
				in.Discarded, held, many-held)
		}
	})
}
