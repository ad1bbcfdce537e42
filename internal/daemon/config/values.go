package config

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/when"
)

// of is a value that a pair of functions reads and writes.
func of[T any](at *T, parse func(string) (T, error), show func(T) string) value {
	return value{
		set: func(v string) error {
			parsed, err := parse(v)
			if err == nil {
				*at = parsed
			}
			return err
		},
		show: func() string { return show(*at) },
	}
}

// bounded is a value between two bounds. A high bound of zero is none.
func bounded[T int | int64 | time.Duration](
	at *T, parse func(string) (T, error), show func(T) string, low, high T,
) value {
	bounds := of(at, func(v string) (T, error) {
		n, err := parse(v)
		switch {
		case err != nil:
		case n < low:
			err = fmt.Errorf("%s is below the minimum of %s", v, show(low))
		case high != 0 && n > high:
			err = fmt.Errorf("%s is above the maximum of %s", v, show(high))
		}
		return n, err
	}, show)
	if bounds.allowed = show(low) + " to " + show(high); high == 0 {
		bounds.allowed = "at least " + show(low)
	}
	switch any(low).(type) {
	case time.Duration:
		bounds.form.kind = aDuration
	case int64:
		bounds.form = form{kind: aSize, low: int64(low)}
	case int:
		bounds.form = form{kind: anInteger, low: int64(low), high: int64(high)}
	}
	return bounds
}

func duration(at *time.Duration, low, high time.Duration) value {
	return bounded(at, parseDuration, formatDuration, low, high)
}

// text is a text that obeys a rule; nil: any, or one whose rule package kinesis
// knows (see checkKinesis).
func text(at *string, rule func(string) error) value {
	return of(at, func(v string) (string, error) {
		if rule == nil {
			return v, nil
		}
		return v, rule(v)
	}, redactURL)
}

// choice is one of a few words.
func choice[T ~string](at *T, choices ...T) value {
	words := make([]string, len(choices))
	for i, c := range choices {
		words[i] = string(c)
	}
	v := of(at, func(v string) (T, error) { return T(v), oneOf(v, words) }, func(v T) string { return string(v) })
	v.words = words
	return v
}

func level(at *slog.Level) value {
	words := []string{"debug", "info", "warn", "error"}
	v := of(at, func(v string) (level slog.Level, err error) {
		if err := oneOf(v, words); err != nil {
			return level, err
		}
		return level, level.UnmarshalText([]byte(v))
	}, func(l slog.Level) string { return strings.ToLower(l.String()) })
	v.words = words
	return v
}

func boolean(at *bool) value {
	v := of(at, func(v string) (bool, error) {
		v = strings.ToLower(v) // YAML has True and TRUE as well
		return v == "true", oneOf(v, []string{"true", "false"})
	}, strconv.FormatBool)
	v.flag = true
	return v
}

// list is several texts: any that obey a rule, or a few words.
func list(at *[]string, rule func(string) error, words ...string) value {
	return value{
		set: func(v string) error {
			*at = append(*at, v) // also a wrong one: faults are found by its index
			switch {
			case words != nil:
				return oneOf(v, words)
			case rule != nil:
				return rule(v)
			}
			return nil
		},
		show:  func() string { return strings.Join(*at, ",") },
		list:  at,
		words: words,
	}
}

// units are those that sizes are written in, the largest of a kind first.
var units = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// sizes is what a size looks like: its number and its unit.
var sizes = regexp.MustCompile(sizePattern)

