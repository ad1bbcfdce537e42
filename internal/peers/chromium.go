package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

const chromiumCommand = "/usr/bin/chromium"

// Chromium is Debian's chromium, without a window.
var Chromium = Component{"chromium", apt + "chromium fonts-dejavu-core", missingFile(chromiumCommand)}

// Browser is a running Chromium that is driven over its DevTools protocol, by
// way of pipes: it opens no port. One goroutine uses it.
type Browser struct {
	tb      testing.TB
	in      *os.File
	answers chan json.RawMessage // closed once it is gone
	last    int
}

// BrowserTab is a tab of a Browser.
type BrowserTab struct {
	browser *Browser
	session string
	events  []BrowserEvent
}

// BrowserEvent is what a tab reports by itself.
type BrowserEvent struct {
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	Session string          `json:"sessionId"`
}

// browserPatience is how long an answer may take.
const browserPatience = 60 * time.Second

// StartChromium starts a browser. The test's end kills it.
func StartChromium(tb testing.TB) *Browser {
	tb.Helper()
	Require(tb, Chromium)
	theirIn, in, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	home := tb.TempDir()
	cmd := exec.CommandContext(ctx, chromiumCommand, "--headless=new", "--remote-debugging-pipe", "--no-sandbox",
		"--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
		"--user-data-dir="+home, "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // its descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start chromium: %v", err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &Browser{tb: tb, in: in, answers: make(chan json.RawMessage, 1024)}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(b.answers)
		for r := bufio.NewReader(out); ; {
			message, err := r.ReadBytes(0)
			if err != nil {
				return
			}
			select {
			case b.answers <- message[:len(message)-1]:
			case <-ctx.Done():
				return
			}
		}
	})
	tb.Cleanup(func() {
		_, _ = in.WriteString(`{"id":0,"method":"Browser.close"}` + "\x00") // it may be gone
		gone := time.AfterFunc(5*time.Second, cancel)
		_ = cmd.Wait() // however it ends
		gone.Stop()
		cancel()
		in.Close()
		out.Close()
		reading.Wait()
	})
	return b
}

// call calls a method and returns its result.
func (b *Browser) call(tab *BrowserTab, method string, params any) json.RawMessage {
	b.tb.Helper()
	b.last++
	id := b.last
	request := map[string]any{"id": id, "method": method, "params": params}
	if tab != nil {
		request["sessionId"] = tab.session
	}
	text, err := json.Marshal(request)
	if err != nil {
		b.tb.Fatal(err)
	}
	if _, err := b.in.Write(append(text, 0)); err != nil {
		b.tb.Fatalf("ask chromium: %v", err)
	}
	deadline := time.After(browserPatience)
	for {
		select {
		case message, ok := <-b.answers:
			if !ok {
				b.tb.Fatalf("chromium ended before it answered %s", method)
			}
			var answer struct {
				ID     int             `json:"id"`
				Result json.RawMessage `json:"result"`
				Error  json.RawMessage `json:"error"`
				BrowserEvent
			}
			if err := json.Unmarshal(message, &answer); err != nil {
				b.tb.Fatal(err)
			}
			switch {
			case answer.ID == id && answer.Error != nil:
				b.tb.Fatalf("%s: %s", method, answer.Error)
			case answer.ID == id:
				return answer.Result
			case tab != nil && answer.Session == tab.session:
				tab.events = append(tab.events, answer.BrowserEvent)
			}
		case <-deadline:
			b.tb.Fatalf("chromium did not answer %s", method)
		}
	}
}

// Open opens a tab.
func (b *Browser) Open() *BrowserTab {
	b.tb.Helper()
	var target struct{ TargetID string }
	b.decode(b.call(nil, "Target.createTarget", map[string]any{"url": "about:blank"}), &target)
	var attached struct{ SessionID string }
	b.decode(b.call(nil, "Target.attachToTarget", map[string]any{
		"targetId": target.TargetID, "flatten": true,
	}), &attached)
	tab := &BrowserTab{browser: b, session: attached.SessionID}
	for _, domain := range []string{"Page", "Runtime", "Network", "Log"} {
		tab.Call(domain+".enable", nil)
	}
	return tab
}

func (b *Browser) decode(result json.RawMessage, into any) {
	b.tb.Helper()
	if err := json.Unmarshal(result, into); err != nil {
		b.tb.Fatalf("%v: %s", err, result)
	}
}

