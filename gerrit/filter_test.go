package gerrit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/gerrit"
)

func event(eventType, project, ref string) gerrit.Event {
	return gerrit.Event{Type: []byte(eventType), Project: []byte(project), Ref: []byte(ref)}
}

func TestFilter(t *testing.T) {
	type config = gerrit.FilterConfig
	none := gerrit.PresetNone
	for _, c := range []struct {
		name   string
		config config
		event  gerrit.Event
		want   string
	}{
		{"default drops", config{}, event("ref-replicated", "p", "r"), gerrit.RuleType},
		{"zuul drops", config{Preset: "zuul"}, event("ref-replicated", "p", "r"), gerrit.RuleType},
		{"zuul drops scheduled", config{}, event("ref-replication-scheduled", "p", "r"), gerrit.RuleType},
		{"none keeps", config{Preset: none}, event("cache-eviction", "", ""), ""},
		{"none keeps meta", config{Preset: none}, event("ref-updated", "p", "refs/changes/1/1/meta"), ""},
		{"zuul drops meta", config{}, event("ref-updated", "p", "refs/changes/1/1/meta"), gerrit.RuleMeta},
		{"replication keeps replicated", config{Replication: true}, event("ref-replicated", "p", "r"), ""},
		{"replication keeps scheduled", config{Replication: true}, event("ref-replication-scheduled", "p", "r"), ""},
		{"replication drops done", config{Replication: true}, event("ref-replication-done", "p", "r"), gerrit.RuleType},
		{"own drop list", config{Drop: []string{"topic-changed"}}, event("topic-changed", "p", "r"), gerrit.RuleType},
		{"own drop list replaces", config{Drop: []string{"topic-changed"}}, event("cache-eviction", "p", "r"), ""},
		{"empty drop list", config{Drop: []string{}}, event("batch-ref-updated", "p", ""), ""},
		{"empty drop list, meta", config{Drop: []string{}}, event("ref-updated", "p", "refs/changes/1/1/meta"),
			gerrit.RuleMeta},
		{"drop list with none", config{Preset: none, Drop: []string{"a"}}, event("a", "p", ""), gerrit.RuleType},
		{"type kept", config{Types: []string{"b", "a"}}, event("a", "p", ""), ""},
		{"type not kept", config{Types: []string{"b", "a"}}, event("ab", "p", ""), gerrit.RuleTypes},
		{"empty type not kept", config{Types: []string{"a"}}, event("", "p", ""), gerrit.RuleTypes},
		{"type by beginning", config{Types: []string{"change-*"}}, event("change-merged", "p", ""), ""},
		{"type by expression", config{Types: []string{"^change-(merged|deleted)$"}}, event("change-restored", "p", ""),
			gerrit.RuleTypes},
		{"project kept", config{Projects: []string{"a/*"}}, event("x", "a/b", ""), ""},
		{"project not kept", config{Projects: []string{"a/*"}}, event("x", "b/a/", ""), gerrit.RuleProjects},
		{"no project to judge", config{Projects: []string{"a/*"}}, event("x", "", ""), ""},
		{"ref kept", config{Refs: []string{"^refs/heads/r[0-9]+$"}}, event("x", "p", "refs/heads/r12"), ""},
		{"ref not kept", config{Refs: []string{"^refs/heads/r[0-9]+$"}}, event("x", "p", "refs/heads/r12x"),
			gerrit.RuleRefs},
		{"expression open at its end", config{Refs: []string{"^refs/heads/r"}}, event("x", "p", "refs/heads/r12x"), ""},
		{"no ref to judge", config{Refs: []string{"refs/heads/main"}}, event("x", "p", ""), ""},
		{"star alone", config{Refs: []string{"*"}}, event("x", "p", "anything"), ""},
		{"all lists must agree", config{Types: []string{"x"}, Projects: []string{"p"}, Refs: []string{"r"}},
			event("x", "p", "s"), gerrit.RuleRefs},
		{"a dot is a dot", config{Projects: []string{"a.b"}}, event("x", "acb", ""), gerrit.RuleProjects},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := gerrit.NewFilter(c.config)
			if err != nil {
				t.Fatal(err)
			}
			got := f.Rule(&c.event)
			if got != c.want {
				t.Errorf("rule %q, want %q", got, c.want)
			}
			if got != "" && !slices.Contains(gerrit.Rules(), got) {
				t.Errorf("rule %q is not among Rules()", got)
			}
		})
	}
}

// TestFilterFaults: every mistake in a configuration is reported at once, with
// its place.
func TestFilterFaults(t *testing.T) {
	_, err := gerrit.NewFilter(gerrit.FilterConfig{
		Preset:   "zul",
		Types:    []string{"ok", "^("},
		Projects: []string{"", "a*b"},
		Refs:     []string{"**", "refs/*"},
	})
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("not joined: %v", err)
	}
	var places []string
	for _, e := range joined.Unwrap() {
		var fault *gerrit.ConfigError
		if !errors.As(e, &fault) || fault.Unwrap() == nil {
			t.Fatalf("not a *ConfigError: %v", e)
		}
		place, _, _ := strings.Cut(fault.Error(), ": ")
		places = append(places, place)
	}
	want := []string{`preset "zul"`, `types[1] "^("`, `projects[0] ""`, `projects[1] "a*b"`, `refs[0] "**"`}
	if !slices.Equal(places, want) {
		t.Errorf("got  %q\nwant %q", places, want)
	}
}
