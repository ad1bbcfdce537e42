package test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
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
// setting.
func describeSettings() string {
	var b strings.Builder
	for _, s := range config.Settings() {
		kind, allowed := "", s.Allowed()
		switch {
		case s.IsBool():
			allowed = "true or false"
		case s.IsList():
			kind = "a list"
		}
		fmt.Fprintf(&b, "\n### %s\n\n`--%s`, `%s`", s.Key, s.Flag, s.Env())
		for _, note := range []string{kind, allowed} {
			if note != "" {
				b.WriteString("; " + note)
			}
		}
		if s.Default != "" {
			fmt.Fprintf(&b, "; default `%s`", s.Default)
		}
		help := strings.ReplaceAll(s.Help, "`", "")
		fmt.Fprintf(&b, "\n\n%s%s. %s", strings.ToUpper(help[:1]), help[1:], s.More)
		text := strings.TrimRight(b.String(), " ")
		b.Reset()
		b.WriteString(text + "\n")
	}
	return b.String()
}
