package kinesis

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

func aggregateOf(data ...string) string {
	records := make([]kinesistest.UserRecord, 0, len(data))
	for _, d := range data {
		records = append(records, kinesistest.UserRecord{PartitionKey: "k", Data: []byte(d)})
	}
	return string(kinesistest.Aggregate(records...))
}

// Valid and corrupt aggregates among plain records: each valid one is unpacked,
// each corrupt one is a single bad record as received, and their neighbours are
// unharmed.
func TestCorruptAggregateIsBadAndItsNeighboursAreUnharmed(t *testing.T) {
	corrupt := aggregateOf("x", "y")
	corrupt = corrupt[:len(corrupt)-1] + string(corrupt[len(corrupt)-1]^1)
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		seqs := w.put("before", corrupt, aggregateOf("one", "", "three"), corrupt, string(aggregateMagic),
			aggregateOf("alone"), "after")
		arrived := time.Now()
		pairs := w.read(trimHorizon(), atTip)
		want := []gerritstream.Record{
			{Seq: seqs[0], Sub: gerritstream.NoSub, Last: true, Data: []byte("before"), Key: []byte("k")},
			{Seq: seqs[1], Sub: gerritstream.NoSub, Last: true, Data: []byte(corrupt),
				Bad:    gerritstream.ReasonAggregate,
				Detail: aggregateFaults[badChecksum], Key: []byte("k")},
			{Seq: seqs[2], Sub: 0, Data: []byte("one"), Key: []byte("k")},
			{Seq: seqs[2], Sub: 1, Data: []byte(""), Key: []byte("k")},
			{Seq: seqs[2], Sub: 2, Last: true, Data: []byte("three"), Key: []byte("k")},
			{Seq: seqs[3], Sub: gerritstream.NoSub, Last: true, Data: []byte(corrupt),
				Bad:    gerritstream.ReasonAggregate,
				Detail: aggregateFaults[badChecksum], Key: []byte("k")},
			{Seq: seqs[4], Sub: gerritstream.NoSub, Last: true, Data: aggregateMagic, Bad: gerritstream.ReasonAggregate,
				Detail: aggregateFaults[tooShort], Key: []byte("k")},
			{Seq: seqs[5], Sub: 0, Last: true, Data: []byte("alone"), Key: []byte("k")},
			{Seq: seqs[6], Sub: gerritstream.NoSub, Last: true, Data: []byte("after"), Key: []byte("k")},
		}
		got := pairs[0].Records
		if len(got) != len(want) {
			t.Fatalf("got %d records, want %d", len(got), len(want))
		}
		for i, r := range got {
			if !r.Arrived.Equal(arrived) || r.Arrived.Location() != time.UTC {
				t.Errorf("record %d arrived %s, want %s", i, r.Arrived, arrived)
			}
			r.Arrived = time.Time{}
			if g, w := fmt.Sprintf("%+v", r), fmt.Sprintf("%+v", want[i]); g != w {
				t.Errorf("record %d is\n%s, want\n%s", i, g, w)
			}
		}
	})
}

// A page of aggregates can expand to more than 10,000 records. It comes in
// parts; only the last shows that the tip, or the end, is reached.
func TestPageOfManyRecordsComesInParts(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		var want []string
		add := func(n int) (packed []string) {
			for range n {
				packed = append(packed, fmt.Sprint(len(want)))
				want = append(want, packed[len(packed)-1])
			}
			return packed
		}
		w.put(add(1)...)
		w.put(aggregateOf(add(15_000)...))
		w.put(aggregateOf(add(10_000)...))
		w.put(add(1)...)
		if _, _, err := w.srv.Split("gerrit", string(shard0)); err != nil {
			t.Fatal(err)
		}
		pairs := w.read(trimHorizon(), never)
		if got := dataOf(pairs); !slices.Equal(got, want) {
			t.Fatalf("got %d records, want %d", len(got), len(want))
		}
		var sizes []int
		for i, p := range pairs {
			sizes = append(sizes, len(p.Records))
			last := i == len(pairs)-1
			if p.err != nil || p.End != last || (len(p.Children) > 0) != last || (p.Lag == 0) != last ||
				p.Now.IsZero() {
				t.Errorf("part %d of %d: end %v, children %v, lag %s, %v", i, len(pairs), p.End, p.Children, p.Lag,
					p.err)
			}
		}
		if !slices.Equal(sizes, []int{10_000, 10_000, 5_002}) {
			t.Errorf("got parts of %d", sizes)
		}
		wantSubs(t, pairs)
		if n := len(w.sent("GetRecords")); n != 1 {
			t.Errorf("%d pages were read", n)
		}
		w.wantFree()
	})
}

// wantSubs fails unless the records within each aggregate are numbered from 0
// without gaps, and the last one is marked.
func wantSubs(t *testing.T, pairs []pair) {
	t.Helper()
	next, seq := 0, gerritstream.SequenceNumber("")
	for _, p := range pairs {
		for i, r := range p.Records {
			if r.Sub == gerritstream.NoSub {
				continue
			}
			if next > 0 && r.Seq != seq || r.Sub != next {
				t.Fatalf("record %d is number %d of %s, want %d of %s", i, r.Sub, r.Seq, next, seq)
			}
			if next, seq = next+1, r.Seq; r.Last {
				next = 0
			}
		}
	}
	if next != 0 {
		t.Error("the last aggregate has no last record")
	}
}

