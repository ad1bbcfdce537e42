package kinesis

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// TestKeysAreNotPrinted in any way, also within other values.
func TestKeysAreNotPrinted(t *testing.T) {
	c := Config{Credentials: Credentials{Keys: NewKeys("AKIDhunter2", "hunter2", "zuul.conf [connection gerrit]")}}
	within := struct{ hidden Config }{c}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
		for _, what := range []any{
			c, &c, within, &within, c.Credentials.Keys, &c.Credentials.Keys, []Keys{c.Credentials.Keys}} {
			fmt.Fprintf(&b, verb+"\n", what)
		}
	}
	text, err := json.Marshal(map[string]any{"keys": c.Credentials.Keys})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(text)
	slog.New(slog.NewJSONHandler(&b, nil)).Info(
		"x", "keys", c.Credentials.Keys, "in", map[string]any{"keys": c.Credentials.Keys})
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "c", c, "keys", c.Credentials.Keys)
	for _, secret := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2")} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("%q is printed:\n%s", secret, &b)
		}
	}
	if !strings.Contains(b.String(), "keys=\"zuul.conf [connection gerrit]\"") {
		t.Errorf("where they came from is not printed:\n%s", &b)
	}
}

// TestKeysAreUsed: they sign requests, whatever the environment holds, and
// Describe names where they came from.
func TestKeysAreUsed(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, func(c *Config) {
		c.Credentials.Keys = NewKeys("AKIDOFZUUL", "secret", "zuul.conf [connection gerrit]")
	}, func(t *testing.T, w *world) {
		is, err := w.src.Describe(t.Context())
		if err != nil || is.Credentials != "zuul.conf [connection gerrit]" {
			t.Errorf("credentials from %q, %v", is.Credentials, err)
		}
		signed, err := w.src.credentials.Retrieve(t.Context())
		if err != nil || signed.AccessKeyID != "AKIDOFZUUL" {
			t.Errorf("signed with %q, %v", signed.AccessKeyID, err)
		}
	})
}

func TestKeysAreChecked(t *testing.T) {
	const from = "zuul.conf [connection gerrit]"
	t.Setenv("AWS_ACCESS_KEY_ID", "half") // is ignored if there are Keys
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	tests := []struct {
		name        string
		credentials Credentials
		want        string
	}{
		{"valid", Credentials{Keys: NewKeys("a", "hunter2", from)}, ""},
		{"no secret", Credentials{Keys: NewKeys("hunter2", "", from)},
			"Credentials.Keys: " + from + ": a key needs both an id and a secret"},
		{"no id", Credentials{Keys: NewKeys("", "hunter2", from)},
			"Credentials.Keys: " + from + ": a key needs both an id and a secret"},
		{"two lines", Credentials{Keys: NewKeys("a", "hunter2\nb", from)},
			"Credentials.Keys: " + from + ": a key's id or secret is more than one word"},
		{"besides a file", Credentials{Keys: NewKeys("a", "hunter2", from), File: "f"},
			"Credentials.Keys: a key of " + from + " cannot be combined with files; give only one of the two"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := keyed(tt.credentials)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A key with a way to read it again is read every five minutes, and at once if
// the service refuses it. Failing to read it is a denial, in one line, and ends
// when it can be read again.
func TestKeysAreReadAgain(t *testing.T) {
	const from = "zuul.conf [connection gerrit]"
	var is atomic.Pointer[Keys]
	set := func(k Keys) { is.Store(&k) }
	var broken atomic.Pointer[error]
	read := func() (Keys, error) {
		if err := broken.Load(); err != nil {
			return Keys{}, *err
		}
		return *is.Load(), nil
	}
	set(NewKeys("ID1", "hunter2", from))
	inBubble(t, kinesistest.Options{}, 1,
		func(c *Config) { c.Credentials.Keys = NewKeys("ID1", "hunter2", from).Reread(read) },
		func(t *testing.T, w *world) {
			w.wantKey("ID1", "")
			set(NewKeys("ID2", "hunter2", from))
			time.Sleep(4 * time.Minute)
			w.wantKey("ID1", "")
			time.Sleep(time.Minute + time.Second)
			w.wantKey("ID2", "")

			refused := kinesistest.Hook{Times: 1, Do: kinesistest.Fail("UnrecognizedClientException", "refused", 0)}
			for name, set := range map[string]func(){
				"the file is gone": func() { err := errors.New("it is gone"); broken.Store(&err) },
				"no key":           func() { set(Keys{}) },
				"half a key":       func() { set(NewKeys("hunter2", "", from)) },
			} {
				w.srv.On(refused)
				_, _ = w.src.List(t.Context())
				set()
				_, err := w.src.List(t.Context())
				if !errors.Is(err, gerritstream.ErrDenied) || strings.Contains(err.Error(), "hunter2") ||
					strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v", name, err)
				}
				broken.Store(nil)
				is.Store(new(NewKeys("ID3", "hunter2", from)))
				w.wantKey("ID3", "")
			}
			is.Store(new(NewKeys("ID4", "hunter2", from)))
			w.srv.On(refused)
			_, _ = w.src.List(t.Context())
			w.wantKey("ID4", "")
		})
}
