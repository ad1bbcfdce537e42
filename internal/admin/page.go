package admin

import (
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

//go:embed page.html
var pageText string

// page is the status page. Everything it shows is escaped by html/template.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"age":  age,
	"when": when,
	"join": join,
}).Parse(pageText))

// age says how long ago something was, or nothing if it never was.
func age(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return now.Sub(t).Round(time.Second).String()
}

// when writes a time as UTC, or nothing if there is none.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func join(ids []gerritstream.ShardID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = string(id)
	}
	return strings.Join(texts, ", ")
}

// servePage answers with the status as a page without scripts or parts from
// elsewhere.
func servePage(w http.ResponseWriter, s *gerritstream.Status, version string) {
	var b strings.Builder
	err := page.Execute(&b, struct {
		*gerritstream.Status
		NotReady []string
		Burst    string // of dead letters; empty: none
		Version  string
		Now      time.Time
	}{s, notReady(s), trouble.DeadLetterBurst(s.DeadRate, time.Now()), version, time.Now()})
	if err != nil {
		plain(w, http.StatusInternalServerError, "the page cannot be made: "+err.Error()+"\n")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(b.String())) // whoever asked has gone
}
