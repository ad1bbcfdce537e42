package main

import (
	"errors"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// TestLoggedValuesAreReadable in each format, whatever their type.
func TestLoggedValuesAreReadable(t *testing.T) {
	var none error
	for name, c := range map[string]struct {
		value      any
		json, text string
	}{
		"duration":       {10 * time.Second, `"is":"10s"`, "is=10s"},
		"no duration":    {time.Duration(0), `"is":"0s"`, "is=0s"},
		"file mode":      {fs.FileMode(0o640), `"is":"0640"`, "is=0640"},
		"no error":       {none, `"msg":"m"}`, "msg=m\n"},
		"error":          {errors.New("broken"), `"is":"broken"`, "is=broken"},
		"prints itself":  {net.IPv4(127, 0, 0, 1), `"is":"127.0.0.1"`, "is=127.0.0.1"},
		"of a type":      {time.March, `"is":"March"`, "is=March"},
		"a pointer":      {&url.URL{Host: "h"}, `"is":"//h"`, "is=//h"},
		"to nothing":     {(*url.URL)(nil), `"is":null`, "is=<nil>"},
		"a time":         {time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC), `"is":"2026-01-31T08:00:00Z"`, "is=2026-01-31T08:00:00.000Z"},
		"several values": {[]string{"a", "b"}, `"is":["a","b"]`, `is="[a b]"`},
	} {
		for format, want := range map[string]string{config.LogJSON: c.json, config.LogText: c.text} {
			var out strings.Builder
			newLogger(process{stderr: &out}, config.Log{Format: format}).Info("m", "is", c.value)
			if got := out.String(); !strings.Contains(got, want) {
				t.Errorf("%s in %s: got %q, want %q", name, format, got, want)
			}
		}
	}
}
