package overview

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
)

// Short returns a shard's ID as people say it: "shardId-000000000007" is "7".
func Short(id gerritstream.ShardID) string {
	digits, ok := strings.CutPrefix(string(id), "shardId-")
	if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil {
		return strconv.FormatUint(n, 10)
	}
	return string(id)
}

// Span writes a duration in two units at most: "0.4 s", "22 s", "23 h 59 min",
// "6 d 4 h".
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Span(-max(d, -math.MaxInt64))
	case d < 9950*time.Millisecond:
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", d.Round(time.Second)/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h%s", d/time.Hour, unless(0, d%time.Hour/time.Minute, " %d min"))
	}
	return fmt.Sprintf("%d d%s", d/(24*time.Hour), unless(0, d%(24*time.Hour)/time.Hour, " %d h"))
}

// unless formats a number, unless it is not worth it.
func unless(not, n time.Duration, format string) string {
	if n == not {
		return ""
	}
	return fmt.Sprintf(format, n)
}

// Number writes a number for people: three digits that count, and thousands
// apart.
func Number(f float64) string {
	switch {
	case f < 0:
		return "-" + Number(-f)
	case f == 0:
		return "0"
	case f < 0.01:
		return "< 0.01"
	case f < 9.95:
		return strconv.FormatFloat(f, 'f', decimals(f), 64)
	}
	digits := strconv.FormatFloat(math.Round(f), 'f', 0, 64)
	for i := len(digits) - 3; i > 0 && len(digits) > 4; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

func decimals(f float64) int {
	switch {
	case f == math.Trunc(f):
		return 0
	case f < 0.095:
		return 2
	}
	return 1
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if strings.HasSuffix(thing, "s") {
		return Number(float64(n)) + " " + thing + "es"
	}
	return Number(float64(n)) + " " + thing + "s"
}

// verb returns the form of a verb after plural: "read" is "reads" for one.
func verb(n int, form string) string {
	if n != 1 {
		return form
	}
	if form == "are" {
		return "is"
	}
	return form + "s"
}

// sentenceCase begins a text with a capital letter.
func sentenceCase(text string) string {
	r, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(r)) + text[size:]
}

// clock writes a time of the last day, in UTC.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }
