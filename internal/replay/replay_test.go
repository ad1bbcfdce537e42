package replay_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/replay"
	"github.com/gerritstream/gerritstream/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	created = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	stream  = gerritstream.Stream{ARN: "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit", Created: created}
)

// record is a record of the world.
type record struct {
	shard   gerritstream.ShardID
	seq     gerritstream.SequenceNumber
	sub     int
	last    bool
	arrived time.Time
	kind    string // "": an event; else bad, filtered or another type
}

func (r *record) id() gerritstream.EventID {
	return gerritstream.NewEventID(stream, r.shard, r.seq, r.sub)
}

// world is a stream with what it keeps, and a queue with what it holds. It is
// Source and Queue.
type world struct {
	gerritstream.Source
	shards  []gerritstream.Shard
	records map[gerritstream.ShardID][]record // all that ever arrived
	kept    time.Time
	now     time.Time
	pages   int           // records a page
	slow    time.Duration // by which the service's clock goes on with each page
	faults  atomic.Int32  // that are still to come

	queue   []queue.Event
	newest  int64
	expired int64
	oldest  time.Time
	lost    []gerritstream.Interval // in which single events did not come to the queue

	sweepIn int                           // lookups until retention removes events; 0: it does not
	swept   map[gerritstream.EventID]bool // what it removed
}

func (w *world) listing() gerritstream.Listing {
	return gerritstream.Listing{Stream: stream, Retention: w.now.Sub(w.kept), Shards: w.shards, Now: w.now}
}

// Peek implements gerritstream.Source.
func (w *world) Peek(ctx context.Context, shard gerritstream.ShardID, from gerritstream.Position,
) iter.Seq2[gerritstream.Page, error] {
	return func(yield func(gerritstream.Page, error) bool) {
		all := w.records[shard]
		i := slices.IndexFunc(all, func(r record) bool {
			if from.After == "" && from.Partial == nil {
				return !r.arrived.Before(from.From.Time) && !r.arrived.Before(w.kept)
			}
			return r.seq.Compare(from.After) > 0 && !r.arrived.Before(w.kept)
		})
		if i < 0 {
			i = len(all)
		}
		for ctx.Err() == nil {
			if w.faults.Add(-1) >= 0 {
				if !yield(gerritstream.Page{}, fmt.Errorf("a fault: %w", gerritstream.ErrRetrying)) {
					return
				}
				continue
			}
			page := gerritstream.Page{Now: w.now}
			if w.slow > 0 { // of one shard
				w.now = w.now.Add(w.slow)
			}
			for ; i < len(all) && len(page.Records) < w.pages; i++ {
				page.Records = append(page.Records, gerritstream.Record{
					Seq: all[i].seq, Sub: all[i].sub, Last: all[i].last, Arrived: all[i].arrived,
					Data: []byte(all[i].kind),
				})
			}
			if i < len(all) {
				page.Lag = w.now.Sub(all[i].arrived)
			}
			page.End = i == len(all) && w.isClosed(shard)
			if !yield(page, nil) || page.End {
				return
			}
		}
		yield(gerritstream.Page{}, ctx.Err())
	}
}

func (w *world) isClosed(id gerritstream.ShardID) bool {
	return slices.ContainsFunc(w.shards, func(s gerritstream.Shard) bool { return s.ID == id && s.Last != "" })
}

// Extent implements replay.Queue.
func (w *world) Extent(context.Context) (queue.Extent, error) {
	return queue.Extent{Oldest: w.oldest, Newest: w.newest, Expired: w.expired}, nil
}

// Since implements replay.Queue.
func (w *world) Since(_ context.Context, t time.Time) (int64, error) {
	for _, e := range w.queue {
		if !e.Queued.Before(t) || !e.Entry.Arrived.Before(t) {
			return e.Number, nil
		}
	}
	return w.newest + 1, nil
}

// Events implements replay.Queue.
func (w *world) Events(_ context.Context, after int64) iter.Seq2[queue.Event, error] {
	return func(yield func(queue.Event, error) bool) {
		for _, e := range w.queue {
			if e.Number > after && !yield(e, nil) {
				return
			}
		}
	}
}

// Number implements replay.Queue.
func (w *world) Number(_ context.Context, id gerritstream.EventID) (int64, error) {
	defer func() {
		if w.sweepIn--; w.sweepIn == 0 {
			for _, e := range w.queue[:(len(w.queue)+1)/2] {
				w.swept[e.Entry.ID] = true
			}
			w.queue = w.queue[(len(w.queue)+1)/2:]
		}
	}()
	for _, e := range w.queue {
		if e.Entry.ID == id {
			return e.Number, nil
		}
	}
	return 0, nil
}

