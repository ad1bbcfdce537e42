package admin

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

//go:embed page
var pageFiles embed.FS

// runbook is where the sections lie that tell what to do.
const runbook = "https://github.com/gerritstream/gerritstream/blob/main/docs/runbook.md"

// What a page shows, and how often.
const (
	updateEvery = 2 * time.Second
	maxUpdates  = 16               // pages that are kept up to date at once
	manyShards  = 50               // are shown at first, the worst of them
	oldStore    = 30 * time.Second // since the store was read, which is so every ten while somebody looks
)

// policy lets the page use its own files, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pages shows the view of the group. Several goroutines may use it.
type pages struct {
	view     func() overview.View
	stopping <-chan struct{} // closed when the server stops
	updates  atomic.Int32    // pages that are kept up to date

	mu   sync.Mutex
	made [2]madePage // under mu: with the worst shards, and with all of them
}

// madePage is a page that was made a moment ago, for those who ask soon.
type madePage struct {
	at          time.Time
	whole, main []byte
}

// pageData is what the template shows.
type pageData struct {
	View     overview.View
	Title    string
	Mark     string
	Shards   []overview.Shard // of View, those that are shown
	More     int              // the rest
	Bad      bool             // some of the rest are not fine
	StoreOld bool             // the store was not read lately
	Main     template.HTML    // once it is made
}

// Age writes for how long something has been so.
func (d *pageData) Age(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return overview.Span(max(0, d.View.From.Now.Sub(t)).Truncate(time.Second))
}

// Ago writes when something was.
func (d *pageData) Ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return d.Age(t) + " ago"
}

func newPageData(v overview.View, all bool) pageData {
	d := pageData{
		View: v, Title: cmp.Or(v.Setup.Connection, "gerritstream") + ": " + v.Short(), Shards: v.Shards,
		Mark:     [...]string{overview.Fine: "✓", overview.Warning: "!", overview.Trouble: "✗"}[v.Level],
		StoreOld: v.From.Now.Sub(v.From.Inspected) > oldStore}
	if len(d.Shards) > manyShards && !all {
		d.Bad = d.Shards[manyShards].Level != overview.Fine // the worst of the rest
		d.Shards, d.More = d.Shards[:manyShards], len(d.Shards)-manyShards
	}
	return d
}

// render returns the page as of now, or as of a moment ago.
func (p *pages) render(all bool) (madePage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := &p.made[0]
	if all {
		slot = &p.made[1]
	}
	if time.Since(slot.at) < updateEvery/2 {
		return *slot, nil
	}
	v := p.view()
	data := newPageData(v, all)
	var whole, main bytes.Buffer
	err := pageTemplate.ExecuteTemplate(&main, "main", &data)
	if err == nil {
		data.Main = template.HTML(main.String()) //nolint:gosec // the template has escaped it
		err = pageTemplate.Execute(&whole, &data)
	}
	if err != nil {
		return madePage{}, fmt.Errorf("make the page: %w", err)
	}
	*slot = madePage{time.Now(), whole.Bytes(), main.Bytes()}
	return *slot, nil
}

// serve answers with the page.
func (p *pages) serve(w http.ResponseWriter, r *http.Request) {
	made, err := p.render(showsAll(r))
	if err != nil {
		plain(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	protect(w.Header(), "text/html; charset=utf-8")
	_, _ = w.Write(made.whole) // the client has gone
}

func showsAll(r *http.Request) bool { return r.URL.Query().Get("shards") == "all" }

// protect sets the headers of everything that a browser shows.
func protect(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// serveUpdates sends the page's main part every now and then, as server-sent
// events, until the client goes or the server stops.
func (p *pages) serveUpdates(w http.ResponseWriter, r *http.Request) {
	if p.updates.Add(1) > maxUpdates {
		p.updates.Add(-1)
		w.Header().Set("Retry-After", "10")
		plain(w, http.StatusServiceUnavailable, "too many pages are kept up to date already\n")
		return
	}
	defer p.updates.Add(-1)
	protect(w.Header(), "text/event-stream")
	ticker := time.NewTicker(updateEvery)
	defer ticker.Stop()
	for {
		if p.update(r.Context(), w, showsAll(r)) != nil {
			return // the client has gone
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		case <-p.stopping:
			return
		}
	}
}

// update sends the page's main part once.
func (p *pages) update(ctx context.Context, w http.ResponseWriter, all bool) error {
	made, err := p.render(all)
	if err != nil {
		return err
	}
	response := http.NewResponseController(w)
	_ = response.SetWriteDeadline(time.Now().Add(totalTimeout)) // a test's recorder has none
	var message bytes.Buffer
	for line := range bytes.Lines(made.main) {
		message.WriteString("data: ")
		message.Write(bytes.TrimRight(line, "\r\n"))
		message.WriteByte('\n')
	}
	message.WriteByte('\n')
	if _, err := w.Write(message.Bytes()); err != nil {
		return err
	}
	if err := response.Flush(); err != nil {
		return err
	}
	return ctx.Err()
}

// serveFile returns what answers with a file of the page.
func serveFile(name, contentType string) http.HandlerFunc {
	text, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		protect(w.Header(), contentType)
		_, _ = w.Write(text) // the client has gone
	}
}

// serveIcon returns what answers with the icon of a level.
func serveIcon(color string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		protect(w.Header(), "image/svg+xml")
		fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">`+
			`<circle cx="8" cy="8" r="7" fill="%s"/></svg>`, color)
	}
}

// icons are the colours of the levels in a tab.
func icons() map[overview.Level]string {
	return map[overview.Level]string{overview.Fine: "#1a9850", overview.Warning: "#e0a000", overview.Trouble: "#d02030"}
}

// pageTemplate makes the page. html/template escapes everything it shows.
var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"clock":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"span":    overview.Span,
	"number":  overview.Number,
	"runbook": func(section string) string { return runbook + "#" + section },
	"spark":   func(past []float64, limit float64) template.HTML { return sparkline(past, limit, "tile", 120) },
	"small":   func(past []float64) template.HTML { return sparkline(past, 0, "small", 60) },
}).ParseFS(pageFiles, "page/page.html"))

// sparkline draws the last hour, so many points wide: each is the greatest of
// its part. Where nothing is known the line is interrupted. All of it is
// numbers, so nothing needs escaping.
func sparkline(past []float64, limit float64, class string, points int) template.HTML {
	top := max(limit, 0)
	for _, v := range past {
		top = max(top, v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="%s" viewBox="0 0 %d 20" preserveAspectRatio="none" aria-hidden="true">`, class, points)
	if limit > 0 {
		fmt.Fprintf(&b, `<path class="limit" d="M0 %s H%d"/>`, place(limit, top), points)
	}
	b.WriteString(`<path d="`)
	per := overview.Length / points
	drawn := false
	for i := range points {
		from := len(past) - (points-i)*per
		v := overview.Unknown
		for _, p := range past[max(from, 0):max(from+per, 0)] {
			v = max(v, p)
		}
		if v < 0 || math.IsNaN(v) {
			drawn = false
			continue
		}
		command := "L"
		if !drawn {
			command = "M"
		}
		fmt.Fprintf(&b, "%s%d %s", command, i, place(v, top))
		if !drawn {
			b.WriteString("h.5") // a point alone shows, too
		}
		drawn = true
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers only
}

// place returns how far from above a value is drawn.
func place(v, top float64) string {
	if top <= 0 {
		return "19"
	}
	return fmt.Sprintf("%.1f", 19-18*v/top)
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
