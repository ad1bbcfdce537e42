package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gerritstream/gerritstream"
)

// Of the servers and schemas that there may be, some are refused.
func TestServersThatAreRefused(t *testing.T) {
	good := server{number: oldestServer, encoding: "UTF8", schema: true, tables: 9, marked: true, version: 1}
	if err := good.check("s"); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*server){
		"version 13 or later": func(s *server) { s.number = 120022 },
		"encoding is EUC_JP":  func(s *server) { s.encoding = "EUC_JP" },
		"another program":     func(s *server) { s.marked = false },
		"knows up to":         func(s *server) { s.version = len(migrations) + 1 },
	} {
		s := good
		change(&s)
		err := s.check("s")
		if err == nil || !strings.Contains(err.Error(), name) ||
			!errors.Is(err, gerritstream.ErrUnusable) && !errors.Is(err, gerritstream.ErrNewerFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the library says in several lines is one, and each attempt counts once.
func TestErrorsAreOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"no:\n\ta: refused\n\ta: refused":      "no: a: refused",
		"no:\n\tresolving: unknown\n\tunknown": "no: resolving: unknown",
		"no:\n\ta: no TLS\n\ta: no such role":  "no: a: no TLS; a: no such role",
	} {
		if got := (oneLine{errors.New(text)}).Error(); got != want {
			t.Errorf("%q is not %q", got, want)
		}
	}
}

// PgBouncer refuses with one code what servers have several for.
func TestWhatAPoolerRefuses(t *testing.T) {
	for message, want := range map[string]error{
		"no such database: x":                                 gerritstream.ErrUnusable,
		"no such user":                                        gerritstream.ErrDenied,
		"SASL authentication failed":                          gerritstream.ErrDenied,
		"password authentication failed":                      gerritstream.ErrDenied,
		"no more connections allowed (max_client_conn)":       nil,
		"server login failed: FATAL the database is starting": nil,
	} {
		err := explainConnect(&pgconn.PgError{Severity: "FATAL", Code: "08P01", Message: message}, false)
		if errors.Is(err, gerritstream.ErrUnusable) != (want == gerritstream.ErrUnusable) ||
			errors.Is(err, gerritstream.ErrDenied) != (want == gerritstream.ErrDenied) {
			t.Errorf("%s: %v", message, err)
		}
	}
}
