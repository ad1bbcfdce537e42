package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// The levels of the journal, as it reads them at the beginning of a line:
// sd-daemon(3).
const (
	journalError = "<3>"
	journalWarn  = "<4>"
	journalInfo  = "<6>"
	journalDebug = "<7>"
)

// journal tells whether an output is the journal of systemd, which says in
// JOURNAL_STREAM what file that is.
func journal(output any, environ []string) bool {
	for _, variable := range environ {
		if file, ok := strings.CutPrefix(variable, "JOURNAL_STREAM="); ok {
			f, ok := output.(interface{ Fd() uintptr })
			return ok && file != "" && file == fileID(f.Fd())
		}
	}
	return false
}

// journalHandler writes text for the journal: without the time, which the
// journal keeps itself, and with the level in front, so that `journalctl -p
// warning` finds it.
type journalHandler struct {
	text slog.Handler
	out  *journalWriter
}

// journalWriter is shared by handlers that come from one another.
type journalWriter struct {
	mu    sync.Mutex
	w     io.Writer
	level string // under mu: of the line that is being written
}

func newJournalHandler(w io.Writer, options slog.HandlerOptions) slog.Handler {
	out := &journalWriter{w: w}
	rest := options.ReplaceAttr
	options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return rest(groups, a)
	}
	return journalHandler{text: slog.NewTextHandler(out, &options), out: out}
}

// Write writes a line of the text handler, which calls it under mu.
func (o *journalWriter) Write(line []byte) (int, error) {
	if _, err := o.w.Write(append([]byte(o.level), line...)); err != nil {
		return 0, fmt.Errorf("write to the journal: %w", err)
	}
	return len(line), nil
}

// Enabled implements slog.Handler.
func (h journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.text.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	switch {
	case r.Level >= slog.LevelError:
		h.out.level = journalError
	case r.Level >= slog.LevelWarn:
		h.out.level = journalWarn
	case r.Level >= slog.LevelInfo:
		h.out.level = journalInfo
	default:
		h.out.level = journalDebug
	}
	return h.text.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journalHandler{text: h.text.WithAttrs(attrs), out: h.out}
}

// WithGroup implements slog.Handler.
func (h journalHandler) WithGroup(name string) slog.Handler {
	return journalHandler{text: h.text.WithGroup(name), out: h.out}
}
