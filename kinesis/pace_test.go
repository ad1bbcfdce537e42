package kinesis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// wantGaps fails unless there are so many gaps at least, and each is exactly as long as wanted.
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
	for _, poll := range []time.Duration{0, 200 * time.Millisecond, 5 * time.Second, time.Minute} {
		t.Run(poll.String(), func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, func(c *Config) { c.PollInterval = poll }, func(t *testing.T, w *world) {
				w.put("a")
				pairs := w.readFor(10*time.Minute, trimHorizon())
				wantData(t, pairs, "a")
				wantRetrying(t, errorsOf(pairs), 0)
				if poll == 0 {
					poll = DefaultPollInterval
				}
				wantGaps(t, w.gaps("GetRecords"), 9, poll)
			})
		})
	}
}

// A shard that was idle for long is a walk over empty pages, each of them behind: it goes at four reads a second, however
// slow the polling at the tip.
func TestBehindOnEmptyPagesReadsComeFourTimesASecond(t *testing.T) {
	slow := func(c *Config) { c.PollInterval = 20 * time.Second }
	inBubble(t, kinesistest.Options{ScanSpan: time.Minute}, 1, slow, func(t *testing.T, w *world) {
		time.Sleep(10 * time.Hour)
		w.put("a")
		pairs := w.read(trimHorizon(), func(p pair) bool { return len(p.Records) > 0 })
		wantData(t, pairs, "a")
		if len(pairs) < 500 {
			t.Fatalf("it took %d pages: there was nothing to walk over", len(pairs))
		}
		wantGaps(t, w.gaps("GetRecords"), 500, 250*time.Millisecond)
	})
}

// A page of 10 MiB uses up what a shard gives in five seconds. Reading on earlier would only be refused.
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
	})
}

// While it is throttled a reader tries after half a second at most, and then between half a second and a second: never in step with
// others, never slower. What throttling taught is unlearnt slowly.
func TestThrottlingSpacesReadsTowardsASecondAndRelaxesSlowly(t *testing.T) {
	const refused = 30
	inBubble(t, kinesistest.Options{ScanSpan: time.Second}, 1, nil, func(t *testing.T, w *world) {
		time.Sleep(10 * time.Hour)
		w.fail("GetRecords", refused, "ProvisionedThroughputExceededException", "Rate exceeded for shard", 0)
		pairs := w.readFor(2*time.Minute, trimHorizon())
		wantRetrying(t, errorsOf(pairs), refused)
		gaps := w.gaps("GetRecords")

		wantBetween(t, gaps[:1], 250*time.Millisecond, 500*time.Millisecond)
		wantBetween(t, gaps[1:refused], 500*time.Millisecond, time.Second)
		wantJitter(t, gaps[1:refused])

		free := gaps[refused:]
		for i := 1; i < len(free); i++ {
			if slower := free[i] - free[i-1]; slower > 0 || slower < -strainRelief {
				t.Fatalf("gap %d after the throttling went from %s to %s", i, free[i-1], free[i])
			}
		}
		wantBetween(t, free[:1], 900*time.Millisecond, time.Second)
		wantBetween(t, free[10:11], 700*time.Millisecond, 800*time.Millisecond)
		wantBetween(t, free[40:], 250*time.Millisecond, 250*time.Millisecond)
	})
}

// Two readers ask for eight of the five reads a second that the shard gives: neither is shut out, and nothing is lost or read twice.
func TestThrottledByOtherReadersOfTheShard(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		other, err := New(t.Context(), Config{Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test",
			Transport: w.srv.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		second := &world{t: t, srv: w.srv, src: other}
		done := make(chan []pair)
		go func() { done <- second.readFor(time.Minute, trimHorizon()) }()
		stop := time.AfterFunc(20*time.Second, func() { w.put("a", "b") })
		defer stop.Stop()
		mine := w.readFor(time.Minute, trimHorizon())
		theirs := <-done
		wantData(t, mine, "a", "b")
		wantData(t, theirs, "a", "b")
		if len(errorsOf(mine))+len(errorsOf(theirs)) == 0 {
			t.Error("nobody was throttled: the test shows nothing")
		}
		wantRetrying(t, errorsOf(mine), len(errorsOf(mine)))
	})
}

// Full jitter below a bound that doubles from half a second to thirty: a long outage costs a request every fifteen seconds
// on average, and is noticed to be over within thirty.
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

// After a failure is over the next one is met as if it were the first.
func TestBackOffIsForgottenAfterASuccess(t *testing.T) {
	var p pacer
	for range 10 {
		p.failed()
	}
	p.reading()
	p.succeeded(true, 0)
	p.failed()
	if wait := time.Until(p.due); wait > firstBound {
		t.Errorf("the first pause after a success is %s", wait)
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
