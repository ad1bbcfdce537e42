package kinesis

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// lastSeek returns the last request for an iterator.
func (w *world) lastSeek() requestInput {
	w.t.Helper()
	all := w.sent("GetShardIterator")
	if len(all) == 0 {
		w.t.Fatal("no iterator was asked for")
	}
	return all[len(all)-1].in
}

func (in requestInput) time() time.Time {
	return time.UnixMilli(int64(math.Round(in.Timestamp * 1000))).UTC()
}

func TestTrimHorizonReadsFromTheOldestRecord(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a", "b")
		wantData(t, w.read(trimHorizon(), atTip), "a", "b")
		if kind := w.lastSeek().ShardIteratorType; kind != "TRIM_HORIZON" {
			t.Errorf("asked for %s", kind)
		}
	})
}

func TestTimeReadsFromTheFirstRecordThen(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		time.Sleep(time.Minute)
		from := gerritstream.Position{From: gerritstream.StartingPosition{Time: time.Now()}}
		w.put("b")
		wantData(t, w.read(from, atTip), "b")
		if in := w.lastSeek(); in.ShardIteratorType != "AT_TIMESTAMP" || !in.time().Equal(from.From.Time) {
			t.Errorf("asked for %s %s, want AT_TIMESTAMP %s", in.ShardIteratorType, in.time(), from.From.Time)
		}
	})
}

func TestPositionAfterARecordReadsFromTheNext(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		seqs := w.put("a", "b", "c")
		from := gerritstream.Position{After: seqs[0], Arrived: time.Now()}
		wantData(t, w.read(from, atTip), "b", "c")
		if in := w.lastSeek(); in.ShardIteratorType != "AFTER_SEQUENCE_NUMBER" ||
			in.StartingSequenceNumber != string(seqs[0]) {
			t.Errorf("asked for %s %s", in.ShardIteratorType, in.StartingSequenceNumber)
		}
	})
}

// A partly handled record is read again as a whole: the caller drops what it
// has.
func TestPartialRecordIsReadAgain(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		seqs := w.put("a", "b", "c")
		from := gerritstream.Position{
			After: seqs[0], Arrived: time.Now(), Partial: &gerritstream.Partial{Seq: seqs[1], Sub: 3}}
		wantData(t, w.read(from, atTip), "b", "c")
	})
}

func TestLongIdleShardResumesFiveMinutesBeforeItWasCaughtUp(t *testing.T) {
	inBubble(t, kinesistest.Options{ScanSpan: time.Minute}, 1, nil, func(t *testing.T, w *world) {
		seqs := w.put("a")
		arrived := time.Now()
		time.Sleep(10 * time.Hour)
		from := gerritstream.Position{After: seqs[0], Arrived: arrived, CaughtUp: time.Now()}
		w.put("b")
		pairs := w.read(from, atTip)
		wantData(t, pairs, "b")
		in := w.lastSeek()
		if want := from.CaughtUp.Add(-5 * time.Minute); in.ShardIteratorType != "AT_TIMESTAMP" ||
			!in.time().Equal(want) {
			t.Errorf("asked for %s %s, want AT_TIMESTAMP %s", in.ShardIteratorType, in.time(), want)
		}
		if len(pairs) > 10 {
			t.Errorf("it took %d reads", len(pairs))
		}
	})
}

// Within five minutes of the record, a time is no shortcut.
func TestShortIdleShardResumesAfterItsRecord(t *testing.T) {
	now := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	for after, want := range map[time.Duration]string{
		-time.Minute: "AFTER_SEQUENCE_NUMBER", 5 * time.Minute: "AFTER_SEQUENCE_NUMBER",
		5*time.Minute + 1: "AT_TIMESTAMP",
	} {
		p := gerritstream.Position{After: "1", Arrived: now, CaughtUp: now.Add(after)}
		if got, ok := seekPointOf(&p); !ok || string(got.kind) != want {
			t.Errorf("caught up %s after the record: got %s, want %s", after, got.kind, want)
		}
	}
}

func TestCaughtUpDoesNotBeginBeforeTheOrigin(t *testing.T) {
	start := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	for after, want := range map[time.Duration]time.Time{
		0: start, time.Minute: start, time.Hour: start.Add(55 * time.Minute)} {
		p := gerritstream.Position{From: gerritstream.StartingPosition{Time: start}, CaughtUp: start.Add(after)}
		if got, ok := seekPointOf(&p); !ok || !got.at.Equal(want) {
			t.Errorf("caught up %s after the start: got %s, want %s", after, got.at, want)
		}
	}
}

func TestFutureTimeIsLoweredToTheServicesClock(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		time.Sleep(time.Minute)
		now := time.Now()
		pairs := w.read(gerritstream.Position{From: gerritstream.StartingPosition{Time: now.Add(time.Hour)}}, atTip)
		wantData(t, pairs)
		wantRetrying(t, errorsOf(pairs), 0)
		if in := w.lastSeek(); in.time().After(now) || in.time().Before(now.Add(-3*time.Second)) {
			t.Errorf("lowered to %s, want just below %s", in.time(), now)
		}
	})
}

