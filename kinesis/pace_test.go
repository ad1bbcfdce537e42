package kinesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// wantGaps fails unless there are at least so many gaps, each exactly as long
// as wanted.
func wantGaps(t *testing.T, gaps []time.Duration, least int, want time.Duration) {
	t.Helper()
	if len(gaps) < least {
		t.Fatalf("only %d gaps, want %d", len(gaps), least)
	}
	for i, gap := range gaps {
		if gap != want {
			t.Fatalf("gap %d of %d is %s, want %s", i, len(gaps), gap, want)
		}
	}
}

func TestAtTheTipReadsComeEveryPollInterval(t *testing.T) {
	for poll, want := range map[time.Duration]time.Duration{
		0: minGap, 1: minGap, minGap: minGap, 5 * time.Second: 5 * time.Second, time.Minute: time.Minute,
	} {
		t.Run(poll.String(), func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, func(c *Config) { c.PollInterval = poll },
				func(t *testing.T, w *world) {
					w.put("a")
					pairs := w.readFor(10*time.Minute, trimHorizon())
					wantData(t, pairs, "a")
					wantRetrying(t, errorsOf(pairs), 0)
					wantGaps(t, w.gaps("GetRecords"), 9, want)
				})
		})
	}
}

// A reader that has a shard to itself takes all five reads a second that the
// shard grants, over a network where requests take now longer, now less, and is
// never refused.
func TestReaderAloneTakesAllReadsAndIsNeverRefused(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: network})
		const lasts = 10 * time.Minute
		pairs := w.readFor(lasts, trimHorizon())
		// The last one is cancelled.
		if asked, given := len(w.sent("GetRecords")), w.seen("GetRecords OK"); asked-given > 1 {
			t.Errorf("%d of %d requests were refused", asked-given, asked)
		}
		if least := int(lasts / (minGap + 10*time.Millisecond)); len(pairs) < least {
			t.Errorf("%d reads, want %d", len(pairs), least)
		}
	})
}

// The last leader's reads count against the new one's. It gets its first page
// as soon as one of them does not count any more, and goes on at full pace.
func TestReaderThatTakesOverIsNotSlowedByTheLastOnesReads(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.readFor(10*time.Second+minGap/4, trimHorizon())
		began, before := time.Now(), len(w.sent("GetRecords"))
		pairs := w.readFor(time.Minute, trimHorizon())
		wantRetrying(t, errorsOf(pairs), 0)
		if took := pairs[0].at.Sub(began); took == 0 || took > minGap+inheritGap {
			t.Errorf("the first page came after %s", took)
		}
		gaps := w.gaps("GetRecords")[before:]
		wantGaps(t, gaps[int(minGap/inheritGap)+1:], 250, minGap)
	})
}

// Small records count by their number: an earlier read would only be refused.
func TestSmallRecordsAreSpacedByTheShardsRecords(t *testing.T) {
	const records = 25_000
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put(make([]string, records)...)
		began := time.Now()
		pairs := w.read(trimHorizon(), atTip)
		if got := dataOf(pairs); len(got) != records {
			t.Fatalf("got %d records, want %d", len(got), records)
		}
		wantRetrying(t, errorsOf(pairs), 0)
		if took := time.Since(began); took < 12*time.Second || took > 15*time.Second {
			t.Errorf("%d records took %s, want a little more than 12.5s", records, took)
		}
		if asked, given := len(w.sent("GetRecords")), w.seen("GetRecords OK"); asked != given {
			t.Errorf("%d of %d requests were refused", asked-given, asked)
		}
	})
}

