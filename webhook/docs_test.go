package webhook_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/webhook"
)

// example returns the code in a language that docs/webhooks.md shows.
func example(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "webhooks.md"))
	must(t, err)
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(page)
	if found == nil {
		t.Fatalf("there is no example in %s", language)
	}
	return string(found[1])
}

// What the documentation shows for verifying a signature accepts a request, and
// no other body.
func TestDocumentedVerification(t *testing.T) {
	var headers map[string][]string
	var body []byte
	bubble(t, func(t *testing.T) {
		p := newPlace(t)
		e := event(1, 1)
		if a := p.sender(t, hook(t)).Send(t.Context(), &e, false); a.Outcome != webhook.Delivered {
			t.Fatal(a.Err)
		}
		d := p.Deliveries()[0]
		headers, body = d.Header, d.Body
	})
	of := func(name string) string { return headers[name][0] }
	file := filepath.Join(t.TempDir(), "body")
	environment := append(os.Environ(), "SECRET="+oldKey, "BODY="+file, "ID="+of("Webhook-Id"),
		"TIMESTAMP="+of("Webhook-Timestamp"), "SIGNATURE="+of("Webhook-Signature"))
	python := example(t, "python") + `
import os
time.time = lambda: int(os.environ["TIMESTAMP"]) + 1
headers = {"webhook-id": os.environ["ID"], "webhook-timestamp": os.environ["TIMESTAMP"],
    "webhook-signature": os.environ["SIGNATURE"]}
raise SystemExit(0 if verify(os.environ["SECRET"], headers, open(os.environ["BODY"], "rb").read()) else 1)
`
	for name, command := range map[string][]string{
		"python3": {"python3", "-c", python}, "openssl": {"sh", "-c", example(t, "sh")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(name); err != nil {
				t.Skip(name + " is not installed")
			}
			for content, want := range map[string]int{string(body): 0, strings.ToUpper(string(body)): 1} {
				must(t, os.WriteFile(file, []byte(content), 0o600))
				cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
				cmd.Env = environment
				out, _ := cmd.CombinedOutput() // its exit code counts
				if got := cmd.ProcessState.ExitCode(); got != want {
					t.Errorf("exit code %d, want %d: %s", got, want, out)
				}
			}
		})
	}
}
