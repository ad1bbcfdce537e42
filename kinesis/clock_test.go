package kinesis

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// All times are the service's, and not later than when a request began, however
// wrong the local clock is and however long the request took.
func TestTimesAreTheServicesWhateverTheLocalClock(t *testing.T) {
	for _, wrong := range []time.Duration{0, -72 * time.Hour, -10 * time.Second, 10 * time.Second, 72 * time.Hour} {
		for _, took := range []time.Duration{0, 700 * time.Millisecond, 7 * time.Second} {
			t.Run(wrong.String()+" wrong, "+took.String()+" long", func(t *testing.T) {
				inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
					w.srv.AdvanceClock(wrong)
					time.Sleep(123 * time.Millisecond)
					w.put("a")
					w.srv.On(kinesistest.Hook{Do: kinesistest.Delay(took)})
					listing, err := w.src.List(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					w.wantTime("the listing", listing.Now, w.sent("DescribeStreamSummary")[0].at.Add(wrong), took)
					pairs := w.read(trimHorizon(), after(4))
					for i, p := range pairs {
						if p.err != nil {
							t.Fatal(p.err)
						}
						w.wantTime("a page", p.Now, w.sent("GetRecords")[i].at.Add(wrong), took)
					}
					wantSkew(t, w, wrong, took)
				})
			})
		}
	}
}

// wantTime fails unless now is before the moment at which the request began by
// the service's clock, and no earlier than necessary.
func (w *world) wantTime(what string, now, began time.Time, took time.Duration) {
	w.t.Helper()
	if now.After(began) || now.Before(began.Add(-took-2*time.Second)) || now.Location() != time.UTC {
		w.t.Errorf("%s has the time %s, and the request began at %s", what, now, began)
	}
}

func wantSkew(t *testing.T, w *world, wrong, took time.Duration) {
	t.Helper()
	if len(w.skews) == 0 {
		t.Error("the observer was not shown the clock's skew")
	}
	for _, skew := range w.skews {
		if diff := (skew - wrong).Abs(); diff > took/2+501*time.Millisecond {
			t.Errorf("the skew is %s, want %s", skew, wrong)
		}
	}
}

// A wrong local clock does not change where a seek begins.
func TestExpiredIteratorIsSoughtByTheServicesTime(t *testing.T) {
	for _, wrong := range []time.Duration{-5 * time.Hour, 5 * time.Hour} {
		inBubble(t, kinesistest.Options{}, 1, slowly, func(t *testing.T, w *world) {
			w.srv.AdvanceClock(wrong)
			began := w.srv.Now()
			from := gerritstream.Position{From: gerritstream.StartingPosition{Time: began}}
			waited := false
			pairs := w.read(from, func(p pair) bool {
				if !waited && time.Since(began.Add(-wrong)) > time.Hour {
					waited = true
					time.Sleep(6 * time.Minute)
					w.put("a")
				}
				return len(p.Records) > 0
			})
			wantData(t, dataPairs(pairs), "a")
			wantRetrying(t, errorsOf(pairs), 0)
			if at := w.lastSeek().time(); at.Before(began.Add(54*time.Minute)) || at.After(began.Add(61*time.Minute)) {
				t.Errorf("sought from %s, %s after the start by the service's clock", at, at.Sub(began))
			}
		})
	}
}

// dataPairs drops pairs without records.
func dataPairs(pairs []pair) (out []pair) {
	for _, p := range pairs {
		if len(p.Records) > 0 {
			out = append(out, p)
		}
	}
	return out
}

// A signature with a wrong time is refused. The SDK learns the right time from
// the refusal.
func TestSignaturesAreRightThoughTheLocalClockIsWrong(t *testing.T) {
	for _, wrong := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
			w.put("a")
			w.srv.AdvanceClock(wrong)
			w.srv.On(kinesistest.Hook{Do: w.checkSignatureTime})
			if _, err := w.src.List(t.Context()); err != nil {
				t.Fatal(err)
			}
			pairs := w.read(trimHorizon(), atTip)
			wantData(t, pairs, "a")
			wantRetrying(t, errorsOf(pairs), 0)
			if n := w.seen("DescribeStreamSummary InvalidSignatureException"); n != 1 {
				t.Errorf("%d requests were refused, want the first one", n)
			}
		})
	}
}

// checkSignatureTime refuses signatures older or newer than five minutes, as
// AWS does.
func (w *world) checkSignatureTime(next kinesistest.Handler) kinesistest.Handler {
	return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
		signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil {
			w.t.Error(err)
		}
		if signed.Sub(w.srv.Now()).Abs() > 5*time.Minute {
			return kinesistest.NewFault(
				&kinesistest.Fault{Code: "InvalidSignatureException", Message: "Signature expired"}), nil
		}
		return next(ctx, r)
	}
}

// dateless is a service whose replies have no Date.
type dateless struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (d *dateless) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(r)
	if err == nil {
		resp.Header.Del("Date")
	}
	return resp, err
}

// A reply without a Date is not used: the local clock does not replace it.
func TestReplyWithoutADateIsTrouble(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, func(c *Config) { c.Transport = &dateless{c.Transport} },
		func(t *testing.T, w *world) {
			w.put("a")
			if _, err := w.src.List(t.Context()); err == nil || !strings.Contains(err.Error(), "has no Date") {
				t.Errorf("got %v", err)
			}
			pairs := w.read(trimHorizon(), after(3))
			wantRetrying(t, errorsOf(pairs), 3)
			wantData(t, pairs)
			w.wantFree()
		})
}