// Where a process reads many shards, it reads those that stay silent less and
// less often, to two seconds apart, and all together as often as a hundred. The
// first record wakes a shard.
func TestSilentShardsAreReadLessOftenUntilTheFirstRecord(t *testing.T) {
	for others, slowest := range map[int]time.Duration{
		0: minGap, 99: minGap, 499: time.Second, 999: maxIdle, 9999: maxIdle,
	} {
		t.Run(fmt.Sprint(others), func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
				w.src.tempo.readings.Store(int64(others))
				w.put("a")
				const silent, until = 3 * time.Minute, 10 * time.Minute
				began := time.Now()
				time.AfterFunc(until, func() { w.put("b") })
				pairs := w.readFor(until+5*time.Second, trimHorizon())
				wantData(t, pairs, "a", "b")
				var late, woken []time.Duration
				for i, gap := range w.gaps("GetRecords") {
					switch at := w.sent("GetRecords")[i].at.Sub(began); {
					case at < 6*time.Second && gap != minGap:
						t.Errorf("a gap of %s after %s", gap, at)
					case at > silent && at < until-maxIdle:
						late = append(late, gap)
					case at > until:
						woken = append(woken, gap)
					}
				}
				wantBetween(t, late, slowest-slowest/10, slowest)
				if slowest == minGap {
					wantGaps(t, late, 100, minGap)
				} else {
					wantBeats(t, late)
				}
				wantGaps(t, woken, 12, minGap)
			})
		})
	}
}

// wantBeats checks that reads begin on beats.
func wantBeats(t *testing.T, gaps []time.Duration) {
	t.Helper()
	for _, gap := range gaps {
		if gap%idleBeat != 0 {
			t.Fatalf("a gap of %s is no multiple of %s", gap, idleBeat)
		}
	}
}

// A shard is not silent while the reader lags: it may have records that the
// reader has not reached.
func TestLaggingReaderIsNotSlowedBySilence(t *testing.T) {
	inBubble(t, kinesistest.Options{ScanSpan: time.Minute}, 1, nil, func(t *testing.T, w *world) {
		w.src.tempo.readings.Store(1000)
		time.Sleep(10 * time.Hour)
		w.read(trimHorizon(), atTip)
		wantGaps(t, w.gaps("GetRecords"), 500, catchUpGap)
	})
}

// A reader that has met another one leaves room for a reader once a second, and
// takes all again when none was met for long.
func TestReaderThatMetAnotherLeavesRoom(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
		defer cancel()
		began, refused := time.Now(), 0
		go func() { // once a second for ten minutes
			other := &reading{source: w.src, shard: shard0, cursor: trimHorizon(), limit: maxRecords}
			for sleep(ctx, time.Second) == nil && time.Since(began) < 10*time.Minute {
				p, err := other.next(ctx)
				if err != nil {
					refused++
					continue
				}
				other.advance(p)
				p.release()
			}
		}()
		pairs := w.readUntil(ctx, trimHorizon(), never)
		wantRetrying(t, errorsOf(pairs), 0)
		if ours := w.seen("GetRecords ProvisionedThroughputExceededException") - refused; ours > 10 || refused > 10 {
			t.Errorf("in ten minutes the other was refused %d times, we %d times", refused, ours)
		}
		var at []time.Duration
		for _, p := range pairs {
			at = append(at, p.at.Sub(began))
		}
		gaps := func(from, to time.Duration) (between []time.Duration) {
			for i := range at[1:] {
				if at[i] > from && at[i+1] < to {
					between = append(between, at[i+1]-at[i])
				}
			}
			return between
		}
		wantGaps(t, gaps(22*time.Minute, 25*time.Minute), 800, minGap)
		if n := len(gaps(3*time.Minute, 9*time.Minute)); n < 6*60*35/10 {
			t.Errorf("%d reads beside the other", n)
		}
	})
}

// After a long idle time a reader gets many empty pages before the tip: it
// reads four times a second, however slow the polling at the tip is.
func TestLaggingOnEmptyPagesReadsComeFourTimesASecond(t *testing.T) {
	slow := func(c *Config) { c.PollInterval = 20 * time.Second }
	inBubble(t, kinesistest.Options{ScanSpan: time.Minute}, 1, slow, func(t *testing.T, w *world) {
		time.Sleep(10 * time.Hour)
		w.put("a")
		pairs := w.read(trimHorizon(), func(p pair) bool { return len(p.Records) > 0 })
		wantData(t, pairs, "a")
		if len(pairs) < 500 {
			t.Fatalf("it took %d pages: there was no empty pages", len(pairs))
		}
		wantGaps(t, w.gaps("GetRecords"), 500, 250*time.Millisecond)
	})
}