// FirstArrival implements replay.Queue.
func (w *world) FirstArrival(_ context.Context, after, upTo int64, from time.Time) (first time.Time, err error) {
	for _, e := range w.queue {
		if at := e.Entry.Arrived; e.Number > after && e.Number <= upTo && !at.Before(from) &&
			(first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first, nil
}

// classify implements gerritstream.Classifier: a record's data is its kind.
func classify(_ gerritstream.ShardID, r *gerritstream.Record) (v gerritstream.Verdict) {
	switch kind := string(r.Data); kind {
	case "bad":
		v.Bad = kind
	case "filtered":
		v.Filter = kind
	default:
		v.Event.Type = kind
	}
	return v
}

// kinds are what records are, mostly events.
var kinds = []string{"event", "event", "event", "other", "bad", "filtered"}

// makeWorld makes a stream of which some shards continue others, and the queue
// of a process that has followed it from a time on, from which old events may
// have expired.
func makeWorld(t *rapid.T) *world {
	w := &world{
		records: map[gerritstream.ShardID][]record{}, pages: rapid.IntRange(1, 7).Draw(t, "page"),
		now: created.Add(100 * time.Hour),
	}
	w.faults.Store(rapid.Int32Range(0, 2).Draw(t, "faults"))
	w.kept = created.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "kept")) * time.Hour)
	first, ends := created.Add(time.Hour), map[gerritstream.ShardID]time.Time{}
	seq := 1000
	var all []record
	for i := range rapid.IntRange(1, 5).Draw(t, "shards") {
		s := gerritstream.Shard{ID: gerritstream.ShardID(fmt.Sprintf("shard-%d", i))}
		at := first
		if i > 0 && rapid.Bool().Draw(t, "child") {
			parent := &w.shards[rapid.IntRange(0, i-1).Draw(t, "parent")]
			parent.Last, s.Parents = "9", []gerritstream.ShardID{parent.ID}
			at = ends[parent.ID].Add(time.Millisecond)
		}
		for range rapid.IntRange(0, 12).Draw(t, "records") {
			seq++
			at = at.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "gap")) * time.Minute)
			parts := rapid.SampledFrom([]int{1, 1, 1, 3}).Draw(t, "parts")
			for sub := range parts {
				r := record{
					shard: s.ID, seq: gerritstream.SequenceNumber(strconv.Itoa(seq)), sub: sub,
					last: sub == parts-1, arrived: at, kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
				}
				if parts == 1 {
					r.sub = gerritstream.NoSub
				}
				w.records[s.ID] = append(w.records[s.ID], r)
				all = append(all, r)
			}
		}
		w.shards, ends[s.ID] = append(w.shards, s), at
	}
	w.fill(t, all)
	return w
}

// fill makes the queue. Some shards were read late.
func (w *world) fill(t *rapid.T, all []record) {
	late := map[gerritstream.ShardID]time.Duration{}
	for _, s := range w.shards {
		late[s.ID] = time.Duration(rapid.IntRange(0, 10).Draw(t, "late")) * time.Hour
	}
	queued := func(r *record) time.Time { return r.arrived.Add(late[r.shard]) }
	slices.SortStableFunc(all, func(a, b record) int { return queued(&a).Compare(queued(&b)) })
	for _, r := range all {
		if r.kind == "bad" || r.kind == "filtered" {
			continue
		}
		if w.newest++; rapid.IntRange(0, 9).Draw(t, "lost") == 0 {
			w.lost = append(w.lost, gerritstream.Interval{From: r.arrived, Until: r.arrived.Add(time.Second)})
			continue
		}
		w.queue = append(w.queue, queue.Event{Number: w.newest, Queued: queued(&r),
			Entry: gerritstream.Entry{ID: r.id(), Shard: r.shard, Seq: r.seq, Sub: r.sub, Arrived: r.arrived,
				Event: gerritstream.Event{Type: r.kind}}})
	}
	gone := rapid.IntRange(0, len(w.queue)).Draw(t, "expired")
	w.queue, w.expired = w.queue[gone:], int64(gone)
	if len(w.queue) > 0 {
		w.oldest = w.queue[0].Queued
	}
}

