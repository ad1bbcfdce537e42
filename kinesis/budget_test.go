package kinesis

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// free reports whether so many bytes of a budget are free.
func free(b *Budget, n int64) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	r, err := b.Reserve(ctx, n)
	if err != nil {
		return false
	}
	r.Release()
	return true
}

// withBudget sets the budget of a test's Source.
func withBudget(b *Budget) func(*Config) {
	return func(c *Config) { c.Budget = b }
}

// The worst case is reserved before the first request: if less is free, no
// request is made.
func TestRoomIsReservedBeforeAnythingIsAskedFor(t *testing.T) {
	budget := NewBudget(PageReserve)
	inBubble(t, kinesistest.Options{}, 1, withBudget(budget), func(t *testing.T, w *world) {
		w.put("a")
		others, err := budget.Reserve(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan []pair)
		go func() { done <- w.read(trimHorizon(), atTip) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(w.sent("GetRecords")) + len(w.sent("GetShardIterator")); n != 0 {
			t.Errorf("%d requests without room for the answer", n)
		}
		others.Release()
		pairs := <-done
		wantData(t, pairs, "a")
		// The iterator was sought once there was room, not an hour earlier.
		if n := len(w.sent("GetShardIterator")); n != 1 {
			t.Errorf("%d iterators were asked for", n)
		}
	})
}

// What a page does not need is free as soon as the page has come, and the rest
// when it is done.
func TestRoomIsShrunkToThePageAndGivenBackByDone(t *testing.T) {
	const total = 4 * PageReserve
	budget := NewBudget(total)
	inBubble(t, kinesistest.Options{}, 1, withBudget(budget), func(t *testing.T, w *world) {
		w.put(strings.Repeat("x", 1_000_000))
		for page, err := range w.src.Read(t.Context(), shard0, trimHorizon()) {
			if err != nil || len(page.Records) != 1 {
				t.Fatalf("got %+v, %v", page, err)
			}
			const body = 1_000_000 // in CBOR: the data itself
			if !free(budget, total-body-10_000) {
				t.Error("the page holds more than it needs")
			}
			if free(budget, total-body) {
				t.Error("the page holds less than it takes")
			}
			time.Sleep(time.Hour)
			if free(budget, total-body) {
				t.Error("the page's room was given back before it is done")
			}
			page.Done()
			if !free(budget, total) {
				t.Error("the page's room was not given back when it was done")
			}
			break
		}
		w.wantFree()
	})
}

func TestEmptyPageHoldsNothing(t *testing.T) {
	budget := NewBudget(PageReserve)
	inBubble(t, kinesistest.Options{}, 1, withBudget(budget), func(t *testing.T, w *world) {
		for page, err := range w.src.Read(t.Context(), shard0, trimHorizon()) {
			if err != nil || page.Done != nil {
				t.Fatalf("got %+v, %v", page, err)
			}
			if !free(budget, PageReserve) {
				t.Error("an empty page holds room")
			}
			break
		}
	})
}

// Nothing is held between reads, nor during the pause after trouble.
func TestNothingIsHeldWhileWaiting(t *testing.T) {
	budget := NewBudget(PageReserve)
	inBubble(t, kinesistest.Options{}, 1, withBudget(budget), func(t *testing.T, w *world) {
		for name, tr := range troubles {
			for _, operation := range []string{"GetShardIterator", "GetRecords"} {
				remove := w.srv.On(kinesistest.Hook{Operation: operation, Do: tr.do})
				for range w.src.Read(t.Context(), shard0, trimHorizon()) {
					if !free(budget, PageReserve) {
						t.Errorf("%s: %s holds room while it waits", name, operation)
					}
					break
				}
				remove()
			}
		}
		w.wantFree()
	})
}

// A page may be held while the next one is read. A consumer that stops in
// between gives back what it has, and no more is held.
func TestStoppedReadingLeavesOnlyWhatIsOut(t *testing.T) {
	budget := NewBudget(3 * PageReserve)
	inBubble(t, kinesistest.Options{}, 1, withBudget(budget), func(t *testing.T, w *world) {
		w.put("a")
		var held []func()
		for page, err := range w.src.Read(t.Context(), shard0, trimHorizon()) {
			if err != nil {
				t.Fatal(err)
			}
			if page.Done != nil {
				held = append(held, page.Done)
				w.put("b")
			}
			if len(held) == 2 {
				break
			}
		}
		for _, done := range held {
			if free(budget, 3*PageReserve) {
				t.Error("a page that is out holds nothing")
			}
			done()
			done() // harmless
		}
		w.wantFree()
	})
}

// ahead ranges over a Read in a goroutine of its own and passes pages on like
// the consumer: one page is handled, and one is waiting.
func ahead(ctx context.Context, src *Source, shard gerritstream.ShardID) <-chan pair {
	ch := make(chan pair)
	go func() {
		defer close(ch)
		for page, err := range src.Read(ctx, shard, trimHorizon()) {
			select {
			case ch <- pair{Page: page, err: err}:
			case <-ctx.Done():
				if page.Done != nil {
					page.Done()
				}
				return
			}
		}
	}()
	return ch
}

// Sixty-four shards, each read one page ahead of a slow consumer, share room
// for a single page or less: all make progress. One of them has aggregates that
// expand a page to several parts, each of which waits for the one before.
func TestManyShardsOnTheLeastBudgetDoNotDeadlock(t *testing.T) {
	const shards, rounds = 64, 5
	for _, size := range []int64{1, PageReserve, PageReserve + PageReserve/2} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			budget := NewBudget(size)
			inBubble(t, kinesistest.Options{NoLimits: true}, shards, withBudget(budget), func(t *testing.T, w *world) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
				defer cancel()
				listed, err := w.srv.Shards("gerrit")
				if err != nil {
					t.Fatal(err)
				}
				var group sync.WaitGroup
				for i, s := range listed {
					want := w.fill(s.ID, i == 0, rounds)
					group.Go(func() { w.drainSlowly(ctx, s.ID, want) })
				}
				group.Wait()
				w.wantFree()
			})
		})
	}
}