// Call calls a method of the protocol in the tab.
func (t *BrowserTab) Call(method string, params map[string]any) json.RawMessage {
	t.browser.tb.Helper()
	if params == nil {
		params = map[string]any{}
	}
	return t.browser.call(t, method, params)
}

// View sets the size of the window and the colours that its user prefers,
// "light" or "dark".
func (t *BrowserTab) View(width, height int, colours string) {
	t.browser.tb.Helper()
	t.Call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
	})
	t.Call("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": colours}},
	})
}

// Go goes to an address and waits for the page to be loaded.
func (t *BrowserTab) Go(address string) {
	t.browser.tb.Helper()
	t.Call("Page.navigate", map[string]any{"url": address})
	t.Until(fmt.Sprintf("document.readyState === 'complete' && location.href.startsWith(%q)", address))
}

// Run evaluates JavaScript, waits for the promise if that is what it returns,
// and decodes the value.
func (t *BrowserTab) Run(script string, into any) {
	t.browser.tb.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	t.browser.decode(t.Call("Runtime.evaluate", map[string]any{
		"expression": script, "awaitPromise": true, "returnByValue": true,
	}), &answer)
	if answer.ExceptionDetails != nil {
		t.browser.tb.Fatalf("%.200s: %s", script, answer.ExceptionDetails)
	}
	if into != nil {
		t.browser.decode(answer.Result.Value, into)
	}
}

// Press presses a key, as a user does: "Tab" or "Enter".
func (t *BrowserTab) Press(key string) {
	t.browser.tb.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13}
	text := map[string]string{"Enter": "\r"}[key]
	for _, kind := range []string{"keyDown", "keyUp"} {
		t.Call("Input.dispatchKeyEvent", map[string]any{
			"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": codes[key], "text": text,
		})
	}
}

// Named is what assistive technology is told of a part of the page.
type Named struct{ Role, Name string }

// Accessible returns what assistive technology is told of the page, in its
// order.
func (t *BrowserTab) Accessible() (all []Named) {
	t.browser.tb.Helper()
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name struct{ Value string }
		}
	}
	t.browser.decode(t.Call("Accessibility.getFullAXTree", nil), &tree)
	for i := range tree.Nodes {
		if n := &tree.Nodes[i]; !n.Ignored {
			all = append(all, Named{n.Role.Value, n.Name.Value})
		}
	}
	return all
}

// Until waits for a condition in JavaScript.
func (t *BrowserTab) Until(condition string) {
	t.browser.tb.Helper()
	deadline := time.Now().Add(browserPatience)
	for holds := false; !holds; {
		t.Run("Boolean("+condition+")", &holds)
		if !holds && time.Now().After(deadline) {
			t.browser.tb.Fatalf("waited in vain until %s", condition)
		}
		if !holds {
			<-time.After(20 * time.Millisecond)
		}
	}
}

// Events returns what the tab has reported since the last call.
func (t *BrowserTab) Events() []BrowserEvent {
	events := t.events
	t.events = nil
	return events
}

// Screenshot returns what is in the window as a PNG.
func (t *BrowserTab) Screenshot() []byte {
	t.browser.tb.Helper()
	var answer struct{ Data []byte }
	t.browser.decode(t.Call("Page.captureScreenshot", map[string]any{"format": "png"}), &answer)
	return answer.Data
}

// Axe is axe-core, which finds what keeps people with disabilities from using a
// page.
var Axe = Component{"axe-core", "npm ci --prefix internal/peers/npm", func() error { _, err := axeText(); return err }}

func axeText() ([]byte, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(root + "/internal/peers/npm/node_modules/axe-core/axe.min.js")
}

// Violations runs axe-core and returns what it finds, a line each. It needs
// [Axe].
func (t *BrowserTab) Violations() (found []string) {
	t.browser.tb.Helper()
	Require(t.browser.tb, Axe)
	text, err := axeText()
	if err != nil {
		t.browser.tb.Fatal(err)
	}
	t.Run(string(text)+";0", nil)
	t.Run(`axe.run({resultTypes: ["violations"]}).then(r => r.violations.map(v =>
		v.id + ": " + v.help + ": " +
			v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + " " + n.failureSummary).join("; ")))`, &found)
	return found
}