// A measurement reads a backlog as fast as it can, and still does not spin at
// the tip.
func TestAReaderWithoutPacePausesOnlyAtTheTip(t *testing.T) {
	unpaced := func(c *Config) { c.PollInterval = -1 }
	inBubble(t, kinesistest.Options{NoLimits: true}, 1, unpaced, func(t *testing.T, w *world) {
		var want []string
		for i := range 35 {
			want = append(want, fmt.Sprint(i)+strings.Repeat("x", 1<<20-10))
		}
		w.put(want...)
		pairs := w.readFor(10*time.Second, trimHorizon())
		wantData(t, pairs, want...)
		gaps := w.gaps("GetRecords")
		backlog := slices.IndexFunc(gaps, func(gap time.Duration) bool { return gap > 0 })
		if backlog < 3 {
			t.Fatalf("the gaps are %v: a pause before the tip", gaps)
		}
		wantGaps(t, gaps[backlog:], 30, minGap)
	})
}

// A page of 10 MiB uses up five seconds of the shard's rate. An earlier read
// would only be refused.
func TestLargePagesAreSpacedByTheShardsBytes(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		var want []string
		for i := range 25 {
			want = append(want, fmt.Sprint(i)+strings.Repeat("x", 1<<20-10))
		}
		w.put(want...)
		began := time.Now()
		pairs := w.read(trimHorizon(), atTip)
		if got := dataOf(pairs); len(got) != len(want) {
			t.Fatalf("got %d records, want %d", len(got), len(want))
		}
		wantRetrying(t, errorsOf(pairs), 0)
		if took := time.Since(began); took < 12*time.Second || took > 15*time.Second {
			t.Errorf("25 MiB took %s, want a little more than 12.5s", took)
		}
		if asked, given := len(w.sent("GetRecords")), w.seen("GetRecords OK"); asked != given {
			t.Errorf("%d of %d requests were refused", asked-given, asked)
		}
	})
}

// A throttled reader that has just begun tries again soon, for the last
// leader's reads still count; then within half a second, and then every half
// second to second: never in step with others, never slower. The gap shrinks
// slowly afterwards. Only lasting throttling is trouble.
func TestThrottlingSpacesReadsTowardsASecondAndRelaxesSlowly(t *testing.T) {
	inBubble(t, kinesistest.Options{ScanSpan: time.Second}, 1, nil, func(t *testing.T, w *world) {
		time.Sleep(10 * time.Hour)
		over := w.fail("GetRecords", 0, "ProvisionedThroughputExceededException", "Rate exceeded for shard", 0)
		time.AfterFunc(time.Minute, over)
		began := time.Now()
		pairs := w.readFor(3*time.Minute, trimHorizon())
		errs := errorsOf(pairs)
		wantRetrying(t, errs, len(errs))
		if after := pairs[0].at.Sub(began); len(errs) < 20 || after < sharedPatience ||
			after > sharedPatience+maxShared {
			t.Errorf("%d errors, the first after %s", len(errs), after)
		}
		gaps, refused := w.gaps("GetRecords"), w.seen("GetRecords ProvisionedThroughputExceededException")
		const inherited = int(inheritFor / inheritGap)
		wantGaps(t, gaps[:inherited], inherited, inheritGap)
		gaps, refused = gaps[inherited:], refused-inherited

		wantBetween(t, gaps[:1], minGap, 375*time.Millisecond)
		wantBetween(t, gaps[5:refused], 500*time.Millisecond, time.Second)
		wantJitter(t, gaps[5:refused])

		free := gaps[refused:]
		for i := 1; i < len(free); i++ {
			if free[i] > free[i-1] ||
				1/free[i].Seconds()-1/free[i-1].Seconds() > sharedRelief*free[i-1].Seconds()+0.01 {
				t.Fatalf("gap %d after the throttling went from %s to %s", i, free[i-1], free[i])
			}
		}
		wantBetween(t, free[:1], 900*time.Millisecond, time.Second)
		wantBetween(t, free[10:11], 650*time.Millisecond, 750*time.Millisecond)
		wantBetween(t, free[150:], 250*time.Millisecond, 250*time.Millisecond)
	})
}