// The parts of a page share its room: each waits until the one before is done.
func TestPartWaitsForTheOneBeforeToBeDone(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put(aggregateOf(make([]string, maxRecords+1)...))
		var began time.Time
		for page, err := range w.src.Read(t.Context(), shard0, trimHorizon()) {
			if err != nil {
				t.Fatal(err)
			}
			if began.IsZero() {
				began = time.Now()
				time.AfterFunc(time.Minute, page.Done)
				continue
			}
			if waited := time.Since(began); waited != time.Minute {
				t.Errorf("the second part came after %s", waited)
			}
			page.Done()
			break
		}
		w.wantFree()
	})
}

// A closed shard's last records come before or with its end, and its children
// are named.
func TestShardEndsAfterItsLastRecordsAndNamesItsChildren(t *testing.T) {
	for _, separate := range []bool{false, true} {
		t.Run(fmt.Sprintf("a last page of its own %v", separate), func(t *testing.T) {
			inBubble(t, kinesistest.Options{EmptyLastPage: separate}, 2, nil, func(t *testing.T, w *world) {
				w.put("a", "b")
				child, err := w.srv.Merge("gerrit", string(shard0), "shardId-000000000001")
				if err != nil {
					t.Fatal(err)
				}
				pairs := w.read(trimHorizon(), never)
				wantData(t, pairs, "a", "b")
				for i, p := range pairs {
					if last := i == len(pairs)-1; p.err != nil || p.End != last || (len(p.Records) > 0) != (i == 0) {
						t.Errorf("pair %d of %d: %+v", i, len(pairs), p)
					}
				}
				last := pairs[len(pairs)-1]
				if len(pairs) == 1 == separate || len(last.Children) != 1 || string(last.Children[0]) != child {
					t.Errorf("got %d pairs and the children %s, want %s", len(pairs), last.Children, child)
				}
				w.wantFree()
			})
		})
	}
}

// Closing a shard does not make a reader skip records.
func TestShardClosedUnderALaggingReaderIsReadToItsEnd(t *testing.T) {
	inBubble(t, kinesistest.Options{ScanSpan: time.Minute}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		time.Sleep(2 * time.Hour)
		w.put("b")
		time.Sleep(2 * time.Hour)
		if _, _, err := w.srv.Split("gerrit", string(shard0)); err != nil {
			t.Fatal(err)
		}
		pairs := w.read(trimHorizon(), never)
		wantData(t, pairs, "a", "b")
		if last := pairs[len(pairs)-1]; !last.End || len(last.Children) != 2 {
			t.Errorf("the last pair is %+v", last)
		}
	})
}

// A reply without MillisBehindLatest, or with records without an arrival time,
// is not taken for the tip.
func TestPageOfUnknownLagIsNotTheTip(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		w.srv.On(kinesistest.Hook{
			Operation: "GetRecords", Do: edited(func(out map[string]any) { delete(out, "MillisBehindLatest") })})
		for _, p := range w.read(trimHorizon(), after(3)) {
			if p.err != nil || p.Lag <= 0 {
				t.Errorf("got %+v", p)
			}
		}
	})
}

// An iterator that expires between the parts of a page, or after it, does not
// repeat any of it.
func TestExpiredIteratorAfterAnAggregateRepeatsNothing(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		seqs := w.put(aggregateOf("one", "two"))
		pairs := w.read(trimHorizon(), func(p pair) bool {
			if len(p.Records) == 2 {
				time.Sleep(6 * time.Minute)
				w.put("three")
			}
			return atTip(p)
		})
		wantData(t, pairs, "one", "two", "three")
		if in := w.lastSeek(); in.StartingSequenceNumber != string(seqs[0]) {
			t.Errorf("sought from %+v", in)
		}
	})
}

// An aggregate of a million entries, the most that fit into a record, comes in
// parts: never more than a page's room is in use, whatever the entries are. One
// that only claims to have them is one bad record.
func TestAggregateOfAMillionEntries(t *testing.T) {
	const entries = 1_000_000
	entry := []byte{recordsField<<3 | 2, 2, dataField<<3 | 2, 0}
	message := bytes.Repeat(entry, entries)
	budget := NewBudget(PageReserve)
	inBubble(t, kinesistest.Options{}, 1, withBudget(budget), func(t *testing.T, w *world) {
		w.put("before", string(seal(message)), string(seal(message[:len(message)-1])), "after")
		count, parts, bad := 0, 0, 0
		idle := heapInUse()
		for page, err := range w.src.Read(t.Context(), shard0, trimHorizon()) {
			if err != nil {
				t.Fatal(err)
			}
			if parts%25 == 0 {
				if took := heapInUse() - idle; took > PageReserve+4<<20 {
					t.Errorf("part %d: %d MiB are in use, more than a page's room of %d", parts, took>>20,
						PageReserve>>20)
				}
			}
			for i := range page.Records {
				r := &page.Records[i]
				if r.Bad != "" {
					bad++
				} else if r.Sub >= 0 {
					count++
				}
			}
			parts++
			if page.Done != nil {
				page.Done()
			}
			if page.Lag == 0 {
				break
			}
		}
		if count != entries || bad != 1 || parts < entries/maxRecords {
			t.Errorf("%d entries and %d bad records in %d parts, want %d and 1", count, bad, parts, entries)
		}
		w.wantFree()
	})
}

// heapInUse returns the size of the reachable heap.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far from overflowing
}