// fill puts some records into a shard, or an aggregate of more than two batches
// besides, and returns what has to come out.
func (w *world) fill(shard string, aggregate bool, n int) (want []string) {
	put := func(data []byte) {
		if _, err := w.srv.PutTo("gerrit", shard, "k", data); err != nil {
			w.t.Error(err)
		}
	}
	if aggregate {
		packed := make([]kinesistest.UserRecord, 2*maxRecords+1)
		for i := range packed {
			packed[i] = kinesistest.UserRecord{PartitionKey: "k", Data: fmt.Append(nil, shard, "/", i)}
			want = append(want, string(packed[i].Data))
		}
		put(kinesistest.Aggregate(packed...))
	}
	for i := range n {
		want = append(want, fmt.Sprint(shard, " ", i))
		put([]byte(want[len(want)-1]))
	}
	return want
}

// drainSlowly reads until everything that is wanted has come, at ten seconds a
// page.
func (w *world) drainSlowly(ctx context.Context, shard string, want []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var got []string
	pairs := ahead(ctx, w.src, gerritstream.ShardID(shard))
	for p := range pairs {
		if p.err != nil {
			w.t.Errorf("%s: %v", shard, p.err)
			break
		}
		got = append(got, p.data()...)
		if p.Done != nil {
			time.Sleep(10 * time.Second)
			p.Done()
		}
		if len(got) >= len(want) {
			break
		}
	}
	cancel()
	for p := range pairs { // what was read ahead
		if p.Done != nil {
			p.Done()
		}
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: got %d records, want %d", shard, len(got), len(want))
	}
}