// want returns the ids that a replay must hand on.
func (w *world) want(i replay.Interval, hasQueue bool) map[gerritstream.EventID]bool {
	want := map[gerritstream.EventID]bool{}
	for _, records := range w.records {
		for _, r := range records {
			if r.kind == "event" && i.Has(r.arrived) && !r.arrived.Before(w.kept) {
				want[r.id()] = true
			}
		}
	}
	for _, e := range w.queue {
		if hasQueue && e.Entry.Event.Type == "event" && i.Has(e.Entry.Arrived) {
			want[e.Entry.ID] = true
		}
	}
	return want
}

func (w *world) config(t *rapid.T, i replay.Interval, hasQueue bool) replay.Config {
	c := replay.Config{
		Interval: i, Source: w, Listing: w.listing(), Classify: classify,
		Keep:    func(e *gerritstream.Event) bool { return e.Type == "event" },
		Memory:  rapid.SampledFrom([]int64{1, 4000, 1 << 20}).Draw(t, "memory"),
		Trouble: func(error) {},
	}
	if hasQueue {
		c.Whole = rapid.Bool().Draw(t, "whole")
		if !c.Whole {
			c.Lost = w.lost
		}
		c.Queue, c.Origin = w, &gerritstream.Origin{Stream: stream,
			From: gerritstream.StartingPosition{TrimHorizon: true}}
	}
	return c
}

// run replays, and breaks off after so many events; -1: it does not.
func run(t *rapid.T, c replay.Config, most int) (r *replay.Replay, got []queue.Event) {
	r, err := replay.New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range r.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e); len(got) == most {
			break
		}
	}
	return r, got
}

// Each event of the interval that the stream or the queue has comes once, and
// each part is in order.
func TestEachOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, hasQueue := makeWorld(t), rapid.Bool().Draw(t, "queue")
		i := drawInterval(t)
		want := w.want(i, hasQueue)
		w.sweepIn, w.swept = rapid.IntRange(0, 10).Draw(t, "sweep"), map[gerritstream.EventID]bool{}
		r, got := run(t, w.config(t, i, hasQueue), -1)
		seen := map[gerritstream.EventID]bool{}
		for _, e := range got {
			if seen[e.Entry.ID] || !want[e.Entry.ID] || !e.Replayed {
				t.Errorf("event %s of %s came again, or is not to come, or is not marked", e.Entry.Seq, e.Entry.Shard)
			}
			seen[e.Entry.ID] = true
		}
		for _, records := range w.records {
			for _, rec := range records {
				id, kept := rec.id(), r.Stream.Has(rec.arrived) && !rec.arrived.Before(w.kept)
				if want[id] && !seen[id] && (!w.swept[id] || kept) {
					t.Errorf("event %s of %s did not come", rec.seq, rec.shard)
				}
			}
		}
		w.checkOrder(t, got)
	})
}

func drawInterval(t *rapid.T) replay.Interval {
	from := created.Add(time.Duration(rapid.IntRange(-10, 60).Draw(t, "from")) * time.Hour)
	length := time.Duration(rapid.IntRange(1, 90).Draw(t, "length")) * time.Hour
	return replay.Interval{From: from, Until: from.Add(length)}
}

// checkOrder checks the order of the stream's part by arrival, that of the
// queue's by number, and that of each shard within both.
func (w *world) checkOrder(t *rapid.T, got []queue.Event) {
	parts := slices.IndexFunc(got, func(e queue.Event) bool { return e.Number > 0 })
	if parts < 0 {
		parts = len(got)
	}
	fromStream, fromQueue := got[:parts], got[parts:]
	if !slices.IsSortedFunc(fromStream, func(a, b queue.Event) int {
		return a.Entry.Arrived.Compare(b.Entry.Arrived)
	}) {
		t.Error("the stream's events are not sorted by arrival")
	}
	if !slices.IsSortedFunc(fromQueue, func(a, b queue.Event) int { return cmp.Compare(a.Number, b.Number) }) {
		t.Error("the queue's events are not in its order")
	}
	for _, part := range [][]queue.Event{fromStream, fromQueue} {
		place := map[gerritstream.ShardID]queue.Event{}
		for _, e := range part {
			if b, ok := place[e.Entry.Shard]; ok && (e.Entry.Seq.Compare(b.Entry.Seq) < 0 ||
				e.Entry.Seq == b.Entry.Seq && e.Entry.Sub <= b.Entry.Sub) {
				t.Errorf("event %s of %s came after %s", e.Entry.Seq, e.Entry.Shard, b.Entry.Seq)
			}
			place[e.Entry.Shard] = e
		}
	}
}

