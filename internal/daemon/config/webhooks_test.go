package config

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// secretFile writes a file with a secret, and returns its path and the secret.
func secretFile(t *testing.T, mode os.FileMode) (path, secret string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	secret = "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	if err := os.WriteFile(path, []byte(secret+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path, secret
}

// loadWebhooks loads a file with a SQLite store and these webhooks.
func loadWebhooks(t *testing.T, webhooks string) (Config, error) {
	t.Helper()
	file := write(t, "stream: gerrit\naws: {region: us-west-2}\nstore: sqlite:g.db\nwebhooks:\n"+webhooks)
	return Load(Sources{Environ: home, File: file})
}

func TestWebhooks(t *testing.T) {
	secret, text := secretFile(t, 0o640)
	c, err := loadWebhooks(t, `
  - name: jenkins
    url: https://user:pw@jenkins.example.org/hook?token=sesame
    secret_file: `+secret+`
    format: cloudevents
    filter: {types: [change-merged, "ref-*"], projects: [a], refs: [refs/heads/main]}
    order: project
    concurrency: 8
    timeout: 10s
    give_up_after: 1d
  - {name: chat, url: "http://127.0.0.1:8080", allow_private: true}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []webhook.Hook{{
		Name: "jenkins", URL: "https://user:pw@jenkins.example.org/hook?token=sesame", Format: webhook.CloudEvents,
		Filter: queue.Filter{
			Types: []string{"change-merged", "ref-*"}, Projects: []string{"a"}, Refs: []string{"refs/heads/main"},
		},
		Order: webhook.ByProject, Concurrency: 8, Timeout: 10 * time.Second, GiveUpAfter: 24 * time.Hour,
	}, webhook.Hook{Name: "chat", URL: "http://127.0.0.1:8080", AllowPrivate: true}.WithDefaults()}
	for i := range want {
		if w, ok := c.Webhook(want[i].Name); !ok || !reflect.DeepEqual(w.Hook, want[i]) {
			t.Errorf("got  %#v\nwant %#v", w, want[i])
		}
	}
	parsed, err := webhook.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	if secrets, err := c.Webhooks[0].ReadSecrets(); err != nil || len(secrets) != 1 || secrets[0] != parsed {
		t.Errorf("secrets: %d, %v", len(secrets), err)
	}
	if secrets, err := c.Webhooks[1].ReadSecrets(); err != nil || len(secrets) != 0 {
		t.Errorf("secrets of a webhook without: %d, %v", len(secrets), err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", &c)
	if out := log.String(); !strings.Contains(out, "webhooks.jenkins=https://jenkins.example.org") ||
		strings.Contains(out, "sesame") || strings.Contains(out, "pw") || strings.Contains(out, "whsec") {
		t.Errorf("the configuration is logged as %s", out)
	}
}

// TestWebhookFaults: each mistake is one line that says where and what, and
// repeats no secret.
func TestWebhookFaults(t *testing.T) {
	readable, _ := secretFile(t, 0o644)
	sound, secret := secretFile(t, 0o600)
	bad := write(t, "whsec_sesame")
	if err := os.Chmod(bad, 0o600); err != nil {
		t.Fatal(err)
	}
	const url = "url: https://h.example/sesame"
	tests := []struct{ name, hooks, want string }{
		{"no list", "  name: x", ":5:7: webhooks: expected a list of webhooks, each with name and url"},
		{"no entry", "  - x", ":5:5: webhooks[0]: expected keys and values here"},
		{"nothing in it", "  - name: a", ":5:9: webhooks[0].url: is missing"},
		{"no name", "  - " + url, ":5:8: webhooks[0].name: the name of a webhook is empty"},
		{"bad name", "  - {name: A b, " + url + "}", `:5:12: webhooks[0].name: webhook "A b": a name has lower-case letters`},
		{"twice", "  - {name: a, " + url + "}\n  - {name: a, " + url + "}",
			`:6:12: webhooks[1].name: "a" is the name of another webhook`},
		{"unknown key", "  - {name: a, " + url + ", secrets: x}", `webhooks[0]: unknown key "secrets"`},
		{"unknown filter", "  - {name: a, " + url + ", filter: {type: x}}",
			`webhooks[0]: unknown key "filter.type"; did you mean "types"?`},
		{"scheme", "  - {name: a, url: 'ftp://sesame'}", "webhooks[0].url: does not begin with https://"},
		{"in the clear", "  - {name: a, url: 'http://sesame.example'}", "webhooks[0].url: http sends events in the clear"},
		{"loopback", "  - {name: a, url: 'https://127.0.0.1/sesame'}",
			"webhooks[0].url: 127.0.0.1 is no public address; allow_private permits it"},
		{"private", "  - {name: a, url: 'https://[fd00::1]:8443/sesame'}", "webhooks[0].url: fd00::1 is no public address"},
		{"localhost", "  - {name: a, url: 'https://localhost/sesame'}", "webhooks[0].url: localhost is no public address"},
		{"format", "  - {name: a, " + url + ", format: cloudevent}",
			`webhooks[0].format: "cloudevent" is not one of raw, cloudevents, cloudevents-binary; did you mean "cloudevents"?`},
		{"order", "  - {name: a, " + url + ", order: branch}",
			`webhooks[0].order: "branch" is not one of change, project, shard, none`},
		{"concurrency", "  - {name: a, " + url + ", concurrency: 0}", "webhooks[0].concurrency: 0 is below the minimum of 1"},
		{"timeout", "  - {name: a, " + url + ", timeout: 1ms}", "webhooks[0].timeout: 1ms is below the minimum of 1s"},
		{"give up", "  - {name: a, " + url + ", give_up_after: soon}", `webhooks[0].give_up_after: "soon" is not a duration`},
		{"filter", "  - name: a\n    " + url + "\n    filter:\n      refs: [ok, '^(']",
			`:8:18: webhooks[0].filter.refs: "^(": `},
		{"allowed", "  - {name: a, " + url + ", allow_private: maybe}", `webhooks[0].allow_private: "maybe" is not one of`},
		{"both", "  - {name: a, " + url + ", secret_file: " + sound + ", secret_files: [" + sound + "]}",
			"webhooks[0].secret_file: given beside secret_files"},
		{"missing file", "  - {name: a, " + url + ", secret_file: missing}",
			"webhooks[0].secret_file: secret file missing: no such file or directory"},
		{"folder", "  - {name: a, " + url + ", secret_files: [/]}",
			"webhooks[0].secret_files: secret file /: it is not a regular file"},
		{"others may read", "  - {name: a, " + url + ", secret_file: " + readable + "}",
			"mode 0644 gives every user of this host access to it; run: chmod o= " + readable},
		{"no secret", "  - {name: a, " + url + ", secret_file: " + bad + "}", "line 1: what follows whsec_ is not base64"},
		{"section", "  - {name: a, " + url + "}\nwebhook: []", `unknown key "webhook"; did you mean "webhooks"?`},
		{"nested", "  - {name: a, " + url + ", webhooks: []}", `webhooks[0]: unknown key "webhooks"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := loadWebhooks(t, test.hooks)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got  %v\nwant %s", err, test.want)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "sesame") ||
				strings.Contains(err.Error(), secret) {
				t.Errorf("more than one line, or a secret: %v", err)
			}
		})
	}
}