// The time counts since the first refusal after the last success: a shard that
// allows a read now and then is no trouble, however long that lasts.
func TestThrottlingWithASuccessNowAndThenIsNoTrouble(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		began := time.Now()
		w.srv.On(kinesistest.Hook{
			Operation: "GetRecords", Do: kinesistest.Fail("ProvisionedThroughputExceededException", "", 0),
			Match: func(*kinesistest.Request) bool { return time.Since(began)%(9*time.Second) > 2*time.Second },
		})
		pairs := w.readFor(30*time.Minute, trimHorizon())
		wantRetrying(t, errorsOf(pairs), 0)
		if len(pairs) < 70 {
			t.Errorf("%d reads", len(pairs))
		}
	})
}

// beside reads the same shard with so many Sources for a while, and returns
// what each of them read.
func (w *world) beside(n int, d time.Duration) (all [][]pair) {
	all = make([][]pair, n)
	var group sync.WaitGroup
	for i := range n {
		src, err := New(w.t.Context(), Config{Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test",
			Transport: w.srv.Transport()})
		if err != nil {
			w.t.Fatal(err)
		}
		other := &world{t: w.t, srv: w.srv, src: src}
		group.Go(func() { all[i] = other.readFor(d, trimHorizon()) })
	}
	group.Wait()
	return all
}

// network delays a request by up to 30 ms, as the internet does: without that,
// the clock of a bubble can keep two readers in step for minutes.
func network(next kinesistest.Handler) kinesistest.Handler {
	return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
		return kinesistest.Delay(rand.N(30*time.Millisecond))(next)(ctx, r)
	}
}

// Together, the readers of one shard ask for more than its five reads a second.
// They settle at equal shares without trouble, and leave little unused.
func TestReadersOfOneShardShareItFairly(t *testing.T) {
	const lasts = 10 * time.Minute
	for readers := 2; readers <= 5; readers++ {
		for _, opts := range []kinesistest.Options{{}, {ScanSpan: time.Second}} { // at the tip, and with a lag
			t.Run(fmt.Sprintf("%d readers, %+v", readers, opts.ScanSpan), func(t *testing.T) {
				inBubble(t, opts, 1, nil, func(t *testing.T, w *world) {
					time.Sleep(opts.ScanSpan * 10_000)
					w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: network})
					put := time.AfterFunc(lasts/2, func() { w.put("a", "b") })
					defer put.Stop()
					all := w.beside(readers, lasts)
					least, most, sum := len(all[0]), len(all[0]), 0
					for _, pairs := range all {
						wantRetrying(t, errorsOf(pairs), 0)
						if opts.ScanSpan == 0 {
							wantData(t, pairs, "a", "b")
						}
						least, most, sum = min(least, len(pairs)), max(most, len(pairs)), sum+len(pairs)
					}
					if least*9 < most*5 {
						t.Errorf("one had %d reads, another %d", least, most)
					}
					if given := int(lasts/time.Second) * 5; sum < given*7/10 {
						t.Errorf("%d reads of %d were used", sum, given)
					}
					asked := len(w.sent("GetRecords"))
					if asked == sum {
						t.Error("nobody was throttled: the test shows nothing")
					}
					t.Logf("%d to %d reads, %d of %d refused", least, most, asked-sum, asked)
					if most := map[int]int{2: 6, 3: 15, 4: 25, 5: 35}[readers]; (asked-sum)*100 > asked*most {
						t.Errorf("%d of %d requests were refused", asked-sum, asked)
					}
				})
			})
		}
	}
}

