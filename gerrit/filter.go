package gerrit

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The presets of a Filter.
const (
	PresetZuul = "zuul" // drops what Zuul drops before its queue, and what it has no handler for
	PresetNone = "none" // drops nothing
)

// The names of the rules that drop events, of a bounded set: they label a
// metric.
const (
	RuleType     = "type"     // its type is on the drop list
	RuleMeta     = "meta-ref" // a ref-updated of a change's notes: refs/changes/**/meta
	RuleTypes    = "types"    // Types does not name its type
	RuleProjects = "projects" // Projects does not name its project
	RuleRefs     = "refs"     // Refs does not name its ref
)

// Rules returns the names of all rules.
func Rules() []string { return []string{RuleType, RuleMeta, RuleTypes, RuleProjects, RuleRefs} }

// FilterConfig selects events: a Filter keeps those that the preset does not
// drop and that match each non-empty list of patterns. Projects and Refs do not
// apply to events without a project or without one ref of their own.
//
// A pattern that begins with "^" is an RE2 expression, not anchored at its end.
// Otherwise it is a whole name, or the beginning of one if it ends in "*".
type FilterConfig struct {
	// Preset is PresetZuul, also when it is empty, or PresetNone.
	Preset string

	// Drop replaces the preset's list of dropped types when it is not nil.
	Drop []string

	// Replication keeps ref-replicated and ref-replication-scheduled with
	// PresetZuul. Zuul needs them when its replication_timeout is above 0.
	Replication bool

	Types    []string // patterns of types to keep; empty: all
	Projects []string // patterns of projects to keep; empty: all
	Refs     []string // patterns of full ref names to keep; empty: all
}

// ZuulDrop returns the types that PresetZuul drops. With replication, they do
// not include those that Zuul needs for its replication_timeout.
func ZuulDrop(replication bool) []string {
	drop := []string{
		"cache-eviction", "fetch-ref-replicated", "fetch-ref-replication-scheduled", "ref-replication-done",
		typeBatchRefUpdated, // Zuul has no handler for it
	}
	if !replication {
		drop = append(drop, typeRefReplicated, typeRefScheduled)
	}
	return drop
}

// Filter decides which events to drop. It may be used by several goroutines at
// once.
type Filter struct {
	drop     map[string]bool
	meta     bool
	types    *patterns
	projects *patterns
	refs     *patterns
}

// NewFilter returns the filter for a configuration. The error joins a
// *ConfigError for every mistake in it.
func NewFilter(c FilterConfig) (*Filter, error) {
	f := &Filter{drop: map[string]bool{}}
	drop := c.Drop
	var faults []error
	switch c.Preset {
	case "", PresetZuul:
		f.meta = true
		if drop == nil {
			drop = ZuulDrop(c.Replication)
		}
	case PresetNone:
	default:
		faults = append(faults, &ConfigError{Field: "preset", Index: -1, Value: c.Preset, Err: errPreset})
	}
	for _, t := range drop {
		f.drop[t] = true
	}
	f.types = compile("types", c.Types, &faults)
	f.projects = compile("projects", c.Projects, &faults)
	f.refs = compile("refs", c.Refs, &faults)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return f, nil
}

// Rule returns the name of the rule that drops an event, or "" if it is kept.
// It does not allocate.
func (f *Filter) Rule(e *Event) string {
	switch {
	case f.drop[string(e.Type)]:
		return RuleType
	case f.meta && string(e.Type) == typeRefUpdated &&
		bytes.HasPrefix(e.Ref, []byte("refs/changes/")) && bytes.HasSuffix(e.Ref, []byte("/meta")):
		return RuleMeta // a change's notes; what changed them has an event of its own
	case f.types != nil && !f.types.match(e.Type):
		return RuleTypes
	case f.projects != nil && len(e.Project) > 0 && !f.projects.match(e.Project):
		return RuleProjects
	case f.refs != nil && len(e.Ref) > 0 && !f.refs.match(e.Ref):
		return RuleRefs
	}
	return ""
}

// ConfigError is a mistake in a FilterConfig.
type ConfigError struct {
	Field string // "preset", "types", "projects" or "refs"
	Index int    // within the list; -1: the field is not a list
	Value string
	Err   error
}

// Error names the place, the value and the mistake.
func (e *ConfigError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("%s %q: %v", e.Field, e.Value, e.Err)
	}
	return fmt.Sprintf("%s[%d] %q: %v", e.Field, e.Index, e.Value, e.Err)
}

// Unwrap returns the mistake alone.
func (e *ConfigError) Unwrap() error { return e.Err }

var (
	errPreset = errors.New(`must be "zuul" or "none"`)
	errEmpty  = errors.New("an empty pattern matches nothing")
	errStar   = errors.New(`"*" may only stand at the end; an expression begins with "^"`)
)

// patterns is a list of patterns, of which one must match.
type patterns struct {
	names       map[string]bool
	beginnings  [][]byte
	expressions []*regexp.Regexp
}

// compile returns the patterns of a list, or nil if it is empty. It appends the
// list's mistakes to faults.
func compile(field string, list []string, faults *[]error) *patterns {
	if len(list) == 0 {
		return nil
	}
	p := &patterns{names: map[string]bool{}}
	for i, text := range list {
		if err := p.add(text); err != nil {
			*faults = append(*faults, &ConfigError{Field: field, Index: i, Value: text, Err: err})
		}
	}
	return p
}

func (p *patterns) add(text string) error {
	if text == "" {
		return errEmpty
	}
	if text[0] == '^' {
		re, err := regexp.Compile(text)
		if err == nil {
			p.expressions = append(p.expressions, re)
		}
		return err
	}
	beginning, open := strings.CutSuffix(text, "*")
	switch {
	case strings.Contains(beginning, "*"):
		return errStar
	case open:
		p.beginnings = append(p.beginnings, []byte(beginning))
	default:
		p.names[text] = true
	}
	return nil
}

func (p *patterns) match(b []byte) bool {
	if p.names[string(b)] {
		return true
	}
	for _, beginning := range p.beginnings {
		if bytes.HasPrefix(b, beginning) {
			return true
		}
	}
	for _, re := range p.expressions {
		if re.Match(b) {
			return true
		}
	}
	return false
}
