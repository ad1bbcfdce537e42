package gerrit

import (
	"bytes"
	"errors"
)

// The presets of a Filter.
const (
	PresetZuul = "zuul" // drops what Zuul drops before its queue, and what it has no handler for
	PresetNone = "none" // drops nothing
)

// The names of the rules that drop events: a bounded set, they label a metric.
const (
	RuleType     = "type"     // its type is on the drop list
	RuleMeta     = "meta-ref" // a ref-updated of a change's notes: refs/changes/**/meta
	RuleTypes    = "types"    // Types does not name its type
	RuleProjects = "projects" // Projects does not name its project
	RuleRefs     = "refs"     // Refs does not name its ref
)

// Rules returns the name of every rule there is.
func Rules() []string { return []string{RuleType, RuleMeta, RuleTypes, RuleProjects, RuleRefs} }

// FilterConfig says which events are kept: those that the preset does not drop
// and that each non-empty list of patterns names. An event without a project or
// without one ref of its own is not judged by Projects or Refs.
//
// A pattern is an RE2 expression if it begins with "^"; it is not anchored at
// its end. Otherwise it is a whole name, or the beginning of one if it ends in
// "*".
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

// ZuulDrop returns the types that PresetZuul drops. With replication those that
// Zuul needs for its replication_timeout are not among them.
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

// Filter says which events nobody needs. It may be used by several goroutines
// at once.
type Filter struct {
	drop     map[string]bool
	meta     bool
	types    *patterns
	projects *patterns
	refs     *patterns
}

// NewFilter returns the filter that a configuration describes. The error joins
// one *ConfigError for every fault of it.
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
	case f.meta && isMeta(e):
		return RuleMeta
	case f.types != nil && !f.types.match(e.Type):
		return RuleTypes
	case f.projects != nil && len(e.Project) > 0 && !f.projects.match(e.Project):
		return RuleProjects
	case f.refs != nil && len(e.Ref) > 0 && !f.refs.match(e.Ref):
		return RuleRefs
	}
	return ""
}

// isMeta reports whether the event only says that a change's notes moved on.
// What moved them has an event of its own.
func isMeta(e *Event) bool {
	return string(e.Type) == typeRefUpdated &&
		bytes.HasPrefix(e.Ref, []byte("refs/changes/")) && bytes.HasSuffix(e.Ref, []byte("/meta"))
}
