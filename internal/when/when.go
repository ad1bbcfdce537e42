// Package when reads times as people type them.
package when

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Forms is for help texts and errors: what Parse understands.
const Forms = `-24h, -7d, "yesterday 08:00", 2026-11-29, "2026-11-29 08:00", RFC 3339 or Unix seconds`

var (
	spans  = regexp.MustCompile(`^(?:[0-9]+(?:\.[0-9]+)?(?:ms|[smhdw]))+$`)
	span   = regexp.MustCompile(`([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])`)
	digits = regexp.MustCompile(`^@?[0-9]{1,19}$`)
)

var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
	"d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// layouts of days with a time of day, without a zone.
var layouts = []string{
	"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05",
}

// Parse returns the time that a text means at the moment now. What has no zone
// is in now's. Unix times of 12 digits or more are milliseconds.
func Parse(text string, now time.Time) (time.Time, error) {
	t, err := parse(strings.TrimSpace(text), now)
	if err != nil {
		return t, fmt.Errorf("%q is not a time (%w); write %s", text, err, Forms)
	}
	return t, nil
}

var errForm = errors.New("no form that is known")

func parse(text string, now time.Time) (time.Time, error) {
	switch {
	case text == "now":
		return now, nil
	case IsSpan(text):
		return before(text, now)
	case strings.HasSuffix(text, " ago") && IsSpan("-"+strings.TrimSuffix(text, " ago")):
		return before(text, now)
	case digits.MatchString(text):
		return unix(strings.TrimPrefix(text, "@"))
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if day, clock, _ := strings.Cut(text, " "); day == "today" || day == "yesterday" {
		if day == "yesterday" {
			now = now.AddDate(0, 0, -1)
		}
		text = strings.TrimSpace(now.Format("2006-01-02 ") + clock)
	}
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errForm
}

// IsSpan reports whether a text is a time of the form -24h.
func IsSpan(text string) bool {
	rest, ok := strings.CutPrefix(text, "-")
	return ok && spans.MatchString(rest)
}

// before reads a span of time, such as -1d12h.
func before(text string, now time.Time) (time.Time, error) {
	var total float64
	for _, m := range span.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return time.Time{}, err
		}
		total += n * float64(units[m[2]])
	}
	if total > math.MaxInt64/2 {
		return time.Time{}, errors.New("too long ago")
	}
	return now.Add(-time.Duration(total)), nil
}

func unix(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, errors.New("too late")
	}
	if len(text) >= 12 {
		return time.UnixMilli(n), nil
	}
	return time.Unix(n, 0), nil
}

// Format writes a time back as what was understood: to the second, with its
// zone, and how long before or after now it is.
func Format(t, now time.Time) string {
	return t.In(now.Location()).Format("2006-01-02 15:04:05 MST") + " (" + Distance(t, now) + ")"
}

// Distance says in two units at most how far a time is from now: "2d3h ago",
// "in 5m", "now".
func Distance(t, now time.Time) string {
	d := now.Sub(t).Round(time.Second)
	switch {
	case d == 0:
		return "now"
	case d < 0:
		return "in " + Span(max(-d, -(d+1))) // the least duration has no opposite
	}
	return Span(d) + " ago"
}

// Span writes a duration in two units at most: "2d3h", "5m", "0s".
func Span(d time.Duration) string {
	d = d.Round(time.Second)
	var b strings.Builder
	written := 0
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := d / u.size; n > 0 && written < 2 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d %= u.size
			written++
		} else if written > 0 {
			break
		}
	}
	if written == 0 {
		return "0s"
	}
	return b.String()
}
