package webhook

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

// URL is where a receiver listens. Its user, path and query may be secrets:
// however it is printed, only the scheme and the host are.
type URL string

// String returns the scheme and the host.
func (u URL) String() string {
	parsed, err := url.Parse(string(u))
	if err != nil || parsed.Host == "" {
		return redacted
	}
	return parsed.Scheme + "://" + parsed.Host
}

// Format prints what String returns, whatever the verb.
func (u URL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// LogValue returns what String returns.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText returns what String returns.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