// A page of 10 MiB uses up five seconds of the shard's rate. A reader that
// knows of others leaves them time between two such pages, for one try each.
func TestLargePagesLeaveOthersTheirTurn(t *testing.T) {
	var p pacer
	for range 10 {
		p.throttled()
	}
	p.began = time.Now()
	p.succeeded(true, 10, 10<<20)
	const paid = 5 * time.Second
	if turn := p.due.Sub(p.began) - paid; turn < 9*maxShared/10 || turn > 3*maxShared/2 {
		t.Errorf("others have %s", turn)
	}
}

// The KCL reads once a second, whatever other readers do. Our readers do not
// shut it out.
func TestReaderOnceASecondIsNotShutOut(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		for range 3 { // one reader's start
			w.put("a")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		kcl, err := New(t.Context(),
			Config{Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test",
				Transport: w.srv.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan [2]int)
		go func() {
			r := &reading{source: kcl, shard: shard0, cursor: trimHorizon(), limit: maxRecords}
			var counts [2]int
			for sleep(ctx, time.Second) == nil {
				if p, err := r.next(ctx); err == nil {
					p.memory.room.Release()
					counts[0]++
				} else {
					counts[1]++
				}
			}
			done <- counts
		}()
		ours := w.beside(2, 5*time.Minute)
		counts := <-done
		t.Logf("the KCL read %d times and was refused %d times; we %d and %d", counts[0], counts[1], len(ours[0]),
			len(ours[1]))
		if counts[1]*5 > counts[0] {
			t.Errorf("it was refused %d times, and read %d times", counts[1], counts[0])
		}
		for _, pairs := range ours {
			wantRetrying(t, errorsOf(pairs), 0)
			if len(pairs) < 300 {
				t.Errorf("%d reads beside it", len(pairs))
			}
		}
	})
}

// Full jitter below a bound that doubles from half a second to thirty: a long
// outage costs a request every fifteen seconds on average, and its end is
// noticed within thirty.
func TestOutageIsRetriedMoreAndMoreSlowlyWithJitter(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		over := w.fail("GetRecords", 0, "InternalFailure", "", 500)
		end := time.Now().Add(30 * time.Minute)
		time.AfterFunc(30*time.Minute, over)
		pairs := w.read(trimHorizon(), func(p pair) bool { return p.err == nil })
		wantData(t, pairs, "a")
		errs := errorsOf(pairs)
		wantRetrying(t, errs, len(errs))
		if late := pairs[len(pairs)-1].at.Sub(end); late > maxFailedBound {
			t.Errorf("went on %s after the end of the outage", late)
		}
		gaps, bound := w.gaps("GetRecords"), firstBound
		for i, gap := range gaps {
			if gap < minGap || gap > bound {
				t.Errorf("gap %d is %s, want %s to %s", i, gap, minGap, bound)
			}
			bound = min(2*bound, maxFailedBound)
		}
		wantJitter(t, gaps[6:])
		if len(gaps) < 60 || len(gaps) > 400 { // about 120
			t.Errorf("%d requests in half an hour", len(gaps))
		}
	})
}

// After a success the next failure counts as the first.
func TestBackOffIsForgottenAfterASuccess(t *testing.T) {
	var p pacer
	for range 20 { // pauses are random
		for range 10 {
			p.failed()
		}
		p.began = time.Now()
		p.succeeded(true, 0, 0)
		p.failed()
		if wait := time.Until(p.due); wait > firstBound {
			t.Fatalf("the first pause after a success is %s", wait)
		}
	}
}

func wantBetween(t *testing.T, gaps []time.Duration, least, most time.Duration) {
	t.Helper()
	for i, gap := range gaps {
		if gap < least || gap > most {
			t.Errorf("gap %d is %s, want %s to %s", i, gap, least, most)
		}
	}
}

func wantJitter(t *testing.T, gaps []time.Duration) {
	t.Helper()
	different := map[time.Duration]bool{}
	for _, gap := range gaps {
		different[gap] = true
	}
	if len(different) < len(gaps)/2 {
		t.Errorf("there is no jitter in %v", gaps)
	}
}