// While room is scarce for longer than an iterator lives, a reading waits, and
// then goes on. It does not come back for ever with an expired iterator.
func TestScarceRoomDoesNotStarveAReading(t *testing.T) {
	budget := NewBudget(PageReserve)
	inBubble(t, kinesistest.Options{}, 1, withBudget(budget), func(t *testing.T, w *world) {
		w.put("a")
		ctx, cancel := context.WithCancel(t.Context())
		var hogs sync.WaitGroup
		defer hogs.Wait()
		defer cancel()
		for range 2 { // so that the reading waits six minutes each time
			hogs.Go(func() {
				for {
					room, err := budget.Reserve(ctx, PageReserve)
					if err != nil {
						return
					}
					_ = sleep(ctx, 6*time.Minute)
					room.Release()
				}
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		pairs := w.read(trimHorizon(), func(p pair) bool {
			if len(p.Records) > 0 && p.data()[0] == "a" {
				w.put("b")
			}
			return len(p.Records) > 0 && p.data()[0] == "b"
		})
		wantData(t, pairs, "a", "b")
		wantRetrying(t, errorsOf(pairs), 0)
		if took := time.Since(began); took > time.Hour {
			t.Errorf("it took %s", took)
		}
	})
}

// A page's bytes do not change until it is done, whatever is read meanwhile.
func TestBytesStayUntilDone(t *testing.T) {
	inBubble(t, kinesistest.Options{NoLimits: true}, 1, nil, func(t *testing.T, w *world) {
		type held struct {
			records []gerritstream.Record
			copies  [][]byte
			seqs    []string
			done    func()
		}
		var out []held
		put := func(round int) {
			w.put(strings.Repeat(fmt.Sprint(round%10), 5000))
			packed := kinesistest.Aggregate(
				kinesistest.UserRecord{PartitionKey: "k", Data: fmt.Appendf(nil, "first of %d", round)},
				kinesistest.UserRecord{PartitionKey: "k", Data: fmt.Appendf(nil, "second of %d", round)})
			w.put(string(packed))
		}
		put(0)
		for page, err := range w.src.Read(t.Context(), shard0, trimHorizon()) {
			if err != nil {
				t.Fatal(err)
			}
			if page.Done == nil {
				continue
			}
			h := held{records: page.Records, done: page.Done}
			for _, r := range page.Records {
				h.copies, h.seqs = append(h.copies, bytes.Clone(r.Data)), append(h.seqs, strings.Clone(string(r.Seq)))
			}
			out = append(out, h)
			if put(len(out)); len(out) == 10 {
				break
			}
		}
		for page, h := range out {
			if len(h.records) != 3 {
				t.Errorf("page %d has %d records", page, len(h.records))
			}
			for i, r := range h.records {
				if !bytes.Equal(r.Data, h.copies[i]) || string(r.Seq) != h.seqs[i] {
					t.Errorf("record %d of page %d has changed", i, page)
				}
			}
			h.done()
		}
		w.wantFree()
	})
}

// Appending to a record's data does not write into the next record.
func TestRecordsDoNotReachIntoEachOther(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a", string(kinesistest.Aggregate(
			kinesistest.UserRecord{Data: []byte("b")}, kinesistest.UserRecord{Data: []byte("c")})), "d")
		for page := range w.src.Read(t.Context(), shard0, trimHorizon()) {
			for _, r := range page.Records {
				if cap(r.Data) != len(r.Data) {
					t.Errorf("%q has room for %d more bytes", r.Data, cap(r.Data)-len(r.Data))
				}
			}
			page.Done()
			break
		}
	})
}

// chunked yields bytes in pieces, without telling how many there are.
type chunked struct{ left int }

func (c *chunked) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), c.left, 100_000)
	c.left -= n
	return n, nil
}

// A reply of unknown length is read up to the room there is at most, including
// the buffers that it outgrows.
func TestReplyOfUnknownLengthStaysWithinTheRoom(t *testing.T) {
	for _, n := range []int{0, 1, 64 << 10, 64<<10 + 1, 5 << 20, maxUnknownBody - 1} {
		if buf, err := readBody(&chunked{n}, -1, func(int64) bool { return true }); err != nil || len(buf) != n {
			t.Errorf("%d bytes: got %d, %v", n, len(buf), err)
		}
	}
	if _, err := readBody(&chunked{maxUnknownBody + 1}, -1, func(int64) bool { return true }); err == nil {
		t.Error("more than there is room for was taken")
	}
	if _, err := readBody(&chunked{1}, maxBody+1, func(int64) bool { return true }); err == nil {
		t.Error("a length beyond the room was taken")
	}
	if outgrown := int64(4 << 20); outgrown+maxUnknownBody > pageReserve {
		t.Errorf("%d bytes and the %d before do not fit into %d", maxUnknownBody, outgrown, pageReserve)
	}
}
