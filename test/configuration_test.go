package test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// update has `make docs` write what is generated instead of comparing it.
var update = flag.Bool("update", false, "write docs/configuration.md and docs/schema.json")

// TestConfigurationIsDocumented compares docs/configuration.md, from its
// heading "Settings" on, with the table that file, environment and flags are
// read by. What stands before that heading is written by hand.
func TestConfigurationIsDocumented(t *testing.T) {
	const path, heading = "docs/configuration.md", "\n## Settings\n"
	page := readFile(t, path)
	intro, generated, ok := strings.Cut(page, heading)
	if !ok {
		t.Fatalf("%s has no heading Settings", path)
	}
	want := describeSettings()
	if *update {
		page = intro + heading + want
		if err := os.WriteFile(filepath.Join("..", path), []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if generated != want {
		t.Errorf("%s is not what the settings table says: run `make docs`", path)
	}
}

// TestSchemaIsOfTheTable compares docs/schema.json with the table of settings,
// and the example of docs/configuration.md and the packages' file with the
// schema.
func TestSchemaIsOfTheTable(t *testing.T) {
	const path = "docs/schema.json"
	want := string(config.Schema())
	if *update {
		if err := os.WriteFile(filepath.Join("..", path), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if readFile(t, path) != want {
		t.Errorf("%s is not what the settings table says: run `make docs`", path)
	}
	schema := compileSchema(t, want)
	_, example, ok := strings.Cut(readFile(t, "docs/configuration.md"), "    # /etc/gerritstream/gerrit.yaml\n")
	if !ok {
		t.Fatal("docs/configuration.md has no example")
	}
	example, _, _ = strings.Cut(example, "\n\n")
	example = strings.ReplaceAll("\n"+example, "\n    ", "\n")
	if err := validateYAML(schema, example); err != nil {
		t.Errorf("the example of docs/configuration.md: %v", err)
	}
	if err := validateYAML(schema, readFile(t, "deploy/gerrit.yaml")); err != nil {
		t.Errorf("the settings in the packages: %v", err)
	}
}

// TestSchemaRefuses: what an editor should underline, and Load refuses too.
func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t, string(config.Schema()))
	for text, fits := range map[string]bool{
		"aws: {regoin: us-west-2}":                                false,
		"aws: {region: us-west-2}":                                true,
		"streams: gerrit":                                         false,
		"stream: 4711":                                            true,
		"on_bad_checkpoint: stop":                                 false,
		"on_bad_checkpoint: halt":                                 true,
		"retention: 7":                                            false,
		"retention: 7d":                                           true,
		"poll_interval: 1h30m":                                    true,
		"poll_interval: 5 minutes":                                false,
		"memory: 1TB":                                             false,
		"memory: 1.5GB":                                           true,
		"memory: 268435456":                                       true,
		"zookeeper: {queue_limit: many}":                          false,
		"zookeeper: {queue_limit: 0}":                             false,
		"zookeeper: {tls: {ca: ca.pem}}":                          true,
		"drop_foreign_records: maybe":                             false,
		"filter: {types: comment-added}":                          false,
		"filter: {types: [comment-added, comment-added]}":         false,
		"sinks: [stdin]":                                          false,
		"sinks: [stdout]":                                         true,
		"webhooks: [{name: j}]":                                   false,
		"webhooks: [{name: j, url: 'https://j.example/'}]":        true,
		"webhooks: [{name: j, url: 'https://j/', concurrncy: 1}]": false,
	} {
		if err := validateYAML(schema, text); (err == nil) != fits {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestSchemaAcceptsWhatLoadAccepts: an editor underlines nothing that run
// takes.
func TestSchemaAcceptsWhatLoadAccepts(t *testing.T) {
	values := []string{
		"", "~", "''", "a", "a.example", "5", "0", "007", "1.5", "100000000", "1e9", "1e3MiB", ".5GiB", "0.5GiB", "64 mib", "' 64MiB'",
		"true", "TRUE", "'true'", "no", "'5'", "+5", "7d", "1h30m", ".5h", "1.h", "+2h", "90s", "'90s'", "2026-01-31", "off", "-24h",
		"latest", "halt", "auto", "json", "warn", "none", "change", "https://a.example/", "unix:/run/a.sock", "{}", "{a: b}",
		"[]", "[a]", "[a, a]", "['']", "[~]", "[true]", "[5]", "[stdout]", "a.example:9419", "sqlite:a.db", "zookeeper://a",
	}
	schema := compileSchema(t, string(config.Schema()))
	file := filepath.Join(t.TempDir(), "gerrit.yaml")
	taken := 0
	try := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		src := config.Sources{File: file, Environ: []string{"HOME=/home/a"}}
		if !strings.HasPrefix(text, "stream:") {
			src.Flags = map[string][]string{"stream": {"gerrit"}}
		}
		if _, err := config.Load(src); err != nil {
			return
		}
		taken++
		if err := validateYAML(schema, text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, v := range values {
		sections := map[string]bool{"webhooks": true}
		for _, s := range config.Settings() {
			if section, _, nested := strings.Cut(s.Key, "."); nested {
				sections[section] = true
			}
			try(strings.ReplaceAll(s.Key, ".", ": {") + ": " + v + strings.Repeat("}", strings.Count(s.Key, ".")))
		}
		for section := range sections {
			try(section + ": " + v)
		}
		for _, s := range config.WebhookSettings() {
			name, nested := strings.CutPrefix(s.Key, "filter.")
			entry := s.Key + ": " + v
			if nested {
				entry = "filter: {" + name + ": " + v + "}"
			}
			for _, key := range []string{"name: a", "url: https://a.example/"} {
				if !strings.HasPrefix(key, s.Key+":") {
					entry += ", " + key
				}
			}
			try("webhooks: [{" + entry + "}]")
		}
	}
	if taken < 300 {
		t.Errorf("only %d files were taken", taken)
	}
}

func compileSchema(t *testing.T, text string) *jsonschema.Schema {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// validateYAML validates a text as editors do.
func validateYAML(schema *jsonschema.Schema, text string) error {
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return err
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	return schema.Validate(parsed)
}

// describeSettings returns the part of docs/configuration.md about each
// setting, and about those of a webhook.
func describeSettings() string {
	var b strings.Builder
	for _, s := range config.Settings() {
		describe(&b, &s, fmt.Sprintf("`--%s`, `%s`", s.Flag, s.Env()))
	}
	b.WriteString("\n## Webhooks\n\nEach entry of the list `webhooks` in the YAML file has these settings, which " +
		"have neither flags nor variables.\n")
	for _, s := range config.WebhookSettings() {
		describe(&b, &s, "")
	}
	return b.String()
}

// describe writes about a setting. names are those that it has besides its key.
func describe(b *strings.Builder, s *config.Setting, names string) {
	kind, allowed := "", s.Allowed()
	switch {
	case s.IsBool():
		allowed = "true or false"
	case s.IsList():
		kind = "a list"
	}
	value := ""
	if s.Default != "" {
		value = fmt.Sprintf("default `%s`", s.Default)
	}
	notes := slices.DeleteFunc([]string{names, kind, allowed, value}, func(s string) bool { return s == "" })
	fmt.Fprintf(b, "\n### %s\n", s.Key)
	if len(notes) > 0 {
		fmt.Fprintf(b, "\n%s\n", strings.Join(notes, "; "))
	}
	fmt.Fprintf(b, "\n%s\n", s.Description())
}
