package kinesis

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// refusals are what a service may reply to an iterator of a deleted stream.
var refusals = map[string]kinesistest.Action{
	"invalid": failWith("InvalidArgumentException", "Invalid ShardIterator.", 0),
	"expired": failWith("ExpiredIteratorException", "Iterator expired.", 0),
}

// idle reads from a position until the reading has been at the tip for ten
// minutes, and then calls a function.
func (w *world) idle(from gerritstream.Position, then func()) []pair {
	w.t.Helper()
	if _, err := w.src.List(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	began, done := time.Now(), false
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Minute)
	defer cancel()
	return w.readUntil(ctx, from, func(p pair) bool {
		if p.at.Sub(began) > 10*time.Minute && !done {
			done = true
			then()
		}
		return false
	})
}

// A stream is deleted and recreated under an idle reader, and the old iterator
// is refused. The reader does not go on in the new stream, by time or at its
// trim horizon: it would read events that are read once more when the listing
// shows the new stream.
func TestRecreatedStreamIsNotReadOnByTime(t *testing.T) {
	for refusal, refuse := range refusals {
		for _, empty := range []bool{false, true} {
			inBubble(t, kinesistest.Options{}, 1, slowly, func(t *testing.T, w *world) {
				var want []string
				if !empty {
					w.put("old")
					want = append(want, "old")
				}
				pairs := w.idle(trimHorizon(), func() {
					if _, err := w.src.List(t.Context()); err != nil { // proves nothing about the time after
						t.Fatal(err)
					}
					time.Sleep(20 * time.Second)
					if err := w.srv.DeleteStream("gerrit"); err != nil {
						t.Fatal(err)
					}
					if _, err := w.srv.CreateStream("gerrit", 1); err != nil {
						t.Fatal(err)
					}
					w.put("new")
					w.srv.On(kinesistest.Hook{Operation: "GetRecords", Times: 1, Do: refuse})
				})
				wantData(t, pairs, want...)
				last := pairs[len(pairs)-1].err
				if !errors.Is(last, gerritstream.ErrShardNotFound) || errors.Is(last, gerritstream.ErrRetrying) {
					t.Errorf("%s, empty %v: the last pair has %v", refusal, empty, last)
				}
				w.wantFree()
			})
		}
	}
}

// A description from just before the refusal proves nothing either.
func TestRecreatedStreamIsNotReadOnByAFreshDescription(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, slowly, func(t *testing.T, w *world) {
		w.put("old")
		pairs := w.idle(trimHorizon(), func() {
			w.srv.On(kinesistest.Hook{
				Operation: "GetRecords", Times: 1, Do: func(next kinesistest.Handler) kinesistest.Handler {
					if _, err := w.src.List(t.Context()); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Second)
					err := w.srv.DeleteStream("gerrit")
					if _, again := w.srv.CreateStream("gerrit", 1); err != nil || again != nil {
						t.Error(err, again)
					}
					w.put("new")
					return refusals["expired"](next)
				}})
		})
		wantData(t, pairs, "old")
		if last := pairs[len(pairs)-1].err; !errors.Is(last, gerritstream.ErrShardNotFound) {
			t.Errorf("the last pair has %v", last)
		}
	})
}

// If the stream is the same, the reading goes on after describing it once.
func TestSameStreamIsReadOnByTime(t *testing.T) {
	for refusal, refuse := range refusals {
		inBubble(t, kinesistest.Options{}, 1, slowly, func(t *testing.T, w *world) {
			w.put("old")
			pairs := w.idle(trimHorizon(), func() {
				w.put("new")
				w.srv.On(kinesistest.Hook{Operation: "GetRecords", Times: 1, Do: refuse})
			})
			wantData(t, pairs, "old", "new")
			if n := len(w.sent("DescribeStreamSummary")); n != 2 { // the first by List
				t.Errorf("%s: the stream was described %d times", refusal, n)
			}
		})
	}
}

// A seek that is retried until long after the stream was described has it
// described again; trouble with that is trouble like any other.
func TestLongSeekChecksTheStream(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		if _, err := w.src.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		over := w.fail("GetShardIterator", 0, "InternalFailure", "", 500)
		denied := w.fail("DescribeStreamSummary", 0, "AccessDeniedException", "", 0)
		time.AfterFunc(10*time.Minute, func() {
			if err := w.srv.DeleteStream("gerrit"); err != nil {
				t.Error(err)
			}
			if _, err := w.srv.CreateStream("gerrit", 1); err != nil {
				t.Error(err)
			}
			w.put("new")
			over()
		})
		time.AfterFunc(20*time.Minute, denied)
		pairs := w.read(trimHorizon(), never)
		wantData(t, pairs)
		last := len(pairs) - 1
		wantRetrying(t, errorsOf(pairs[:last]), last)
		if !errors.Is(pairs[last-1].err, gerritstream.ErrDenied) ||
			!errors.Is(pairs[last].err, gerritstream.ErrShardNotFound) {
			t.Errorf("the last pairs have %v and %v", pairs[last-1].err, pairs[last].err)
		}
	})
}

// A stream is deleted and recreated after the last listing, while nobody reads
// it: its leader has died. The next leader has no iterator that could be
// refused, and must not begin in the new stream at the old one's time.
func TestNewReadingChecksTheStream(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		time.Sleep(time.Hour)
		listed, err := w.src.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.srv.DeleteStream("gerrit"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if _, err := w.srv.CreateStream("gerrit", 1); err != nil {
			t.Fatal(err)
		}
		w.put("new")
		from := gerritstream.Position{After: "49590338271490256608559692538361571095921575989136588898",
			Arrived: listed.Now.Add(-time.Hour), CaughtUp: listed.Now}
		pairs := w.readFor(time.Minute, from)
		wantData(t, pairs)
		if last := pairs[len(pairs)-1].err; !errors.Is(last, gerritstream.ErrShardNotFound) {
			t.Errorf("the last pair has %v", last)
		}
	})
}

// Many readings that lose their iterators together share one description of the
// stream, asked for after the last of them lost its own.
func TestReadingsShareADescription(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "DescribeStreamSummary", Do: kinesistest.Delay(time.Second)})
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				time.Sleep(time.Duration(i%2) * time.Second / 2)
				since := time.Now()
				if _, err := w.src.createdSince(t.Context(), since); err != nil {
					t.Error(err)
				}
				if asked, _ := w.src.creation.latest(); asked.Before(since) {
					t.Error("the answer is older than the question")
				}
			})
		}
		group.Wait()
		if n := len(w.sent("DescribeStreamSummary")); n != 2 {
			t.Errorf("the stream was described %d times", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { synctest.Wait(); cancel() }()
		w.src.creation.turn <- struct{}{}
		if _, err := w.src.createdSince(ctx, time.Now()); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
