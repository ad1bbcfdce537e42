package admin

import (
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

//go:embed page.html
var pageText string

// page is the status page. html/template escapes everything it shows.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"age": func(now, t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return now.Sub(t).Round(time.Second).String()
	},
	"when": func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	},
	"join": func(ids []gerritstream.ShardID) string {
		texts := make([]string, len(ids))
		for i, id := range ids {
			texts[i] = string(id)
		}
		return strings.Join(texts, ", ")
	},
}).Parse(pageText))

// servePage answers with the status as a page without scripts or parts from
// elsewhere.
func servePage(w http.ResponseWriter, s *gerritstream.Status, webhooks []hooks.View, version string) {
	var b strings.Builder
	now := time.Now()
	err := page.Execute(&b, struct {
		Status   *gerritstream.Status
		Webhooks []hooks.View
		NotReady []string
		Burst    string // of dead letters; empty: none
		Version  string
		Now      time.Time
	}{s, webhooks, notReady(s), trouble.DeadLetterBurst(s.DeadRate, now), version, now})
	if err != nil {
		plain(w, http.StatusInternalServerError, "cannot make the page: "+err.Error()+"\n")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(b.String())) // the client has gone
}

// notReady returns why a process is not ready, a line for each cause; none: it
// is ready. A process is ready when it has listed the stream and nothing stalls
// the shards it leads. Standing by is ready: the process can take over at any
// moment.
func notReady(s *gerritstream.Status) []string {
	var reasons []string
	if s.Trouble == "" && s.Listed.IsZero() {
		reasons = append(reasons, "the stream has not been listed yet")
	}
	for _, t := range trouble.Of(s) {
		reasons = append(reasons, t.String())
	}
	return reasons
}
