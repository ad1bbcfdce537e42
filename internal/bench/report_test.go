package bench

import (
	"context"
	"testing"
	"time"
)

// A percentile is the least time that so many do not exceed.
func TestTimesAreDistributed(t *testing.T) {
	var times []time.Duration
	for i := range 200 {
		times = append(times, time.Duration(200-i)*time.Millisecond)
	}
	for n, want := range map[int]Times{
		1: {1, 200, 200, 200, 200}, 2: {2, 199, 200, 200, 200}, 100: {100, 150, 190, 199, 200},
		200: {200, 100, 180, 198, 200},
	} {
		if got := timesOf(times[:n]); *got != want {
			t.Errorf("of %d times: %+v, want %+v", n, *got, want)
		}
	}
	if got := timesOf(nil); got != nil {
		t.Errorf("of none: %+v", got)
	}
}

// The ratio is that of the turns, not of the medians of different turns.
func TestARatioIsOfOneTurn(t *testing.T) {
	rates := map[string][]int{"ours": {100, 100, 100, 10, 1000}, "raw": {100, 400, 400, 40, 100}}
	turn := func(side string) side {
		n := 0
		return func(_ context.Context, _ time.Duration) (sample, error) {
			n++
			return sample{events: rates[side][n-1], took: time.Second}, nil
		}
	}
	b := &bench{report: &Report{}, began: time.Now(), Options: Options{Progress: t.Output(), Ceiling: time.Second}}
	if err := b.compare(t.Context(), "x", "", turn("ours"), turn("raw")); err != nil {
		t.Fatal(err)
	}
	if f := b.report.Figures[0]; f.Ours != 100 || f.Raw != 100 || f.Ratio != 0.25 {
		t.Errorf("%+v", f)
	}
}
