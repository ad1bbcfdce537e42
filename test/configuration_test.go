package test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// update has `make docs` write what is generated instead of comparing it.
var update = flag.Bool("update", false, "write docs/configuration.md")

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
	help := strings.ReplaceAll(s.Help, "`", "")
	text := fmt.Sprintf("%s%s. %s", strings.ToUpper(help[:1]), help[1:], s.More)
	fmt.Fprintf(b, "\n%s\n", strings.TrimRight(text, " "))
}