// TestWebhooksWithoutSecrets: a command that needs only the store does not read
// the files of secrets, which its user may not be allowed to.
func TestWebhooksWithoutSecrets(t *testing.T) {
	file := write(t, "store: sqlite:g.db\nwebhooks: [{name: a, url: https://h.example, secret_file: missing}]")
	if _, err := Load(Sources{Environ: home, File: file, StoreOnly: true}); err != nil {
		t.Error(err)
	}
}

// TestWebhooksNeedAQueue of their own: Zuul takes the events from the one in
// ZooKeeper.
func TestWebhooksNeedAQueue(t *testing.T) {
	file := write(t, "stream: gerrit\naws: {region: us-west-2}\nstore: zookeeper://zk:2181\n"+
		"webhooks: [{name: a, url: https://h.example}]")
	_, err := Load(Sources{Environ: home, File: file})
	const want = ":4:12: webhooks: given, but the store is zookeeper://zk:2181, whose queue Zuul consumes; webhooks " +
		"need a queue of their own: run another process on the stream with them and --store sqlite:PATH"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

// TestWebhooksHash: processes agree in which webhooks there are and in what
// becomes of an event, and not in pace or secrets.
func TestWebhooksHash(t *testing.T) {
	hooks := func(change func(a *Webhook)) Config {
		c := agreed()
		c.Webhooks = []Webhook{{Hook: webhook.Hook{Name: "a"}}, {Hook: webhook.Hook{Name: "b"}}}
		change(&c.Webhooks[0])
		return c
	}
	base := hooks(func(*Webhook) {})
	for _, test := range []struct {
		name   string
		change func(a *Webhook)
		agrees bool
	}{
		{"nothing", func(*Webhook) {}, true},
		{"concurrency", func(a *Webhook) { a.Hook.Concurrency = 9 }, true},
		{"timeout", func(a *Webhook) { a.Hook.Timeout = time.Hour }, true},
		{"secrets", func(a *Webhook) { a.SecretFiles = []string{"x"} }, true},
		{"name", func(a *Webhook) { a.Hook.Name = "x" }, false},
		{"receiver", func(a *Webhook) { a.Hook.URL = "x" }, false},
		{"path", func(a *Webhook) { a.Hook.URL = "https://h/x" }, false},
		{"format", func(a *Webhook) { a.Hook.Format = webhook.Raw }, false},
		{"order", func(a *Webhook) { a.Hook.Order = webhook.ByShard }, false},
		{"giving up", func(a *Webhook) { a.Hook.GiveUpAfter = time.Hour }, false},
		{"filter", func(a *Webhook) { a.Hook.Filter.Types = []string{"x"} }, false},
	} {
		if c := hooks(test.change); (c.Hash() == base.Hash()) != test.agrees {
			t.Errorf("%s: %s against %s", test.name, c.Hash(), base.Hash())
		}
	}
	other := base
	other.Webhooks = []Webhook{base.Webhooks[1], base.Webhooks[0]}
	if other.Hash() != base.Hash() {
		t.Error("their order makes a difference")
	}
	if none := agreed(); none.Hash() == base.Hash() {
		t.Error("whether there are any makes no difference")
	}
}
