package admin

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/overview"
	"github.com/gerritstream/gerritstream/internal/peers"
)

var screenshots = flag.String("screenshots", "", "a folder for what the page looks like in each state")

// serveView runs a server with a page until the test ends, or until stop is
// called, and returns its address.
func serveView(t *testing.T, view func() overview.View) (address string, stop func()) {
	t.Helper()
	status := fixed(gerritstream.Status{})
	s, err := New(Options{Address: "127.0.0.1:0", Status: status, Metrics: newMetrics(), View: view})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return "http://" + s.Addr().String() + "/", stop
}

// complaints returns what a tab has asked of others than the server, and what
// it says is wrong.
func complaints(t *testing.T, tab *peers.BrowserTab, address string) (all []string) {
	t.Helper()
	for _, e := range tab.Events() {
		var p struct {
			Request struct{ URL string }
			Entry   struct{ Level, Text, URL string }
		}
		if err := json.Unmarshal(e.Params, &p); err != nil {
			continue
		}
		switch e.Method {
		case "Network.requestWillBeSent":
			if u, err := url.Parse(p.Request.URL); err != nil || !strings.HasPrefix(p.Request.URL, address) {
				all = append(all, fmt.Sprintf("it asks for %v", u))
			}
		case "Log.entryAdded", "Runtime.exceptionThrown":
			all = append(all, string(e.Params))
		}
	}
	return all
}

// In each state, what is wrong is in the window at once, whatever its size and
// colours; nothing is asked of others; and axe finds nothing wrong.
func TestPageInABrowser(t *testing.T) {
	tab := peers.StartChromium(t).Open()
	for _, s := range states {
		if s.unseen {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			v := overview.New(s.input(t))
			address, stop := serveView(t, func() overview.View { return v })
			defer stop()
			for _, colours := range []string{"light", "dark"} {
				for _, size := range sizesOf(&s) {
					look(t, tab, address, lookOptions{s.name, colours, size[0], size[1], &v})
				}
			}
			tab.Call("Page.navigate", map[string]any{"url": "about:blank"})
		})
	}
}

// sizesOf returns the sizes of the windows in which a state is looked at. In
// the largest one lines can hardly break otherwise than in the others.
func sizesOf(s *state) [][2]int {
	sizes := [][2]int{{1280, 800}, {390, 844}}
	if *screenshots != "" || s.shards > 0 {
		sizes = append(sizes, [2]int{3840, 2160})
	}
	return sizes
}

type lookOptions struct {
	name, colours string
	width, height int
	view          *overview.View
}

// look looks at a page once.
func look(t *testing.T, tab *peers.BrowserTab, address string, o lookOptions) {
	t.Helper()
	tab.View(o.width, o.height, o.colours)
	tab.Events()
	tab.Go(address)
	is := fmt.Sprintf("%s at %d, %s", o.name, o.width, o.colours)
	for _, c := range complaints(t, tab, address) {
		t.Errorf("%s: %s", is, c)
	}
	var seen struct {
		Text          string
		Bottom, Right float64
		Wide          bool
	}
	tab.Run(`(() => { const b = document.getElementById("now").getBoundingClientRect();
		return {Text: document.getElementById("sentence").innerText, Bottom: b.bottom, Right: b.right,
			Wide: document.documentElement.scrollWidth > innerWidth} })()`, &seen)
	if !strings.HasSuffix(seen.Text, o.view.Sentence) ||
		seen.Bottom > float64(o.height) || seen.Right > float64(o.width) {
		t.Errorf("%s: the box ends at %v, %v: %q", is, seen.Right, seen.Bottom, seen.Text)
	}
	if seen.Wide {
		t.Errorf("%s: the page is wider than the window", is)
	}
	for _, v := range tab.Violations() {
		t.Errorf("%s: %s", is, v)
	}
	if *screenshots != "" {
		name := fmt.Sprintf("%s-%d-%s.png", o.name, o.width, o.colours)
		if err := os.WriteFile(filepath.Join(*screenshots, name), tab.Screenshot(), 0o600); err != nil {
			t.Error(err)
		}
	}
}

// A page that stands is kept up to date in place: the focus, what is open and
// how far it is scrolled stay. When updates end it says so, and goes on once
// they come again.
func TestPageIsUpdatedInPlace(t *testing.T) {
	var mu sync.Mutex
	at := 0
	answers := []overview.View{}
	for _, name := range []string{"fine", "kinesis-away"} {
		answers = append(answers, stateNamed(t, name))
	}
	address, stop := serveView(t, func() overview.View {
		mu.Lock()
		defer mu.Unlock()
		return answers[at]
	})
	tab := peers.StartChromium(t).Open()
	tab.View(390, 500, "light")
	tab.Go(address)
	tab.Run(`window.mark = document.querySelector("summary"); mark.click(); mark.focus(); scrollTo(0, 700);
		document.querySelector("#part-shards .scroll").scrollLeft = 60`, nil)
	mu.Lock()
	at = 1
	mu.Unlock()
	tab.Until(`document.getElementById("sentence").textContent.includes("77 s behind")`)
	var kept struct {
		Focus, Open, Same bool
		Y, X              float64
		Title             string
		Causes            int
	}
	tab.Run(`({Focus: document.activeElement === mark, Open: mark.parentElement.open, Same: mark.isConnected,
		Y: scrollY, X: document.querySelector("#part-shards .scroll").scrollLeft, Title: document.title,
		Causes: document.querySelectorAll("#now li").length})`, &kept)
	if !kept.Focus || !kept.Open || !kept.Same || kept.Y < 600 || kept.X != 60 {
		t.Errorf("it has not stayed as it was: %+v", kept)
	}
	if kept.Title != "gerrit: trouble: Kinesis away" || kept.Causes != 1 {
		t.Errorf("it is not up to date: %+v", kept)
	}
	tab.Events()
	tab.Run(`window.told = []; (e => new MutationObserver(() => told.push(e.textContent)).observe(
		e, {childList: true, characterData: true, subtree: true}))(document.getElementById("told"))`, nil)
	stop()
	tab.Until(`/^Not updated for [0-9]+ s/.test(document.getElementById("stale").textContent)`)
	tab.Until(`document.getElementById("stale").getBoundingClientRect().top >= 0`)
	tab.Run(`window.first = document.getElementById("stale").textContent`, nil)
	tab.Until(`document.getElementById("stale").textContent !== first`)
	var told []string
	if tab.Run("told", &told); len(told) != 1 || !strings.Contains(told[0], "not updated any more") {
		t.Errorf("a screen reader is told %q", told)
	}
}