// Only a position that the service does not accept is bad, and ends the
// reading.
func TestPositionOfAnotherStreamIsBad(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		seqs := w.put("a")
		if err := w.srv.DeleteStream("gerrit"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := w.srv.CreateStream("gerrit", 1); err != nil {
			t.Fatal(err)
		}
		pairs := w.read(gerritstream.Position{After: seqs[0], Arrived: time.Now()}, never)
		if len(pairs) != 1 || !errors.Is(pairs[0].err, gerritstream.ErrBadPosition) ||
			errors.Is(pairs[0].err, gerritstream.ErrRetrying) {
			t.Fatalf("got %+v, want a bad position", pairs)
		}
	})
}

func TestEmptyPositionIsBad(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		for _, p := range []gerritstream.Position{{}, {Unreadable: errors.New("torn")}} {
			pairs := w.read(p, never)
			if len(pairs) != 1 || !errors.Is(pairs[0].err, gerritstream.ErrBadPosition) {
				t.Errorf("got %+v, want a bad position", pairs)
			}
		}
	})
}

// A time that is always refused is trouble, never a bad position.
func TestRefusedTimeIsNotABadPosition(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		w.fail("GetShardIterator", maxLowered+1, "InvalidArgumentException", "no", 0)
		pairs := w.read(gerritstream.Position{From: gerritstream.StartingPosition{Time: time.Now().Add(-time.Minute)}},
			atTip)
		wantRetrying(t, errorsOf(pairs), 1)
		wantData(t, pairs, "a")
	})
}

func TestPositionAtTheShardsEndComesToTheEnd(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		left, right, err := w.srv.Split("gerrit", string(shard0))
		if err != nil {
			t.Fatal(err)
		}
		listing, err := w.src.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pairs := w.read(gerritstream.Position{After: listing.Shards[0].Last, Arrived: time.Now()}, never)
		last := pairs[len(pairs)-1]
		if !last.End || len(last.Children) != 2 || string(last.Children[0]) != left ||
			string(last.Children[1]) != right {
			t.Errorf("got %+v, want the end with %s and %s", pairs, left, right)
		}
	})
}

func TestUnknownShardIsNotFound(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		n := 0
		for _, err := range w.src.Read(t.Context(), "shardId-000000000099", trimHorizon()) {
			if n++; !errors.Is(err, gerritstream.ErrShardNotFound) || n > 1 {
				t.Fatalf("got %v", err)
			}
		}
	})
}

// An iterator lives for five minutes; a consumer may take longer over a page.
func TestExpiredIteratorIsSoughtFromTheLastRecordYielded(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		seqs := w.put("a", "b")
		pairs := w.read(trimHorizon(), func(p pair) bool {
			if len(p.Records) == 2 {
				time.Sleep(6 * time.Minute)
				w.put("c")
			}
			return atTip(p)
		})
		wantData(t, pairs, "a", "b", "c")
		wantRetrying(t, errorsOf(pairs), 0)
		if in := w.lastSeek(); in.StartingSequenceNumber != string(seqs[1]) {
			t.Errorf("sought from %s, want %s", in.StartingSequenceNumber, seqs[1])
		}
		if n := len(w.sent("GetShardIterator")); n != 2 {
			t.Errorf("%d iterators were asked for, want 2", n)
		}
	})
}

// slowly makes hours pass in fewer reads.
func slowly(c *Config) { c.PollInterval = 5 * time.Second }

// What was known of an idle shard before the iterator expired is a shortcut
// too.
func TestExpiredIteratorOfAnIdleShardIsSoughtFromWhereItWasCaughtUp(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, slowly, func(t *testing.T, w *world) {
		w.put("a")
		began := time.Now()
		waited := false
		w.read(trimHorizon(), func(p pair) bool {
			if p.at.Sub(began) > time.Hour && !waited {
				waited = true
				time.Sleep(6 * time.Minute)
				return false
			}
			return waited
		})
		in := w.lastSeek()
		if in.ShardIteratorType != "AT_TIMESTAMP" || in.time().Before(began.Add(50*time.Minute)) {
			t.Errorf("sought %s %s", in.ShardIteratorType, in.time())
		}
	})
}

func TestEndedContextIsTheLastPair(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var last error
		for _, err := range w.src.Read(ctx, shard0, trimHorizon()) {
			if last != nil {
				t.Error("a pair came after the last one")
			}
			last = err
		}
		if !errors.Is(last, context.DeadlineExceeded) || errors.Is(last, gerritstream.ErrRetrying) {
			t.Errorf("the last pair has %v", last)
		}
		w.wantFree()
	})
}
