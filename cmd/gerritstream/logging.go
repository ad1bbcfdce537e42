package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"reflect"

	"github.com/mattn/go-isatty"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// newLogger returns the logger that the configuration asks for.
func newLogger(p process, c config.Log) *slog.Logger {
	options := slog.HandlerOptions{Level: c.Level, ReplaceAttr: readable}
	switch auto := c.Format == config.LogAuto; {
	case auto && journal(p.stderr, p.environ):
		return slog.New(newJournalHandler(p.stderr, options))
	case c.Format == config.LogText || auto && isTerminal(p.stderr):
		return slog.New(slog.NewTextHandler(p.stderr, &options))
	default:
		return slog.New(slog.NewJSONHandler(p.stderr, &options))
	}
}

// readable writes values for people, in JSON as in text: durations as "10s",
// file modes in octal, Stringers as their String, and no attribute for nil.
func readable(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindDuration:
		return slog.String(a.Key, a.Value.Duration().String())
	case slog.KindAny:
	default:
		return a
	}
	switch v := a.Value.Any().(type) {
	case nil:
		return slog.Attr{}
	case fs.FileMode:
		return slog.String(a.Key, fmt.Sprintf("%#o", uint32(v)))
	case error, json.Marshaler, encoding.TextMarshaler: // slog knows these
		return a
	case fmt.Stringer:
		if p := reflect.ValueOf(v); p.Kind() != reflect.Pointer || !p.IsNil() {
			return slog.String(a.Key, v.String())
		}
	}
	return a
}

// isTerminal reports whether an input or output is a terminal.
func isTerminal(end any) bool {
	f, ok := end.(interface{ Fd() uintptr })
	return ok && isatty.IsTerminal(f.Fd())
}
