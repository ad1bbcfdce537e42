package kinesis

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// At the tip, many shards are read at once in the room for one page at worst:
// none waits for another's request.
func TestShardsAtTheTipAreReadAtOnceInLittleRoom(t *testing.T) {
	const shards, takes = 64, 100 * time.Millisecond
	budget := NewBudget(PageReserve)
	inBubble(t, kinesistest.Options{}, shards, withBudget(budget), func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: kinesistest.Delay(takes)})
		listed, err := w.srv.Shards("gerrit")
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for _, s := range listed {
			group.Go(func() {
				began := time.Now()
				var last time.Time
				longest, reads := time.Duration(0), 0
				for page, err := range w.src.Read(t.Context(), gerritstream.ShardID(s.ID), trimHorizon()) {
					if err != nil || page.Done != nil {
						t.Errorf("got %+v, %v", page, err)
						return
					}
					if now := time.Now(); now.Sub(began) > 10*time.Second { // the first page of each needs all the room
						if !last.IsZero() {
							longest = max(longest, now.Sub(last))
						}
						last = now
						reads++
					}
					if time.Since(began) > 20*time.Second {
						break
					}
				}
				if longest > catchUpGap+takes || reads < 30 {
					t.Errorf("%s: %d reads, %s between two of them", s.ID, reads, longest)
				}
			})
		}
		group.Wait()
		w.wantFree()
	})
}

// bursts puts a large page after small ones, and calls prepare before it is
// read. It returns how many reads the page took.
func (w *world) bursts(prepare func()) (reads int, pairs []pair) {
	const large = 3
	before := 0
	pairs = w.read(trimHorizon(), func(p pair) bool {
		switch {
		case len(p.Records) == 0 && before == 0:
			for range large {
				w.put(strings.Repeat("x", 1<<20-10))
			}
			before = len(w.sent("GetRecords"))
			prepare()
		case len(p.Records) > 0:
			reads = len(w.sent("GetRecords")) - before
			return true
		}
		return false
	})
	if n := len(dataOf(pairs)); n != large {
		w.t.Errorf("got %d records, want %d", n, large)
	}
	wantRetrying(w.t, errorsOf(pairs), 0)
	return reads, pairs
}

// A page larger than earlier ones takes more room if that is free.
func TestLargerPageTakesWhatIsFree(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		if reads, _ := w.bursts(func() {}); reads != 1 {
			t.Errorf("it took %d reads", reads)
		}
		w.wantFree()
	})
}

// If no room is free, a larger page is dropped, and read again with the worst
// case reserved: nothing is held meanwhile, nothing is lost, and the budget is
// kept.
func TestLargerPageWaitsForItsRoom(t *testing.T) {
	const total = 2 * PageReserve
	budget := NewBudget(total)
	inBubble(t, kinesistest.Options{NoLimits: true}, 1, withBudget(budget), func(t *testing.T, w *world) {
		const waits = time.Minute
		var began time.Time
		reads, pairs := w.bursts(func() {
			others, err := budget.Reserve(t.Context(), total-minReserve)
			if err != nil {
				t.Error(err)
			}
			began = time.Now()
			time.AfterFunc(waits, others.Release)
		})
		if came := pairs[len(pairs)-1].at.Sub(began); reads != 2 || came < waits || came > waits+time.Second {
			t.Errorf("it took %d reads and came after %s", reads, came)
		}
		if n := w.seen("GetRecords NoRoom"); n != 1 {
			t.Errorf("the observer was shown %q", w.codes)
		}
		w.wantFree()
	})
}

