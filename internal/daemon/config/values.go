package config

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
)

// unit is a unit of bytes.
type unit struct {
	name  string
	bytes int64
}

// units are those that sizes are written in, the largest of a kind first.
var units = []unit{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// parseSize reads a number of bytes: "256MiB", "1.5GB", "4096".
func parseSize(v string) (int64, error) {
	digits := strings.TrimRight(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	name := v[len(digits):]
	factor := int64(1)
	if name != "" {
		i := slices.IndexFunc(units, func(u unit) bool { return strings.EqualFold(u.name, name) })
		if i < 0 {
			return 0, fmt.Errorf("%q is not a size: %q is none of KiB, MiB, GiB, KB, MB, GB", v, name)
		}
		factor = units[i].bytes
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil || n < 0 || math.IsNaN(n) || n*float64(factor) >= math.MaxInt64 {
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

// parseDuration reads a length of time as Go writes it, and whole days:
// "250ms", "1h30m", "7d".
func parseDuration(v string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(v, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
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
	const day = 24 * time.Hour
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
	t, err := time.Parse(time.RFC3339, v)
	if err != nil || t.Year() < 2000 {
		return gerritstream.StartingPosition{}, fmt.Errorf("%q is neither latest, trim-horizon nor a time such as 2026-01-31T08:00:00Z%s",
			v, didYouMean(v, []string{"latest", "trim-horizon"}))
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

// each returns the errors that err joins, and those that they join.
func each(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, each(err)...)
	}
	return all
}

// levels are the log levels, the lowest first.
var levels = []string{"debug", "info", "warn", "error"}

func parseLevel(v string) (level slog.Level, err error) {
	if err := oneOf(v, levels); err != nil {
		return level, err
	}
	return level, level.UnmarshalText([]byte(v))
}

// oneOf checks that v is one of the words.
func oneOf(v string, words []string) error {
	if slices.Contains(words, v) {
		return nil
	}
	if len(words) == 1 {
		return fmt.Errorf("%q is not known; there is only %s", v, words[0])
	}
	return fmt.Errorf("%q is not one of %s%s", v, strings.Join(words, ", "), didYouMean(v, words))
}

// connectionRule: the name is part of paths, in a file system and in ZooKeeper.
var connectionRule = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

func checkConnection(v string) error {
	if !connectionRule.MatchString(v) {
		return fmt.Errorf("%q is not a connection's name: letters, digits and ._- only, at most 128, not beginning with a dot or dash", v)
	}
	return nil
}

// hostNameRule: a name without scheme, port, path and wildcard.
var hostNameRule = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// checkHostName refuses what is compared with no Host header: requests for such
// a name would be refused for ever, and nothing would say why.
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
