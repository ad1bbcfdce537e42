package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream/gerrittest"
)

func TestTrafficIsARate(t *testing.T) {
	for text, want := range map[string]traffic{"20/s": 20, "20": 20, "300/m": 5, "7200/h": 2, "0.5/s": 0.5} {
		var got traffic
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "20/d", "x/s", "0", "-1/s", "501/s", "NaN", "Inf/s"} {
		var got traffic
		if err := got.Set(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// TestTrafficKeepsItsPace: what a pause of the stream holds up is caught up.
func TestTrafficKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stream, puts := testProducer(t, 2, gerrittest.New(1, gerrittest.Options{SpreadKeys: true}).Next)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		p.put = func(ctx context.Context, records []gerrittest.Record) ([]putAnswer, error) {
			if len(*puts) == 100 {
				time.Sleep(5 * time.Second)
			}
			return stream.put(ctx, records)
		}
		if err := p.pace(ctx, 20); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := len(*puts); n < 395 || n > 400 {
			t.Errorf("%d events in 20 s at 20/s", n)
		}
	})
}

func TestColumn(t *testing.T) {
	for text, want := range map[string]string{
		"": "     ", "ab": "ab   ", "abcde": "abcde", "abcdef": "abcd…", "äöüßé": "äöüßé",
	} {
		if got := column(text, 5); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