// Everything that a page takes is within its reservation, however little was
// reserved for it: its bytes, what they decode to, and the records of
// aggregates.
func TestPageIsWithinItsReservation(t *testing.T) {
	for name, data := range map[string][]string{
		"bytes":      {strings.Repeat("x", 900_000)},
		"records":    strings.Split(strings.Repeat("x,", 5000), ","),
		"aggregates": {aggregateOf(make([]string, 9000)...)},
		"many":       {aggregateOf(make([]string, maxRecords)...), aggregateOf(make([]string, maxRecords)...)},
	} {
		t.Run(name, func(t *testing.T) {
			budget := NewBudget(2 * PageReserve)
			inBubble(t, kinesistest.Options{NoLimits: true}, 1, withBudget(budget), func(t *testing.T, w *world) {
				w.put(data...)
				r := &reading{source: w.src, shard: shard0, cursor: trimHorizon(), limit: maxRecords, atTip: true}
				p, err := r.next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if takes := p.needs(min(p.total, maxRecords)); takes <= minReserve ||
					free(budget, 2*PageReserve-takes+1) {
					t.Errorf("it holds less than the %d bytes that it takes", takes)
				}
				p.memory.room.Release()

				// The same where nothing more is free: not a byte more is
				// taken.
				others, err := budget.Reserve(t.Context(), 2*PageReserve-minReserve)
				if err != nil {
					t.Fatal(err)
				}
				r.iterator, r.atTip, r.recent = "", true, 0
				var e *Error
				if _, err := r.next(t.Context()); !errors.As(err, &e) || e.class != noRoom {
					t.Errorf("got %v, want that there is no room", err)
				}
				others.Release()
				w.wantFree()
			})
		})
	}
}

// The reservation at the tip follows the sizes of pages slowly; a reading that
// lags reserves the worst case.
func TestReserveFollowsThePages(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		r := &reading{source: w.src, shard: shard0, limit: maxRecords}
		advance := func(bytes int, lag time.Duration) {
			r.advance(&page{reply: &reply{next: "x", lag: lag}, buf: make([]byte, bytes)})
		}
		if got := r.reserve(); got != pageReserve {
			t.Errorf("at the beginning %d", got)
		}
		advance(0, 0)
		if got := r.reserve(); got != minReserve {
			t.Errorf("after an empty page at the tip %d", got)
		}
		advance(1<<20, 0)
		if got := r.reserve(); got != 2<<20 {
			t.Errorf("after a page of a MiB %d", got)
		}
		for range 10 {
			advance(0, 0)
		}
		if got := r.reserve(); got < 500_000 || got > 600_000 {
			t.Errorf("ten pages later %d", got)
		}
		for _, lag := range []time.Duration{time.Millisecond, unknownLag} {
			advance(0, lag)
			if got := r.reserve(); got != pageReserve {
				t.Errorf("with a lag of %s %d", lag, got)
			}
		}
		advance(maxBody, 0)
		if got := r.reserve(); got != pageReserve {
			t.Errorf("after the largest page %d", got)
		}
	})
}

// Sixty-four shards at the tip get large pages all at once, in the room for
// little more than one: all pages arrive, each once.
func TestBurstsOnManyShardsDoNotDeadlock(t *testing.T) {
	const shards = 32
	for _, size := range []int64{1, PageReserve, PageReserve + 10*minReserve} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			budget := NewBudget(size)
			slow := func(c *Config) { c.Budget, c.PollInterval = budget, time.Minute }
			inBubble(t, kinesistest.Options{NoLimits: true}, shards, slow, func(t *testing.T, w *world) {
				listed, err := w.srv.Shards("gerrit")
				if err != nil {
					t.Fatal(err)
				}
				var group sync.WaitGroup
				for _, s := range listed {
					group.Go(func() { w.drainSlowly(t.Context(), s.ID, []string{"early", "late " + large}) })
					put := func(data string) {
						if _, err := w.srv.PutTo("gerrit", s.ID, "k", []byte(data)); err != nil {
							t.Error(err)
						}
					}
					put("early")
					time.AfterFunc(20*time.Minute, func() { put("late " + large) })
				}
				group.Wait()
				synctest.Wait()
				w.wantFree()
			})
		})
	}
}

var large = strings.Repeat("x", 300_000)

// A reply is not read into memory that is not reserved: nothing of one with a
// known length, and what fits of another.
func TestReplyIsNotReadWithoutRoom(t *testing.T) {
	const room = 1 << 20
	fits := func(n int64) bool { return n <= room }
	known := &chunked{room + 1}
	if _, err := readBody(known, room+1, fits); !errors.Is(err, errNoRoom) || known.left != room+1 {
		t.Errorf("got %v, and %d bytes are left to read", err, known.left)
	}
	unknown := &chunked{4 * room}
	if _, err := readBody(unknown, -1, fits); !errors.Is(err, errNoRoom) || 4*room-unknown.left > room {
		t.Errorf("got %v after %d bytes", err, 4*room-unknown.left)
	}
}