// parseSize reads a number of bytes: "256MiB", "1.5GB", "4096".
func parseSize(v string) (int64, error) {
	digits := strings.TrimRight(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	name, factor := v[len(digits):], int64(0)
	for _, u := range units {
		if strings.EqualFold(u.name, name) || name == "" && u.name == "B" {
			factor = u.bytes
		}
	}
	if factor == 0 {
		return 0, fmt.Errorf("%q is not a size: %q is none of KiB, MiB, GiB, KB, MB, GB", v, name)
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil || !sizes.MatchString(v) || n*float64(factor) >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size such as 256MiB", v)
	}
	return int64(n * float64(factor)), nil
}

// formatSize writes a number of bytes in the largest binary unit that divides
// it.
func formatSize(n int64) string {
	for _, u := range units[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

const day = 24 * time.Hour

// parseDuration reads a duration as Go writes it, or whole days: "250ms",
// "1h30m", "7d".
func parseDuration(v string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(v, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * day, nil
		}
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 250ms, 90s or 7d", v)
	}
	return d, nil
}

// formatDuration writes a duration as parseDuration reads it: "7d", "1m".
func formatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func parseInt(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", v)
	}
	return n, nil
}

func parseStartAt(v string) (gerritstream.StartingPosition, error) {
	switch v {
	case "latest":
		return gerritstream.StartingPosition{}, nil
	case "trim-horizon":
		return gerritstream.StartingPosition{TrimHorizon: true}, nil
	}
	t, err := when.Parse(v, time.Now())
	if err != nil || t.Year() < 2000 {
		near := didYouMean(v, []string{"latest", "trim-horizon"})
		return gerritstream.StartingPosition{}, fmt.Errorf(
			"%q is not latest, trim-horizon or a time (-24h, 2026-01-31T08:00:00Z)%s", v, near)
	}
	return gerritstream.StartingPosition{Time: t}, nil
}

func formatStartAt(s gerritstream.StartingPosition) string {
	switch {
	case s.TrimHorizon:
		return "trim-horizon"
	case s.Time.IsZero():
		return "latest"
	}
	return s.Time.Format(time.RFC3339Nano)
}

// orList joins words: "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// oneOf checks that v is one of the words.
func oneOf(v string, words []string) error {
	switch {
	case slices.Contains(words, v):
		return nil
	case len(words) == 1:
		return fmt.Errorf("%q is unknown; there is only %s", v, words[0])
	}
	return fmt.Errorf("%q is not one of %s%s", v, strings.Join(words, ", "), didYouMean(v, words))
}

// connectionRule: the name is part of paths, in a file system and in ZooKeeper.
var connectionRule = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

func checkConnection(v string) error {
	if !connectionRule.MatchString(v) {
		return fmt.Errorf("%q is not a connection's name: at most 128 letters, digits and ._-; no dot or dash first", v)
	}
	return nil
}

// hostNameRule: a name without scheme, port, path and wildcard.
var hostNameRule = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// checkHostName refuses what no Host header can match.
func checkHostName(v string) error {
	if _, err := netip.ParseAddr(v); err != nil && !hostNameRule.MatchString(v) {
		return fmt.Errorf("%q is not the name of a host, such as events.ci.svc", redactURL(v))
	}
	return nil
}

func checkAdmin(v string) error {
	if v == AdminOff {
		return nil
	}
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is not an address such as 127.0.0.1:9419, nor off", redactURL(v))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port between 0 and 65535", v)
	}
	return nil
}

const socketPrefix = "unix:"

// maxSocketPath is what Linux takes: 108 bytes with the one that ends the path.
const maxSocketPath = 107

func checkSocket(v string) error {
	path, ok := strings.CutPrefix(v, socketPrefix)
	switch {
	case !ok || path == "":
		return fmt.Errorf("%q is not a socket such as unix:/run/gerritstream/gerrit.sock", redactURL(v))
	case strings.HasPrefix(path, "@") || strings.ContainsRune(path, 0):
		return fmt.Errorf("%q is not the path of a file", path)
	case len(path) > maxSocketPath:
		return fmt.Errorf("the path of the socket has %d bytes; the system takes %d", len(path), maxSocketPath)
	}
	return nil
}

// keywordPassword is a password in a list of keywords and values, which libpq
// takes as well as URLs.
var keywordPassword = regexp.MustCompile(`(?i)(password\s*=\s*)('[^']*'?|\S+)`)

// redactURL returns a URL without its user name and password. It also removes
// what stands before an "@" in a text that url.Parse does not take for a URL
// with a user ("u:password@host").
func redactURL(raw string) string {
	raw = keywordPassword.ReplaceAllString(raw, "${1}"+masked)
	u, err := url.Parse(raw)
	switch at := strings.LastIndexByte(raw, '@'); {
	case err == nil && u.User != nil:
		u.User = url.User("xxxxx")
		return u.String()
	case at >= 0 && (err != nil || strings.Contains(u.Opaque, "@")):
		return "xxxxx" + raw[at:]
	}
	return raw
}