// stateNamed returns what the page of a state shows.
func stateNamed(t *testing.T, name string) overview.View {
	t.Helper()
	i := slices.IndexFunc(states, func(s state) bool { return s.name == name })
	return overview.New(states[i].input(t))
}

// The Tab key goes through all that can be used, in the order in which it is
// read; each is in the window then, and looks focused. Enter opens a row.
func TestPageByKeyboard(t *testing.T) {
	v := stateNamed(t, "kinesis-away")
	address, _ := serveView(t, func() overview.View { return v })
	tab := peers.StartChromium(t).Open()
	tab.View(1280, 400, "light")
	tab.Go(address)
	var stops []string
	for {
		tab.Press("Tab")
		var at struct {
			What             string
			Seen, Looks, End bool
		}
		tab.Run(`(() => { const e = document.activeElement, b = e.getBoundingClientRect();
			const label = e.getAttribute("aria-labelledby"), looks = getComputedStyle(e).outlineStyle;
			return {What: (label ? document.getElementById(label) : e).textContent.trim(), End: e === document.body,
				Seen: b.bottom > 0 && b.top < innerHeight, Looks: looks !== "none"} })()`, &at)
		if at.End || len(stops) > 50 {
			break
		}
		stops = append(stops, at.What)
		if !at.Seen || !at.Looks {
			t.Errorf("%q is in the window: %v, looks focused: %v", at.What, at.Seen, at.Looks)
		}
		if at.What == "Shard 1" {
			tab.Press("Enter")
			tab.Until(`document.activeElement.parentElement.open`)
		}
	}
	want := []string{
		"What to do about: Kinesis away", "Shards 4", "Shard 0", "Shard 1", "Shard 2", "Shard 3", "Processes 3",
		"Dead letters", "Last events of all processes, as they last reported", "metrics", "health", "readiness",
	}
	if !slices.Equal(stops, want) {
		t.Errorf("it stops at\n%q, want\n%q", stops, want)
	}
}

// A screen reader is told of one main part, of regions and tables by name, of
// headings without a gap, and of what is wrong, politely.
func TestPageForScreenReaders(t *testing.T) {
	v := stateNamed(t, "records-lost")
	address, _ := serveView(t, func() overview.View { return v })
	tab := peers.StartChromium(t).Open()
	tab.View(1280, 800, "light")
	tab.Go(address)
	count := map[string]int{}
	said := ""
	for _, n := range tab.Accessible() {
		count[n.Role]++
		if slices.Contains([]string{"region", "table", "heading", "link", "columnheader"}, n.Role) &&
			n.Name == "" {
			t.Errorf("a %s has no name", n.Role)
		}
		if n.Role == "heading" && said == "" && count["heading"] == 2 {
			said = n.Name
		}
	}
	if count["main"] != 1 || count["table"] != 5 || count["region"] != 7 || count["status"] != 1 ||
		count["alert"] != 1 {
		t.Errorf("there are %v", count)
	}
	if said != "trouble: "+v.Sentence {
		t.Errorf("the first heading of a part is %q", said)
	}
	var levels []int
	tab.Run(`[...document.querySelectorAll("h1, h2, h3, h4")].map(h => Number(h.nodeName[1]))`, &levels)
	for i := range levels {
		if i == 0 && levels[0] != 1 || i > 0 && (levels[i] == 1 || levels[i] > levels[i-1]+1) {
			t.Errorf("the levels of the headings are %v", levels)
			break
		}
	}
	var live [2]string
	tab.Run(`["heard", "told"].map(id => document.getElementById(id).getAttribute("role"))`, &live)
	if live != [2]string{"status", "alert"} {
		t.Errorf("what is told by itself is %q", live)
	}
}

// Without JavaScript all of it is there, and the browser asks again.
func TestPageWithoutJavaScript(t *testing.T) {
	v := overview.New(states[2].input(t))
	address, _ := serveView(t, func() overview.View { return v })
	tab := peers.StartChromium(t).Open()
	tab.Call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
	tab.View(1280, 800, "light")
	tab.Go(address)
	var text string
	tab.Run(`document.body.innerText + document.querySelector("noscript").innerHTML`, &text)
	for _, want := range []string{v.Sentence, v.Causes[0].Text, "retrying for 74 s", "comment-added", "refresh"} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q", want)
		}
	}
}
