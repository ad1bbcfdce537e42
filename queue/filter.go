package queue

import (
	"encoding/json"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrit"
)

// Filter selects the events of a consumer. The zero Filter keeps all. The
// patterns are those of gerrit.FilterConfig, whose presets do not apply.
type Filter struct {
	Types    []string `json:"types,omitempty"`
	Projects []string `json:"projects,omitempty"` // an event without a project is kept
	Refs     []string `json:"refs,omitempty"`     // an event without one ref of its own is kept
}

// Matcher decides for a Filter which events are kept. Several goroutines may
// use it at once.
type Matcher struct{ filter *gerrit.Filter } // nil: all are kept

// Matcher returns the filter's matcher. The error joins a *gerrit.ConfigError
// for every mistake in it.
func (f Filter) Matcher() (Matcher, error) {
	if f.isEmpty() {
		return Matcher{}, nil
	}
	filter, err := gerrit.NewFilter(gerrit.FilterConfig{
		Preset: gerrit.PresetNone, Types: f.Types, Projects: f.Projects, Refs: f.Refs,
	})
	return Matcher{filter}, err
}

func (f Filter) isEmpty() bool { return len(f.Types)+len(f.Projects)+len(f.Refs) == 0 }

// Keeps reports whether the filter keeps an event.
func (m Matcher) Keeps(e *gerritstream.Event) bool {
	return m.filter == nil || m.filter.Rule(&gerrit.Event{
		Type: []byte(e.Type), Project: []byte(e.Project), Ref: []byte(e.Ref),
	}) == ""
}

// EncodeFilter returns a filter as stores keep it: a JSON object; "" for the
// zero Filter.
func EncodeFilter(f Filter) string {
	if f.isEmpty() {
		return ""
	}
	text, _ := json.Marshal(f) // lists of strings have a form
	return string(text)
}

// DecodeFilter reads what EncodeFilter wrote.
func DecodeFilter(text string) (f Filter, err error) {
	if text == "" {
		return f, nil
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return f, fmt.Errorf("decode filter: %w", err)
	}
	return f, nil
}
