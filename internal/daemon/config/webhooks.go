package config

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// Webhook is one entry of the list webhooks of a configuration file. The table
// of its settings explains each value.
type Webhook struct {
	Hook        webhook.Hook // without its secrets
	SecretFiles []string

	index  int                // in the list
	at     Place              // of the entry
	places map[string][]Place // where the values came from, by key
}

// webhooksKey is the key of the list.
const webhooksKey = "webhooks"

// WebhookSettings returns the table of a webhook's settings, in the order in
// which a person reads about them. Their keys are those of an entry of the
// list; they have no flags and no variables.
func WebhookSettings() []Setting { return webhookSettings(new(Webhook)) }

func webhookSettings(w *Webhook) []Setting {
	h := &w.Hook
	defaults := webhook.Hook{}.WithDefaults()
	return []Setting{
		{Key: "name", value: text(&h.Name, nil),
			Help: "`name` of the webhook, in commands, metrics and logs",
			More: "Required. The name has a place in the queue: under another name it begins anew."},
		{Key: "url", value: of(&h.URL, func(v string) (webhook.URL, error) { return webhook.URL(v), nil },
			webhook.URL.String),
			Help: "`URL` that events are posted to",
			More: "Required. It begins with https://, or with `allow_private` also with http://. Only its scheme and " +
				"host are ever shown: the rest may hold a token."},
		{Key: "secret_file", value: value{
			set:  func(v string) error { w.SecretFiles = append(w.SecretFiles, v); return nil },
			show: func() string { return strings.Join(w.SecretFiles, ",") },
		},
			Help: "`file` with the secret that signs requests, as Standard Webhooks has it",
			More: "A secret is `whsec_` and the base64 of 24 to 64 random bytes; each line of the file is one, and " +
				"each signs every request. No user but the file's owner and group may read it. It is read again " +
				"within seconds when it changes, and a file that cannot be used then leaves the secrets as they " +
				"were. Without a file requests are not signed."},
		{Key: "secret_files", value: list(&w.SecretFiles, nil),
			Help: "`files` with secrets, in place of secret_file",
			More: "While a receiver changes its secret, name the file of the old one and that of the new one."},
		{Key: "format", Default: string(defaults.Format), value: choice(&h.Format, webhook.Formats()...),
			Help: "`form` of the body",
			More: "`raw` is the event as Gerrit wrote it, `cloudevents` the same within a CloudEvent in JSON, " +
				"`cloudevents-binary` the event with the attributes of a CloudEvent as headers."},
		{Key: "filter.types", value: list(&h.Filter.Types, nil),
			Help: "deliver only events of these `types`",
			More: "Entries of the three filters are like those of the setting `filter.types`. What the process' own " +
				"filter drops is not in the queue."},
		{Key: "filter.projects", value: list(&h.Filter.Projects, nil),
			Help: "deliver only events of these `projects`, and those without a project"},
		{Key: "filter.refs", value: list(&h.Filter.Refs, nil),
			Help: "deliver only events of these `refs`, and those without one ref of their own"},
		{Key: "order", Default: string(defaults.Order), value: choice(&h.Order, webhook.Orders()...),
			Help: "`key` within which events are delivered one at a time, in the order of the queue",
			More: "An event that cannot be delivered holds up those with the same key, and no others."},
		{Key: "concurrency", Default: strconv.Itoa(defaults.Concurrency),
			value: bounded(&h.Concurrency, parseInt, strconv.Itoa, 1, webhook.MaxConcurrency),
			Help:  "`number` of requests under way at most"},
		{Key: "timeout", Default: formatDuration(defaults.Timeout),
			value: duration(&h.Timeout, webhook.MinTimeout, webhook.MaxTimeout),
			Help:  "`duration` of a request, from connecting to the end of its answer"},
		{Key: "give_up_after", Default: formatDuration(defaults.GiveUpAfter),
			value: duration(&h.GiveUpAfter, webhook.MinGiveUpAfter, 0),
			Help:  "`duration` after which an event that could not be delivered becomes a dead letter of the webhook",
			More:  "It counts from when the event was queued. `deadletter retry` delivers it after all."},
		{Key: "allow_private", Default: "false", value: boolean(&h.AllowPrivate),
			Help: "allow http:// and receivers whose address is loopback, private or link-local",
			More: "Without it a name that resolves to such an address is refused at each connection, so that whoever " +
				"controls a receiver's name cannot reach into your network."},
	}
}

// webhooks reads the list of webhooks.
func (r *fileReader) webhooks(n ast.Node) {
	if _, ok := n.(*ast.NullNode); ok {
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		r.misfit(n, webhooksKey, "expected a list of webhooks, each with name and url")
		return
	}
	for i, item := range seq.Values {
		w := Webhook{index: i, at: r.place(item), places: map[string][]Place{}}
		settings, faults := webhookSettings(&w), Faults{}
		entry := fileReader{name: r.name, settings: settings, values: map[string]given{}, faults: &faults, nested: true}
		entry.section("", item)
		l := loader{settings: settings, places: w.places, faults: faults}
		l.apply(entry.values)
		w.Hook = w.Hook.WithDefaults()
		for _, f := range l.faults {
			f.Key = w.key(f.Key)
			*r.faults = append(*r.faults, f)
		}
		if len(entry.values) > 0 || len(faults) == 0 { // else it is no entry
			r.hooks = append(r.hooks, w)
		}
	}
}

