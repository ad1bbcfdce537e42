package gerrit

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
)

// Entry is one element of a list of a FilterConfig.
type Entry struct {
	Field string // "types", "projects" or "refs"
	Text  string
}

// Doubt is an entry of FilterConfig.Types that keeps no event of Gerrit and its
// known plugins. It may be right: other plugins have types of their own.
type Doubt struct {
	Entry   Entry
	Dropped bool // there are such types, but the preset or Drop drops them all; otherwise there are none
}

// Doubts returns the entries of Types that match no known type, or only types
// that are dropped before. It ignores mistakes, which NewFilter reports.
func (c FilterConfig) Doubts() []Doubt {
	f, err := NewFilter(FilterConfig{Preset: c.Preset, Drop: c.Drop, Replication: c.Replication})
	if err != nil {
		return nil
	}
	var doubts []Doubt
	for _, text := range c.Types {
		p := patterns{names: map[string]bool{}}
		if p.add(text) != nil {
			continue
		}
		known, kept := false, false
		for _, t := range knownTypes {
			if p.match([]byte(t)) {
				known, kept = true, kept || !f.drop[t]
			}
		}
		if !kept {
			doubts = append(doubts, Doubt{Entry: Entry{"types", text}, Dropped: known})
		}
	}
	return doubts
}

// Usage finds the entries of a filter that match no event. It may be used by
// several goroutines at once.
type Usage struct {
	done atomic.Bool

	mu     sync.Mutex
	left   int         // under mu: events still to be seen
	unused [3]patterns // under mu: by usageFields
}

// usageFields are the lists of a filter, in a Usage's order.
var usageFields = [3]string{"types", "projects", "refs"}

// Usage returns a Usage that sees a number of events, or nil if the filter has
// no patterns.
func (f *Filter) Usage(events int) *Usage {
	if f.types == nil && f.projects == nil && f.refs == nil {
		return nil
	}
	u := &Usage{left: events}
	for i, p := range []*patterns{f.types, f.projects, f.refs} {
		if p != nil {
			u.unused[i] = patterns{maps.Clone(p.names), slices.Clone(p.beginnings), slices.Clone(p.expressions)}
		}
	}
	return u
}

// See counts an event. With the last one it returns the entries that no event
// matched, by list and text; otherwise nothing. Later calls cost next to
// nothing.
func (u *Usage) See(e *Event) []Entry {
	if u.done.Load() {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left <= 0 {
		return nil
	}
	for i, value := range [3][]byte{e.Type, e.Project, e.Ref} {
		if len(value) > 0 {
			u.unused[i].removeMatches(value)
		}
	}
	if u.left--; u.left > 0 {
		return nil
	}
	u.done.Store(true)
	var entries []Entry
	for i := range u.unused {
		for _, text := range u.unused[i].texts() {
			entries = append(entries, Entry{usageFields[i], text})
		}
	}
	u.unused = [3]patterns{}
	return entries
}

// removeMatches removes the patterns that match.
func (p *patterns) removeMatches(b []byte) {
	delete(p.names, string(b))
	p.beginnings = slices.DeleteFunc(p.beginnings, func(beginning []byte) bool { return bytes.HasPrefix(b, beginning) })
	p.expressions = slices.DeleteFunc(p.expressions, func(re *regexp.Regexp) bool { return re.Match(b) })
}

// texts returns the patterns as they were written, sorted.
func (p *patterns) texts() []string {
	texts := slices.Collect(maps.Keys(p.names))
	for _, beginning := range p.beginnings {
		texts = append(texts, string(beginning)+"*")
	}
	for _, re := range p.expressions {
		texts = append(texts, re.String())
	}
	slices.Sort(texts)
	return texts
}
