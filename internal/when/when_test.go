package when_test

import (
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/when"
)

func TestParse(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 3, 1, 10, 30, 15, 0, zone)
	for text, want := range map[string]string{
		"now":                         "2026-03-01T10:30:15+01:00",
		"-24h":                        "2026-02-28T10:30:15+01:00",
		"-1d12h":                      "2026-02-27T22:30:15+01:00",
		"24h ago":                     "2026-02-28T10:30:15+01:00",
		"-1.5h":                       "2026-03-01T09:00:15+01:00",
		"-2w":                         "2026-02-15T10:30:15+01:00",
		"-1500ms":                     "2026-03-01T10:30:13.5+01:00",
		" today 08:00 ":               "2026-03-01T08:00:00+01:00",
		"yesterday":                   "2026-02-28T00:00:00+01:00",
		"yesterday 08:00":             "2026-02-28T08:00:00+01:00",
		"yesterday 08:00:05":          "2026-02-28T08:00:05+01:00",
		"2026-01-02":                  "2026-01-02T00:00:00+01:00",
		"2026-01-02 03:04":            "2026-01-02T03:04:00+01:00",
		"2026-01-02T03:04:05":         "2026-01-02T03:04:05+01:00",
		"2026-01-02T03:04:05Z":        "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05.6-05:00": "2026-01-02T03:04:05.6-05:00",
		"1767225600":                  "2026-01-01T00:00:00Z",
		"@1767225600":                 "2026-01-01T00:00:00Z",
		"1767225600500":               "2026-01-01T00:00:00.5Z",
		"0":                           "1970-01-01T00:00:00Z",
	} {
		got, err := when.Parse(text, now)
		expected, _ := time.Parse(time.RFC3339Nano, want)
		if err != nil || !got.Equal(expected) {
			t.Errorf("%q is %v, %v, want %v", text, got, err, expected)
		}
	}
	for _, text := range []string{
		"", "24h", "-", "-h", "-24", "-24x", "tomorrow", "yesterday 25:00", "2026-02-30", "08:00", "99999999999999999999",
		"-99999999w", "2026-01-02T03:04:05+99:00", "first",
	} {
		if got, err := when.Parse(text, now); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 400 * time.Millisecond: "0s", time.Second: "1s", 90 * time.Second: "1m30s", time.Hour: "1h",
		time.Hour + time.Second: "1h", 51*time.Hour + 30*time.Minute: "2d3h", 48 * time.Hour: "2d",
	} {
		if got := when.Span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	now := time.Unix(1_000_000, 0).UTC()
	for at, want := range map[time.Duration]string{0: "now", -time.Minute: "1m ago", time.Minute: "in 1m"} {
		if got := when.Distance(now.Add(at), now); got != want {
			t.Errorf("%v is %q, want %q", at, got, want)
		}
	}
	if got := when.Format(now.Add(-time.Minute), now); got != "1970-01-12 13:45:40 UTC (1m ago)" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"-24h", "yesterday 08:00", "2026-01-02", "1767225600", "-1d12h", "now"} {
		f.Add(text)
	}
	now := time.Date(2026, 3, 1, 10, 30, 15, 0, time.UTC)
	f.Fuzz(func(_ *testing.T, text string) {
		if at, err := when.Parse(text, now); err == nil {
			when.Format(at, now)
		}
	})
}

func TestFarTimes(t *testing.T) {
	now := time.Unix(1_000_000, 0).UTC()
	for year, want := range map[int]string{1: "106751d23h ago", 9999: "in 106751d23h"} {
		if got := when.Distance(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), now); got != want {
			t.Errorf("the year %d is %q, want %q", year, got, want)
		}
	}
}