// key returns what a setting of the entry is called in a fault.
func (w *Webhook) key(name string) string {
	return strings.TrimSuffix(fmt.Sprintf("%s[%d].%s", webhooksKey, w.index, name), ".")
}

// place returns where a value came from, or the entry that lacks it.
func (w *Webhook) place(name string) Place {
	if places := w.places[name]; len(places) > 0 {
		return places[0]
	}
	return w.at
}

// checkWebhooks reports what is wrong with the webhooks, one by one, together,
// and with the store.
func (l *loader) checkWebhooks() {
	hooks := l.config.Webhooks
	if len(hooks) == 0 {
		return
	}
	if kind := l.config.Store.Kind; kind != nil && kind.queue == nil {
		l.faults.add(hooks[0].at, webhooksKey, "given, but the store is %s, whose queue %s consumes; webhooks need a "+
			"queue of their own: run another process on the stream with them and --store %s",
			&l.config.Store, kind.consumedBy, stores[0].form)
	}
	names := map[string]bool{}
	for i := range hooks {
		w := &hooks[i]
		l.checkWebhook(w)
		if name := w.Hook.Name; name != "" && names[name] {
			l.faults.add(w.place("name"), w.key("name"), "%q is the name of another webhook", name)
		}
		names[w.Hook.Name] = true
		if l.src.StoreOnly {
			continue
		}
		if _, err := w.ReadSecrets(); err != nil {
			for _, err := range each(err) {
				l.faults.add(w.place(w.secretsKey()), w.key(w.secretsKey()), "%v", err)
			}
		}
	}
}

// checkWebhook reports what package webhook finds wrong. Values out of bounds
// were reported when they were set, and not kept.
func (l *loader) checkWebhook(w *Webhook) {
	if len(w.places["secret_file"]) > 0 && len(w.places["secret_files"]) > 0 {
		l.faults.add(w.place("secret_file"), w.key("secret_file"),
			"given beside secret_files; name all in secret_files")
	}
	if err := checkReceiver(&w.Hook); err != nil {
		l.faults.add(w.place("url"), w.key("url"), "%v", err)
	}
	for _, err := range each(w.Hook.Validate()) {
		var fault *webhook.FieldError
		switch {
		case !errors.As(err, &fault):
		case fault.Field == "filter":
			f := &w.Hook.Filter
			l.filterFaults(gerrit.FilterConfig{
				Preset: gerrit.PresetNone, Types: f.Types, Projects: f.Projects, Refs: f.Refs,
			}, w.places, w.key("")+".")
		case !l.faults.about(w.key(fault.Field)): // else it is not kept, and was reported
			l.faults.add(w.place(fault.Field), w.key(fault.Field), "%v", fault.Err)
		}
	}
}

// checkReceiver refuses a receiver that is certain to be refused whenever it is
// connected to. Names are looked up then, and not here: they may change.
func checkReceiver(h *webhook.Hook) error {
	u, err := url.Parse(string(h.URL))
	if err != nil || h.AllowPrivate || u.Scheme != "https" { // Validate says what is wrong
		return nil
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	if strings.EqualFold(host, "localhost") || err == nil && !webhook.IsPublic(addr) {
		return fmt.Errorf("%s is no public address; allow_private permits it", host)
	}
	return nil
}

func (w *Webhook) secretsKey() string {
	if len(w.places["secret_files"]) > 0 {
		return "secret_files"
	}
	return "secret_file"
}

// maxSecretFile is the largest file of secrets that is read.
const maxSecretFile = 64 << 10

// ReadSecrets reads the secrets from their files, in the order in which these
// are named; none: the webhook does not sign. The error joins one for each file
// that is wrong, which names it and repeats nothing of it.
func (w *Webhook) ReadSecrets() (secrets []webhook.Secret, err error) {
	var errs []error
	for _, name := range w.SecretFiles {
		found, err := readSecrets(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("secret file %s: %w", name, err))
		}
		secrets = append(secrets, found...)
	}
	return secrets, errors.Join(errs...)
}

func readSecrets(name string) ([]webhook.Secret, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, errors.Unwrap(err) // which leaves out the name
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, errors.Unwrap(err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("it is not a regular file (%v)", info.Mode().Type())
	case info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("mode %04o gives every user of this host access to it; run: chmod o= %s",
			info.Mode().Perm(), name)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(raw) > maxSecretFile:
		return nil, fmt.Errorf("it is larger than %s", formatSize(maxSecretFile))
	}
	return webhook.ParseSecrets(string(raw))
}

// Webhook returns a webhook by its name.
func (c *Config) Webhook(name string) (*Webhook, bool) {
	for i := range c.Webhooks {
		if c.Webhooks[i].Hook.Name == name {
			return &c.Webhooks[i], true
		}
	}
	return nil, false
}

// Receivers returns the scheme and host of each webhook's receiver, by name.
func (c *Config) Receivers() map[string]string {
	receivers := map[string]string{}
	for i := range c.Webhooks {
		receivers[c.Webhooks[i].Hook.Name] = c.Webhooks[i].Hook.URL.String()
	}
	return receivers
}

// agreement returns what all processes must agree in, as a line.
func (w *Webhook) agreement() string {
	h := &w.Hook
	return fmt.Sprintf("%s %s %s %s %v %s", h.Name, string(h.URL), h.Format, h.Order, h.GiveUpAfter,
		queue.EncodeFilter(h.Filter))
}