// What a replay that was broken off did not hand on, one from where it says
// hands on.
func TestResume(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, hasQueue, i := makeWorld(t), rapid.Bool().Draw(t, "queue"), drawInterval(t)
		r, got := run(t, w.config(t, i, hasQueue), rapid.IntRange(1, 20).Draw(t, "most"))
		left := w.want(i, hasQueue)
		var undone *queue.Event
		if n := min(len(got), rapid.IntRange(0, 5).Draw(t, "undone")); n > 0 {
			undone, got = &got[len(got)-n], got[:len(got)-n]
		}
		for _, e := range got {
			delete(left, e.Entry.ID)
		}
		from, err := r.Resume(context.Background(), undone)
		if err != nil {
			t.Fatal(err)
		}
		_, rest := run(t, w.config(t, replay.Interval{From: from, Until: i.Until}, hasQueue), -1)
		for _, e := range rest {
			delete(left, e.Entry.ID)
		}
		if len(left) > 0 {
			t.Errorf("%d events came neither before nor after %v", len(left), from)
		}
	})
}

// What nobody holds is said, and what is there is not.
func TestMissing(t *testing.T) {
	hour := func(n int) time.Time { return created.Add(time.Duration(n) * time.Hour) }
	for _, tt := range []struct {
		name             string
		kept, oldest     time.Time
		expired          int64
		source           bool
		want, fromStream replay.Interval
	}{
		{"all is in the queue", hour(50), hour(20), 0, true, replay.Interval{}, replay.Interval{}},
		{"the stream has what expired", hour(5), hour(20), 9, true, replay.Interval{},
			replay.Interval{From: hour(10), Until: hour(20).Add(gerritstream.ArrivalError)}},
		{"the stream has a part", hour(15), hour(20), 9, true, replay.Interval{From: hour(10), Until: hour(15)},
			replay.Interval{From: hour(15), Until: hour(20).Add(gerritstream.ArrivalError)}},
		{"the stream has nothing of it", hour(30), hour(20), 9, true,
			replay.Interval{From: hour(10), Until: hour(20).Add(gerritstream.ArrivalError)}, replay.Interval{}},
		{"there is no stream", hour(5), hour(20), 9, false,
			replay.Interval{From: hour(10), Until: hour(20).Add(gerritstream.ArrivalError)}, replay.Interval{}},
		{"the queue is empty", hour(15), time.Time{}, 9, true, replay.Interval{From: hour(10), Until: hour(15)},
			replay.Interval{From: hour(15), Until: hour(90)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{now: hour(100), kept: tt.kept, oldest: tt.oldest, expired: tt.expired}
			c := replay.Config{Interval: replay.Interval{From: hour(10), Until: hour(90)}, Queue: w,
				Origin: &gerritstream.Origin{Stream: stream, From: gerritstream.StartingPosition{TrimHorizon: true}}}
			if tt.source {
				c.Source, c.Listing = w, w.listing()
			}
			r, err := replay.New(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			same := func(what string, got, want replay.Interval) {
				if got.IsEmpty() != want.IsEmpty() || !want.IsEmpty() && got != want {
					t.Errorf("%s is %v, want %v", what, got, want)
				}
			}
			same("what is missing", r.Missing, tt.want)
			same("what is read", r.Stream, tt.fromStream)
		})
	}
}

// A fault that lasts ends the replay.
func TestFault(t *testing.T) {
	denied := errors.New("no permission")
	c := replay.Config{
		Interval: replay.Interval{From: created, Until: created.Add(time.Hour)},
		Source:   failing{err: fmt.Errorf("%w: %w: %w", denied, gerritstream.ErrDenied, gerritstream.ErrRetrying)},
		Listing: gerritstream.Listing{Stream: stream, Retention: time.Hour, Now: created.Add(time.Hour),
			Shards: []gerritstream.Shard{{ID: "a"}, {ID: "b"}}},
	}
	r, err := replay.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Events(t.Context()) {
		if !errors.Is(err, denied) {
			t.Errorf("got %v", err)
		}
		return
	}
	t.Error("it ended without an error")
}

// failing is a Source whose reads fail.
type failing struct {
	gerritstream.Source
	err error
}

// Peek implements gerritstream.Source.
func (f failing) Peek(ctx context.Context, _ gerritstream.ShardID, _ gerritstream.Position,
) iter.Seq2[gerritstream.Page, error] {
	return func(yield func(gerritstream.Page, error) bool) {
		for ctx.Err() == nil && yield(gerritstream.Page{}, f.err) {
		}
	}
}

// A shard is read once its parents are done, even where arrival times lie.
func TestChildrenWait(t *testing.T) {
	w := &world{now: created.Add(100 * time.Hour), kept: created, pages: 1}
	w.records = map[gerritstream.ShardID][]record{}
	w.shards = []gerritstream.Shard{
		{ID: "c", Parents: []gerritstream.ShardID{"a", "b"}}, {ID: "b", Last: "9"}, {ID: "a", Last: "9"},
	}
	for i, s := range w.shards {
		for n := range 3 {
			w.records[s.ID] = append(w.records[s.ID], record{
				shard: s.ID, seq: gerritstream.SequenceNumber(strconv.Itoa(1000 + n)), sub: gerritstream.NoSub,
				last: true, arrived: created.Add(time.Duration(i+2*n) * time.Hour), kind: "event",
			})
		}
	}
	r, err := replay.New(t.Context(), replay.Config{
		Interval: replay.Interval{From: created, Until: w.now}, Source: w, Listing: w.listing(), Classify: classify,
		Keep: func(*gerritstream.Event) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	var order string
	for e, err := range r.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		order += string(e.Entry.Shard)
	}
	if order != "bababaccc" {
		t.Errorf("the shards came as %s", order)
	}
}

// A replay that is slower than the stream's retention says what it may have
// missed, and one that is not says nothing.
func TestGone(t *testing.T) {
	for slow, want := range map[time.Duration]bool{0: false, time.Minute: false, time.Hour: true} {
		w := &world{now: created.Add(20 * time.Hour), kept: created, pages: 1, slow: slow}
		w.shards = []gerritstream.Shard{{ID: "a"}}
		for n := range 40 {
			w.records = map[gerritstream.ShardID][]record{"a": append(w.records["a"], record{
				shard: "a", seq: gerritstream.SequenceNumber(strconv.Itoa(1000 + n)), sub: gerritstream.NoSub,
				last: true, arrived: created.Add(time.Duration(n) * 10 * time.Minute), kind: "event",
			})}
		}
		r, err := replay.New(t.Context(), replay.Config{
			Interval: replay.Interval{From: created, Until: created.Add(10 * time.Hour)},
			Source:   w, Listing: w.listing(), Classify: classify,
			Keep: func(*gerritstream.Event) bool { return true },
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range r.Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if gone := r.Counts().Gone; gone.IsEmpty() == want {
			t.Errorf("at a page every %v, what is gone is %v", slow, gone)
		}
	}
}

// A shard that goes after it was listed is said to be gone.
func TestShardGone(t *testing.T) {
	i := replay.Interval{From: created, Until: created.Add(time.Hour)}
	r, err := replay.New(t.Context(), replay.Config{
		Interval: i, Source: failing{err: gerritstream.ErrShardNotFound}, Listing: gerritstream.Listing{
			Stream: stream, Retention: 9 * time.Hour, Now: created.Add(time.Hour),
			Shards: []gerritstream.Shard{{ID: "a"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Events(t.Context()) {
		t.Fatal(err)
	}
	if gone := r.Counts().Gone; !gone.Until.Equal(i.Until) {
		t.Errorf("what is gone is %v", gone)
	}
}

// What was read of the queue and not handed on, because something of the stream
// before it was not, is handed on by the next replay, however early it arrived.
func TestResumeAcrossTheSeam(t *testing.T) {
	hour := func(n int) time.Time { return created.Add(time.Duration(n) * time.Hour) }
	fromStream := record{shard: "a", seq: "1001", sub: gerritstream.NoSub, last: true, arrived: hour(6), kind: "event"}
	w := &world{now: hour(100), kept: hour(5), pages: 1, newest: 2, expired: 1, oldest: hour(10),
		shards: []gerritstream.Shard{{ID: "a"}}, records: map[gerritstream.ShardID][]record{"a": {fromStream}}}
	w.queue = []queue.Event{{Number: 2, Queued: hour(10), Entry: gerritstream.Entry{
		ID: gerritstream.EventID{1}, Shard: "b", Seq: "1", Arrived: hour(2), Event: gerritstream.Event{Type: "event"},
	}}}
	r, err := replay.New(t.Context(), replay.Config{
		Interval: replay.Interval{From: created, Until: hour(20)}, Queue: w, Source: w, Listing: w.listing(),
		Classify: classify, Keep: func(*gerritstream.Event) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []queue.Event
	for e, err := range r.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e); len(got) == 2 {
			break
		}
	}
	if len(got) != 2 || got[0].Number != 0 || got[1].Number != 2 {
		t.Fatalf("got %+v", got)
	}
	if from, err := r.Resume(t.Context(), &got[0]); err != nil || !from.Equal(hour(2)) {
		t.Errorf("it goes on from %v, %v, want %v", from, err, hour(2))
	}
}
